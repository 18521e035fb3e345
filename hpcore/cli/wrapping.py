"""What of a log's file was overlooked as the log was read: that it is packed, say."""

from __future__ import annotations

from hpcore.cli.output import Output
from hpcore.log import Header


def say_wrapping(out: Output, name: str, header: Header) -> None:
    """A line on it, where there is something to say."""
    if header.wrapping:
        out.say(f"{name} {' and '.join(header.wrapping)}; what is read is the log in it.")
