"""What a file is by the bytes at its beginning, for a message that it is not the right one."""

from __future__ import annotations

Kinds = tuple[tuple[int, bytes, str], ...]
"""(offset, magic, what the file then is); the first that matches tells."""


def kind_of(data: bytes, kinds: Kinds) -> str:
    """What the file is that begins with `data`, in the words of `kinds`."""
    if not data:
        return "an empty file"
    for offset, magic, kind in kinds:
        if data.startswith(magic, offset):
            return kind
    return "of an unknown kind"
