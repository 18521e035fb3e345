"""Making sense of a log: replaying it, putting it into words."""
