"""The engine that proves: sets of states as decision diagrams."""
