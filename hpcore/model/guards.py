"""Every reason to refuse a stimulus, by name: what it says, and what QMP makes of it.

A `Guard` is a reason that can be asked beforehand: of one slot and the shared part, or of
the shared part alone; it answers yes or no, and names the invariant that it keeps. The
other reasons are found on the way, and are given with what was found. The texts are
QEMU's own where QEMU has one. The order in a table is the order in which guards refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from attrs import field, frozen

from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase, SlotState
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import Owed, Shared, Slot


class QmpErrorClass(StrEnum):
    """The class of a QMP error (qapi/error.json, QapiErrorClass); most are generic."""

    GENERIC = "GenericError"
    DEVICE_NOT_FOUND = "DeviceNotFound"


@frozen
class Reason:
    """A reason to refuse: its name in a log, the invariant that it keeps, if any, and its text.

    `text` has the fields that `refusal` is given, in braces. `qmp_class` is what a QMP
    client is told beside the text.
    """

    name: str
    keeps: str | None
    text: str
    qmp_class: QmpErrorClass = field(default=QmpErrorClass.GENERIC, kw_only=True)

    def refusal(self, **found: object) -> str:
        """The text with what was found in it."""
        return self.text.format(**found)


@frozen
class Ask:
    """What a guard may look at: the machine's shape, the shared part, and one slot, if any.

    And at the rules, which may say for whom a guard is.
    """

    config: MachineConfig
    shared: Shared
    rules: Rules = RULES
    index: int | None = None
    _slot: Slot | None = None

    @property
    def slot(self) -> Slot:
        """The slot asked about; only a guard of the whole machine is asked about none."""
        assert self._slot is not None, "this guard is asked of a slot"
        return self._slot

    @property
    def stays(self) -> bool:
        """Whether the slot's vCPU is there for the machine's life."""
        assert self.index is not None, "this guard is asked of a slot"
        return self.rules.stays(self.index, cold=self.slot.cold)

    @property
    def words(self) -> dict[str, object]:
        """What a guard's text may name."""
        words: dict[str, object] = {"phase": self.shared.phase, "why": self.config.no_hotplug}
        if self.index is not None:
            arch, slot = self.config.topology.arch_name(self.index), self.slot
            words |= {"i": self.index, "id": slot.id, "state": slot.lifecycle, "arch": arch}
        return words


@frozen
class Guard(Reason):
    """A reason that can be asked beforehand; `holds` says whether the stimulus may go on."""

    holds: Callable[[Ask], bool] = field(kw_only=True)


def first_refusal(guards: tuple[Guard, ...], ask: Ask, rules: Rules) -> Guard | None:
    """The first guard that is on and does not hold."""
    for guard in guards:
        if guard.name not in rules.guards_off and not guard.holds(ask):
            return guard
    return None


