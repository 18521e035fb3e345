"""Where `hpcore-qemu-system-aarch64` starts: it forks the door off, and becomes the real QEMU.

    caller --+-- becomes the real QEMU, with a command line that the door has made
             +-- watchdog --- door

So QEMU's process id, exit status, signals, descriptors, cgroup and thread ids are what the
caller expects of the process that it has started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import orjson
from attrs import frozen

from hpcore.door import asked, watchdog
from hpcore.door.descriptors import all_but, close_all_but, leave_standard_streams
from hpcore.door.line import Line
from hpcore.door.monitors import descriptors
from hpcore.door.options import Options
from hpcore.door.settings import Settings
from hpcore.errors import HpcoreError

_NO_WORD = "the door ended without a word; was it killed?"


@frozen
class _Place:
    """QEMU's own directory, of a VM that is to be kept, and the descriptor that holds its lock.

    QEMU inherits that: as long as it lives, nobody takes the directory away.
    """

    directory: Path
    lock: int

    @classmethod
    def made(cls) -> _Place:
        """A new one. Raises HpcoreError."""
        # what is not kept starts without loading these
        from hpcore.qemu.runtime_directory import lock_of, runtime_directory  # noqa: PLC0415

        directory = runtime_directory()
        return cls(directory, lock_of(directory))

    def remove(self) -> None:
        """Nothing has come of it."""
        from hpcore.qemu.runtime_directory import remove_runtime_directory  # noqa: PLC0415

        remove_runtime_directory(self.directory)


def main() -> NoReturn:
    """Do as QEMU would that is given this command line. Ends with 1 where it is refused."""
    words = sys.argv[1:]
    try:
        settings = Settings.read(Path(sys.argv[0]).absolute())
        options = Options.of(words)
        if asked.is_help(options):
            _become(settings.qemu, words)
        wanted: asked.Asked | asked.Probe = (
            asked.read_probe(options) if asked.is_probe(options) else asked.read(words)
        )
        place = _Place.made() if settings.keep and isinstance(wanted, asked.Asked) else None
        try:
            words, environment = _have_door(settings, wanted, place)
        except BaseException:
            if place is not None:
                place.remove()
            raise
    except HpcoreError as error:
        _say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    for descriptor in descriptors(wanted.monitors):
        with contextlib.suppress(OSError):
            os.close(descriptor)  # it is the door's now, and QEMU is not to keep it open
    if place is not None:
        os.set_inheritable(place.lock, True)
    os.environ |= environment
    _become(settings.qemu, words)


def _have_door(
    settings: Settings, wanted: asked.Asked | asked.Probe, place: _Place | None
) -> tuple[list[str], dict[str, str]]:
    """Fork the door off; the command line that it has made for the real QEMU, and what it adds
    to its environment.

    `place` is that of a VM that is to be kept. Raises HpcoreError with the door's
    words where it can't open.
    """
    reads, writes = os.pipe()
    caller = os.getpid()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reads)
        _fork_off(settings, wanted, writes, caller, place)
    os.close(writes)
    os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as answer:
        said = answer.read()
    if not said:
        raise HpcoreError(_NO_WORD)
    told = orjson.loads(said)
    if "refused" in told:
        raise HpcoreError(str(told["refused"]))
    return list(told["words"]), dict(told["environment"])


def _fork_off(
    settings: Settings,
    wanted: asked.Asked | asked.Probe,
    writes: int,
    caller: int,
    place: _Place | None,
) -> NoReturn:
    """In the child: leave the caller's family behind, for the watchdog and the door."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        hears, tells = os.pipe()
        if os.fork():
            leave_standard_streams()
            close_all_but([hears])
            watchdog.watch(hears)
            os._exit(0)
        ours = [writes, tells, *descriptors(wanted.monitors)]
        if place is not None:
            ours.append(place.lock)
        inherited = None
        if isinstance(wanted, asked.Asked) and wanted.incoming is not None:
            inherited = (*all_but(ours), os.dup(2))  # a machine may come by any of them
        close_all_but([*ours, *(inherited or ())])
        _open_door(settings, wanted, Line(writes, tells, caller, inherited), place)
        os._exit(0)
    finally:
        os._exit(1)


def _open_door(
    settings: Settings, wanted: asked.Asked | asked.Probe, line: Line, place: _Place | None
) -> None:
    try:
        from hpcore.door.serve import serve  # noqa: PLC0415 - only the door needs all of it

        serve(settings, wanted, line, None if place is None else place.directory)
    except BaseException as error:
        line.refuse(f"this is a fault of hpcore: {type(error).__name__}: {error}")
        raise


def _become(program: Path, words: list[str]) -> NoReturn:
    try:
        os.execv(program, [str(program), *words])
    except OSError as error:  # the door notices that no QEMU comes of this process
        _say(f"{program} cannot be run: {error.strerror}; see docs/door.md about settings")
        sys.exit(1)


def _say(text: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)


