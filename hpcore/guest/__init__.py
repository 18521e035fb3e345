"""The guest: fetching what boots, and talking to its shell over the console."""
