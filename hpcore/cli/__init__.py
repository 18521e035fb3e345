"""The command line: arguments in, rooms called, words out."""

from hpcore.cli.main import main

__all__ = ["main"]
