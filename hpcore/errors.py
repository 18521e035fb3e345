"""The root of all errors that are made to be shown, and the words of others in them."""

from __future__ import annotations


class HpcoreError(Exception):
    """What the person who uses hpcore can do something about.

    The text is whole: it says what is wrong, where, and what to do. Show it without a
    traceback. An exception that is no HpcoreError is a fault of the program: of hpcore, of
    an accelerator, or of whoever called them.
    """


def printable(text: str) -> str:
    """`text` of somebody else's, such as QEMU's or a log's, as a terminal may be given it.

    What would move the cursor, colour the screen or turn the direction of writing is spelt
    out (`\\x1b`); lines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )
