"""The log of a VM: its own from the start, or from when its machine has come with one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from hpcore.log import Entry, Header, LogWriter, Rotation
from hpcore.model.states import State


class VmLog:
    """See hpcore.run.controller.Log. Closed at the end of its block."""

    def __init__(self, path: Path, header: Header, rotation: Rotation | None) -> None:
        """Raises LogError where there can be none."""
        self._path, self._rotation = path, rotation
        self._writer = LogWriter.create(path, header, rotation=rotation)

    def append_all(self, entries: Iterable[Entry]) -> int:
        """See LogWriter."""
        return self._writer.append_all(entries)

    def settled(self, state: State) -> None:
        """See LogWriter."""
        self._writer.settled(state)

    @property
    def so_far(self) -> bytes:
        """See LogWriter."""
        return self._writer.so_far

    def go_on(self, so_far: bytes, segment: int) -> None:
        """Be the log that has come with a machine, its last `segment`; what was is overwritten.

        Raises LogError.
        """
        self._writer.close()
        self._writer = LogWriter.go_on(
            self._path, so_far, segment=segment, overwrite=True, rotation=self._rotation
        )

    def __enter__(self) -> VmLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
