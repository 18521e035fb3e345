"""The files that each VM leaves: its log of events, and what the door had to say."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from pathlib import Path
from typing import TextIO, cast

import structlog
from attrs import frozen

from hpcore.errors import HpcoreError

_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]+")
NAMELESS = "vm"
LONGEST_NAME = 100


@frozen
class Journal:
    """Both files; no other start of a VM has the same ones, so nothing is ever overwritten."""

    log: Path
    diagnostics: Path

    @classmethod
    def of(cls, directory: Path, name: str) -> Journal:
        """Those of a VM that starts now in this process. Makes the directory.

        Raises HpcoreError where there can be none.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not os.access(directory, os.W_OK):
                raise PermissionError(13, "it is not writable")
        except OSError as error:
            raise HpcoreError(
                f"the directory {directory} cannot be used for the VM's log: {error.strerror}; "
                "set logs to another one (see docs/door.md)"
            ) from error
        usual = _UNUSUAL.sub("_", name).strip("._")[:LONGEST_NAME] or NAMELESS
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        stem = f"{usual}-{now}-{os.getpid()}"
        return cls(directory / f"{stem}.jsonl", directory / f"{stem}.door.log")

    def diagnose(self) -> None:
        """Have the door's diagnostics written to their file, and to nowhere else."""
        file = _OnFullDisksToo(self.diagnostics.open("a", buffering=1))
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.processors.format_exc_info,
                structlog.dev.ConsoleRenderer(colors=False),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=structlog.WriteLoggerFactory(cast(TextIO, file)),
        )


class _OnFullDisksToo:
    """A file to which words are written where there is room; without it, the door goes on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()


def silence() -> None:
    """Have no diagnostics written: the caller's streams are not the door's."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
