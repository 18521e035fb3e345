"""How each step of a scenario begins: the stimulus that it gives, and what it then waits for.

As `hpcore.scenario.play` plays it; where that is asynchronous and asks a live machine, this is
a value and asks a state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hpcore.guest.played.hostile import Call
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.effects import MachineStep
from hpcore.model.plain import plain_props
from hpcore.model.states import Owed, State
from hpcore.run.courses import (
    End,
    MachineCourse,
    OnTheMachine,
    PlugCourse,
    UnplugCourse,
    course_of,
)
from hpcore.run.errors import RunError
from hpcore.run.rest import takes_commands
from hpcore.run.scale_plan import Change, not_to_be_had
from hpcore.run.view import view_of
from hpcore.scenario import values as sc
from hpcore.scenario.judged import differences
from hpcore.sequence.guests import denied
from hpcore.sequence.waits import (
    HaltWait,
    MachineWait,
    PlugWait,
    PowerWait,
    ScaleWait,
    Situation,
    UnplugWait,
    Wait,
)

Then = Wait | End
"""What a step comes to once it is begun: it waits, or has ended."""


class Begin(NamedTuple):
    """A step that can be begun: what it gives the machine, if anything, and what follows."""

    stimulus: st.Stimulus | None
    then: Callable[[tuple[ev.Event, ...], State], Then]


class Polled(NamedTuple):
    """A step that looks at the machine until it is as wanted; `why` it is not, or None."""

    why: str | None


def begin(line: sc.Line, now: Situation, *, waits: bool) -> Begin | Polled | None:
    """How `line` begins in this situation; None where it has to wait for that."""
    if isinstance(line.step, sc.ExpectStep | sc.SettleStep):
        return Polled(_unmet(line.step, now))
    if now.state.shared.halted and not isinstance(line.step, _WITHOUT_A_GUEST):
        return _fails(f"the machine is {now.state.shared.phase}")
    try:
        return BEGINS[type(line.step)](line.step, now, waits)
    except RunError as error:
        return _fails(str(error))


def scale_on(wait: ScaleWait, change: Change, state: State) -> Begin:
    """The next command of a `scale`."""
    command: st.DeviceAdd | st.DeviceDel
    if change.plugs:
        props = state.config.topology.props(change.slot)
        command = st.DeviceAdd(change.id, plain_props(props.items()))
    else:
        command = st.DeviceDel(change.id)

    def then(events: tuple[ev.Event, ...], after: State) -> Then:
        told = wait
        if (why := refusal(events)) is not None:
            return ScaleWait(wait.to, wait.waits, wait.courses, f"{change} failed: {why}")
        for event in events:
            told = told.after(event)
        course = course_of(command, events, after.shared)
        assert isinstance(course, PlugCourse | UnplugCourse)
        return ScaleWait(wait.to, wait.waits, (*told.courses, (change, course)))

    return Begin(command, then)


def refusal(events: tuple[ev.Event, ...]) -> str | None:
    """Why a command was refused, if it was."""
    return next((e.message for e in events if isinstance(e, ev.Refused)), None)


# ------------------------------------------------------------------- each of them


def _plug(step: sc.PlugStep, now: Situation, waits: bool) -> Begin:
    return _command(st.DeviceAdd(step.id, plain_props(step.props.items()), step.driver), waits)


def _unplug(step: sc.UnplugStep, now: Situation, waits: bool) -> Begin:
    return _command(st.DeviceDel(step.id, step.force), waits)


def _command(command: st.DeviceAdd | st.DeviceDel, waits: bool) -> Begin:
    def then(events: tuple[ev.Event, ...], after: State) -> Then:
        if (why := refusal(events)) is not None:
            return End(why)
        course = course_of(command, events, after.shared)
        if not waits:
            return End()
        if isinstance(course, PlugCourse):
            return PlugWait(course)
        assert isinstance(course, UnplugCourse)
        return UnplugWait(course)

    return Begin(command, then)


def _machine(
    make: Callable[[Any], OnTheMachine], boots: bool = False
) -> Callable[[sc.ScenarioStep, Situation, bool], Begin | None]:
    def begins(step: sc.ScenarioStep, now: Situation, waits: bool) -> Begin | None:
        command = make(step)
        if not takes_commands(now.state):
            return None

        def then(events: tuple[ev.Event, ...], after: State) -> Then:
            if (why := refusal(events)) is not None:
                return End(why)
            course = course_of(command, events, after.shared)
            assert isinstance(course, MachineCourse)
            return MachineWait(course, boots) if waits else End()

        return Begin(command, then)

    return begins


def _power(on: bool) -> Callable[[sc.OnlineStep | sc.OfflineStep, Situation, bool], Begin | None]:
    def begins(
        step: sc.OnlineStep | sc.OfflineStep, now: Situation, waits: bool
    ) -> Begin | None:
        cpu = view_of(now.state, step.cpu).index
        if not _shell_answers(now) or now.kernel.at:  # device_hotplug_lock is held
            return None
        call = now.guest.power(now.state, now.kernel, cpu, on=on)
        if isinstance(call, str):
            return _fails(call)

        def then(events: tuple[ev.Event, ...], _after: State) -> Then:
            for event in events:
                if isinstance(event, ev.CpuOnDenied):
                    return End(denied(cpu, event.status))
            return PowerWait(cpu, on) if waits else End()

        return Begin(call, then)

    return begins


def _call(step: sc.CallStep, now: Situation, _waits: bool) -> Begin | None:
    if now.state.shared.paused:
        return _fails("the machine is paused, and its guest with it")
    match Call(step.call), step.arguments:
        case Call.OST, (cpu, source, status):
            return _does(st.OstReported(cpu, source, status))
        case Call.EJECT, (cpu,):
            return _does(st.EjectCalled(cpu))
        case Call.CPU_ON, (caller, cpu):
            return _does(st.CpuOnCalled(cpu, caller))
        case Call.CPU_OFF, (cpu,):
            return _does(st.CpuOffSeen(cpu))
    return _does(None)  # a register that is read; what is written is refused beforehand


def _reboot(_step: sc.ScenarioStep, now: Situation, waits: bool) -> Begin | None:
    if not _shell_answers(now):
        return None
    restarts = MachineWait(MachineCourse(MachineStep.RESTART), boots=True)
    return Begin(st.ResetSeen(), lambda _events, _after: restarts if waits else End())


def _power_off(_step: sc.ScenarioStep, now: Situation, _waits: bool) -> Begin | None:
    if not _shell_answers(now):
        return None
    return Begin(st.PowerOffSeen(), lambda _events, _after: HaltWait())


def _shell(_step: sc.ScenarioStep, now: Situation, _waits: bool) -> Begin | None:
    return _does(None) if _shell_answers(now) else None


def _scale(step: sc.ScaleStep, now: Situation, waits: bool) -> Begin:
    if (why := not_to_be_had(now.state, step.to)) is not None:
        return _fails(why)
    return Begin(None, lambda _events, _after: ScaleWait(step.to, waits))


def _shell_answers(now: Situation) -> bool:
    shared = now.state.shared
    return shared.guest_runs and not shared.paused and now.kernel.booting is None


def _does(stimulus: st.Stimulus | None) -> Begin:
    return Begin(stimulus, lambda _events, _after: End())


def _fails(why: str) -> Begin:
    return Begin(None, lambda _events, _after: End(why))


def _unmet(step: sc.ExpectStep | sc.SettleStep, now: Situation) -> str | None:
    if isinstance(step, sc.SettleStep):
        return None if at_rest(now) else "the machine did not come to rest"
    masks = None
    if step.masks:
        if not _shell_answers(now) and not now.state.shared.paused:
            return "the guest has no shell now that could be asked"
        masks = now.guest.masks(now.state, now.kernel)
    try:
        return "; ".join(differences(step, now.state, masks)) or None
    except RunError as error:
        return str(error)


def at_rest(now: Situation) -> bool:
    """Whether nothing is owed nor under way, as `hpcore.run.rest.at_rest` asks a live machine."""
    shared, slots = now.state.shared, now.state.slots
    if shared.paused:
        return shared.step is None
    if shared.step is not None or any(slot.step for slot in slots):
        return False
    owed = any(slot.command is not Owed.NONE or slot.unconfirmed for slot in slots)
    if owed and now.guest.prompt:
        return False
    if not shared.guest_runs:
        return True
    return now.kernel.idle and not shared.ged and not (shared.scanning and now.guest.prompt)


_WITHOUT_A_GUEST = (
    sc.BootStep, sc.PlugStep, sc.UnplugStep, sc.ResetStep, sc.PauseStep, sc.ResumeStep,
    sc.MigrateStep, sc.SaveStep, sc.WaitStep,
)  # fmt: skip
BEGINS: dict[type, Callable[..., Begin | None]] = {
    sc.BootStep: _machine(lambda _step: st.Boot(), boots=True),
    sc.PlugStep: _plug,
    sc.UnplugStep: _unplug,
    sc.ScaleStep: _scale,
    sc.OnlineStep: _power(True),
    sc.OfflineStep: _power(False),
    sc.ShellStep: _shell,
    sc.ResetStep: _machine(lambda _step: st.Reset(), boots=True),
    sc.RebootStep: _reboot,
    sc.RebootedStep: _reboot,  # the guest's own reset comes here
    sc.PauseStep: _machine(lambda _step: st.Pause()),
    sc.ResumeStep: _machine(lambda _step: st.Resume()),
    sc.PowerOffStep: _power_off,
    sc.MigrateStep: _machine(lambda _step: st.Migrate()),
    sc.SaveStep: _machine(lambda step: st.Save(step.file)),
    sc.CallStep: _call,
    sc.WaitStep: lambda _step, _now, _waits: _does(None),
}
