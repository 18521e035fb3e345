"""The calls of a user's own code: which one is under way, since when, and where it is by now.

A property or a guest that never comes back keeps a check in one call for ever. Nobody but the user
can tell that from one that thinks for long, so the call goes on, and where it is can be said.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from attrs import frozen

LONG = 3.0
"""Seconds. One call of a property takes microseconds."""


@frozen
class Call:
    """One call: of `what`, which stands in the file `path`, by a thread, since when."""

    what: str
    path: str
    thread: int
    since: float


class OwnCalls:
    """Makes the calls, one at a time, and knows the one that is under way."""

    def __init__(self, long: float = LONG) -> None:
        self._long = long
        self._now: Call | None = None
        self._told: set[str] = set()

    def make(self, what: str, path: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function`. What ends a long call from outside, as Ctrl-C does, notes where."""
        call = self._now = Call(what, path, threading.get_ident(), time.monotonic())
        try:
            return function(*arguments)
        except (Exception, SystemExit):
            raise
        except BaseException as stop:
            if self._takes_long(call):
                at = reversed(list(traceback.walk_tb(stop.__traceback__)))
                stop.add_note(_words(call, at))
            raise
        finally:
            self._now = None

    def overdue(self) -> str | None:
        """Where the call is that is under way, if it takes long; said once of each `what`."""
        call = self._now
        if call is None or call.what in self._told or not self._takes_long(call):
            return None
        self._told.add(call.what)
        frame = sys._current_frames().get(call.thread)
        return _words(call, traceback.walk_stack(frame) if frame is not None else ())

    def watch(self, tell: Callable[[str], None]) -> None:
        """Have a thread of its own `tell` of what is overdue, up to the end of the program."""
        pause = threading.Event()

        def look() -> None:
            while not pause.wait(self._long / 6):
                words = self.overdue()
                if words is not None:
                    tell(words)

        threading.Thread(target=look, name="own calls", daemon=True).start()

    def _takes_long(self, call: Call) -> bool:
        return time.monotonic() - call.since >= self._long


def _words(call: Call, inmost_first: Iterable[tuple[FrameType, int]]) -> str:
    """Where in the user's file the call is, and for how long it has been under way."""
    where = next(
        (f"{call.path}:{line}, in {frame.f_code.co_qualname}" for frame, line in inmost_first
         if frame.f_code.co_filename == call.path),
        call.path,
    )  # fmt: skip
    return f"{where}: {call.what} has not come back for {time.monotonic() - call.since:.0f} s"


CALLS = OwnCalls()
"""Those of this process."""
