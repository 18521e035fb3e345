"""The three state machines, whole: vCPU slot, GIC CPU interface, and the machine.

Each row is a transition with the sentence of the research series, or of a
specification, that asks for it. `next_slot`, `next_gicc` and `next_phase` are the only ways
in which a state changes; they refuse what is in no row. The library `transitions` makes
machines of the same tables, which draws them, and finds a row that names no state. The
sources: "RFC" is
the QEMU series "Support of Virtual CPU Hotplug for ARMv8 Arch" (v1 2020 to v5 2024),
by the section of its cover letter where it has one; "PSCI" is Arm DEN0022; "ACPI" is
release 6.5. The wording is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from transitions import Machine


class SlotState(StrEnum):
    """Where a vCPU slot is."""

    PARKED = "parked"  # the vCPU exists, with no thread, unknown to the guest as usable
    REALIZED = "realized"  # it has a thread and is powered off; the guest cannot use it
    ENABLED = "enabled"  # _STA says enabled; the guest may power it on
    ONLINE = "online"  # powered on
    EJECTING = "ejecting"  # on its way back to parked


class GiccState(StrEnum):
    """Where a GIC CPU interface is."""

    UNBOUND = "unbound"  # belongs to no vCPU thread; nobody touches its registers
    BOUND = "bound"  # found by mp-affinity, its redistributor awake
    WIRED = "wired"  # its interrupts reach the vCPU
    SHUT = "shut"  # wired, and nobody may touch its registers; hpcore's own protocol has it not


class Phase(StrEnum):
    """Where the machine is."""

    DEFINED = "defined"
    CREATED = "created"
    READY = "ready"
    RUNNING = "running"
    RESETTING = "resetting"
    OFF = "off"  # the guest has powered it off; a reset starts it anew
    ENDED = "ended"  # over, as the user asked for
    FAILED = "failed"


class Trigger(StrEnum):
    """What makes a machine leave a state."""

    REALIZE = "realize"
    ENABLE = "enable"
    CPU_ON = "cpu_on"
    CPU_OFF = "cpu_off"
    EJECT = "eject"
    REVOKE = "revoke"
    ABANDON = "abandon"
    PARK = "park"
    RESET = "reset"
    START = "start"
    BIND = "bind"
    WIRE = "wire"
    UNWIRE = "unwire"
    UNBIND = "unbind"
    WAKE = "wake"
    OPEN = "open"
    SHUT = "shut"
    HALT = "halt"
    CREATE_VCPUS = "create_vcpus"
    INIT_GIC = "init_gic"
    RESTART = "restart"
    POWER_OFF = "power_off"
    END = "end"
    FAIL = "fail"


@frozen
class Transition:
    """One row: what happens (`trigger`), from where, to where, and who asks for it."""

    trigger: Trigger
    source: str
    dest: str
    why: str


class IllegalTransition(Exception):
    """A trigger that a machine has no transition for in the state it is in."""

    def __init__(self, machine: str, state: str, trigger: Trigger) -> None:
        super().__init__(f"the {machine} machine has no '{trigger}' from '{state}'")
        self.machine, self.state, self.trigger = machine, state, trigger
        self.events: tuple[object, ...] = ()
        """The decision's events, the one that asks for the transition last; set by `Draft.emit`."""


@frozen
class Table:
    """A declared machine: its name, the state it starts in, its rows."""

    name: str
    initial: str
    rows: tuple[Transition, ...]

    @property
    def states(self) -> tuple[str, ...]:
        """Every state, in the order of its enumeration."""
        return tuple(_STATES[self.name])

    @property
    def for_library(self) -> dict[str, Any]:
        """The keyword arguments that make a `transitions` machine of this table."""
        return {
            "states": [str(s) for s in self.states],
            "transitions": [
                {"trigger": r.trigger, "source": str(r.source), "dest": str(r.dest)}
                for r in self.rows
            ],
            "initial": str(self.initial),
            "auto_transitions": False,
        }


_STATES: dict[str, Iterable[str]] = {
    "slot": tuple(SlotState),
    "gicc": tuple(GiccState),
    "machine": tuple(Phase),
}


def _slot() -> Table:
    p, r, e, o, x = SlotState  # a letter a state keeps a row on one line
    return Table("slot", SlotState.PARKED, (
        Transition(Trigger.REALIZE, p, r, "RFC, E.7: device_add unparks the KVM vCPU and starts its thread, powered off."),
        Transition(Trigger.ENABLE, r, e, "RFC: a vCPU is always present; _STA goes to enabled last, once realized and wired."),
        Transition(Trigger.CPU_ON, e, o, "PSCI, CPU_ON: powers a core on; RFC: the VMM checks its policy, DENIED unless enabled."),
        Transition(Trigger.CPU_OFF, o, e, "PSCI, CPU_OFF: powers the calling core down; it stays plugged."),
        Transition(Trigger.EJECT, e, x, "ACPI 6.3.3: _EJ0 ejects; RFC, E.8: carried out when requested and powered off."),
        Transition(Trigger.REVOKE, e, x, "Forced removal of an offline vCPU: the guest is not asked."),
        Transition(Trigger.REVOKE, o, x, "Forced removal of a running vCPU: disabled first, then powered off."),
        Transition(Trigger.ABANDON, r, x, "A plug that failed part of the way takes back what it did."),
        Transition(Trigger.ABANDON, e, x, "A plug whose notification failed takes back what it did."),
        Transition(Trigger.ABANDON, o, x, "The same, when the guest had found the vCPU by itself."),
        Transition(Trigger.PARK, x, p, "RFC, E.8: unrealized, the KVM vCPU is parked for the next plug."),
        Transition(Trigger.RESET, o, e, "PSCI, SYSTEM_RESET: a cold reset, one core runs; RFC: what is plugged stays."),
        Transition(Trigger.START, e, o, "PSCI: the primary core is the one that is on at start."),
        Transition(Trigger.START, o, o, "A reset while the boot core runs starts it again."),
        Transition(Trigger.WAKE, p, r, "Series v6, not hpcore's own: the thread that was parked in user space goes on."),
        Transition(Trigger.HALT, x, p, "Series v6, not hpcore's own: the vCPU stays whole, its thread parked in user space."),
    ))  # fmt: skip


