"""Values as QEMU writes them (qobject/json-writer.c): all in ASCII, hexadecimal in capitals."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SHORT = {
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
}  # fmt: skip
_ESCAPED = re.compile(r"[^ !#-\[\]-~]")


def to_json(value: object, *, pretty: bool = False) -> bytes:
    """One line, or with `pretty` what a monitor with `pretty=on` prints; without its end."""
    return "".join(_parts(value, "\n" if pretty else "")).encode()


def _parts(value: object, newline: str) -> list[str]:
    """`newline` is a line feed and the indentation where the value stands, or nothing."""
    inner = newline and newline + "    "
    match value:
        case Mapping():
            items = [[f"{_text(str(k))}: ", *_parts(v, inner)] for k, v in value.items()]
            return _enclosed("{", items, "}", newline, inner)
        case list() | tuple():
            return _enclosed("[", [_parts(v, inner) for v in value], "]", newline, inner)
        case str():
            return [_text(value)]
        case bool():
            return ["true" if value else "false"]
        case None:
            return ["null"]
        case float():
            return [f"{value:.17g}"]
        case int():
            return [str(value)]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _enclosed(left: str, items: list[list[str]], right: str, newline: str, inner: str) -> list[str]:
    parts = [left]
    for n, item in enumerate(items):
        parts.append(("," + (inner or " ")) if n else inner)
        parts += item
    return [*parts, newline, right]


def _text(said: str) -> str:
    return f'"{_ESCAPED.sub(_escape, said)}"'


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character in _SHORT:
        return _SHORT[character]
    units = character.encode("utf-16-be", "replace")
    pairs = (units[i : i + 2] for i in range(0, len(units), 2))
    return "".join(f"\\u{int.from_bytes(pair):04X}" for pair in pairs)
