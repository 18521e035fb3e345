"""The recordings, and our registers in QEMU's place: each step answered as QEMU would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from attrs import field, frozen, mutable

from hpcore.platform.ged import EventRegister, GedEvent
from tests.conformance.qemu_host import Block, QemuHost, Told, stock_block

DIRECTORY = Path(__file__).parent / "recordings"
POSSIBLE = 4
UNATTACHED = "/machine/unattached/device[{}]"
TOPOLOGY = ("core-id", "thread-id", "socket-id")


@frozen
class Step:
    """A line of a recording."""

    machine: str
    case: str
    step: int
    op: str
    args: Mapping[str, Any]
    result: Any
    irq: list[list[Any]]
    events: list[Any]

    def __str__(self) -> str:
        return f"{self.case}, step {self.step}: {self.op} {dict(self.args)}"


@frozen
class Answer:
    """What a step gave."""

    result: Any
    irq: list[list[Any]]
    events: list[Any]


@cache
def load(name: str) -> tuple[tuple[Step, ...], ...]:
    """The cases of a recording."""
    with (DIRECTORY / f"{name}.jsonl").open() as lines:
        steps = [Step(**json.loads(line)) for line in lines]
    return tuple(tuple(case) for _, case in groupby(steps, key=lambda step: step.case))


def differences(case: tuple[Step, ...], block: Block = stock_block) -> Iterator[str]:
    """Where our registers answer otherwise than QEMU did."""
    machine = Replayed(2 if case[0].case.endswith("_cold_secondary") else 1, block)
    for step in case:
        if step.op in ("aml", "note"):
            continue
        ours = machine.answer(step)
        theirs = Answer(step.result, step.irq, step.events)
        if ours != theirs:
            yield f"{step}\n  QEMU: {theirs}\n  ours: {ours}"


@mutable
class Replayed:
    """loongarch64 `virt` with our registers: QMP's words for what the host does."""

    LINE = 7

    booted: int
    make: Block
    host: QemuHost = field(init=False)
    ids: dict[int, str] = field(factory=dict)
    irq: list[list[Any]] = field(factory=list)
    events: list[Any] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.host = QemuHost(POSSIBLE, self._told, self._event, booted=self.booted, block=self.make)

    def answer(self, step: Step) -> Answer:
        """Do what the step did."""
        self.irq, self.events = [], []
        match step.op:
            case "rd":
                result: Any = self.host.block.read(step.args["off"], step.args["width"])
            case "wr":
                self.host.block.write(*(step.args[key] for key in ("off", "width", "value")))
                result = "OK"
            case "ged_rd":
                result = self.host.ged.read(step.args["off"], step.args["width"])
            case "ged_wr":
                result = "OK"  # the register ignores stores; so does the device that has it
            case "qmp":
                result = self._command(step.args["execute"], step.args["arguments"], step.result)
            case other:
                raise AssertionError(f"no step is called {other}")
        return Answer(result, self.irq, self.events)

    def _command(self, name: str, arguments: Mapping[str, Any], recorded: Any) -> Any:
        match name:
            case "device_add":
                done = self._add(arguments, recorded)
            case "device_del":
                done = self._del(arguments["id"])
            case "system_reset":  # nothing of the two devices changes
                self._tell("RESET", {"guest": False, "reason": "host-qmp-system-reset"})
                done = True
            case "system_powerdown":
                self.host.raise_event(GedEvent.POWER_DOWN)
                self._tell("POWERDOWN", {})
                done = True
            case _:
                return {"return": self._query(name, recorded["return"])}
        # the words of a refusal are QMP's, not the registers'
        return {"return": {}} if done else {"error": recorded.get("error", "not refused")}

    def _add(self, arguments: Mapping[str, Any], recorded: Any) -> bool:
        said = recorded.get("error", {}).get("desc", "")
        if said and "exists" not in said and "Duplicate" not in said:
            return False  # no such vCPU or no such type; nothing that gets to the block
        slot = arguments.get("core-id", 0)
        if arguments["id"] in self.ids.values() or not self.host.plug(slot):
            return False
        self.ids[slot] = arguments["id"]
        return True

    def _del(self, id_: str) -> bool:
        cold = {UNATTACHED.format(slot): slot for slot in range(self.booted)}
        slots = {id_: slot for slot, id_ in self.ids.items()} | cold
        return id_ in slots and self.host.unplug(slots[id_])

    def _query(self, name: str, recorded: list[Any]) -> list[Any]:
        """What the host knows; what only the emulator knows is taken from the recording."""
        slots = self.host.block.slots
        match name:
            case "query-acpi-ospm-status":
                return [self._ost(n, r.source, r.status) for n, r in enumerate(slots)]
            case "query-cpus-fast":
                there = [n for n, registers in enumerate(slots) if registers.enabled]
                return [
                    {**row, "cpu-index": n, "qom-path": self._path(n), "props": _props(n)}
                    for n, row in zip(there, recorded, strict=True)
                ]
            case "query-hotpluggable-cpus":
                return [
                    {"props": _props(n), "vcpus-count": 1, "type": "la464-loongarch-cpu"}
                    | ({"qom-path": self._path(n)} if slots[n].enabled else {})
                    for n in reversed(range(POSSIBLE))
                ]
            case other:
                raise AssertionError(f"no command is called {other}")

    def _event(self, _first: bool) -> None:
        self.irq += [["raise", self.LINE], ["lower", self.LINE]]

    def _told(self, told: Told) -> None:
        match told:
            case ("ost", int(slot), int(source), int(status)):
                self._tell("ACPI_DEVICE_OST", {"info": self._ost(slot, source, status)})
            case ("deleted", int(slot)):
                id_, path = self.ids.get(slot), self._path(slot)
                self.ids.pop(slot, None)
                self._tell("DEVICE_DELETED", ({"device": id_} if id_ else {}) | {"path": path})

    def _tell(self, event: str, data: Mapping[str, Any]) -> None:
        self.events.append({"event": event, "data": data})

    def _ost(self, slot: int, source: int, status: int) -> dict[str, Any]:
        told = {"source": source, "status": status, "slot": str(slot), "slot-type": "CPU"}
        return ({"device": self.ids[slot]} if slot in self.ids else {}) | told

    def _path(self, slot: int) -> str:
        if slot in self.ids:
            return f"/machine/peripheral/{self.ids[slot]}"
        return UNATTACHED.format(slot)


