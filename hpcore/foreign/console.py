"""A guest's console and `dmesg`: what its Linux says of CPUs, and of its own end.

Two clocks may stand before a line: the host's, put there by who read the console, and
printk's in brackets, which begins anew with each boot. `dmesg` prints old lines again; a line
with one and the same printk time and text is taken once (`Reader`). ftrace's text is read as well.

Sources: drivers/firmware/psci/psci.c, arch/arm64/kernel/smp.c, drivers/acpi/scan.c,
drivers/acpi/acpi_processor.c, kernel/cpu.c.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from hpcore.foreign import seen as s
from hpcore.foreign.qmp import time_in

FORMAT = "a guest's console"
REMEMBERED = 4096
"""Lines that are known again when they are printed again: more than a ring buffer's screenful."""

_PRINTK = re.compile(r"\[ *(\d{1,9}\.\d{3,6})\](?:\[ *[TC]\d+\])? ?(.*)", re.DOTALL)
_DATED = re.compile(
    r"\[(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ?(.*)",
    re.DOTALL,
)
"""`dmesg -T`: a date in the reader's own zone, to the second: good for nothing but the order."""

_FTRACE = re.compile(
    r" *\S.{0,20}-\d{1,7} +(?:\([ \d-]+\) +)?\[\d{3,4}\] \S{4,5} +(\d{1,9}\.\d{6}): (\w+): (.*)",
    re.DOTALL,
)
"""A line of ftrace's `trace` or `trace_pipe`: the time, which is by printk's clock unless
`trace_clock` says otherwise, the event and its words. The event `console` is what printk says.

Source: Documentation/trace/ftrace.rst, include/trace/events/printk.h.
"""

_Make = Callable[[re.Match[str]], s.Seen]


def _complains(about: str) -> _Make:
    def make(found: re.Match[str]) -> s.Seen:
        slot = found.groupdict().get("cpu")
        number = None if slot is None else int(slot, 16 if found.groupdict().get("hex") else 10)
        return s.GuestComplains(about, found.string.strip()[:300], number)

    return make


_SAID: tuple[tuple[re.Pattern[str], _Make], ...] = tuple(
    (re.compile(pattern), make)
    for pattern, make in (
        (r"psci: CPU(\d{1,4}) killed", lambda m: s.CpuKilled(int(m[1]))),
        (r"smpboot: CPU ?(\d{1,4}) is now offline", lambda m: s.CpuKilled(int(m[1]), arm=False)),
        (r"\bCPU(\d{1,4}) has been hot-added", lambda m: s.CpuAdded(int(m[1]))),
        (r"smp: Brought up \d+ nodes?, (\d{1,4}) CPU", lambda m: s.BroughtUp(int(m[1]))),
        (r"(?:SMP|smpboot): Total of (\d{1,4}) processors activated",
         lambda m: s.BroughtUp(int(m[1]))),
        (r"\bCPU(\d{1,4}): Booted secondary processor", lambda m: s.CpuCameUp(int(m[1]))),
        (r"smpboot: Booting Node \d+ Processor (\d{1,4})", lambda m: s.CpuCameUp(int(m[1]))),
        (r"(?P<hex>C)(?P<cpu>[0-9A-F]{3}): Eject incomplete", _complains("eject_incomplete")),
        (r"Eject incomplete - status", _complains("eject_incomplete")),
        (r"psci: (?:failed to boot )?CPU(?P<cpu>\d{1,4})(?:.*failed to boot| \(-\d+\))",
         _complains("cpu_not_started")),
        (r"psci: failed to boot CPU(?P<cpu>\d{1,4})", _complains("cpu_not_started")),
        (r"psci: CPU(?P<cpu>\d{1,4}) may not have shut down cleanly",
         _complains("cpu_not_stopped")),
        (r"CPU(?P<cpu>\d{1,4}): (?:failed to come online|failed to boot|failed in unknown state"
         r"|will not boot|is stuck in kernel)", _complains("cpu_not_started")),
        (r"CPU ?(?P<cpu>\d{1,4}) failed to (?:come online|report alive state)",
         _complains("cpu_not_started")),
        (r"smpboot: do_boot_cpu failed\(-?\d+\) to wakeup CPU#(?P<cpu>\d{1,4})",
         _complains("cpu_not_started")),
        (r"processor ACPI0007:(?P<hex>)(?P<cpu>[0-9a-f]{2,3}): (?:Offline|Still not present)",
         _complains("cpu_not_stopped")),
        (r"(?:Unable to map lapic to logical cpu number|cannot hot-add CPU|No available CPU id"
         r"|Failed to get CPU physical ID|NR_CPUS/possible_cpus limit)",
         _complains("cpu_not_registered")),
        (r"Kernel panic - not syncing", _complains("panic")),
        (r"(?:Unable to handle kernel |BUG: unable to handle |Internal error: Oops|kernel BUG at )",
         _complains("oops")),
        (r"(?:soft lockup - CPU#(?P<cpu>\d{1,4})|rcu_\w+ (?:self-)?detected stall|"
         r"hung_task: blocked|blocked for more than \d+ seconds)", _complains("stall")),
        (r"irq \d+: nobody cared", _complains("irq")),
        (r"Linux version \d", lambda m: s.GuestSays(m.string.strip()[:120])),
        (r"reboot: (?:Power down|Restarting system)",
         lambda m: s.GuestSays(m.string.strip()[:120])),
    )
)  # fmt: skip


class Reader:
    """Takes a console line by line, and knows what was printed before."""

    def __init__(self) -> None:
        self._order: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        self._known: set[tuple[str, str]] = set()
        self.again = 0
        """Lines that were printed again."""

    def line(self, text: str) -> tuple[s.Seen | None, float | None, float | None] | None:
        """What a line says, the host's time and printk's; None where it is no console's line.

        The first is None for a line that says nothing of CPUs, or was there before.
        """
        traced = _FTRACE.match(text)
        if traced is not None and traced[2] != "console":
            return None, None, float(traced[1])
        found = _PRINTK.search(text)
        printk: float | None = None
        if found is not None:
            printk, said = float(found[1]), found[2]
        elif traced is not None:  # the kernel has printk.time=0
            found, printk, said = traced, float(traced[1]), traced[3]
        elif (dated := _DATED.search(text)) is not None:
            said = dated[1]
        else:
            return None
        key = (found[1] if found else text, said)
        if key in self._known:
            self.again += 1
            return None, None, printk
        if len(self._order) == REMEMBERED:
            self._known.discard(self._order[0])
        self._order.append(key)
        self._known.add(key)
        return what_is_said(said), time_in(text), printk


def what_is_said(text: str) -> s.Seen | None:
    """What the text of a line says of CPUs, or of the guest's end."""
    for pattern, make in _SAID:
        found = pattern.search(text)
        if found is not None:
            return make(found)
    return None
