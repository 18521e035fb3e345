"""The three state machines, whole: vCPU slot, GIC CPU interface, and the machine.

Each row is a transition with the sentence of the research series, or of a
specification, that asks for it. `transitions` holds the tables and refuses what is not
in them; `next_state` is the only way in which a state changes. The sources: "RFC" is
the QEMU series "Support of Virtual CPU Hotplug for ARMv8 Arch" (v1 2020 to v5 2024),
by the section of its cover letter where it has one; "PSCI" is Arm DEN0022; "ACPI" is
release 6.5. The wording is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Any

from attrs import frozen
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


class Phase(StrEnum):
    """Where the machine is."""

    DEFINED = "defined"
    CREATED = "created"
    READY = "ready"
    RUNNING = "running"
    RESETTING = "resetting"
    OFF = "off"
    FAILED = "failed"


@frozen
class Transition:
    """One row: what happens (`trigger`), from where, to where, and who asks for it."""

    trigger: str
    source: str
    dest: str
    why: str


class IllegalTransition(Exception):
    """A trigger that a machine has no transition for in the state it is in."""

    def __init__(self, machine: str, state: str, trigger: str) -> None:
        super().__init__(f"the {machine} machine has no '{trigger}' from '{state}'")
        self.machine, self.state, self.trigger = machine, state, trigger
        self.events: tuple[object, ...] = ()
        """The decision's events, the one that asks for the transition last; `Turn` says."""


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

P, R, E, O, X = SlotState  # noqa: E741 - one letter a state keeps the table on a screen

SLOT = Table("slot", P, (
    Transition("realize", P, R, "RFC, E.7: device_add unparks the KVM vCPU and starts its thread, powered off."),
    Transition("enable", R, E, "RFC: a vCPU is always present; _STA goes to enabled last, once realized and wired."),
    Transition("cpu_on", E, O, "PSCI, CPU_ON: powers a core on; RFC: the VMM checks its policy, DENIED unless enabled."),
    Transition("cpu_off", O, E, "PSCI, CPU_OFF: powers the calling core down; it stays plugged."),
    Transition("eject", E, X, "ACPI 6.3.3: _EJ0 ejects; RFC, E.8: carried out when requested and powered off."),
    Transition("revoke", E, X, "Forced removal of an offline vCPU: the guest is not asked."),
    Transition("revoke", O, X, "Forced removal of a running vCPU: disabled first, then powered off."),
    Transition("abandon", R, X, "A plug that failed part of the way takes back what it did."),
    Transition("abandon", E, X, "A plug whose notification failed takes back what it did."),
    Transition("abandon", O, X, "The same, when the guest had found the vCPU by itself."),
    Transition("park", X, P, "RFC, E.8: unrealized, the KVM vCPU is parked for the next plug."),
    Transition("reset", O, E, "PSCI, SYSTEM_RESET: a cold reset, one core runs; RFC: what is plugged stays."),
    Transition("start", E, O, "PSCI: the primary core is the one that is on at start."),
    Transition("start", O, O, "A reset while the boot core runs starts it again."),
))  # fmt: skip

U, B, W = GiccState

GICC = Table("gicc", U, (
    Transition("bind", U, B, "RFC: the GICC whose GICR_TYPER has the vCPU's mp-affinity is its own."),
    Transition("wire", B, W, "RFC, E.7: wire the PPIs and the timer before the guest can see the vCPU."),
    Transition("unwire", W, B, "RFC, E.8: unwire once _STA says not enabled."),
    Transition("unbind", B, U, "RFC, E.8: after this the accessors must not touch the CPU interface."),
))  # fmt: skip

MACHINE = Table("machine", Phase.DEFINED, (
    Transition("create_vcpus", Phase.DEFINED, Phase.CREATED, "RFC: all possible vCPUs are created at machine init, the unplugged ones then parked."),
    Transition("init_gic", Phase.CREATED, Phase.READY, "KVM: no vCPU can be created once the VGIC is initialised; so it comes last."),
    Transition("start", Phase.READY, Phase.RUNNING, "vCPU 0 enters the kernel once every cold-booted vCPU is enabled."),
    Transition("reset", Phase.RUNNING, Phase.RESETTING, "PSCI, SYSTEM_RESET, or QMP system_reset."),
    Transition("reset", Phase.RESETTING, Phase.RESETTING, "A reset while one is under way starts it afresh."),
    Transition("restart", Phase.RESETTING, Phase.RUNNING, "RFC: the firmware is told the new boot count; what is plugged is back, vCPU 0 starts."),
    *(Transition("power_off", p, Phase.OFF, "PSCI, SYSTEM_OFF, or the user's word.")
      for p in Phase if p not in (Phase.OFF, Phase.FAILED)),
    *(Transition("fail", p, Phase.FAILED, "The accelerator is gone: nothing runs, nothing more is asked.")
      for p in Phase if p not in (Phase.OFF, Phase.FAILED)),
))  # fmt: skip

TABLES = (SLOT, GICC, MACHINE)


@cache
def library_machine(name: str) -> Machine:
    """The `transitions` machine of a table, without a model: its rules alone."""
    table = next(t for t in TABLES if t.name == name)
    return Machine(model=None, **table.for_library)


@cache
def _destination(name: str, state: str, trigger: str) -> str | None:
    event: Any = library_machine(name).events.get(trigger)
    found = event.transitions.get(state) if event else None
    return str(found[0].dest) if found else None


def _next(table: Table, state: str, trigger: str) -> str:
    dest = _destination(table.name, str(state), trigger)
    if dest is None:
        raise IllegalTransition(table.name, state, trigger)
    return dest


def next_slot(state: SlotState, trigger: str) -> SlotState:
    """The slot's state after `trigger`. Raises IllegalTransition."""
    return SlotState(_next(SLOT, state, trigger))


def next_gicc(state: GiccState, trigger: str) -> GiccState:
    """The GIC CPU interface's state after `trigger`. Raises IllegalTransition."""
    return GiccState(_next(GICC, state, trigger))


def next_phase(state: Phase, trigger: str) -> Phase:
    """The machine's phase after `trigger`. Raises IllegalTransition."""
    return Phase(_next(MACHINE, state, trigger))
