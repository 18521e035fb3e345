"""Files that a command reads more than once: what comes through a pipe is kept for that long."""

from __future__ import annotations

import errno
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from attrs import frozen

from hpcore.cli.output import Problem

STDIN = "standard input"


def name_of(name: str) -> str:
    """What messages call a file that was given as `name`."""
    return STDIN if name == "-" else name


def path_of(log: str) -> str:
    """Where a log that is read once can be opened, that on standard input too."""
    return "/dev/stdin" if log == "-" else log


@frozen
class GivenFile:
    """A file as the user has named it, as its lines are named, and where it can be opened."""

    given: str
    name: str
    """That of standard input is `stdin`, so that a line of it is stdin:14."""
    place: str

    @property
    def shown(self) -> str:
        """What messages call it."""
        return name_of(self.given)

    def words(self, text: object) -> str:
        """A message, with the name that the user knows in place of where the file is kept."""
        return str(text).replace(self.place, self.shown)


@contextmanager
def given(files: Sequence[str]) -> Iterator[tuple[GivenFile, ...]]:
    """The files, standard input as `-`. What comes through a pipe is kept until the end.

    Raises Problem where one that can be read once is given twice, a name is empty, or there is no
    room to keep what comes; OSError where a pipe cannot be read.
    """
    for name in files:
        if not name:
            raise Problem("the name of a file is empty")
        if files.count(name) > 1 and (name == "-" or _is_pipe(name)):
            raise Problem(f"{name_of(name)} is given twice, and can be read once")
    with tempfile.TemporaryDirectory(prefix="hpcore-") as directory:
        out = []
        for number, name in enumerate(files):
            kept = Path(directory) / str(number)
            if name == "-":
                _keep(sys.stdin.buffer, name, kept)
                out.append(GivenFile(name, "-" if "stdin" in files else "stdin", str(kept)))
            elif _is_pipe(name):
                with Path(name).open("rb") as pipe:
                    _keep(pipe, name, kept)
                out.append(GivenFile(name, name, str(kept)))
            else:
                out.append(GivenFile(name, name, name))
        yield tuple(out)


def _is_pipe(name: str) -> bool:
    try:
        return stat.S_ISFIFO(Path(name).stat().st_mode)
    except (OSError, ValueError):  # whoever reads it says what is wrong with it
        return False


def _keep(source: IO[bytes], name: str, place: Path) -> None:
    try:
        with place.open("wb") as file:
            shutil.copyfileobj(source, file)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Problem(
            f"{name_of(name)} is read twice, and there is no room for it in {place.parent.parent}: "
            f"{error.strerror}. Put it into a file, or set TMPDIR to where there is room"
        ) from error
