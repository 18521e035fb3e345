"""The two sides of the comparison: QEMU's registers, and ours with a host that acts like QEMU.

What each operation gives is an `Outcome`; two of them are equal, or there is a difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import attrs
from attrs import field, frozen, mutable
from hpcore_qtest.native.boards import Ged, Gpe, NativeBoard
from hpcore_qtest.native.machine import NativeMachine, device_id
from hpcore_qtest.qemu import lines
from hpcore_qtest.qemu.lines import Line
from hpcore_qtest.qemu.machine import Ears

from hpcore.model.config import MachineConfig
from hpcore.platform.ged import EventRegister, GedEvent
from hpcore.platform.hotplug_registers import (
    COMMAND,
    DATA,
    FLAGS,
    SELECTOR,
    RegisterCommand,
    Store,
)
from hpcore.qemu.fetch import find_hotplugging
from hpcore.qemu.qmp import QmpRefused
from tests.conformance.operations import (
    REACHED,
    SLOTS,
    Add,
    Operation,
    Read,
    Remove,
    Reset,
    TakeEvents,
    Write,
)
from tests.conformance.qemu_host import QemuHost, Told

REFUSED = -1


@frozen
class Outcome:
    """What came of one operation: what was read (or 0, or REFUSED), and the line's changes."""

    value: int = 0
    line: tuple[bool, ...] = ()


@frozen
class Result:
    """What came of a case: an outcome an operation, and all that QEMU told a user."""

    outcomes: tuple[Outcome, ...]
    told: tuple[Told, ...]


def accepts(board: NativeBoard, operation: Operation) -> bool:
    """Whether there is such an access on the board: I/O ports take no 8 bytes."""
    size = operation.size if isinstance(operation, Read | Write | TakeEvents) else 1
    return size <= 4 or not board.ports