MACHINE_RUNS = Guard(
    "machine_runs", "commands_while_up",
    "the machine is {phase}; commands are taken while it runs",
    holds=lambda a: a.shared.phase is Phase.RUNNING,
)  # fmt: skip
MACHINE_NOT_OFF = Guard(
    "machine_not_off", "commands_while_up",
    "the machine is {phase}; vCPUs are plugged before it is booted, and while it runs or is reset",
    holds=lambda a: a.shared.phase is not Phase.OFF,
)  # fmt: skip
MACHINE_UP = Guard(
    "machine_up", "commands_while_up",
    "the machine is {phase}; vCPUs are unplugged while it runs or is reset",
    holds=lambda a: a.shared.phase in (Phase.RUNNING, Phase.RESETTING),
)  # fmt: skip
NOT_ENDING = Guard(
    "not_ending", "ends_undisturbed",
    "the machine is being ended; no command is taken any more",
    holds=lambda a: not a.shared.ending,
)  # fmt: skip
GUEST_RUNS = Guard(
    "guest_runs", "reset_keeps_plugged",
    "the machine is {phase}: no guest runs that could ask",
    holds=lambda a: a.shared.guest_runs,
)  # fmt: skip
NOT_MIGRATING = Guard(
    "not_migrating", "migration_carries_all",
    "the machine is being migrated or saved; try again when that has ended",
    holds=lambda a: not a.shared.migrating,
)  # fmt: skip
HOTPLUG_SUPPORTED = Guard(
    "hotplug_supported", "gic_sized_once",
    "CPU hotplug not supported on this machine: {why}",
    holds=lambda a: a.config.no_hotplug is None,
)  # fmt: skip
SLOT_VACANT = Guard(
    "slot_vacant", "eject_in_order",
    "cpu({arch}) with arch-id {i} exist",
    holds=lambda a: a.slot.lifecycle is SlotState.PARKED and a.slot.command is Owed.NONE
    and a.slot.step is None
    and not (a.slot.cold and (a.stays or a.shared.booting)),
)  # fmt: skip
NOT_COLD_BOOTED = Guard(
    "not_cold_booted", "cold_booted_stays",
    "Hot-unplug of cold-booted CPU not supported!",
    holds=lambda a: not a.stays,
)  # fmt: skip
PLUG_FINISHED = Guard(
    "plug_finished", "no_command_lost",
    "Device '{id}' is still being plugged; try again when that has ended",
    holds=lambda a: a.slot.command not in (Owed.PLUG, Owed.COLD_BOOT)
    and (a.slot.lifecycle is not SlotState.EJECTING or a.slot.stalled
         or a.slot.command is not Owed.NONE),
)  # fmt: skip
NOT_BEING_EJECTED = Guard(
    "not_being_ejected", "eject_in_order",
    "Device {id} is already in the process of unplug",
    holds=lambda a: (a.slot.lifecycle is not SlotState.EJECTING or a.slot.stalled)
    and a.slot.command is not Owed.REVOKE,
)  # fmt: skip
EJECT_NOT_COLD_BOOTED = Guard(
    "eject_not_cold_booted", "cold_booted_stays",
    "the guest ejects vCPU {i}, which is cold-booted",
    holds=lambda a: not a.stays,
)  # fmt: skip
EJECT_OF_ENABLED = Guard(
    "eject_of_enabled", "eject_in_order",
    "the guest ejects vCPU {i}, which is {state}",
    holds=lambda a: a.slot.lifecycle in (SlotState.ENABLED, SlotState.ONLINE),
)  # fmt: skip
EJECT_WAS_REQUESTED = Guard(
    "eject_was_requested", "eject_requested_and_off",
    "the guest ejects vCPU {i}, which it was not asked for",
    holds=lambda a: a.slot.requested,
)  # fmt: skip
EJECT_POWERED_OFF = Guard(
    "eject_powered_off", "eject_requested_and_off",
    "the guest ejects vCPU {i} while it runs",
    holds=lambda a: not a.slot.powered,
)  # fmt: skip
CPU_ON_ENABLED = Guard(
    "cpu_on_enabled", "cpu_on_only_enabled",
    "vCPU {i} is {state}, not enabled",
    holds=lambda a: a.slot.enabled and a.slot.lifecycle in (SlotState.ENABLED, SlotState.ONLINE),
)  # fmt: skip
CPU_ON_WHILE_OFF = Guard(
    "cpu_on_while_off", "online_is_enabled",
    "vCPU {i} is on",
    holds=lambda a: not a.slot.powered,
)  # fmt: skip

MACHINE_NEW = Guard(
    "machine_new", "vcpus_before_gic",
    "the machine is {phase}; it is booted once",
    holds=lambda a: a.shared.phase is Phase.DEFINED and a.shared.step is None,
)  # fmt: skip
MACHINE_IDLE = Guard(
    "machine_idle", "one_step_at_a_time",
    "another operation on the whole machine is under way; try again when it has ended",
    holds=lambda a: a.shared.step is None,
)  # fmt: skip
RESET_TAKEN = Guard(
    "reset_taken", "commands_while_up",
    "the machine is {phase}; it is reset while it runs, and when it is paused or off",
    holds=lambda a: a.shared.phase in (Phase.RUNNING, Phase.OFF)
    or (a.shared.phase is Phase.RESETTING and a.shared.paused),
)  # fmt: skip
RESET_FIRST = Guard(
    "reset_first", "commands_while_up",
    "Resetting the Virtual Machine is required",
    holds=lambda a: a.shared.phase is not Phase.OFF,
)  # fmt: skip
RESUME_TAKEN = Guard(
    "resume_taken", "commands_while_up",
    "the machine is {phase}; boot it first",
    holds=lambda a: a.shared.phase in (Phase.RUNNING, Phase.RESETTING, Phase.OFF),
)  # fmt: skip

COMMAND = (NOT_ENDING,)
"""Asked of every command but that to end the machine."""
PLUG = (HOTPLUG_SUPPORTED, MACHINE_NOT_OFF, NOT_MIGRATING, SLOT_VACANT)
UNPLUG = (MACHINE_UP, NOT_MIGRATING, NOT_COLD_BOOTED, PLUG_FINISHED, NOT_BEING_EJECTED)
"""Asked of a `device_del`, with force or without. One that is pending is no hindrance:
the guest is asked again, or not any more."""
EJECT = (GUEST_RUNS, EJECT_NOT_COLD_BOOTED, EJECT_OF_ENABLED, EJECT_WAS_REQUESTED,
         EJECT_POWERED_OFF)  # fmt: skip
