"""How a command ends before its time: told by a signal, or with an error to explain.

Imports next to nothing, so that a Ctrl-C in the first second, while the rest is still being
loaded, ends like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, TypeVar

from hpcore.errors import printable

T = TypeVar("T")

DEBUG = "HPCORE_DEBUG"
"""The variable of the environment that asks for all diagnostics, tracebacks among them."""

WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal is gone",
}
"""The signals that end a command in good order, and what it says then."""


class Stopped(BaseException):
    """A signal asks for the end. No Exception: nothing on the way is to handle it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(WORDS[signal.Signals(number)])


@contextmanager
def explained() -> Iterator[None]:
    """Listen to the signals; one of them is said, and exits with 128 and its number."""
    _open_what_is_closed()
    for number in _heard():
        signal.signal(number, _stop)
    try:
        yield
    except Stopped as stopped:
        noted = getattr(stopped, "__notes__", ())  # where it was, if somebody knows
        sys.exit(explain("; ".join((str(stopped), *noted)), 128 + stopped.number))


async def until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Do `work`; at the first signal cancel it, await its end in good order, raise Stopped.

    More signals change nothing: a second Ctrl-C would only tear down what is tidying up.
    """
    import asyncio  # noqa: PLC0415 - the commands that wait for nothing do without

    task = asyncio.ensure_future(work)
    taken: list[int] = []

    def stop(number: int) -> None:
        if not taken:
            task.cancel()
        taken.append(number)

    for number in _heard():
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not taken:
            raise
        raise Stopped(taken[0]) from None


def explain(message: str, code: int, **fields: object) -> int:
    """Say what is wrong, to people and with --json to programs too; return `code`.

    An output that takes nothing any more, on a full disk, does not change the exit code.
    """
    _write(sys.stderr, f"hpcore: {printable(message)}\n")
    if "--json" in sys.argv:
        closing = {"ok": False, "error": message, **fields}
        _write(sys.stdout, json.dumps(closing, separators=(",", ":"), default=str) + "\n")
    return code


def _heard() -> list[signal.Signals]:
    """Those to listen to. Who starts a command with nohup wants SIGHUP to be ignored."""
    return [
        number for number in WORDS
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]  # fmt: skip


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in _heard():
        signal.signal(each, _stop_no_more)
    raise Stopped(number)


def _stop_no_more(_number: int, _frame: FrameType | None) -> None:
    pass


def _open_what_is_closed() -> None:
    """Give a command that was started with `>&-` or `2>&-` something to write to."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - stays open


def _write(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()
