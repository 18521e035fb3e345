"""The model checker: every order of commands, calls, faults and resets, over `decide`."""
