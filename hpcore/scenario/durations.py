"""Times as scenarios write them: `500ms`, `2s`, `1m`; in whole milliseconds."""

from __future__ import annotations

import re

_UNITS = {"m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile(r"(\d{1,9}) ?(ms|s|m)", re.ASCII)


def parse_duration(text: str) -> int:
    """The milliseconds that `text` names. Raises ValueError where it names none."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is no time; give one as in 500ms, 2s or 1m")
    return int(found[1]) * _UNITS[found[2]]


def format_duration(milliseconds: int) -> str:
    """The same in the largest unit of which it is a whole number."""
    unit, size = next((u, size) for u, size in _UNITS.items() if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"
