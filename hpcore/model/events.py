"""What happened: the only thing that changes a state, and what a log is made of.

An event is named in the log by its class in snake_case. `EVENTS` maps names to classes.
"""

from __future__ import annotations

from attrs import frozen

from hpcore.model.effects import (
    AnswerCpuOn,
    Effect,
    MachineStep,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.naming import snake_case


@frozen
class Refused:
    """A stimulus was not followed. `guard` names the guard, `message` is for people."""

    stimulus: str
    guard: str
    message: str
    slot: int | None = None


@frozen
class Noted:
    """Words that change nothing: a scenario's step, what the guest printed."""

    text: str


# ---------------------------------------------------------------- the machine

GUEST, USER = "guest", "user"
"""Who powers a machine off."""



@frozen
class MachineStepBegun:
    """An effect on the whole machine is about to be executed."""

    step: MachineStep
    enabled: tuple[int, ...] = ()


@frozen
class MachineStepDone:
    """An effect on the whole machine is done."""

    step: MachineStep


@frozen
class MachineStepFailed:
    """An effect on the whole machine failed."""

    step: MachineStep
    error: str


@frozen
class MachineWasReset:
    """No vCPU runs; `enabled` are the slots that stay plugged."""

    enabled: tuple[int, ...]


@frozen
class MachinePoweredOff:
    """The machine is off, as asked by `by`: the guest, who may be started anew by a reset,
    or the user, who ends the machine."""

    by: str


@frozen
class Restored:
    """The machine goes on, from `file`, where a save of it had it stand still: it owes what it
    owed, has been told what it was told, and stands still until it is resumed."""

    file: str


@frozen
class MachineLost:
    """The accelerator is gone, or can't be trusted any more."""

    error: str


# ----------------------------------------------------------------- a slot's steps


@frozen
class StepBegun:
    """An effect on a slot is about to be executed."""

    slot: int
    step: Step


@frozen
class StepDone:
    """An effect on a slot is done. `affinity` is GICR_TYPER's word, for bind alone."""

    slot: int
    step: Step
    affinity: int | None = None


@frozen
class StepFailed:
    """An effect on a slot failed and left nothing behind."""

    slot: int
    step: Step
    error: str


# ------------------------------------------------------------------- commands


@frozen
class ColdBootBegun:
    """The vCPU that is there from the start is being realized."""

    slot: int


@frozen
class ColdBootDone:
    """It is enabled; the guest finds it at boot."""

    slot: int


@frozen
class PlugAccepted:
    """`device_add` was accepted."""

    slot: int
    id: str


@frozen
class PlugCompleted:
    """The vCPU is enabled and the guest has been notified."""

    slot: int
    id: str


@frozen
class PlugFailed:
    """`device_add` ends without a vCPU; what was done is being taken back."""

    slot: int
    id: str
    error: str


@frozen
class UnplugAccepted:
    """`device_del` was accepted. `forced`: the guest is not asked."""

    slot: int
    id: str
    forced: bool = False


@frozen
class UnplugRepeated:
    """`device_del` was given again while one is pending: the guest is asked anew.

    No command more is owed an end for it.
    """

    slot: int
    id: str


@frozen
class UnplugCompleted:
    """The vCPU is parked: QMP's DEVICE_DELETED."""

    slot: int
    id: str


@frozen
class UnplugFailed:
    """The vCPU stays: QMP's DEVICE_UNPLUG_GUEST_ERROR.

    `still_asked`: a request is before the guest still, and it may eject later.
    """

    slot: int
    id: str
    error: str
    still_asked: bool = False


@frozen
class TakenByForce:
    """The vCPU is being taken from the guest."""

    slot: int


# ------------------------------------------------------------- what the guest did


@frozen
class ScanBegun:
    """The guest took the GED's interrupt and reads the event bits."""


@frozen
class ScanFinished:
    """The guest has read the event bits."""


@frozen
class GedRaised:
    """The GED's line is raised again: a scan left event bits set."""


@frozen
class InsertCleared:
    """The guest cleared the insert bit: it acts on the device check."""

    slot: int


@frozen
class RemoveCleared:
    """The guest cleared the remove bit: it acts on the eject request."""

    slot: int


@frozen
class OstReceived:
    """The guest evaluated `_OST`."""

    slot: int
    source: int
    status: int


@frozen
class Registered:
    """The guest said that it knows the vCPU now. What is enabled at its boot, it finds itself."""

    slot: int


@frozen
class EjectAccepted:
    """The guest evaluated `_EJ0`, as it was asked to, with the vCPU off."""

    slot: int


@frozen
class EjectUnconfirmed:
    """The guest has not said by `_OST` how its `_EJ0` went; that is waited for no longer."""

    slot: int


@frozen
class EjectRefused:
    """The guest evaluated `_EJ0` and may not; the vCPU stays."""

    slot: int
    guard: str
    message: str


@frozen
class CpuOnGranted:
    """PSCI CPU_ON: `slot` is powered on. `delegated`: the accelerator has done so itself."""

    slot: int
    caller: int
    entry: int = 0
    context: int = 0
    delegated: bool = False


@frozen
class CpuOnDenied:
    """PSCI CPU_ON was refused with `status` (-3 DENIED, -4 ALREADY_ON)."""

    slot: int
    caller: int
    status: int
    delegated: bool = False


@frozen
class CpuWentOff:
    """PSCI CPU_OFF: `slot` is off, by the accelerator's word."""

    slot: int


Event = (
    Refused | Noted | MachineStepBegun | MachineStepDone | MachineStepFailed | MachineWasReset
    | MachinePoweredOff | Restored | MachineLost | StepBegun | StepDone | StepFailed
    | ColdBootBegun | ColdBootDone | PlugAccepted | PlugCompleted | PlugFailed | UnplugAccepted
    | UnplugRepeated | UnplugCompleted | UnplugFailed | TakenByForce | ScanBegun
    | ScanFinished | GedRaised | InsertCleared | RemoveCleared | OstReceived | Registered
    | EjectAccepted | EjectUnconfirmed | EjectRefused | CpuOnGranted | CpuOnDenied
    | CpuWentOff
)  # fmt: skip

EVENTS: dict[str, type[Event]] = {snake_case(cls): cls for cls in Event.__args__}
_NAMES = {cls: name for name, cls in EVENTS.items()}


def event_name(event: Event | type[Event]) -> str:
    """The name that an event, or its class, has in a log."""
    return _NAMES[event if isinstance(event, type) else type(event)]


def slot_of(event: Event) -> int | None:
    """The slot that an event is about, or None."""
    return getattr(event, "slot", None)


def effects_of(event: Event) -> tuple[Effect, ...]:
    """What an accelerator must do because of `event`.

    Derived, so that a log holds every effect that was ever asked for.
    """
    match event:
        case StepBegun(slot=slot, step=step):
            return (RunStep(step, slot),)
        case MachineStepBegun(step=machine_step, enabled=enabled):
            return (RunMachineStep(machine_step, enabled),)
        case CpuOnGranted(delegated=False):
            e = event
            return (AnswerCpuOn(e.slot, e.caller, True, 0, e.entry, e.context),)
        case CpuOnDenied(delegated=False):
            return (AnswerCpuOn(event.slot, event.caller, False, event.status),)
        case EjectRefused(slot=slot):
            return (Reassert(slot),)
        case GedRaised():
            return (RaiseGed(),)
    return ()
