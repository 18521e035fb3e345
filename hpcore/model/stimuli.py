"""What reaches the core from outside: commands, the guest's calls, outcomes, deadlines.

A stimulus may be anything, at any time, from a hostile guest or a confused
accelerator; `decide` answers each with events, a refusal among them.
"""

from __future__ import annotations

from attrs import field, frozen

from hpcore.model.effects import MachineStep, Step
from hpcore.model.naming import snake_case

PropValue = int | str | bool | None
"""What a user may give for a property; only an integer ever names a vCPU."""

Props = tuple[tuple[str, PropValue], ...]

# ------------------------------------------------------------------ commands


@frozen
class Boot:
    """Create the machine and start it: cold-booted vCPUs realized, vCPU 0 running."""


@frozen
class DeviceAdd:
    """QMP `device_add`: plug the vCPU that `props` name, under the user's `id`."""

    id: str
    props: Props = ()
    driver: str | None = None


@frozen
class DeviceDel:
    """QMP `device_del`: ask the guest to give the vCPU `id` back.

    With `force` the guest is not asked: the vCPU is powered off and taken away.
    """

    id: str
    force: bool = False


@frozen
class Reset:
    """QMP `system_reset`."""


@frozen
class Pause:
    """QMP `stop`."""


@frozen
class Resume:
    """QMP `cont`."""


@frozen
class PowerDown:
    """End the machine from outside."""


@frozen
class Migrate:
    """Carry the machine elsewhere."""


@frozen
class Save:
    """Write the machine's whole state to `file`; it goes on here afterwards."""

    file: str = ""


# --------------------------------------------------------------- guest's calls


@frozen
class ScanStarted:
    """The guest has taken the GED interrupt: the line is lowered, the event bits are read."""


@frozen
class ScanEnded:
    """The guest has finished reading the event bits."""


@frozen
class InsertAcked:
    """The guest has cleared the insert bit of `slot`: it will act on the device check."""

    slot: int


@frozen
class RemoveAcked:
    """The guest has cleared the remove bit of `slot`: it will act on the eject request."""

    slot: int


@frozen
class OstReported:
    """The guest evaluated `_OST` (ACPI 6.5, 6.3.5) with this source event and status.

    Any two numbers; those that have a name may be given by it (`hpcore.model.acpi`).
    """

    slot: int
    source: int = field(converter=int)
    status: int = field(converter=int)


@frozen
class EjectCalled:
    """The guest evaluated `_EJ0`."""

    slot: int


@frozen
class CpuOnCalled:
    """vCPU `caller` called PSCI CPU_ON for `slot`.

    `verdict` is None where the core decides. An accelerator that must answer on the spot
    (the EL3 monitor) applies the policy it was given by ENABLE and DISABLE, and reports
    True for granted or False for DENIED; the core holds that against its own.
    """

    slot: int
    caller: int = 0
    entry: int = 0
    context: int = 0
    verdict: bool | None = None


@frozen
class CpuOffSeen:
    """`slot` is off, by the accelerator's own word, after the guest's PSCI CPU_OFF."""

    slot: int


@frozen
class ResetSeen:
    """The machine has been reset, by the guest or by MachineStep.RESET; no vCPU runs."""


@frozen
class PowerOffSeen:
    """The guest powered the machine off."""


# ----------------------------------------------------------- accelerator, clock


@frozen
class Done:
    """`step` on `slot` is done.

    `affinity` is what GICR_TYPER says, for Step.BIND; None for every other step.
    """

    step: Step
    slot: int
    affinity: int | None = None


@frozen
class Failed:
    """`step` on `slot` failed and left nothing behind."""

    step: Step
    slot: int
    error: str = field(default="failed")


@frozen
class MachineDone:
    """A machine step is done."""

    step: MachineStep


@frozen
class MachineFailed:
    """A machine step failed."""

    step: MachineStep
    error: str = field(default="failed")


@frozen
class Restored:
    """The machine has been taken up again from `file`, as it was while that was written.

    It stands still until it is resumed.
    """

    file: str = ""


@frozen
class Lost:
    """The accelerator is gone: its process died, or it stopped answering."""

    error: str


@frozen
class GuestSilent:
    """The guest has not ended the eject request of `slot` within its deadline."""

    slot: int


@frozen
class Note:
    """Words for the log that change no state: a scenario's step, what a guest printed."""

    text: str


Command = Boot | DeviceAdd | DeviceDel | Reset | Pause | Resume | PowerDown | Migrate | Save
GuestCall = (
    ScanStarted | ScanEnded | InsertAcked | RemoveAcked | OstReported | EjectCalled
    | CpuOnCalled | CpuOffSeen | ResetSeen | PowerOffSeen
)  # fmt: skip
Outcome = Done | Failed | MachineDone | MachineFailed | Restored | Lost | GuestSilent
Stimulus = Command | GuestCall | Outcome | Note

STIMULI: dict[str, type[Stimulus]] = {snake_case(cls): cls for cls in Stimulus.__args__}
"""Every stimulus, by the name that it has in a log."""
