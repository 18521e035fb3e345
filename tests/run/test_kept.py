"""Leaving a machine and taking it up again, on paper: what is logged, begun again, refused."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from hpcore.log import Header, LogWriter, Sync, read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import (
    Effect,
    MachineStep,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.evolve import evolve
from hpcore.model.machines import Phase
from hpcore.model.states import State, initial
from hpcore.model.under_way import under_way
from hpcore.run import attach
from hpcore.run.accelerator import (
    AcceleratorError,
    Capabilities,
    GuestImages,
    GuestScript,
    Kept,
    MachineGone,
    Report,
    TakenUp,
)
from hpcore.run.attach import Attached, MachineEnded, attach_machine
from hpcore.run.discovery import Found, keeper
from hpcore.run.kept import NotKept, home, open_kept
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine
from hpcore.triage.replay import replay
from tests.support.paper import Behaviour, PaperAccelerator, PaperSession

CONFIG = MachineConfig.of(cpus=1, maxcpus=3)


class KeptPaper(PaperSession):
    """A machine on paper that stays when it is left; `heard` counts what it has said."""

    def __init__(self, behaviour: Behaviour, place: Path, report: Report) -> None:
        super().__init__(behaviour, CONFIG.possible, self._tell)
        self.place, self.hears, self.heard = place, report, 0
        self.missed: list[st.Stimulus] = []
        self.left = self.taken = False
        self.in_the_log = 0
        self.printed_before = b""

    def _tell(self, stimulus: st.Stimulus) -> None:
        if self.left:
            self.missed.append(stimulus)
        else:
            self.heard += 1
            self.hears(stimulus)

    async def execute(self, effect: Effect) -> int | None:
        try:
            return await super().execute(effect)
        finally:
            self.heard += 1

    def logged(self, heard: int) -> None:
        assert heard <= self.heard
        self.in_the_log = heard

    async def take_up(self) -> None:
        self.taken = True
        for stimulus in self.missed:
            self._tell(stimulus)

    async def taken_up(self) -> TakenUp:
        return TakenUp(events=len(self.missed))

    async def leave(self) -> None:
        self.left = True


class KeptPaperAccelerator(PaperAccelerator):
    """Keeps one machine."""

    machine: KeptPaper
    gone = False

    def __init__(self, place: Path) -> None:
        super().__init__(Behaviour())
        self.place = place

    async def keep(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> KeptPaper:
        self.machine = KeptPaper(self.behaviour, self.place, report)
        return self.machine

    async def attach(self, kept: Kept, report: Report) -> KeptPaper:
        if self.gone:
            raise MachineGone("it is gone")
        before, self.machine = self.machine, KeptPaper(self.behaviour, self.place, report)
        self.machine.missed, self.machine.heard = before.missed, kept.heard
        self.machine._gate.stands(kept.state)
        self.machine._wired = before._wired
        return self.machine

    def probe(self) -> Capabilities:
        return attrs.evolve(super().probe(), no_keep=None)

    @property
    def found(self) -> Found:
        return Found("paper", "tests", self, self.probe())


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptPaperAccelerator:
    place = tmp_path / "place"
    place.mkdir()
    accelerator = KeptPaperAccelerator(place)
    monkeypatch.setattr(attach, "look_up", lambda _name: accelerator.found)
    return accelerator


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


@asynccontextmanager
async def opened(paper: KeptPaperAccelerator, log: Path) -> AsyncIterator[LiveMachine]:
    async with open_machine(paper.found, CONFIG, log=log, sync=Sync.OS, keep=True) as machine:
        yield machine


def left(paper: KeptPaperAccelerator, log: Path) -> None:
    """A machine that was booted, given a vCPU, and left."""

    async def run() -> None:
        async with opened(paper, log) as machine:
            await machine.boot()
            await machine.plug("core1", core_id=1)

    asyncio.run(run())


async def attached(log: Path) -> Attached:
    """What was found; the machine is left again at once."""
    async with attach_machine(log) as found:
        return found


def heard(log: Path) -> list[int]:
    """The `heard` of each decision."""
    with read(log)[1] as records:
        return [r.heard for r in records if r.batch is None and r.heard is not None]


def test_every_decision_says_how_far_the_machine_was_heard_and_the_next_hpcore_is_told(
    paper: KeptPaperAccelerator, log: Path
) -> None:
    left(paper, log)
    assert paper.machine.left
    assert not paper.machine.closed
    said = heard(log)
    assert said == sorted(said)
    assert len(set(said)) > 10
    assert paper.machine.in_the_log == said[-1]
    before = open_kept(log)
    before.writer.close()
    assert before.kept.heard == said[-1]
    assert before.kept.place == paper.place
    asyncio.run(attached(log))
    assert replay(log).ok


def test_what_was_missed_is_taken_in_and_the_log_goes_on(
    paper: KeptPaperAccelerator, log: Path
) -> None:
    left(paper, log)
    events = replay(log).events
    paper.machine._tell(st.CpuOnCalled(1, 0, verdict=True))
    found = asyncio.run(attached(log))
    assert found.taken_up.events == 1
    assert found.machine.state.slots[1].powered
    texts = [r.event.text for r in read(log)[1] if isinstance(r.event, ev.Noted)]
    assert texts[0].startswith("left")
    assert texts[1].startswith("attached")
    assert "taken up: 1 event and 0 answers were missed, 0 requests sent again" in texts
    assert replay(log).ok
    assert found.machine.last_seq == replay(log).events > events


def test_what_was_under_way_is_begun_again_before_the_machine_goes_on(
    paper: KeptPaperAccelerator, log: Path
) -> None:
    paper.behaviour.hangs.add((Step.BIND, 2))

    async def run() -> None:
        async with opened(paper, log) as machine:
            await machine.boot()
            await machine.begin(st.DeviceAdd("core2", (("core-id", 2),)))
            await machine.until(lambda s: s.slots[2].step is Step.BIND, "the step that hangs")

    asyncio.run(run())
    assert replay(log).in_flight == ["bind of vCPU 2"]
    paper.behaviour.hangs.clear()

    async def again() -> None:
        async with attach_machine(log) as found:
            await found.machine.until(lambda s: not s.slots[2].busy, "the plug's end")
            assert found.machine.state.slots[2].enabled

    asyncio.run(again())
    assert paper.machine.executed[0] == RunStep(Step.BIND, 2)
    assert replay(log).ok


def test_a_machine_is_ended_when_it_is_to_be_or_is_off_or_its_hpcore_never_made_one(
    paper: KeptPaperAccelerator, log: Path, tmp_path: Path
) -> None:
    left(paper, log)

    async def end() -> None:
        async with attach_machine(log) as found:
            assert found.machine.is_kept
            found.machine.end_when_left()
            assert not found.machine.is_kept

    asyncio.run(end())
    assert paper.machine.closed
    assert replay(log).state.shared.phase is Phase.ENDED

    async def off() -> None:
        async with opened(paper, tmp_path / "off.jsonl") as machine:
            await machine.boot()
            paper.machine.powers_itself_off()
            await machine.ended()

    asyncio.run(off())
    assert paper.machine.closed

    async def never() -> None:
        async with opened(paper, tmp_path / "never.jsonl"):
            pass

    asyncio.run(never())
    assert paper.machine.closed


def test_a_machine_that_is_gone_ends_its_log(paper: KeptPaperAccelerator, log: Path) -> None:
    left(paper, log)
    paper.gone = True
    with pytest.raises(MachineEnded, match=r"the machine is gone: it is gone\. The log says"):
        asyncio.run(attached(log))
    verdict = replay(log)
    assert verdict.ok
    assert verdict.state.shared.phase is Phase.FAILED
    with pytest.raises(NotKept, match="its machine has ended"):
        asyncio.run(attached(log))


def test_a_machine_that_was_being_ended_has_ended_as_it_was_told(
    paper: KeptPaperAccelerator, log: Path
) -> None:
    left(paper, log)
    with LogWriter.resume(log) as writer:
        step = ev.MachineStepBegun(MachineStep.POWER_DOWN)
        writer.append([step], writer.last_t, st.PowerDown())
    paper.gone = True
    with pytest.raises(MachineEnded, match="has ended, as it was told to"):
        asyncio.run(attached(log))
    assert replay(log).state.shared.phase is Phase.ENDED


def test_only_the_log_itself_is_attached_to_and_by_one_at_a_time(
    paper: KeptPaperAccelerator, log: Path, tmp_path: Path
) -> None:
    left(paper, log)
    copy = Path(shutil.copy(log, tmp_path / "copy.jsonl"))
    with pytest.raises(NotKept, match=f"is a copy.*is {log}"):
        open_kept(copy)
    with LogWriter.resume(log), pytest.raises(NotKept, match="another hpcore has this machine"):
        open_kept(log)
    moved = log.rename(tmp_path / "moved.jsonl")
    open_kept(moved).writer.close()


def test_a_log_without_a_kept_machine_is_refused_with_the_reason(log: Path) -> None:
    LogWriter.create(log, Header(CONFIG, "tcg")).close()
    with pytest.raises(NotKept, match="was not to outlive hpcore, and is gone"):
        open_kept(log)
    away = Header(CONFIG, "tcg", kept="another-host:/nowhere")
    LogWriter.create(log, away, overwrite=True).close()
    with pytest.raises(NotKept, match="its machine lives on the host another-host"):
        open_kept(log)
    header = Header(CONFIG, "tcg", kept=home(Path("/nowhere")))
    LogWriter.create(log, header, overwrite=True).close()
    with pytest.raises(NotKept, match="before it had started the machine"):
        open_kept(log)
    with LogWriter.create(log, header, overwrite=True) as writer:
        writer.append([ev.StepDone(1, Step.BIND), ev.StepDone(1, Step.BIND)], 0)
    with pytest.raises(NotKept, match="event 1 breaks"):
        open_kept(log)


def test_an_accelerator_says_why_it_keeps_no_machine() -> None:
    accelerator = PaperAccelerator()
    with pytest.raises(AcceleratorError, match="'paper' outlives hpcore: its machines end with"):
        keeper(Found("paper", "tests", accelerator, accelerator.probe()))


def fold(*events: ev.Event) -> State:
    state = initial(CONFIG)
    for event in events:
        state = evolve(state, event)
    return state


def built(slot: int) -> tuple[ev.Event, ...]:
    return tuple(
        event for step in (Step.REALIZE, Step.BIND, Step.WIRE, Step.ENABLE)
        for event in (ev.StepBegun(slot, step), ev.StepDone(slot, step))
    )  # fmt: skip


def test_under_way_is_what_was_begun_and_has_no_outcome_and_what_nobody_answers() -> None:
    assert under_way(initial(CONFIG)) == ()
    created = ev.MachineStepBegun(MachineStep.CREATE_VCPUS)
    assert under_way(fold(created)) == (RunMachineStep(MachineStep.CREATE_VCPUS),)
    running = (
        created, ev.MachineStepDone(MachineStep.CREATE_VCPUS),
        ev.MachineStepBegun(MachineStep.INIT_GIC), ev.MachineStepDone(MachineStep.INIT_GIC),
        ev.ColdBootBegun(0), *built(0), ev.ColdBootDone(0),
        ev.MachineStepBegun(MachineStep.START, (0,)), ev.MachineStepDone(MachineStep.START),
    )  # fmt: skip
    plug = ev.PlugAccepted(1, "a")
    realizes = fold(*running, plug, ev.StepBegun(1, Step.REALIZE))
    assert under_way(realizes) == (RunStep(Step.REALIZE, 1),)
    asked = fold(*running, plug, *built(1), ev.StepBegun(1, Step.NOTIFY_INSERT))
    assert under_way(asked) == (RunStep(Step.NOTIFY_INSERT, 1), RaiseGed())
    plugged = fold(*running, plug, *built(1))
    assert under_way(plugged) == (Reassert(1),)
    assert under_way(evolve(plugged, ev.CpuOnGranted(1, 0, delegated=True))) == ()
