"""A menu of GRUB's, the entry of it that is the default, and how GRUB writes things."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from hpcore.disk.bls import BlsEntry
from hpcore.disk.script import Statement


@frozen
class Entry:
    """An entry of a menu, which is a script of its own; or a menu below it."""

    where: str
    title: str
    ident: str
    submenu: bool
    body: tuple[Statement, ...]
    file: str
    arguments: tuple[str, ...] = ()
    bls: BlsEntry | None = None


def pick(entries: Sequence[Entry], wanted: str) -> tuple[Entry, str]:
    """The default entry by number, title or id, and what is wanted of the menu below it.

    The first where there is none such, as in GRUB. `>` goes a menu down, `>>` is a `>`.
    """
    first, _, rest = wanted.replace(">>", "\0").partition(">")
    first = first.replace("\0", ">")
    for n, entry in enumerate(entries):
        if first in (str(n), entry.title, entry.ident):
            return entry, rest.replace("\0", ">>")
    return entries[0], ""


def environment(text: str) -> dict[str, str]:
    """The variables in a grubenv file."""
    out: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            out[name] = value.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")
    return out


def old_search(arguments: list[str]) -> list[str]:
    """The arguments of `search.fs_uuid VALUE [VARIABLE]` as `search` has them."""
    wanted, variable = [*arguments, "", ""][:2]
    return [f"--set={variable or 'root'}", wanted]


def for_linux(word: str) -> str:
    """A word of the kernel's command line, as GRUB writes it."""
    escaped = "".join(f"\\{c}" if c in "\\'\"" else c for c in word)
    return f'"{escaped}"' if " " in word else escaped
