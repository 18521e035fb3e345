"""What the guest prints on its console, for panics to be seen; the console stays its user's.

QEMU writes a copy of a character device's output to a file, if asked to (`logfile=`). A named
pipe takes the file's place, so that nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from attrs import evolve

from hpcore.door import keyval
from hpcore.door.asked import Asked
from hpcore.door.monitors import short_form
from hpcore.door.options import Option, Options

CONSOLE = "hpcore-console"
PIPE_BYTES = 1 << 20
"""What QEMU can print before it has to wait for us."""


def with_copy(asked: Asked, pipe: Path) -> Asked | None:
    """`asked`, its console's output copied to `pipe`; None where it has no such console.

    One that goes nowhere, into QEMU's window, or is copied already by its user has none.
    """
    name = asked.serial.removeprefix("chardev:")
    if name == asked.serial:
        added = _device(asked.serial)
        if added is None:
            return None
        rest = Options([*asked.rest, *added])
        return with_copy(evolve(asked, rest=rest, serial=f"chardev:{CONSOLE}"), pipe)
    devices = []
    for option in asked.rest:
        values = keyval.parse(option.text, "backend") if option.name == "chardev" else {}
        if values.get("id") == name:
            if "logfile" in values or values["backend"] in {"null", "vc"}:
                return None
            copied = {**values, "logfile": str(pipe), "logappend": "on"}
            devices.append(Option("chardev", keyval.form(copied, "backend")))
        else:
            devices.append(option)
    return evolve(asked, rest=Options(devices))


def _device(serial: str) -> list[Option] | None:
    """The short form of a console as the options that it stands for; None for another kind.

    Source: chardev/char.c, qemu_chr_parse_compat and qemu_chr_new_noreplay.
    """
    kind = serial.removeprefix("mon:")
    if kind == "stdio":
        values = {"backend": "stdio"}
    elif kind.startswith(("unix:", "tcp:", "pty")):
        values = short_form(kind)
    else:
        return None
    options = []
    if kind != serial:
        values |= {"mux": "on", **({"signal": "off"} if kind == "stdio" else {})}
        options.append(Option("mon", f"chardev={CONSOLE},mode=readline"))
    device = Option("chardev", keyval.form({**values, "id": CONSOLE}, "backend"))
    return [device, *options]


class ConsoleCopy:
    """The pipe's reading end. Open it before QEMU opens the other one, which waits for it."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):  # made by the door before this one
            os.mkfifo(path, 0o600)
        # for writing as well, so that there is no end of the file while QEMU has it not open
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # an unprivileged user may have less
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def hear(self, printed: Callable[[bytes], None]) -> None:
        """Have `printed` called with what comes, from here on."""

        def read() -> None:
            with contextlib.suppress(BlockingIOError):
                printed(os.read(self._pipe, 64 * 1024))

        asyncio.get_running_loop().add_reader(self._pipe, read)

    def close(self) -> None:
        """Hear no more."""
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)
