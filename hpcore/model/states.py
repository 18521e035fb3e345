"""The state of a machine: its slots, and the small part that they share.

A slot holds what the guest and the accelerator have been told (facts) beside where the
machines of `machines` stand, so that an invariant can hold the one against the other.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from hpcore.model.acpi import STA_ENABLED, STA_PRESENT, MadtFlag, gicc_flags
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import GiccState, Phase, SlotState

BOOT_VCPU = 0
"""The vCPU that starts the kernel."""


class Owed(StrEnum):
    """The accepted command that a slot still owes an end."""

    NONE = "none"
    COLD_BOOT = "cold_boot"
    PLUG = "plug"
    UNPLUG = "unplug"
    REVOKE = "revoke"


@frozen(slots=False)
class Slot:
    """One possible vCPU. Every field but `id` and `affinity` is part of the checked state."""

    cold: bool
    """Cold-booted: there from the start. By hpcore's own rules it is never ejected."""
    lifecycle: SlotState = SlotState.PARKED
    gicc: GiccState = GiccState.UNBOUND
    created: bool = False
    """The vCPU exists in the accelerator."""
    thread: bool = False
    space: bool = False
    """Its address space exists."""
    enabled: bool = False
    """`_STA` says enabled, and CPU_ON would be granted."""
    powered: bool = False
    """On, by the accelerator's word."""
    insert: bool = False
    remove: bool = False
    requested: bool = False
    """The guest has been asked to eject, and may."""
    unconfirmed: bool = False
    """The guest has ejected the vCPU, and not said by `_OST` how that went: it may yet look
    whether `_STA` still says enabled."""
    registered: bool = False
    """The guest knows the vCPU: it has said so by `_OST`, or it was there at its boot."""
    command: Owed = Owed.NONE
    step: Step | None = None
    """The effect under way."""
    stalled: bool = False
    """Ejecting, and a step of it failed; the next command retries."""
    id: str | None = None
    affinity: int | None = None
    """What GICR_TYPER said at the first bind; the same GICC is the slot's for good."""
    finalized: bool = field(default=False, repr=False)
    """Its SVE lengths were made final when it was created, under rules that do so
    (`Trait.FINALIZED_WHEN_CREATED`); hpcore's own do not."""

    @property
    def busy(self) -> bool:
        """Whether the slot owes anything: a command's end, or a step's."""
        return (
            self.command is not Owed.NONE
            or self.step is not None
            or self.lifecycle in (SlotState.REALIZED, SlotState.EJECTING)
        )

    @property
    def waits_for_guest(self) -> bool:
        """Whether it is the guest's turn to end the `device_del` that is owed."""
        return (
            self.command is Owed.UNPLUG
            and self.step is None
            and self.lifecycle is not SlotState.EJECTING
        )

    @property
    def unasked(self) -> bool:
        """Whether the guest has yet to be asked for the `device_del` that is owed."""
        return self.waits_for_guest and not self.requested


def sta(slot: Slot) -> int:
    """What `_STA` returns (ACPI 6.5, 6.3.7): always present, functioning and shown.

    Bit 1 is enabled. A vCPU that is not enabled stays present, because arm64 has no
    notion of a vCPU that was not there at boot (RFC, "persistent presence").
    """
    return STA_ENABLED if slot.enabled else STA_PRESENT


def madt_flags(slot: Slot) -> MadtFlag:
    """The flags of the slot's GICC structure in the MADT, by hpcore's own rules.

    By other rules what is cold may go (`hpcore.model.rules.Rules.madt_flags`). They are a
    function of the slot's number and of `cold`; where these are fixed by hpcore's own rules, they
    are by any.
    """
    return gicc_flags(stays=slot.cold)


@frozen(slots=False)
class Shared:
    """What the slots share. Small on purpose: it is where they meet."""

    phase: Phase = Phase.DEFINED
    paused: bool = False
    """The machine's time stands still: by the user's word, or since the machine is off."""
    migrating: bool = False
    """The whole state is being carried away: to another process, or into a file."""
    gic_inits: int = 0
    """How often the GIC was initialised; counted to 2, which is once too often."""
    ged: bool = False
    """The GED's line is raised."""
    scanning: bool = False
    """The guest is reading the event bits."""
    step: MachineStep | None = None
    """The effect on the machine that is under way."""

    @property
    def guest_runs(self) -> bool:
        """Whether a guest can be there to call us: also before START is known to be done."""
        return self.phase is Phase.RUNNING or self.step in (
            MachineStep.START,
            MachineStep.RESTART,
        )

    @property
    def booting(self) -> bool:
        """Whether vCPU 0 has yet to enter the kernel for the first time."""
        return self.phase in (Phase.DEFINED, Phase.CREATED, Phase.READY)

    @property
    def guest_gone(self) -> bool:
        """Whether a reset, done or to come, is between the guest that was and the next one."""
        return self.phase in (Phase.RESETTING, Phase.OFF)

    @property
    def waits_for_user(self) -> bool:
        """Whether nothing goes on before the user's next word: before the boot, and in a pause."""
        if self.phase is Phase.DEFINED:
            return self.step is None
        return self.paused and self.phase is not Phase.OFF

    @property
    def ending(self) -> bool:
        """Whether the user is ending the machine, and the accelerator has yet to leave it."""
        return self.step is MachineStep.POWER_DOWN

    @property
    def ended(self) -> bool:
        """Ended or failed: nothing happens any more."""
        return self.phase in (Phase.ENDED, Phase.FAILED)

    @property
    def halted(self) -> bool:
        """Ended, or off with nothing under way: nothing happens unless a user starts it anew."""
        return self.ended or (self.phase is Phase.OFF and self.step is None)


@frozen
class State:
    """A machine at one point of its log: nothing but the fold of the events before."""

    config: MachineConfig = field(repr=False)
    shared: Shared
    slots: tuple[Slot, ...]

    def with_slot(self, index: int, slot: Slot) -> State:
        """This state with one slot replaced."""
        if slot is self.slots[index]:
            return self
        slots = (*self.slots[:index], slot, *self.slots[index + 1 :])
        return State(self.config, self.shared, slots)

    @property
    def enabled(self) -> tuple[int, ...]:
        """The slots whose `_STA` says enabled."""
        return tuple(i for i, s in enumerate(self.slots) if s.enabled)


def initial(config: MachineConfig) -> State:
    """The machine before anything has happened."""
    slots = tuple(
        Slot(cold=config.cold_booted(i), id=f"cpu{i}" if config.cold_booted(i) else None)
        for i in range(config.possible)
    )
    return State(config, Shared(), slots)
