"""The engine that lists: packed states in NumPy, breadth first."""