class QemuSide:
    """QEMU's own block. Use `run` for a case; each begins with a fresh state."""

    def __init__(self, machine: NativeMachine, board: NativeBoard) -> None:
        self._machine, self._board = machine, board
        self._qtest, self._qmp = machine.qemu.qtest, machine.qemu.qmp
        self._sent: list[asyncio.Future[list[str]]] = []
        self._irqs: list[tuple[int, bool]] = []
        self._told: list[Told] = []

    @classmethod
    async def start(cls, board: NativeBoard) -> QemuSide:
        """Start QEMU with one vCPU of `SLOTS`."""
        config = MachineConfig.of(cpus=1, maxcpus=SLOTS)
        program = await asyncio.to_thread(find_hotplugging, board.program)
        machine = await NativeMachine.start(
            config, attrs.evolve(board, most=SLOTS), program, Ears()
        )
        side = cls(machine, board)
        machine.qemu.listen(Ears(irq=side._irq, event=side._event))
        await side._set_up()
        return side

    async def close(self) -> None:
        """End QEMU."""
        await self._machine.qemu.close()

    @property
    def creations_left(self) -> int:
        """How many vCPUs QEMU can still create before it aborts."""
        return SLOTS - self._machine.creations

    async def run(self, operations: Sequence[Operation]) -> Result:
        """Carry a case out, and put everything back."""
        self._told.clear()
        outcomes: list[Outcome] = []
        queue: list[Operation] = []
        for operation in operations:
            if isinstance(operation, Read | Write | TakeEvents):
                queue.append(operation)
            else:
                outcomes += await self._accesses(queue)
                queue.clear()
                outcomes.append(await self._command(operation))
        outcomes += await self._accesses(queue)
        await self._flush()
        result = Result(tuple(outcomes), tuple(self._told))
        await self._put_back()
        return result

    async def _accesses(self, operations: Sequence[Operation]) -> list[Outcome]:
        """All of them sent in one go; which one changed the line is told by the answers."""
        self._irqs.clear()
        self._sent = [self._qtest.send(self._lines(operation)) for operation in operations]
        answers = [await sent for sent in self._sent]
        values = [self._value(o, a) for o, a in zip(operations, answers, strict=True)]
        changes: list[list[bool]] = [[] for _ in operations]
        for index, raised in self._irqs:
            changes[index].append(raised)
        return [Outcome(v, tuple(c)) for v, c in zip(values, changes, strict=True)]

    def _lines(self, operation: Operation) -> list[Line]:
        match operation:
            case Read(offset=offset, size=size):
                return [self._load(offset, size)]
            case Write(offset=offset, size=size, value=value):
                return [self._store(offset, size, value)]
            case TakeEvents(size=size):
                match self._board.events:
                    case Ged(address=address):
                        return [lines.read(address, size)]
                    case Gpe(base=base, bit=bit):
                        status = base + Gpe.STATUS
                        return [lines.port_read(status, 1), lines.port_write(status, 1, bit)]
        raise AssertionError(operation)

    def _load(self, offset: int, size: int) -> Line:
        make = lines.port_read if self._board.ports else lines.read
        return make(self._board.block + offset, size)

    def _store(self, offset: int, size: int, value: int) -> Line:
        make = lines.port_write if self._board.ports else lines.write
        return make(self._board.block + offset, size, value)

    def _value(self, operation: Operation, answers: list[str]) -> int:
        if isinstance(operation, Write):
            return 0
        value = int(answers[0], 16)
        if isinstance(operation, TakeEvents) and isinstance(self._board.events, Gpe):
            return int(GedEvent.CPU_HOTPLUG) if value & self._board.events.bit else 0
        return value

    async def _command(self, operation: Operation) -> Outcome:
        self._irqs.clear()
        self._sent = []
        value = 0
        try:
            match operation:
                case Add(slot=slot):
                    await self._machine.add(slot)
                case Remove(slot=slot):
                    await self._qmp.execute("device_del", {"id": self._name(slot)})
                case Reset():
                    await self._machine.qemu.reset()
                    await self._board.events.set_up(self._qtest)
        except QmpRefused:
            value = REFUSED
        await self._qtest.send([lines.parse("endianness")])  # changes of the line come before
        changes = () if isinstance(operation, Reset) else tuple(raised for _, raised in self._irqs)
        return Outcome(value, changes)

    def _name(self, slot: int) -> str:
        return device_id(slot) if slot else str(self._machine.slots[0].path)

    async def _flush(self) -> None:
        """Events come before the answer to a later command; a turn or two later, to us."""
        await self._qmp.execute("query-name")
        for _ in range(5):
            await asyncio.sleep(0)

    async def _put_back(self) -> None:
        """As at the start: no vCPU but the first, nothing pending, nothing selected or stored."""
        sent: list[Line] = []
        for slot in REACHED:
            sent.append(self._store(SELECTOR, 4, slot))
            stores = (Store.CLEAR_INSERT, Store.CLEAR_REMOVE, Store.EJECT)
            sent += [self._store(FLAGS, 1, value) for value in stores]
            for command in (RegisterCommand.OST_EVENT, RegisterCommand.OST_STATUS):
                sent += [self._store(COMMAND, 1, command), self._store(DATA, 4, 0)]
        sent += [self._store(SELECTOR, 4, 0), self._store(COMMAND, 1, 0)]
        await self._qtest.send(sent)
        await self._board.events.take(self._qtest)
        await self._flush()

    async def _set_up(self) -> None:
        if self._board.ports:
            await self._qtest.port_write(self._board.block, 4, 0)
        await self._board.events.set_up(self._qtest)

    def _irq(self, number: int, raised: bool) -> None:
        if number == self._board.line:
            index = next((n for n, f in enumerate(self._sent) if not f.done()), 0)
            self._irqs.append((index, raised))

    def _event(self, name: str, data: Mapping[str, object]) -> None:
        if name == "ACPI_DEVICE_OST":
            info = data["info"]
            assert isinstance(info, dict)
            self._told.append(("ost", int(info["slot"]), info["source"], info["status"]))
        elif name == "DEVICE_DELETED":
            with suppress(ValueError):
                slot = int(str(data["path"]).split("/")[3].removeprefix("slot"))
                if str(data["path"]).endswith("/lapic") or not self._board.ports:
                    self._told.append(("deleted", slot))


@mutable
class OurSide:
    """Our block, with a host that does what QEMU does."""

    board: NativeBoard
    host: QemuHost = field(init=False)
    _line: list[bool] = field(factory=list)
    _told: list[Told] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.host = QemuHost(SLOTS, self._told.append, self._raise)

    def run(self, operations: Sequence[Operation]) -> Result:
        """Carry a case out, from the machine's start."""
        return Result(tuple(self._one(o) for o in operations), tuple(self._told))

    def _one(self, operation: Operation) -> Outcome:
        self._line = []
        value = 0
        match operation:
            case Read(offset=offset, size=size):
                value = self.host.block.read(offset, size)
            case Write(offset=offset, size=size, value=stored):
                self.host.block.write(offset, size, stored)
            case TakeEvents(size=size):
                value = self._take(size)
            case Add(slot=slot):
                value = 0 if self.host.plug(slot) else REFUSED
            case Remove(slot=slot):
                value = 0 if self.host.unplug(slot) else REFUSED
            case Reset():
                self._reset()
        return Outcome(value, tuple(self._line))

    def _take(self, size: int) -> int:
        if not self.board.ports:
            return int(self.host.ged.read(0, size))
        taken = self.host.ged.read(0, 4)
        if taken:
            self._line.append(False)
        return int(taken)

    def _raise(self, first: bool) -> None:
        """A GED's line is pulsed; an SCI stays up until its event is cleared."""
        if not self.board.ports:
            self._line += [True, False]
        elif first:
            self._line.append(True)

    def _reset(self) -> None:
        """The blocks keep all they have; the ICH9 forgets its event."""
        if self.board.ports:
            self.host.ged = EventRegister()
