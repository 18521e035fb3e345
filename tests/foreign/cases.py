"""Small files that are written down in the tests, and what an import makes of them."""

from __future__ import annotations

import json
from pathlib import Path

from hpcore.foreign import Imported, import_files
from hpcore.triage.verdict import Verdict, judge

CASES = Path(__file__).parent / "cases"
T0 = 1_700_000_000


def bring(tmp_path: Path, *texts: str | bytes) -> tuple[Imported, Verdict]:
    """The verdict on files that hold `texts`, taken for one machine's."""
    names = []
    for n, text in enumerate(texts):
        path = tmp_path / f"file{n}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        names.append(str(path))
    log = tmp_path / "log.jsonl"
    return import_files(names, log, overwrite=True), judge(log)


def told(verdict: Verdict) -> str:
    """What came of what was asked, as one text."""
    return "; ".join(each.text for each in verdict.happened)


def found(verdict: Verdict) -> list[str]:
    """The names of what is wrong, in order."""
    return [mark.name for step in verdict.wrong for mark in step.marks if mark.wrong]


class Trace:
    """QEMU's trace, written line by line; one step of time each."""

    def __init__(self, cold: int = 2, main: int = 100) -> None:
        self.lines: list[str] = []
        self.t = 0.0
        self.main, self.vcpu = main, main + 11
        for slot in range(cold):
            self.say(f"cpu_reset {slot}")

    def say(self, text: str, thread: int | None = None) -> None:
        """A line of the main thread, or of another."""
        self.t += 0.001
        number = self.main if thread is None else thread
        self.lines.append(f"{number}@{T0 + self.t:.6f}:{text}")

    def guest(self, event: str, slot: int, rest: str = "") -> None:
        """A line of a vCPU's thread about a slot."""
        self.say(f"cpuhp_acpi_{event} idx[{slot:#x}]{rest}", self.vcpu)

    def command(self, name: str, answered: bool = True, **arguments: object) -> None:
        """A command, and its answer."""
        asked = json.dumps({"execute": name, "arguments": arguments, "id": len(self.lines)})
        number = len(self.lines)
        self.say(f"handle_qmp_command mon 0x55 req: {asked}")
        if name == "device_add" and answered:
            self.say(f"cpu_reset {arguments['core-id']}")
        if answered:
            self.answer(number)

    def answer(self, number: int, error: str | None = None) -> None:
        """The answer to the command on line `number`, counted from 0."""
        body: dict[str, object] = {"return": {}, "id": number}
        if error is not None:
            body = {"id": number, "error": {"class": "GenericError", "desc": error}}
        self.say(f"monitor_qmp_respond mon 0x55 resp: {json.dumps(body)}")

    def event(self, name: str, **data: object) -> None:
        """An event of QMP's."""
        micro = round((self.t % 1) * 1e6)
        stamp = {"seconds": T0 + int(self.t), "microseconds": micro}
        body = {"timestamp": stamp, "event": name, "data": data}
        self.say(f"monitor_qmp_respond mon 0x55 resp: {json.dumps(body)}")

    def plug(self, slot: int, driver: str = "host-arm-cpu", **more: bool) -> None:
        """device_add of the vCPU in `slot`."""
        arguments = {"driver": driver, "id": f"core{slot}", "core-id": slot}
        self.command("device_add", **more, **arguments)  # type: ignore[arg-type]

    def unplug(self, slot: int) -> None:
        """device_del of the vCPU in `slot`."""
        self.command("device_del", id=f"core{slot}")

    def scan(self, slot: int, bit: str) -> None:
        """The guest finds a bit of `slot` and clears it; `bit` is inserting or remove."""
        insert = bit == "inserting"
        self.guest("write_cmd", 0, " cmd: 0x0")
        self.guest("cpu_has_events", slot, f" inserting: {insert:d}, removing: {not insert:d}")
        self.guest("read_flags", slot, f" flags: {0x3 if insert else 0x5:#x}")
        self.guest(f"clear_{bit}_evt", slot)
        self.guest("write_cmd", slot + 1, " cmd: 0x0")
        self.guest("read_cmd_data", slot + 1, " data: 0x0")

    def ost(self, slot: int, source: int, status: int) -> None:
        """`_OST`."""
        self.guest("write_ost_ev", slot, f" OST EVENT: {source:#x}")
        self.guest("write_ost_status", slot, f" OST STATUS: {status:#x}")

    def eject(self, slot: int) -> None:
        """`_EJ0`, carried out to its end."""
        self.say(f"cpuhp_acpi_ejecting_cpu {slot:#x}", self.vcpu)
        self.event("DEVICE_DELETED", device=f"core{slot}", path=f"/machine/peripheral/core{slot}")

    def whole(self, slot: int = 2) -> None:
        """A plug and an unplug as they should be."""
        self.plug(slot)
        self.scan(slot, "inserting")
        self.ost(slot, 1, 0)
        self.unplug(slot)
        self.scan(slot, "remove")
        self.eject(slot)
        self.ost(slot, 3, 0)

    def shutdown(self) -> None:
        """QEMU ends."""
        self.event("SHUTDOWN", guest=False, reason="host-qmp-quit")

    @property
    def text(self) -> str:
        """The trace as a file has it."""
        return "\n".join(self.lines) + "\n"