def _props(slot: int) -> dict[str, int]:
    return dict.fromkeys(TOPOLOGY, 0) | {"core-id": slot}


@mutable
class ReplayedGed:
    """arm `virt`'s GED with our event register, and the bit of the GIC that its edge sets."""

    LINE = 9
    GED = 0x0908_0000
    ISPENDR1, ICPENDR1 = 0x0800_0204, 0x0800_0284

    ged: EventRegister = field(factory=EventRegister)
    pending: int = 0

    def answer(self, step: Step) -> Answer | None:
        """Do what the step did; None for what is neither the GED's nor its line's."""
        match step.op, step.args.get("execute"), step.args.get("addr"):
            case "qmp", "system_powerdown", _:
                return self._raise(GedEvent.POWER_DOWN, step)
            case "qmp", "device_add" | "device_del", _ if "return" in step.result:
                return self._raise(GedEvent.MEMORY_HOTPLUG, step)
            case "rd", _, self.GED:
                return Answer(self.ged.read(0, step.args["width"]), [], [])
            case "rd", _, self.ISPENDR1:
                return Answer(self.pending, [], [])
            case "wr", _, self.ICPENDR1:
                self.pending &= ~step.args["value"]
                return Answer("OK", [], [])
        return None

    def _raise(self, event: GedEvent, step: Step) -> Answer:
        self.ged.events |= event
        self.pending |= 1 << self.LINE
        return Answer(step.result, [["raise", self.LINE], ["lower", self.LINE]], step.events)
