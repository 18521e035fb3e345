"""Fetched once: a directory in the cache that is whole, or is not there.

What it holds is listed in its `manifest.json`, with every file's size in bytes under
`sizes`, so that a damaged directory is told from a whole one without reading it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcore.fetch.cache import file_errors, locked, scratch
from hpcore.fetch.errors import FetchError

MANIFEST = "manifest.json"

TellFetch = Callable[[str], None]
"""Told in a few words what is being done."""


def silent(_text: str) -> None:
    """The `TellFetch` that nobody sees."""


def kept(directory: Path) -> dict[str, Any] | None:
    """The manifest of `directory`, or None where that is missing, damaged or cut short."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        sizes = manifest["sizes"]
        whole = all((directory / name).stat().st_size == sizes[name] for name in sizes)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if whole and isinstance(manifest, dict) else None


def keep(directory: Path, what: str, fill: Callable[[Path], Path]) -> None:
    """Have `directory`, whole: as it is, or else by `fill`.

    `fill` is given an empty directory to work in and returns the complete one below it. Of
    several processes one fills, and the others wait and find it done; one that is
    interrupted leaves nothing that counts as done. Raises FetchError where `what` cannot be
    kept there.
    """
    if kept(directory) is not None:
        return
    parent = directory.parent
    with file_errors(f"keep {what}", parent), locked(parent / ".lock"):
        if kept(directory) is not None:  # another process was faster
            return
        with scratch(parent) as work:
            complete = fill(work)
            if directory.exists():  # damaged, or it would have been found above
                shutil.rmtree(directory)
            complete.rename(directory)
    if kept(directory) is None:
        raise FetchError(f"{what} in {directory} is incomplete; remove it and try again")


def write_manifest(directory: Path, **fields: object) -> None:
    """Write the manifest of `directory`: `fields`, and the size of every file below it."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(directory)): path.stat().st_size for path in files}
    text = json.dumps({**fields, "sizes": sizes}, indent=1)
    (directory / MANIFEST).write_text(text + "\n")
