"""A QEMU, played: its monitor, its console, and the interposer with a guest behind it.

It is kept, or carries its machine to another one (played_migration.py).

All of it lives in the test's own event loop, and so outlives what the test has of hpcore. The
process that stands for it sleeps. What the C does is told by its own tests (native/again_cases.c).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hpcore_kvm_qemu import wire
from hpcore_kvm_qemu.launch import LINK
from hpcore_kvm_qemu.wire import Message

from hpcore.model.acpi import OstSource
from hpcore.model.psci import PsciStatus
from hpcore.platform import virt
from hpcore.platform.firmware import QEMU_KVM_REGISTERS
from hpcore.platform.ged import GedEvent
from hpcore.platform.hotplug_registers import COMMAND, DATA, FLAGS, SELECTOR, Flag, Store
from hpcore.qemu.kept_machine import CONSOLE_KEPT
from tests.kvm_qemu.played_migration import PlayedMigration
from tests.support.waits import until

VM = 11
NO_THREAD = 1
"""The tid of each vCPU: no thread of the process has it, so that none is signalled."""
NAP = 0.002
BLOCK = QEMU_KVM_REGISTERS.base


class PlayedQemu:
    """One machine."""

    def __init__(self, directory: Path, possible: int) -> None:
        self.directory, self.possible = directory, possible
        self.process = subprocess.Popen(["sleep", "600"])
        self.status = "prelaunch"
        self.event = os.eventfd(0, os.EFD_NONBLOCK)
        self.said: Counter[str] = Counter()
        """What the guest did, and how often."""
        self.obeyed: list[str] = []
        """The monitor's commands."""
        self.before: Callable[[str], None] = lambda _command: None
        """Called before each of them is obeyed."""
        self.migration = PlayedMigration(self)
        self.started = False
        self._sock: socket.socket | None = None
        self._page: mmap.mmap | None = None
        self._fd = -1
        self._up = asyncio.Event()
        self._turn = asyncio.Lock()
        self._monitors: list[asyncio.StreamWriter] = []
        self._powered: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []

    # ------------------------------------------------------------------ the page, as the C has it

    def _word(self, at: int) -> int:
        assert self._page is not None
        return int.from_bytes(self._page[at : at + 4], "little")

    def _put(self, at: int, value: int, size: int = 4) -> None:
        assert self._page is not None
        self._page[at : at + size] = value.to_bytes(size, "little")

    def _seen(self, slot: int, field: str) -> int:
        offsets = {"tid": 0, "powered": 4, "forced": 8, "affinity": 12, "gic": 24}
        return wire.SEEN_AT + slot * wire.SEEN.size + offsets[field]

    @property
    def told(self) -> int:
        assert self._page is not None
        return int.from_bytes(self._page[wire.TOLD_AT : wire.TOLD_AT + 8], "little")

    @property
    def held(self) -> bool:
        return self._word(wire.ALLOWED_AT) != self._word(wire.RESETS_AT) + 1

    @property
    def up(self) -> bool:
        """Whether there is an hpcore, as far as the interposer knows."""
        return self._up.is_set()

    def _remember(self, data: bytes, *, asks: bool) -> None:
        assert self._page is not None
        number = self.told + 1
        at = wire.LAST_AT + number % wire.TOLD * wire.MESSAGE.size
        self._page[at : at + len(data)] = data
        if asks:
            self._put(wire.ASKED_AT, number, 8)
        self._put(wire.TOLD_AT, number, 8)

    def tell(self, kind: Message, vcpu: int = 0, *numbers: int) -> None:
        values = (*numbers, 0, 0, 0, 0)[:4]
        data = wire.MESSAGE.pack(kind, vcpu, *(n & (1 << 64) - 1 for n in values))
        self._remember(data, asks=False)
        self._send(data)

    def _send(self, data: bytes) -> None:
        if self.up:
            assert self._sock is not None
            with contextlib.suppress(OSError):
                self._sock.send(data)

    async def ask(self, kind: Message, vcpu: int = 0, *numbers: int) -> int:
        """Tell it, and wait for the answer of whichever hpcore gives it."""
        async with self._turn:
            values = (*numbers, 0, 0, 0, 0)[:4]
            data = wire.MESSAGE.pack(kind, vcpu, *values)
            self._remember(data, asks=True)
            self._send(data)
            while True:
                await self._up.wait()
                assert self._sock is not None
                answer = b""
                with contextlib.suppress(OSError):
                    answer = await asyncio.get_running_loop().sock_recv(self._sock, 64)
                if answer:
                    break
                self._hung_up()
            self._put(wire.ASKED_AT, 0, 8)
            answered, _, value = wire.ANSWER.unpack(answer)
            assert answered == kind
            return int(value)

    def _is_alive(self) -> bool:
        """Whether hpcore has not hung up, by a look at the socket itself: see link_alive."""
        if self._sock is not None and self.up:
            with contextlib.suppress(BlockingIOError):
                return bool(self._sock.recv(1, socket.MSG_PEEK))
            return True
        return False

    def _hung_up(self) -> None:
        self._up.clear()
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def _keep(self) -> None:
        """See link.c: an hpcore that comes back is looked for, and greeted."""
        greets = Message.HELLO
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                sock.connect(str(self.directory / LINK))
                await self._greet(sock, greets)
            except OSError:
                sock.close()
                await asyncio.sleep(NAP)
                continue
            greets = Message.AGAIN
            while self.up:
                if not self._turn.locked() and not self._is_alive():
                    self._hung_up()
                await asyncio.sleep(NAP)

    async def _greet(self, sock: socket.socket, kind: Message) -> None:
        hello = wire.MESSAGE.pack(kind, 0, wire.VERSION, self.process.pid, 0, 0)
        given = [self.event] if kind is Message.HELLO else [self.event, self._fd]
        socket.send_fds(sock, [hello], given)
        there = asyncio.Event()
        asyncio.get_running_loop().add_reader(sock, there.set)
        await there.wait()
        asyncio.get_running_loop().remove_reader(sock)
        data, descriptors, _, _ = socket.recv_fds(sock, 64, 1)
        if not data:
            raise OSError("hung up")
        assert wire.ANSWER.unpack(data) == (kind, 0, wire.VERSION)
        self._sock = sock
        if kind is Message.HELLO:
            (self._fd,) = descriptors
            self._page = mmap.mmap(self._fd, wire.PAGE_SIZE)
            self._up.set()
            self.tell(Message.VM, 0, VM)
            for slot in range(self.possible):
                self.tell(Message.VCPU, slot, VM)
        else:
            asked = int.from_bytes(self._page[wire.ASKED_AT : wire.ASKED_AT + 8], "little") \
                if self._page is not None else 0
            sock.send(wire.MESSAGE.pack(Message.RESUMED, 0, self.told, asked, 0, 0))
            self._up.set()

    async def _follow(self) -> None:
        """The vCPUs' threads: off by force, and CPU interfaces reset."""
        while True:
            await asyncio.sleep(NAP)
            if self._page is None or self.status != "running":
                continue
            for slot in range(self.possible):
                force = self._word(wire.FORCE_AT + 4 * slot)
                if force != self._word(self._seen(slot, "forced")):
                    self._power(slot, on=False)
                    self._put(self._seen(slot, "forced"), force)
                    self.tell(Message.FORCED, slot)
                gic = self._word(wire.GIC_AT + 4 * slot)
                if gic != self._word(self._seen(slot, "gic")):
                    self._put(self._seen(slot, "gic"), gic)
                    self.tell(Message.GIC, slot, gic)

    @property
    def powered(self) -> set[int]:
        """The vCPUs that are on."""
        return set(self._powered)

    def granted(self, slot: int) -> bool:
        """What the page says."""
        assert self._page is not None
        return bool(self._page[wire.GRANTED_AT + slot])

    def load_vcpus(self, powered: set[int]) -> None:
        """QEMU puts the vCPUs that have come: see set_mp_state in ioctl.c."""
        for slot in range(self.possible):
            self._power(slot, on=slot in powered and self.granted(slot))
            if slot in powered and not self.granted(slot):
                self.tell(Message.KEPT_OFF, slot)

    def die(self) -> None:
        """With -9."""
        self.process.kill()
        self.process.wait()
        for writer in self._monitors:
            writer.close()
        self.migration.end()
        self._hung_up()

    def _power(self, slot: int, *, on: bool) -> None:
        self._put(self._seen(slot, "powered"), int(on))
        (self._powered.add if on else self._powered.discard)(slot)

    # ---------------------------------------------------------------------------- the guest

    async def runs(self) -> None:
        """Wait until the machine may run."""
        await until(lambda: self._page is not None and not self.held and self.status == "running")

    async def cpu_on(self, slot: int) -> int:
        """vCPU 0 calls CPU_ON."""
        await self.runs()
        assert self._page is not None
        if not self._page[wire.GRANTED_AT + slot] or not self._is_alive():
            status = PsciStatus.DENIED
        elif slot in self._powered:
            status = PsciStatus.ALREADY_ON
        else:
            status = PsciStatus.SUCCESS
            self._power(slot, on=True)
        self.said[f"CPU_ON {status.name}"] += 1
        self.tell(Message.CPU_ON, 0, slot, 0x1000, 7, int(status))
        return status

    async def cpu_off(self, slot: int) -> None:
        await self.runs()
        self.said["CPU_OFF"] += 1
        self.tell(Message.CPU_OFF, slot)
        self._power(slot, on=False)

    async def load(self, register: int, size: int = 4) -> int:
        await self.runs()
        return await self.ask(Message.READ, 0, BLOCK + register, size)

    async def store(self, register: int, value: int, size: int = 4) -> None:
        await self.runs()
        await self.ask(Message.WRITE, 0, BLOCK + register, size, value)

    async def ost(self, source: int, status: int = 0) -> None:
        """For the vCPU that is selected."""
        for command, value in ((1, source), (2, status)):
            await self.store(COMMAND, command, 1)
            await self.store(DATA, value)
        self.said["OST"] += 1

    async def scan(self) -> None:
        """What Linux and hpcore's AML do at the GED's interrupt."""
        await self.runs()
        taken = await self.ask(Message.READ, 0, virt.GED_BASE, 4)
        if not taken & GedEvent.CPU_HOTPLUG:
            return
        self.said["scan"] += 1
        while True:
            await self.store(COMMAND, 0, 1)
            slot, flags = await self.load(DATA), await self.load(FLAGS, 1)
            if flags & Flag.INSERT:
                await self.store(FLAGS, Store.CLEAR_INSERT, 1)
                self.said["insert"] += 1
                await self.ost(OstSource.DEVICE_CHECK)
                await self.cpu_on(slot)
            elif flags & Flag.REMOVE:
                await self.store(FLAGS, Store.CLEAR_REMOVE, 1)
                self.said["remove"] += 1
                if slot in self._powered:
                    await self.cpu_off(slot)
                await self.store(SELECTOR, slot)
                await self.store(FLAGS, Store.EJECT, 1)
                self.said["eject"] += 1
                await self.ost(OstSource.EJECT_REQUEST)
            else:
                return

    async def obey_interrupts(self) -> None:
        """Scan at each interrupt of the GED."""
        while True:
            with contextlib.suppress(BlockingIOError):
                os.read(self.event, 8)
                await self.scan()
            await asyncio.sleep(NAP)

    def reset(self) -> None:
        """QEMU resets the machine; the interposer tells of it once the machine has started."""
        for slot in range(self.possible):
            self._power(slot, on=slot == 0)
        self.said["reset"] += 1
        if self.started:
            self._put(wire.RESETS_AT, self._word(wire.RESETS_AT) + 1)
            self.tell(Message.RESET, 0, self._word(wire.RESETS_AT))
        self.tell_monitors("RESET")

    # --------------------------------------------------------------------------- the monitor

    async def _monitor(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._monitors.append(writer)
        self._write(writer, {"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}})
        text = ""
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                text += data.decode()
                with contextlib.suppress(ValueError):  # no whole command yet
                    while text:
                        asked, end = json.JSONDecoder().raw_decode(text)
                        text = text[end:].lstrip()
                        self._write(writer, await self._answer(asked))
        self._monitors.remove(writer)
        writer.close()

    def _write(self, writer: asyncio.StreamWriter, what: dict[str, object]) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            writer.write(json.dumps(what).encode() + b"\r\n")

    def tell_monitors(self, name: str, **data: object) -> None:
        for writer in self._monitors:
            self._write(writer, {"event": name, "data": data, "timestamp": {"seconds": 0}})

    async def _answer(self, asked: dict[str, object]) -> dict[str, object]:
        numbered = {"id": asked["id"]} if "id" in asked else {}
        command, given = str(asked["execute"]), asked.get("arguments", {})
        assert isinstance(given, dict)
        self.before(command)
        self.obeyed.append(command)
        if command == "cont" and self.status == "finish-migrate":
            refused = {"class": "GenericError", "desc": "Migration is not finalized yet"}
            return {"error": refused, **numbered}
        return {"return": await self._obey(command, given), **numbered}

    async def _obey(self, command: str, given: dict[str, object]) -> object:
        match command:
            case "query-version":
                return {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
            case "qom-get":
                return "virt-7.2-machine"
            case _ if command.startswith(("migrate", "query-migrate")):
                return self._migrates(command, given)
            case "query-status":
                return {"status": self.status, "running": self.status == "running"}
            case "cont":
                self.status = "running"
                self.tell_monitors("RESUME")
                if not self.started:
                    self.started = True
                    self._tasks.append(asyncio.create_task(self._first_run()))
            case "stop" if self.status == "running":
                self.status = "paused"
                self.tell_monitors("STOP")
            case "system_reset":
                self.reset()
            case "quit":
                self.tell_monitors("SHUTDOWN", guest=False, reason="host-qmp-quit")
                asyncio.get_running_loop().call_later(0.05, self.process.kill)
        return {}

    def _migrates(self, command: str, given: dict[str, object]) -> object:
        match command:
            case "query-migrate":
                return {"status": self.migration.status}
            case "query-migrate-capabilities":
                states = self.migration.capabilities.items()
                return [{"capability": name, "state": state} for name, state in states]
            case "migrate" | "migrate-incoming":
                self.migration.begin(command, str(given["uri"]).removeprefix("unix:"))
            case "migrate-set-capabilities":
                self.migration.take(given["capabilities"])
            case "migrate-continue":
                self.migration.go_on()
            case "migrate_cancel":
                self.migration.cancel()
        return {}

    async def _first_run(self) -> None:
        for slot in range(self.possible):
            self._put(self._seen(slot, "affinity"), slot)
            if not self.migration.came:
                self._power(slot, on=slot == 0)
        assert await self.ask(Message.START, 0, VM, self.process.pid, self.possible) == 1
        for slot in range(self.possible):
            self._put(self._seen(slot, "tid"), NO_THREAD)
        self.tell(Message.KEPT_OFF, 1)  # news: whoever waits for the threads looks again


@asynccontextmanager
async def played(directory: Path, possible: int) -> AsyncIterator[PlayedQemu]:
    """A QEMU that runs in `directory`; whoever listens at its interposer's path is greeted."""
    qemu = PlayedQemu(directory, possible)
    (directory / CONSOLE_KEPT).write_bytes(b"")
    servers = [
        await asyncio.start_unix_server(qemu._monitor, str(directory / "qmp")),
        await asyncio.start_unix_server(_console, str(directory / "console")),
    ]
    works: tuple[Callable[[], object], ...] = (qemu._keep, qemu._follow, qemu.obey_interrupts)
    qemu._tasks += [asyncio.create_task(work()) for work in works]  # type: ignore[arg-type]
    try:
        yield qemu
        failed = [t for t in qemu._tasks if t.done() and not t.cancelled() and t.exception()]
        for task in failed:
            task.result()
    finally:
        qemu.migration.end()
        for task in qemu._tasks:
            task.cancel()
        await asyncio.gather(*qemu._tasks, return_exceptions=True)
        for server in servers:
            server.close()
        qemu._hung_up()
        if qemu._page is not None:
            qemu._page.close()
            os.close(qemu._fd)
        os.close(qemu.event)
        qemu.process.kill()
        qemu.process.wait()


async def _console(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass
    writer.close()
