"""Protocols that are wrong in one place, and the hunt for each."""
