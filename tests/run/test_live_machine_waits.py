"""A live machine with a stand-in for its controller: for what it waits, how long, to what end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import attrs
import pytest

from hpcore.guest.shell import GuestGoneError
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase
from hpcore.model.states import State, initial
from hpcore.run import Controller, LiveMachine, Patience, RunError

NEW = initial(MachineConfig.of(cpus=2, maxcpus=4))
PATIENCE = Patience(machine=3.0, boot=5.0, end=7.0)
ENDED = attrs.evolve(NEW, shared=attrs.evolve(NEW.shared, phase=Phase.ENDED))
T = TypeVar("T")


def in_phase(phase: Phase) -> State:
    return attrs.evolve(NEW, shared=attrs.evolve(NEW.shared, phase=phase))


class StandIn:
    """Accepts every command with the events that it is given, and notes what is waited for."""

    def __init__(self, state: State, *events: ev.Event) -> None:
        self.state, self.patience = state, PATIENCE
        self.watchers: list[object] = []
        self.waited: list[tuple[str, float, Callable[[State], bool]]] = []
        self.given: list[st.Stimulus] = []
        self.over = asyncio.Event()
        self._events = events

    async def until(
        self, holds: Callable[[State], bool], seconds: float, waiting_for: str
    ) -> None:
        self.waited.append((waiting_for, seconds, holds))

    async def submit(
        self,
        command: st.Stimulus,
        accepted: Callable[[tuple[ev.Event, ...]], None] = lambda _events: None,
    ) -> tuple[ev.Event, ...]:
        self.given.append(command)
        accepted(self._events)
        return self._events

    def post(self, stimulus: st.Stimulus) -> None:
        self.given.append(stimulus)

    async def ended(self) -> None:
        await self.over.wait()

    def why_ended(self) -> str:
        return "it was told to end"


class Guest:
    """A guest that notes what it is asked for."""

    times_ready = 4

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def wait_ready(self, within: float, since: int | None = None) -> None:
        self.asked.append(("ready", within, since))

    async def power_off(self) -> None:
        self.asked.append(("power off",))


def machine(controller: StandIn, guest: Guest | None = None) -> LiveMachine:
    made = LiveMachine(cast(Controller, controller))
    made._guest.met = cast(Any, guest)
    return made


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


ON_THE_MACHINE = (st.Reset(), st.Pause(), st.Resume(), st.Migrate())


@pytest.mark.parametrize("command", ON_THE_MACHINE, ids=lambda c: type(c).__name__)
def test_a_command_on_the_machine_waits_for_the_end_of_a_reset_first(command: Any) -> None:
    controller = StandIn(in_phase(Phase.RESETTING))
    run(machine(controller).begin(command))
    ((waiting_for, seconds, holds),) = controller.waited
    assert (waiting_for, seconds) == ("the end of the reset", PATIENCE.machine)
    assert not holds(in_phase(Phase.RESETTING))
    assert holds(in_phase(Phase.RUNNING)) and holds(ENDED)
    assert controller.given == [command]


@pytest.mark.parametrize("command", ON_THE_MACHINE, ids=lambda c: type(c).__name__)
def test_a_command_on_the_machine_is_given_at_once_where_no_reset_is_under_way(
    command: Any,
) -> None:
    controller = StandIn(in_phase(Phase.RUNNING))
    run(machine(controller).begin(command))
    assert (controller.waited, controller.given) == ([], [command])


def test_a_plug_and_an_unplug_wait_for_no_reset() -> None:
    for command, event in (
        (st.DeviceAdd("a"), ev.PlugAccepted(2, "a")), (st.DeviceDel("a"), ev.UnplugAccepted(2, "a"))
    ):  # fmt: skip
        controller = StandIn(in_phase(Phase.RESETTING), event)
        run(machine(controller).begin(cast(Any, command)))
        assert controller.waited == []


@pytest.mark.parametrize(
    ("command", "events", "seconds"),
    [
        (st.Boot(), (), PATIENCE.boot),
        (st.Pause(), (), PATIENCE.end),
        (st.DeviceAdd("a"), (ev.PlugAccepted(2, "a"),), PATIENCE.end),
        (st.DeviceDel("a"), (ev.UnplugRepeated(2, "a"),), PATIENCE.end),
    ],
)
def test_a_boot_is_waited_for_as_long_as_a_boot_may_take_and_all_else_as_an_end(
    command: Any, events: tuple[ev.Event, ...], seconds: float
) -> None:
    begun: Any = run(machine(StandIn(NEW, *events)).begin(command))
    assert begun._asked.seconds == seconds


def test_the_end_of_the_machine_is_waited_for_as_long_as_any_end() -> None:
    controller, guest = StandIn(in_phase(Phase.RUNNING)), Guest()
    live = machine(controller, guest)
    run(live.power_off())
    assert (guest.asked, controller.given) == ([("power off",)], [])
    run(live.power_down())
    assert controller.given == [st.PowerDown()]
    for waiting_for, seconds, holds in controller.waited:
        assert (waiting_for, seconds) == ("the machine's end", PATIENCE.end)
        assert holds(ENDED) and not holds(NEW)
    assert len(controller.waited) == 2


def test_who_names_no_seconds_waits_as_long_as_for_an_end() -> None:
    controller = StandIn(NEW)
    live = machine(controller)
    run(live.until(lambda _s: True, "this"))
    run(live.until(lambda _s: True, "that", 0.5))
    run(live.until(lambda _s: True, "at once", 0))
    assert [(what, seconds) for what, seconds, _ in controller.waited] == [
        ("this", PATIENCE.end), ("that", 0.5), ("at once", 0),
    ]  # fmt: skip


def test_what_ends_soon_after_the_machine_has_ended_itself() -> None:
    """A guest's power off ends with the machine, and its shell a moment later."""

    async def main() -> str:
        controller = StandIn(ENDED)
        controller.over.set()

        async def work() -> str:
            for _ in range(20):
                await asyncio.sleep(0)
            return "its own end"

        return await machine(controller).unless_ended(work())

    assert run(main()) == "its own end"


def test_what_never_ends_is_given_up_with_the_machines_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpcore.run.waiting.LAST_WORDS_SECONDS", 0.1)
    gone: list[str] = []

    async def main() -> None:
        controller = StandIn(ENDED)

        async def work() -> None:
            try:
                controller.over.set()
                await asyncio.Event().wait()
            finally:
                gone.append("cancelled")

        await machine(controller).unless_ended(work())

    with pytest.raises(RunError, match=r"^it was told to end$"):
        run(main())
    assert gone == ["cancelled"]


def test_what_raises_while_the_machine_goes_on_is_heard() -> None:
    async def main(error: Exception) -> None:
        async def work() -> None:
            raise error

        await machine(StandIn(NEW)).unless_ended(work())

    with pytest.raises(ValueError, match="its own"):
        run(main(ValueError("its own")))


def test_of_a_console_that_ended_the_machines_end_is_awaited() -> None:
    async def main() -> None:
        controller = StandIn(NEW)

        async def work() -> None:
            asyncio.get_running_loop().call_later(0.05, controller.over.set)
            raise GuestGoneError("the console ended")

        try:
            await machine(controller).unless_ended(work())
        finally:
            assert controller.over.is_set()

    with pytest.raises(GuestGoneError):
        run(main())


def test_a_note_is_posted_and_an_end_is_awaited_with_its_reason() -> None:
    async def main() -> str:
        controller = StandIn(NEW)
        live = machine(controller)
        live.note("a word")
        assert controller.given == [st.Note("a word")]
        controller.over.set()
        return await live.ended()

    assert run(main()) == "it was told to end"
