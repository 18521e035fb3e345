"""The root of all errors that are made to be shown."""

from __future__ import annotations


class HpcoreError(Exception):
    """What the person who uses hpcore can do something about.

    The text is whole: it says what is wrong, where, and what to do. Show it without a
    traceback. An exception that is no HpcoreError is a fault of the program: of hpcore, of
    an accelerator, or of whoever called them.
    """
