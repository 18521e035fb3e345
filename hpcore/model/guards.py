"""Every reason to refuse a stimulus, by name, with the invariant that it keeps.

A guard sees one slot and the shared part (or, where it says so, the whole state) and
answers yes or no; its refusal is QEMU's own text where QEMU has one. The order in a list
is the order in which refusals are given.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase, SlotState
from hpcore.model.rules import Rules
from hpcore.model.states import Owed, Shared, Slot


@frozen
class Ask:
    """What a guard may look at: the machine's shape, the shared part, one slot."""

    config: MachineConfig
    shared: Shared
    index: int
    slot: Slot


@frozen
class Guard:
    """`holds` says whether the stimulus may go on; `refusal` says why not."""

    name: str
    keeps: str
    holds: Callable[[Ask], bool]
    refusal: Callable[[Ask], str]


def first_refusal(guards: tuple[Guard, ...], ask: Ask, rules: Rules) -> Guard | None:
    """The first guard that is on and does not hold."""
    for guard in guards:
        if guard.name not in rules.guards_off and not guard.holds(ask):
            return guard
    return None


def _say(text: str) -> Callable[[Ask], str]:
    return lambda ask: text.format(
        i=ask.index, id=ask.slot.id, slot=ask.slot.lifecycle, phase=ask.shared.phase,
        arch=ask.config.topology.arch_name(ask.index), why=ask.config.no_hotplug,
    )  # fmt: skip


MACHINE_RUNS = Guard(
    "machine_runs", "no_command_lost",
    lambda a: a.shared.phase is Phase.RUNNING,
    _say("the machine is {phase}; commands are taken while it runs"),
)  # fmt: skip
GUEST_RUNS = Guard(
    "guest_runs", "reset_keeps_plugged",
    lambda a: a.shared.guest_runs,
    _say("the machine is {phase}: no guest runs that could ask"),
)  # fmt: skip
NOT_MIGRATING = Guard(
    "not_migrating", "migration_carries_all",
    lambda a: not a.shared.migrating,
    _say("a migration is under way; try again when it has ended"),
)  # fmt: skip
HOTPLUG_SUPPORTED = Guard(
    "hotplug_supported", "gic_sized_once",
    lambda a: a.config.no_hotplug is None,
    _say("CPU hotplug not supported on this machine: {why}"),
)  # fmt: skip
SLOT_VACANT = Guard(
    "slot_vacant", "eject_in_order",
    lambda a: a.slot.lifecycle is SlotState.PARKED and a.slot.command is Owed.NONE
    and a.slot.step is None,
    _say("cpu({arch}) with arch-id {i} exist"),
)  # fmt: skip
NOT_COLD_BOOTED = Guard(
    "not_cold_booted", "cold_booted_stays",
    lambda a: not a.slot.cold,
    _say("Hot-unplug of cold-booted CPU not supported!"),
)  # fmt: skip
PLUG_FINISHED = Guard(
    "plug_finished", "no_command_lost",
    lambda a: a.slot.command not in (Owed.PLUG, Owed.COLD_BOOT)
    and (a.slot.lifecycle is not SlotState.EJECTING or a.slot.stalled
         or a.slot.command is not Owed.NONE),
    _say("Device '{id}' is still being plugged; try again when that has ended"),
)  # fmt: skip
NO_UNPLUG_PENDING = Guard(
    "no_unplug_pending", "no_command_lost",
    lambda a: a.slot.command not in (Owed.UNPLUG, Owed.REVOKE) and a.slot.step is None,
    _say("Device '{id}' is already in the process of unplug"),
)  # fmt: skip
NOT_BEING_EJECTED = Guard(
    "not_being_ejected", "eject_in_order",
    lambda a: (a.slot.lifecycle is not SlotState.EJECTING or a.slot.stalled)
    and a.slot.command is not Owed.REVOKE,
    _say("Device '{id}' is already being ejected"),
)  # fmt: skip
EJECT_NOT_COLD_BOOTED = Guard(
    "eject_not_cold_booted", "cold_booted_stays",
    lambda a: not a.slot.cold,
    _say("the guest ejects vCPU {i}, which is cold-booted"),
)  # fmt: skip
EJECT_OF_ENABLED = Guard(
    "eject_of_enabled", "eject_in_order",
    lambda a: a.slot.lifecycle in (SlotState.ENABLED, SlotState.ONLINE),
    _say("the guest ejects vCPU {i}, which is {slot}"),
)  # fmt: skip
EJECT_WAS_REQUESTED = Guard(
    "eject_was_requested", "eject_requested_and_off",
    lambda a: a.slot.requested,
    _say("the guest ejects vCPU {i}, which it was not asked for"),
)  # fmt: skip
EJECT_POWERED_OFF = Guard(
    "eject_powered_off", "eject_requested_and_off",
    lambda a: not a.slot.powered,
    _say("the guest ejects vCPU {i} while it runs"),
)  # fmt: skip
CPU_ON_ENABLED = Guard(
    "cpu_on_enabled", "cpu_on_only_enabled",
    lambda a: a.slot.enabled and a.slot.lifecycle in (SlotState.ENABLED, SlotState.ONLINE),
    _say("vCPU {i} is {slot}, not enabled"),
)  # fmt: skip
CPU_ON_WHILE_OFF = Guard(
    "cpu_on_while_off", "online_is_enabled",
    lambda a: not a.slot.powered,
    _say("vCPU {i} is on"),
)  # fmt: skip

