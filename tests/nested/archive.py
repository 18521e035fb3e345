"""Directory trees as entries of a cpio archive, with the bytecode of their Python files.

Compiling takes L1 some twenty times as long as it takes here.
"""

from __future__ import annotations

import importlib.util
import marshal
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpcore.guest.initramfs import Entry
from tests.nested.wheels import PYTHON

DIRECTORY = stat.S_IFDIR | 0o755
FILE = stat.S_IFREG | 0o644
PROGRAM = stat.S_IFREG | 0o755
LINK = stat.S_IFLNK | 0o777

UNCHECKED_HASH = 1
"""The flags of a .pyc that is used without a look at its source (PEP 552)."""

SAME_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON
"""Whether bytecode of this Python is L1's; elsewhere L1 compiles, and starts slowly."""


def tree(root: Path, at: str) -> Iterator[Entry]:
    """Everything below `root` as it is to lie below `at`, bytecode left out."""
    for path in sorted(root.rglob("*")):
        name = f"{at}/{path.relative_to(root)}".removeprefix("/")
        if "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            yield Entry(name, LINK, str(path.readlink()).encode())
        elif path.is_dir():
            yield Entry(name, DIRECTORY)
        elif path.is_file():
            runs = path.stat().st_mode & stat.S_IXUSR
            yield Entry(name, PROGRAM if runs else FILE, path.read_bytes())


def with_bytecode(entries: Iterable[Entry]) -> Iterator[Entry]:
    """`entries`, each Python file followed by its compiled form."""
    directories: set[str] = set()
    for entry in entries:
        yield entry
        if SAME_PYTHON and entry.name.endswith(".py"):
            yield from _compiled(entry, directories)


def parents(name: str) -> Iterator[Entry]:
    """The directories above `name`, outermost first."""
    for path in reversed(Path(name).parents[:-1]):
        yield Entry(str(path), DIRECTORY)


def _compiled(source: Entry, directories: set[str]) -> Iterator[Entry]:
    path = Path(source.name)
    try:
        code = compile(source.data, f"/{path}", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):  # a sample of bad input; whoever imports it will see
        return
    data = (
        importlib.util.MAGIC_NUMBER
        + UNCHECKED_HASH.to_bytes(4, "little")
        + importlib.util.source_hash(source.data)
        + marshal.dumps(code)
    )
    cache = path.parent / "__pycache__"
    if str(cache) not in directories:
        directories.add(str(cache))
        yield Entry(str(cache), DIRECTORY)
    yield Entry(str(cache / f"{path.stem}.{sys.implementation.cache_tag}.pyc"), FILE, data)
