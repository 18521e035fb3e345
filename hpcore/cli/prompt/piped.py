"""Steps that are piped in, one a line, up to the first that goes wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from hpcore.cli.output import Problem
from hpcore.cli.prompt.session import Session

LONGEST = 1 << 20
"""Bytes of a line at most."""

_AT_ONCE = 1 << 16


async def follow(session: Session, fd: int, name: str) -> bool:
    """Have `session` take every line that comes from `fd`; whether all went well.

    Raises Problem or ScenarioError for a line that can't be read; `name` is for messages.
    """
    async for at, line in _lines(fd, name):
        if not await session.take(line, at):
            return False
        if session.quits:
            break
    return True


async def _lines(fd: int, name: str) -> AsyncIterator[tuple[int, str]]:
    """The lines, with their numbers. None is waited for in a thread, which nothing could end."""
    rest, at = b"", 1
    while chunk := await _read(fd):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield at, _text(line, at, name)
            at += 1
        if len(rest) > LONGEST:
            raise Problem(f"{name}:{at}: longer than {LONGEST} bytes, which nobody typed")
    if rest:
        yield at, _text(rest, at, name)


async def _read(fd: int) -> bytes:
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:  # a file is always ready, and cannot be watched
        return os.read(fd, _AT_ONCE)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
    return os.read(fd, _AT_ONCE)


def _text(line: bytes, at: int, name: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(f"{name}:{at}: not UTF-8 text (byte {error.start})") from error
