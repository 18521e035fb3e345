"""Scenario files: reading them, writing them, playing them on a machine."""
