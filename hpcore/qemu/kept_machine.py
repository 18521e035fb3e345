"""What the machines of accelerators that keep a QEMU have in common: how one is found and left."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.kept_file import KeptFile
from hpcore.qemu.machine import QemuMachine

CONSOLE_KEPT = "console.log"
"""Where QEMU keeps what the guest's console sends, in the machine's directory."""

CONSOLE_MOST = 8 << 20
"""Bytes of it that stay while a hpcore has the machine; what was printed before goes."""

LOOK_SECONDS = 1.0
"""Between two looks at how long it is."""

PRINTED_KEPT = 64 * 1024
"""Bytes of the console that are shown to who attaches."""


class KeptQemuMachine(QemuMachine):
    """A machine whose QEMU outlives hpcore. Its directory stays as long as QEMU."""

    process: KeptQemu
    status = "unknown"
    """QEMU's run state as it was found."""
    printed = b""
    """The end of what the guest had printed when the machine was found."""

    async def connect_console(self, console: Path) -> None:
        """See QemuMachine. What QEMU keeps of the console is bounded from here on."""
        await super().connect_console(console)
        self.begin(self._bound(self.process.place / CONSOLE_KEPT))

    async def leave(self) -> None:
        """See QemuMachine."""
        await super().leave()
        self.process.leave()

    async def run_state(self) -> str:
        """QEMU's own word of it, now. Raises QemuError."""
        found = await self.qmp.execute("query-status")
        return str(found["status"]) if isinstance(found, dict) else "unknown"

    async def _bound(self, kept: Path) -> None:
        file = KeptFile(kept)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            file.keep_last(CONSOLE_MOST)

    def read_printed(self, directory: Path) -> None:
        """Read the end of what the guest has printed. Raises OSError."""
        with (directory / CONSOLE_KEPT).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - PRINTED_KEPT))
            self.printed = file.read()