def _gicc() -> Table:
    u, b, w, s = GiccState
    return Table("gicc", GiccState.UNBOUND, (
        Transition(Trigger.BIND, u, b, "RFC: the GICC whose GICR_TYPER has the vCPU's mp-affinity is its own."),
        Transition(Trigger.WIRE, b, w, "RFC, E.7: wire the PPIs and the timer before the guest can see the vCPU."),
        Transition(Trigger.UNWIRE, w, b, "RFC, E.8: unwire once _STA says not enabled."),
        Transition(Trigger.UNBIND, b, u, "RFC, E.8: after this the accessors must not touch the CPU interface."),
        Transition(Trigger.SHUT, w, s, "Series v6, not hpcore's own: inaccessible, and nothing is unwired."),
        Transition(Trigger.OPEN, s, w, "Series v6, not hpcore's own: accessible again, before _STA says enabled."),
    ))  # fmt: skip


SLOT = _slot()
GICC = _gicc()

MACHINE = Table("machine", Phase.DEFINED, (
    Transition(Trigger.CREATE_VCPUS, Phase.DEFINED, Phase.CREATED, "RFC: all possible vCPUs are created at machine init, the unplugged ones then parked."),
    Transition(Trigger.INIT_GIC, Phase.CREATED, Phase.READY, "KVM: no vCPU can be created once the VGIC is initialised; so it comes last."),
    Transition(Trigger.START, Phase.READY, Phase.RUNNING, "vCPU 0 enters the kernel once every cold-booted vCPU is enabled."),
    Transition(Trigger.RESET, Phase.RUNNING, Phase.RESETTING, "PSCI, SYSTEM_RESET, or QMP system_reset."),
    Transition(Trigger.RESET, Phase.RESETTING, Phase.RESETTING, "A reset while one is under way starts it afresh."),
    Transition(Trigger.RESET, Phase.OFF, Phase.RESETTING, "QEMU, -no-shutdown: a machine that is off stays, stopped; system_reset makes it new."),
    Transition(Trigger.RESTART, Phase.RESETTING, Phase.RUNNING, "RFC: the firmware is told the new boot count; what is plugged is back, vCPU 0 starts."),
    *(Transition(Trigger.POWER_OFF, p, Phase.OFF, "PSCI, SYSTEM_OFF.")
      for p in Phase if p not in (Phase.OFF, Phase.ENDED, Phase.FAILED)),
    *(Transition(Trigger.END, p, Phase.ENDED, "The user's word: the accelerator is left.")
      for p in Phase if p not in (Phase.ENDED, Phase.FAILED)),
    *(Transition(Trigger.FAIL, p, Phase.FAILED, "The accelerator is gone: nothing runs, nothing more is asked.")
      for p in Phase if p not in (Phase.ENDED, Phase.FAILED)),
))  # fmt: skip

TABLES = (SLOT, GICC, MACHINE)


_NEXT: dict[str, dict[tuple[str, str], str]] = {
    table.name: {(r.source, r.trigger): r.dest for r in table.rows} for table in TABLES
}


@cache
def library_machine(name: str) -> Machine:
    """The `transitions` machine of a table, without a model: its rules alone.

    Raises ValueError for a row whose state the table does not have.
    """
    from transitions import Machine  # noqa: PLC0415 - to run a machine needs the table alone

    table = next(t for t in TABLES if t.name == name)
    machine = Machine(model=None, **table.for_library)
    for row in table.rows:  # which the library looks at only when it comes to them
        for state in (row.source, row.dest):
            machine.get_state(str(state))
    return machine


def _next(table: Table, state: str, trigger: Trigger) -> str:
    dest = _NEXT[table.name].get((state, trigger))
    if dest is None:
        raise IllegalTransition(table.name, str(state), trigger)
    return dest


def next_slot(state: SlotState, trigger: Trigger) -> SlotState:
    """The slot's state after `trigger`. Raises IllegalTransition."""
    return SlotState(_next(SLOT, state, trigger))


def next_gicc(state: GiccState, trigger: Trigger) -> GiccState:
    """The GIC CPU interface's state after `trigger`. Raises IllegalTransition."""
    return GiccState(_next(GICC, state, trigger))


def next_phase(state: Phase, trigger: Trigger) -> Phase:
    """The machine's phase after `trigger`. Raises IllegalTransition."""
    return Phase(_next(MACHINE, state, trigger))
