"""What of a log's file was overlooked as the log was read: that it is packed, say."""

from __future__ import annotations

from hpcore.cli.given_files import name_of
from hpcore.cli.output import Output


def say_wrapping(out: Output, name: str, wrapping: tuple[str, ...]) -> None:
    """A line on it, where there is something to say. `wrapping` is what the log's header has."""
    if wrapping:
        out.say(f"{name_of(name)} {' and '.join(wrapping)}; what is read is the log in it.")