MACHINE_NEW = Guard(
    "machine_new", "vcpus_before_gic",
    lambda a: a.shared.phase is Phase.DEFINED and a.shared.step is None,
    _say("the machine is {phase}; it is booted once"),
)  # fmt: skip
MACHINE_IDLE = Guard(
    "machine_idle", "one_step_at_a_time",
    lambda a: a.shared.step is None,
    _say("another operation on the whole machine is under way; try again when it has ended"),
)  # fmt: skip
NOT_PAUSED = Guard(
    "not_paused", "one_step_at_a_time",
    lambda a: not a.shared.paused,
    _say("the machine is paused already"),
)  # fmt: skip
PAUSED = Guard(
    "paused", "one_step_at_a_time",
    lambda a: a.shared.paused,
    _say("the machine is not paused"),
)  # fmt: skip
RESET_NOT_PAUSED = Guard(
    "reset_not_paused", "no_command_lost",
    lambda a: not a.shared.paused,
    _say("the machine is paused, so that its reset would not be seen; resume it first"),
)  # fmt: skip

PLUG = (HOTPLUG_SUPPORTED, MACHINE_RUNS, NOT_MIGRATING, SLOT_VACANT)
UNPLUG = (MACHINE_RUNS, NOT_MIGRATING, NOT_COLD_BOOTED, PLUG_FINISHED, NO_UNPLUG_PENDING)
REVOKE = (MACHINE_RUNS, NOT_MIGRATING, NOT_COLD_BOOTED, PLUG_FINISHED, NOT_BEING_EJECTED)
EJECT = (GUEST_RUNS, NOT_MIGRATING, EJECT_NOT_COLD_BOOTED, EJECT_OF_ENABLED,
         EJECT_WAS_REQUESTED, EJECT_POWERED_OFF)  # fmt: skip
CPU_ON = (GUEST_RUNS, CPU_ON_ENABLED, CPU_ON_WHILE_OFF)
BOOT = (MACHINE_NEW,)
RESET = (MACHINE_RUNS, MACHINE_IDLE, RESET_NOT_PAUSED)
PAUSE = (MACHINE_RUNS, MACHINE_IDLE, NOT_PAUSED)
RESUME = (MACHINE_RUNS, MACHINE_IDLE, PAUSED)
MIGRATE = (MACHINE_RUNS, MACHINE_IDLE)

ID_UNUSED = "id_unused"
"""Two devices never share an id. Looks at every slot."""
MIGRATION_QUIET = "migration_quiet"
"""Migration starts when no slot owes anything. Looks at every slot."""
BIND_MATCHES = "bind_matches_affinity"
"""A GICC whose GICR_TYPER names another vCPU is not this slot's."""
OUTCOME_EXPECTED = "outcome_expected"
"""An outcome counts if that very step is under way."""

_TABLES = (PLUG, UNPLUG, REVOKE, EJECT, CPU_ON, BOOT, RESET, PAUSE, RESUME, MIGRATE)
GUARDS: dict[str, Guard] = {g.name: g for table in _TABLES for g in table}
GUARD_NAMES: tuple[str, ...] = (
    *GUARDS, ID_UNUSED, MIGRATION_QUIET, BIND_MATCHES, OUTCOME_EXPECTED,
)  # fmt: skip
