"""A played QEMU's own migration: which of its vCPUs are on, and whether it wants an answer, is all
that it sends."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Protocol

FINALIZING = 0.05
"""Seconds from QEMU's word that its migration is completed until its machine is as it stays."""


class Carries(Protocol):
    """What a migration needs of its QEMU."""

    status: str

    @property
    def powered(self) -> set[int]: ...
    @property
    def held(self) -> bool: ...
    def die(self) -> None: ...
    def load_vcpus(self, powered: set[int]) -> None: ...
    def tell_monitors(self, name: str, **data: object) -> None: ...


class PlayedMigration:
    """One QEMU's, out or in."""

    def __init__(self, qemu: Carries) -> None:
        self.status = "none"
        self.came = False
        """Whether the machine has come from elsewhere."""
        self.lie: set[int] = set()
        """vCPUs of which the stream says wrongly that they are on."""
        self._qemu = qemu
        self.capabilities: dict[str, bool] = {}
        self._ran = False
        self._go_on = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    def take(self, capabilities: Any) -> None:
        for capability in capabilities:
            self.capabilities[capability["capability"]] = capability["state"]

    @property
    def _waits_at_switch(self) -> bool:
        return self.capabilities.get("pause-before-switchover", False)

    @property
    def _return_path(self) -> bool:
        return self.capabilities.get("return-path", False)

    def begin(self, command: str, path: str) -> None:
        self._go_on.clear()
        work = self._send(path) if command == "migrate" else self._listen(path)
        self._task = asyncio.create_task(work)

    def go_on(self) -> None:
        self._go_on.set()

    def cancel(self) -> None:
        if self._task is not None and self.status in ("setup", "active", "pre-switchover"):
            self._task.cancel()
            self._goes_on()
            self._say("cancelled")

    def end(self) -> None:
        for writer in self._writers:
            writer.close()
        if self._server is not None:
            self._server.close()
        if self._task is not None:
            self._task.cancel()

    def _say(self, status: str) -> None:
        self.status = status
        self._qemu.tell_monitors("MIGRATION", status=status)

    async def _send(self, path: str) -> None:
        self._ran = self._qemu.status == "running"
        self._say("setup")
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            self._writers.append(writer)
            self._say("active")
            self._qemu.status = "finish-migrate"
            if self._waits_at_switch:
                self._qemu.tell_monitors("STOP")
                self._say("pre-switchover")
                await self._go_on.wait()
            sent = sorted(self._qemu.powered | self.lie)
            writer.write(json.dumps([sent, self._return_path]).encode() + b"\n")
            await writer.drain()
            if self._return_path and await reader.readline() != b"here\n":
                raise ConnectionError("the other side is gone")
            writer.close()
            self._say("completed")
            await asyncio.sleep(FINALIZING)
            self._qemu.status = "postmigrate"
        except OSError:
            self._goes_on()
            self._say("failed")

    def _goes_on(self) -> None:
        self._qemu.status = "running" if self._ran else "paused"

    async def _listen(self, path: str) -> None:
        self._server = await asyncio.start_unix_server(self._receive, path)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._say("active")
        if not (line := await reader.readline()):
            self._qemu.die()  # as QEMU does that could not take a machine
            return
        assert self._qemu.held, "nothing may run before it has come"
        powered, answers = json.loads(line)
        self._qemu.load_vcpus(set(powered))
        self.came, self._qemu.status = True, "paused"
        if answers:
            writer.write(b"here\n")
        self._say("completed")
