"""Files that a command is to write: what is wrong with the place, said before the work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from hpcore.cli.output import Problem

OUTPUT_FILE = click.Path(readable=False, path_type=Path)
"""The type of an option that names a file to be written: click has nothing to say about it."""


def refuse_unwritable(
    files: Mapping[str, Path | None], *, force: bool, inputs: Iterable[str] = ()
) -> None:
    """Raise Problem where one of `files` could not be written, or would be overwritten.

    They go by their options; None is an option that was not given. Only with `force` may a
    file with something in it be overwritten, and never one of `inputs`, which the command reads.
    What can take bytes and is no regular file, a pipe say, has nothing to be kept.
    """
    given = {option: path for option, path in files.items() if path is not None}
    read = {os.path.realpath(name): name for name in inputs}
    for option, path in given.items():
        _refuse(option, path)
        if (name := read.get(os.path.realpath(path))) is not None:
            raise Problem(f"{name} is what is read; give another {option}")
        if not force and path.is_file() and path.stat().st_size:
            raise exists(path, option)
    places: dict[str, str] = {}
    for option, path in given.items():
        other = places.setdefault(os.path.realpath(path), option)
        if other != option:
            raise Problem(f"{other} and {option} both name {path}; give each a file of its own")


def exists(path: Path, option: str) -> Problem:
    """What to raise where `path` is there and is not to be overwritten."""
    return Problem(f"{path} exists; give another {option}, or --force to overwrite it")


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole. Raises Problem; then nothing is left of it, if it is a regular file."""
    try:
        path.write_bytes(data)
    except OSError as error:
        if path.is_file():
            path.unlink(missing_ok=True)
        raise Problem(f"{path}: it cannot be written: {error.strerror or error}") from error


def _refuse(option: str, path: Path) -> None:
    if str(path) == "-":
        raise Problem(
            f"{option} - is no file, and standard output has another use; give {option} the "
            "name of a file"
        )
    remedy = f"give another {option}"
    try:
        if not path.parent.is_dir():
            raise Problem(f"{path}: there is no directory {path.parent}; make it, or {remedy}")
        if path.is_dir():
            raise Problem(f"{path}: Is a directory; {remedy}")
        there = _is_there(path)
    except OSError as error:  # a name that is too long, a loop of links
        raise Problem(f"{path}: {error.strerror}; {remedy}") from error
    place = path if there else path.parent
    if not os.access(place, os.W_OK if there else os.W_OK | os.X_OK):
        why = "may not be written" if there else f"the directory {place} may not be written to"
        raise Problem(f"{path}: {why}; {remedy}")


def _is_there(path: Path) -> bool:
    """Whether something is. Raises OSError for a loop of links, which `exists` says nothing of."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True
