"""What can be wrong with a log: each error says what, where, and what to do."""

from __future__ import annotations

from hpcore.errors import HpcoreError


class LogError(HpcoreError):
    """A log cannot be read or written. The text is whole: show it without a traceback."""


class LogUnreadable(LogError):
    """The file cannot be opened or read: missing, a directory, forbidden, an I/O error."""

    def __init__(self, name: str, cause: OSError | str) -> None:
        why = cause if isinstance(cause, str) else cause.strerror or str(cause)
        super().__init__(f"{name}: cannot be opened or read as a log: {why}")


class NotALog(LogError):
    """The file was never a log of hpcore."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: this is not a log of hpcore: {why}")


class LogEmpty(LogError):
    """The log holds not even a header: nothing in it was ever acknowledged."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: the log is empty: {why}. Nothing can go on from it")


class LogDamaged(LogError):
    """A line of the log is not what was written.

    `line` counts from 1, the header. `seq` is the event that belongs on that line, or
    None for the header; `first` is the one that belongs on line 2. `why` says what differs.
    """

    def __init__(self, name: str, line: int, why: str, first: int = 1) -> None:
        self.line = line
        self.seq = line - 2 + first if line > 1 else None
        self.why = why
        where = f"line {line} (seq {self.seq})" if self.seq else f"line {line} (the header)"
        remedy = "nothing in it can be trusted"
        if self.seq:
            remedy = f"the lines before it are good: head -n {line - 1} keeps them"
        super().__init__(f"{name}: {where} is damaged: {why}; {remedy}")


class LogGap(LogError):
    """A segment is missing between two that are there."""

    def __init__(self, missing: str, before: str, after: str) -> None:
        super().__init__(
            f"{missing} is missing: what happened between the end of {before} and the head of "
            f"{after} is not known. Put it back, or read on from {after} alone"
        )


class LogTooNew(LogError):
    """The log's format, or an event in it, is of a later hpcore than this one."""


class LogTooOld(LogError):
    """The log's format is older than any that this hpcore upgrades."""


class LogExists(LogError):
    """There is a log already, and nobody said to overwrite it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name}: the file exists and is not empty; "
            "choose another name, or ask for it to be overwritten"
        )


class LogLocked(LogError):
    """Another writer has the log."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: another writer has this log open; end that run first")


class LogWriteError(LogError):
    """The log cannot be written, and its writer is dead.

    `cut_back` is true where the file ends with the last whole line that was there
    before the failure. Where it is false, recovery does that at the next open.
    """

    def __init__(self, name: str, why: str, cut_back: bool = True) -> None:
        self.cut_back = cut_back
        state = (
            "the log is whole up to the event before"
            if cut_back
            else "the log may end in a torn line, which the next open for append cuts"
        )
        super().__init__(f"{name}: cannot write the log: {why}; {state}")


class EventRefused(LogError):
    """An event or a time cannot be held by a log. Nothing was written; the writer lives."""
