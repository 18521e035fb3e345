"""Values as QEMU writes them: all in ASCII, hexadecimal in capitals, keys in its own order.

The sources are qobject/json-writer.c, and qobject/qdict.c for the order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

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
            ordered = sorted(value.items(), key=lambda item: _bucket(item[0]))
            items = [[f"{_text(k)}: ", *_parts(v, inner)] for k, v in ordered]
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


BUCKETS = 512
"""Those of QEMU's dictionaries (QDICT_BUCKET_MAX), which are written one after the other. In
each the last comes first; what was read from QEMU has that order, and keeps it."""


@lru_cache(1024)
def _bucket(key: str) -> int:
    """Where a key is kept (qdict.c, tdb_hash), in 32 bits; a NUL in it has two bytes."""
    name = key.encode("utf-8", "replace").replace(b"\0", b"\xc0\x80")
    value = 0x238F13AF * len(name)
    for i, byte in enumerate(name):
        value += byte << (i * 5 % 24)
    return (1103515243 * value + 12345) % (1 << 32) % BUCKETS


def _text(said: str) -> str:
    return f'"{_ESCAPED.sub(_escape, said)}"'


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character in _SHORT:
        return _SHORT[character]
    units = character.encode("utf-16-be", "replace")
    pairs = (units[i : i + 2] for i in range(0, len(units), 2))
    return "".join(f"\\u{int.from_bytes(pair):04X}" for pair in pairs)
