"""What must hold of one vCPU, from its creation to its eject: orders 1 to 11.

The numbers are those of the list of orders that must hold.
"""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model.acpi import MadtFlag
from hpcore.model.effects import Step
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.properties import Change, Property, always
from hpcore.model.states import madt_flags, sta
from hpcore.model.topology import mp_affinity

_MADT = (MadtFlag.ENABLED, MadtFlag.ONLINE_CAPABLE)


def _begins(change: Change, *steps: Step) -> bool:
    return isinstance(change.event, ev.StepBegun) and change.event.step in steps


def _in_build_order(c: Change) -> bool:
    if isinstance(c.event, ev.ColdBootDone | ev.PlugCompleted):
        return c.before.enabled
    if not isinstance(c.event, ev.StepBegun):
        return True
    match c.event.step:
        case Step.REALIZE:
            return not c.before.thread and c.before.lifecycle is SlotState.PARKED
        case Step.BIND:
            return c.before.thread and c.before.gicc is GiccState.UNBOUND
        case Step.WIRE:
            return c.before.thread and c.before.gicc is GiccState.BOUND
        case Step.ENABLE:
            return c.before.gicc is GiccState.WIRED and not c.before.enabled
        case _:
            return True


def _in_eject_order(c: Change) -> bool:
    if not isinstance(c.event, ev.StepBegun):
        return True
    s = c.before
    match c.event.step:
        case Step.DISABLE:
            return s.enabled
        case Step.POWER_OFF:
            return s.powered and not s.enabled
        case Step.UNWIRE:
            return not s.enabled and s.gicc is GiccState.WIRED
        case Step.UNBIND:
            return not s.enabled and s.gicc is GiccState.BOUND
        case Step.STOP:
            return s.thread and s.gicc is GiccState.UNBOUND
        case Step.RELEASE:
            return s.space and not s.thread
        case Step.PARK:
            return not s.space and not s.thread and s.gicc is GiccState.UNBOUND
        case _:
            return True


def _ejected_rightly(c: Change) -> bool:
    if isinstance(c.event, ev.EjectAccepted):
        return c.before.requested and not c.before.powered
    if _begins(c, Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK):
        return not c.before.powered
    return True


VCPU_INVARIANTS: tuple[Property, ...] = (
    always(
        "vcpus_before_gic",
        "All possible vCPUs are created before the GIC is initialised, none after, and "
        "none is destroyed.",
        lambda i, s, m: (m.gic_inits == 0 or s.created) and (s.created or not s.thread),
        lambda c: c.after.created or not c.before.created,
        number=1,
    ),
    always(
        "gic_sized_once",
        "The GIC is initialised once, for all possible vCPUs.",
        lambda i, s, m: m.gic_inits <= 1 and (m.phase is not Phase.RUNNING or m.gic_inits == 1),
        number=2,
    ),
    always(
        "parked_is_inert",
        "A parked vCPU has no thread and no GICC, is powered off and not enabled.",
        lambda i, s, m: s.lifecycle is not SlotState.PARKED
        or not (s.thread or s.space or s.powered or s.enabled or s.registered
                or s.gicc is not GiccState.UNBOUND),
        number=3,
    ),
    always(
        "enabled_is_wired",
        "_STA always says present; enabled only if the vCPU is realized and its GICC wired.",
        lambda i, s, m: bool(sta(s) & 1)
        and (not s.enabled or (s.thread and s.space and s.gicc is GiccState.WIRED)),
        number=4,
    ),
    always(
        "built_in_order",
        "A plug realizes, binds, wires and enables, in that order, each once, before it ends.",
        on_event=_in_build_order,
        of=(ev.StepBegun, ev.ColdBootDone, ev.PlugCompleted),
        number=4,
    ),
    always(
        "notified_only_enabled",
        "A device check or an eject request concerns an enabled slot.",
        lambda i, s, m: s.enabled or not (s.insert or s.remove or s.requested),
        lambda c: c.before.enabled
        or not _begins(c, Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE),
        of=(ev.StepBegun,),
        number=5,
    ),
    always(
        "cpu_on_only_enabled",
        "CPU_ON is granted to an enabled vCPU that is off, and to no other.",
        on_event=lambda c: not isinstance(c.event, ev.CpuOnGranted)
        or (c.before.enabled and not c.before.powered),
        of=(ev.CpuOnGranted,),
        number=6,
    ),
    always(
        "online_is_enabled",
        "An online vCPU is enabled and on; an enabled one that is not online is off.",
        lambda i, s, m: (s.lifecycle is not SlotState.ONLINE or (s.enabled and s.powered))
        and (s.lifecycle is not SlotState.ENABLED or (s.enabled and not s.powered))
        and (not s.powered or s.lifecycle in (SlotState.ONLINE, SlotState.EJECTING)),
        number=6,
    ),
    always(
        "eject_requested_and_off",
        "An eject is carried out if it was requested and the vCPU is off, by the "
        "accelerator's word.",
        on_event=_ejected_rightly,
        of=(ev.EjectAccepted, ev.StepBegun),
        number=7,
    ),
    always(
        "eject_in_order",
        "An eject disables, unwires, unbinds, stops the thread, releases the address space "
        "and parks, in that order, each once.",
        on_event=_in_eject_order,
        of=(ev.StepBegun,),
        number=8,
    ),
    always(
        "eject_confirmed_first",
        "A slot that the guest has ejected is not enabled again before the guest is through "
        "with the eject, or silent.",
        lambda i, s, m: not (s.unconfirmed and s.enabled and s.lifecycle is not SlotState.EJECTING),
        number=8,
        since=(0, 3),
    ),
    always(
        "cold_booted_stays",
        "A cold-booted vCPU is never ejected, whoever asks.",
        lambda i, s, m: not s.cold
        or not (s.lifecycle is SlotState.EJECTING or s.requested or s.remove),
        number=9,
    ),
    always(
        "gicc_touched_while_bound",
        "The registers of a GICC are touched only while it is bound.",
        on_event=lambda c: not _begins(c, Step.WIRE, Step.UNWIRE)
        or c.before.gicc is not GiccState.UNBOUND,
        of=(ev.StepBegun,),
        number=10,
    ),
    always(
        "gicc_matches_affinity",
        "A slot's GICC is the one whose GICR_TYPER has the slot's mp-affinity, always the same.",
        lambda i, s, m: s.affinity is None or s.affinity == mp_affinity(i),
        lambda c: c.before.affinity is None or c.after.affinity == c.before.affinity,
        number=10,
    ),
    always(
        "madt_fixed",
        "The MADT says enabled or online-capable, one of the two, for the machine's life.",
        lambda i, s, m: madt_flags(s) in _MADT,
        lambda c: madt_flags(c.before) == madt_flags(c.after),
        number=11,
    ),
)  # fmt: skip
