"""Pictures: a log, or the states that can be reached, as something to look at."""
