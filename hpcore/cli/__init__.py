"""The command line: arguments in, rooms called, words out."""
