"""QEMU's trace, as its log backend prints it: `-trace NAME -D FILE`, with and without times.

Sources: hw/acpi/trace-events, hw/intc/trace-events, hw/core/trace-events, monitor/trace-events.
What is no line of QEMU's trace is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from hpcore.foreign import qmp
from hpcore.foreign import seen as s

FORMAT = "QEMU's trace"
GED_SPI_BIT = 0x200
"""The GED's interrupt on arm `virt` is SPI 9: bit 9 of a distributor's second word."""
GICD_ISENABLER1, GICD_ICENABLER1 = 0x104, 0x184
GPE_CPU = 0x04
"""General purpose event 2 stands for a vCPU's event on q35 and pc."""

_LINE = re.compile(
    r"(?:(\d+)@(\d+\.\d+):)?(?:"
    r"(cpuhp_acpi_\w+|cpu_reset|gicv3_dist_write|acpi_gpe_(?:sts|en)_ioport_writeb"
    r"|handle_qmp_command|monitor_qmp_respond)\b ?(.*)"
    r"|[a-z][a-z0-9]*(?:_[a-z0-9]+)+ )",
    re.DOTALL,
)
"""A thread, a time, and an event: one that is read, with its words, or any other."""
_NOTHING = (None, None, None)
"""A line of a trace that says nothing about vCPUs; there may be millions."""
_DENIED = re.compile(r"\[ARM\]arm_set_cpu_on: Denying attempt to online [\w/ ]*CPU(\d+)")
_HEX = re.compile(r"0x([0-9a-fA-F]{1,8})\b")
_HAS = re.compile(r"idx\[0x([0-9a-fA-F]{1,8})\] inserting: (\d), removing: (\d)")
_GICD = re.compile(r"offset 0x([0-9a-fA-F]+) data 0x([0-9a-fA-F]+)")
_GPE = re.compile(r"addr: 0x([0-9a-fA-F]+) <== 0x([0-9a-fA-F]+)")
_QMP = re.compile(r"mon (\S+) (?:req|resp): (.*)", re.DOTALL)


def line(text: str) -> tuple[s.Seen | None, float | None, int | None] | None:
    """What a line of QEMU's trace says, when, and on which thread; None if it is no such line.

    The first is None for a line of QEMU's trace that says nothing about vCPUs.
    """
    found = _LINE.match(text)
    if found is None:
        if "arm_set_cpu_on" in text and (denied := _DENIED.search(text)):
            return s.CpuOnRefused(int(denied[1])), None, None
        return None
    thread, t, name, rest = found.groups()
    if name is None:
        return _NOTHING
    return event(name, rest), None if t is None else float(t), _number(thread)


def cut_out(text: str) -> str | None:
    """The line of QEMU's trace that another writer's text stands before, or None."""
    found = re.search(r"\d+@\d+\.\d+:(?:cpuhp_acpi_|cpu_reset |handle_qmp|monitor_qmp)", text)
    return None if found is None or found.start() == 0 else text[found.start() :]


def event(name: str, rest: str) -> s.Seen | None:
    """What the event `name` says, with the text that follows its name."""
    parse = _EVENTS.get(name)
    return None if parse is None else parse(rest)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _hex(rest: str) -> int | None:
    found = _HEX.search(rest)
    return None if found is None else int(found[1], 16)


def _slot(make: Callable[[int], s.Seen]) -> Callable[[str], s.Seen | None]:
    def parse(rest: str) -> s.Seen | None:
        slot = _hex(rest)
        return None if slot is None else make(slot)

    return parse


def _slot_and(make: Callable[[int, int], s.Seen]) -> Callable[[str], s.Seen | None]:
    def parse(rest: str) -> s.Seen | None:
        numbers = [int(each, 16) for each in _HEX.findall(rest)]
        return make(*numbers) if len(numbers) == 2 else None

    return parse


def _write_cmd(rest: str) -> s.Seen | None:
    numbers = [int(each, 16) for each in _HEX.findall(rest)]
    return s.Searched(numbers[0]) if len(numbers) == 2 and numbers[1] == 0 else None


def _has_events(rest: str) -> s.Seen | None:
    found = _HAS.search(rest)
    return None if found is None else s.Found(int(found[1], 16), found[2] != "0", found[3] != "0")


def _cpu_reset(rest: str) -> s.Seen | None:
    word = rest.split(maxsplit=1)[0] if rest.strip() else ""
    return s.VcpuReset(int(word)) if word.isdecimal() and len(word) < 6 else None


def _gicd_write(rest: str) -> s.Seen | None:
    found = _GICD.search(rest)
    if found is None or not int(found[2], 16) & GED_SPI_BIT:
        return None
    offset = int(found[1], 16)
    if offset == GICD_ICENABLER1:
        return s.ScanTaken(arm=True)
    return s.ScanLeft(arm=True) if offset == GICD_ISENABLER1 else None


def _gpe(make: s.Seen) -> Callable[[str], s.Seen | None]:
    def parse(rest: str) -> s.Seen | None:
        found = _GPE.search(rest)
        ours = found is not None and int(found[1], 16) == 0 and int(found[2], 16) & GPE_CPU
        return make if ours else None

    return parse


def _monitor(rest: str) -> s.Seen | None:
    found = _QMP.match(rest)
    if found is None:
        return None
    try:
        message = orjson.loads(found[2])
    except orjson.JSONDecodeError:
        return None
    return qmp.message(message, monitor=found[1])


_EVENTS: dict[str, Callable[[str], s.Seen | None]] = {
    "cpuhp_acpi_write_cmd": _write_cmd,
    "cpuhp_acpi_cpu_has_events": _has_events,
    "cpuhp_acpi_read_flags": _slot_and(s.FlagsRead),
    "cpuhp_acpi_clear_inserting_evt": _slot(s.InsertBitCleared),
    "cpuhp_acpi_clear_remove_evt": _slot(s.RemoveBitCleared),
    "cpuhp_acpi_write_ost_ev": _slot_and(s.OstEvent),
    "cpuhp_acpi_write_ost_status": _slot_and(s.OstStatus),
    "cpuhp_acpi_ejecting_cpu": _slot(s.Ejecting),
    "cpu_reset": _cpu_reset,
    "gicv3_dist_write": _gicd_write,
    "acpi_gpe_sts_ioport_writeb": _gpe(s.ScanTaken(arm=False)),
    "acpi_gpe_en_ioport_writeb": _gpe(s.ScanLeft(arm=False)),
    "handle_qmp_command": _monitor,
    "monitor_qmp_respond": _monitor,
}