"""Asked also while the machine migrates: the guest has let go of the vCPU by then, and would not
know it any more if it were left to it. What follows waits for the migration's end."""
CPU_ON = (GUEST_RUNS, CPU_ON_ENABLED, CPU_ON_WHILE_OFF)
BOOT = (MACHINE_NEW,)
RESET = (RESET_TAKEN, MACHINE_IDLE)
PAUSE = (MACHINE_RUNS, MACHINE_IDLE)
RESUME = (RESUME_TAKEN, RESET_FIRST, MACHINE_IDLE)
MIGRATE = (MACHINE_RUNS, MACHINE_IDLE)
"""And of a save, which carries the state into a file."""

# ------------------------------------------- reasons that are found on the way

MACHINE_ENDED = Reason("machine_ended", None, "the machine is {phase}")
SLOT_EXISTS = Reason(
    "slot_exists", None, "there is no vCPU {i}; this machine has 0 to {last}"
)
ID_GIVEN = Reason(
    "id_given", None, "Parameter 'id' is missing; name the vCPU, such as id=cpu4"
)
ID_WELL_FORMED = Reason(
    "id_well_formed", None, "Parameter 'id' expects an identifier, not {id!r}"
)
DRIVER_KNOWN = Reason("driver_known", None, "'{driver}' is not a valid device model name")
DRIVER_MATCHES = Reason(
    "driver_matches", None, "Invalid CPU type, expected cpu type: '{expected}'"
)
PROPS_NAME_A_VCPU = Reason("props_name_a_vcpu", None, "{error}")
ID_UNUSED = Reason("id_unused", "command_ends_once", "Duplicate device ID '{id}'")
"""Looks at every slot."""
DEVICE_EXISTS = Reason(
    "device_exists", None, "Device '{id}' not found", qmp_class=QmpErrorClass.DEVICE_NOT_FOUND
)
MIGRATION_QUIET = Reason(
    "migration_quiet", "migration_carries_all",
    "vCPU {i} is being plugged or unplugged; try again when that has ended",
)  # fmt: skip
"""Looks at every slot."""
SCAN_BEGUN = Reason(
    "scan_begun", None, "the guest ends a scan of event bits that it did not begin"
)
BIT_SET = Reason("bit_set", None, "the {bit} bit of vCPU {i} is not set")
POWERED = Reason("powered", None, "vCPU {i} is off already")
NOTHING_TO_RESET = Reason("nothing_to_reset", None, "the machine is {phase}; nothing to reset")
BIND_MATCHES = Reason(
    "bind_matches_affinity", "gicc_matches_affinity",
    "GICR_TYPER of vCPU {i} has affinity {found}, not {wanted:#x}",
)  # fmt: skip
"""A GICC whose GICR_TYPER names another vCPU is not this slot's; the step has failed."""
OUTCOME_EXPECTED = Reason(
    "outcome_expected", "one_step_at_a_time",
    "'{step}' of {whose} is reported, but {under_way} is under way",
)  # fmt: skip
SAVED_BEFORE = Reason(
    "saved_before", None, "the machine is taken up where it was saved, and {under_way} is under way"
)
WAITS_FOR_GUEST = Reason("waits_for_guest", None, "vCPU {i} does not wait for the guest")
FORCE_KNOWN = Reason("force_known", None, "Parameter 'force' is unexpected")
"""By rules with `Trait.NO_FORCE` alone."""
DEADLINE_KNOWN = Reason(
    "deadline_known", None, "the guest is waited for without end; vCPU {i} waits on"
)
"""By rules with `Trait.NO_DEADLINE` alone."""

_FOUND = (
    MACHINE_ENDED, SLOT_EXISTS, ID_GIVEN, ID_WELL_FORMED, DRIVER_KNOWN, DRIVER_MATCHES,
    PROPS_NAME_A_VCPU, ID_UNUSED, DEVICE_EXISTS, MIGRATION_QUIET, SCAN_BEGUN, BIT_SET, POWERED,
    NOTHING_TO_RESET, BIND_MATCHES, OUTCOME_EXPECTED, SAVED_BEFORE, WAITS_FOR_GUEST,
    FORCE_KNOWN, DEADLINE_KNOWN,
)  # fmt: skip
_TABLES = (COMMAND, PLUG, UNPLUG, EJECT, CPU_ON, BOOT, RESET, PAUSE, RESUME, MIGRATE)
GUARDS: dict[str, Guard] = {g.name: g for table in _TABLES for g in table}
REASONS: dict[str, Reason] = {**GUARDS, **{r.name: r for r in _FOUND}}
"""Every reason, by the name that an event `refused` or `eject_refused` has in a log."""
SWITCHES: tuple[str, ...] = (
    *GUARDS, *(r.name for r in (ID_UNUSED, MIGRATION_QUIET, BIND_MATCHES, OUTCOME_EXPECTED)),
)  # fmt: skip
"""The reasons that rules can do without, to see what breaks (`Rules.guards_off`)."""
