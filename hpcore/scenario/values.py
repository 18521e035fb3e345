"""A scenario: a machine, a guest, and the steps to take with them. Plain values.

`read` reads one from YAML, `play` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from hpcore.guest.played import Answers
from hpcore.model.config import MachineConfig

Cpu = int | str
"""A vCPU by its index, or by the id that it was plugged under."""

MASKS = ("possible", "present", "enabled", "online", "offline")
"""The guest's own view, from /sys/devices/system/cpu."""


@frozen
class BootStep:
    """Create the machine, start it, and wait for the guest's shell."""


@frozen
class PlugStep:
    """`device_add`: wait until the guest has been notified, and has registered the vCPU."""

    id: str
    props: Mapping[str, object] = field(factory=dict)
    driver: str | None = None


@frozen
class UnplugStep:
    """`device_del`: wait until the vCPU is parked. With `force` the guest is not asked."""

    id: str
    force: bool = False


@frozen
class ScaleStep:
    """Have `to` vCPUs enabled. With `undo`, a failure takes back what was done by then."""

    to: int
    undo: bool = False


@frozen
class OnlineStep:
    """Have the guest bring a vCPU up."""

    cpu: Cpu


@frozen
class OfflineStep:
    """Have the guest take a vCPU down."""

    cpu: Cpu


@frozen
class ShellStep:
    """Run a line in the guest's shell; it must exit 0, and print `prints` if that is given."""

    line: str
    prints: str | None = None


@frozen
class ExpectStep:
    """What must be so, now or within a few seconds: the guest's masks, the slots' states."""

    masks: Mapping[str, frozenset[int]] = field(factory=dict)
    slots: Mapping[Cpu, str] = field(factory=dict)


@frozen
class ResetStep:
    """`system_reset`, and wait for the guest's shell."""


@frozen
class RebootStep:
    """Have the guest reboot itself, and wait for its shell."""


@frozen
class RebootedStep:
    """Wait until the guest has reset the machine by itself, and for its shell."""


@frozen
class PauseStep:
    """Stop the machine's time."""


@frozen
class ResumeStep:
    """Let it go on."""


@frozen
class PowerOffStep:
    """Have the guest power the machine off."""


@frozen
class MigrateStep:
    """Carry the machine elsewhere."""


@frozen
class SaveStep:
    """Write the machine to a file, from which `hpcore restore` takes it up again."""

    file: str


@frozen
class CallStep:
    """Have a played guest make one call beside what its kernel does.

    `call` and `arguments` are those of a `hpcore.guest.played.hostile.Move`.
    """

    call: str
    arguments: tuple[int, ...]


@frozen
class SettleStep:
    """Wait until the machine has nothing under way, nor a played guest anything to do."""


@frozen
class WaitStep:
    """Let so much time pass, with nothing asked of the machine."""

    milliseconds: int


@frozen
class RepeatStep:
    """Take some steps several times."""

    times: int
    steps: tuple[Line, ...]


ScenarioStep = (
    BootStep | PlugStep | UnplugStep | ScaleStep | OnlineStep | OfflineStep | ShellStep
    | ExpectStep | ResetStep | RebootStep | RebootedStep | PauseStep | ResumeStep | PowerOffStep
    | MigrateStep | SaveStep | CallStep | SettleStep | WaitStep | RepeatStep
)  # fmt: skip

MAY_NOT_WAIT = (PlugStep, UnplugStep, ScaleStep, OnlineStep, OfflineStep, RebootStep)
"""The steps that can be done before what they begin has ended: a line's `waits`."""


@frozen
class Line:
    """A step, where it stands, how it reads, and whether it must fail.

    `fails` is a piece of the message that the step must fail with. Without `waits` a plug,
    an unplug, a scale, an online, an offline or a reboot is done once the command is
    accepted, or the guest has been told. `at` is the line of the file, where the step was
    read from one.
    """

    step: ScenarioStep
    number: int
    text: str
    fails: str | None = None
    waits: bool = True
    at: int | None = field(default=None, eq=False)


def steps_taken(lines: tuple[Line, ...]) -> int:
    """How many steps `lines` come to, with every repeat."""
    return sum(
        line.step.times * steps_taken(line.step.steps) if isinstance(line.step, RepeatStep) else 1
        for line in lines
    )


def waited(lines: tuple[Line, ...]) -> int:
    """How many milliseconds the `wait` steps of `lines` come to, with every repeat."""
    total = 0
    for line in lines:
        match line.step:
            case RepeatStep(times=times, steps=steps):
                total += times * waited(steps)
            case WaitStep(milliseconds=milliseconds):
                total += milliseconds
    return total


@frozen
class Scenario:
    """A machine, its guest's extra kernel arguments, and the steps.

    `kind` is the guest's: a name of `hpcore.guest.played`, where the guest is played, and
    `answers` what that one says to notifications, where its kernel would say something else.
    """

    name: str
    about: str
    machine: MachineConfig
    append: str
    steps: tuple[Line, ...]
    kind: str = "linux"
    answers: Answers = field(factory=dict)
