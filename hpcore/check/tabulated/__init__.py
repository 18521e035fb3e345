"""The protocol as tables: what one slot does in each of its states, found by asking `decide`."""
