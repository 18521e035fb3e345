"""Runs on an accelerator that plays its guest: every scenario, and hostile guests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hpcore.guest.played.hostile import MOST_MOVES, HostileKernel, make, moves
from hpcore.log import Sync, read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import AnswerCpuOn, MachineStep
from hpcore.model.states import initial
from hpcore.run.accelerator import AcceleratorError, GuestImages, GuestScript
from hpcore.run.controller import Controller
from hpcore.run.deadlines import Patience
from hpcore.run.discovery import Found
from hpcore.run.errors import CommandRefused
from hpcore.run.execute import execute_log
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine
from hpcore.scenario.play import Player
from hpcore.scenario.read import bundled, load, parse
from hpcore.scenario.runner import Job, run_job
from hpcore.scenario.yaml_values import ScenarioError
from hpcore.triage.replay import replay
from tests.support.command import records
from tests.support.logs import ListLog
from tests.support.paper import PaperAccelerator
from tests.support.played import PlayedAccelerator, PlayedSession, found, play

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)


ELSEWHERE = {"migrations"}
"""A machine of the tests' own has nowhere to go; tests/tcg/test_migration.py runs it."""


@pytest.mark.parametrize("name", sorted(set(bundled()) - ELSEWHERE))
def test_every_bundled_scenario_passes_on_a_played_guest(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = play(load(name), log)
    assert outcome.ok, [(r.line.text, r.error) for r in outcome.results if r.error]
    assert replay(log).ok
    header, rest = read(log)
    rest.close()
    assert header.versions["kernel"] == "linux (played)"
    assert header.modelled == found().capabilities.modelled


def test_the_command_line_of_scenario_and_run_reaches_the_guest(tmp_path: Path) -> None:
    text = "machine: {cpus: 3}\nguest: {append: quiet}\nsteps: [boot, {expect: {online: 0}}]\n"
    assert play(parse(text), tmp_path / "log", append="maxcpus=1").ok


# ------------------------------------------------------------------------- kinds


def test_a_kind_that_is_none_is_refused_with_its_line() -> None:
    with pytest.raises(ScenarioError, match=r":2: 'linus' is no kind of guest; did you mean"):
        parse("steps: [boot]\nguest: {kind: linus}\n")


@pytest.mark.parametrize(
    ("guest", "says"),
    [
        ("kind: hostile", r"of the kind 'hostile', which is played, and 'paper' boots .* kind out"),
        ("answers: {eject-request: [lost, 0x82]}",
         r"whose answers are chosen \(eject-request: lost, then 0x82\), .* guest: answers out"),
    ],
)  # fmt: skip
def test_a_guest_that_is_played_is_refused_where_a_real_one_runs(
    guest: str, says: str, tmp_path: Path
) -> None:
    paper = PaperAccelerator()
    scenario = parse(f"guest: {{{guest}}}\nsteps: [boot]\n", "mine")
    job = Job(
        scenario, Found("paper", "tests", paper, paper.probe()),
        GuestImages(Path("Image"), Path("initrd")), tmp_path / "log",
    )  # fmt: skip
    with pytest.raises(AcceleratorError, match=says):
        asyncio.run(run_job(job))
    assert not job.log.exists()


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ("{eject-requst: 1}", "s:1: 'eject-requst' is no key of answers; did you mean 'eject-requ"),
        ("{eject-request: busy}", "s:1: eject-request is answered with 'busy'; it must be a status "
                                  "of _OST, such as 0x82, or lost"),
        ("{eject-request: yes}", "eject-request is answered with 'yes'"),
        ("{device-check: true}", "device-check is answered with True"),
        ("{device-check: 0x100000000}", "device-check is answered with 4294967296; a status has"),
        ("{device-check: -1}", "device-check is answered with -1; a status has 32 bits"),
        ("{device-check: []}", "device-check has a list with no answer in it"),
        ("{device-check: [1, [2]]}", "device-check is answered with"),
        ("0x82", "answers must be a mapping"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_told_what_it_may_be(answers: str, says: str) -> None:
    with pytest.raises(ScenarioError) as told:
        parse(f"guest: {{answers: {answers}}}\nsteps: [boot]\n", "s")
    assert says in str(told.value)


CHOSEN = """
machine: {cpus: 1, maxcpus: 2}
guest: {answers: {eject-request: [0x82, 0x80]}}
steps:
  - boot
  - plug: 1
  - unplug: cpu1
    fails: "busy (0x82)"
  - unplug: cpu1
    fails: "ejection is disabled (0x80)"
  - unplug: cpu1
  - expect: {enabled: 0, slots: {1: parked}}
"""


def test_a_guest_answers_as_the_scenario_has_it_and_its_log_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = play(parse(CHOSEN), log)
    assert outcome.ok, [(r.line.text, r.error) for r in outcome.results if r.error]
    header, rest = read(log)
    rest.close()
    said = "linux (played; eject-request: 0x82, then 0x80)"
    assert header.versions["kernel"] == said


def test_a_guest_that_lost_a_request_is_asked_anew_as_the_docs_have_it(tmp_path: Path) -> None:
    pages = (Path(__file__).parents[2] / "docs/scenarios.md").read_text()
    text = next(block for block in pages.split("\n\n") if "eject-request: [lost" in block)
    outcome = play(parse(text), tmp_path / "log")
    assert outcome.ok, [(r.line.text, r.error) for r in outcome.results if r.error]
    answered = [e for r in records(tmp_path / "log") if isinstance(e := r.event, ev.OstReceived)]
    assert [e.status for e in answered if e.source == 3] == [0x82, 0x84, 0]


def test_a_silent_guest_keeps_its_vcpus_and_lives(tmp_path: Path) -> None:
    scenario = parse(
        "machine: {cpus: 1, maxcpus: 2}\nguest: {kind: silent}\n"
        "steps: [boot, {plug: 1}, {unplug: cpu1, waits: false}, {online: cpu1},"
        " {expect: {online: 0-1, slots: {cpu1: online}}}, {unplug: {id: cpu1, force: true}}]"
    )
    outcome = play(scenario, tmp_path / "log")
    assert outcome.ok, [(r.line.text, r.error) for r in outcome.results if r.error]
    events = [r.event for r in records(tmp_path / "log")]
    assert ev.RemoveCleared(1) in events
    assert not [e for e in events if isinstance(e, ev.OstReceived) and e.source == 3]


# -------------------------------------------------------------------------- wait


def test_a_wait_lets_time_pass_and_asks_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = play(parse("machine: {cpus: 2}\nsteps: [boot, settle, {wait: 300ms}]"), log)
    assert outcome.ok
    assert 0.3 <= outcome.results[-1].seconds < 5
    noted = [r for r in records(log) if isinstance(r.event, ev.Noted)]
    assert noted[-1].event == ev.Noted("step 3: wait 300ms")
    after = [r.event for r in records(log) if r.seq > noted[-1].seq]
    assert after == [ev.MachineStepBegun(MachineStep.POWER_DOWN),
                     ev.MachineStepDone(MachineStep.POWER_DOWN), ev.MachinePoweredOff("user")]


class DiesSoon(PlayedSession):
    """A machine that breaks a moment after its start."""

    def _start(self, enabled: tuple[int, ...]) -> None:
        super()._start(enabled)
        asyncio.get_running_loop().call_later(0.2, self.lose, "it broke")


def test_the_machines_end_ends_a_wait_at_once(tmp_path: Path) -> None:
    class Dying(PlayedAccelerator):
        make = DiesSoon

    job = Job(
        parse("machine: {cpus: 1}\nsteps: [boot, {wait: 30m}]"), found(Dying()), GuestScript(),
        tmp_path / "log",
    )  # fmt: skip
    outcome = asyncio.run(asyncio.wait_for(run_job(job), 30))
    assert (outcome.ok, outcome.results[-1].error) == (False, "it broke")


# --------------------------------------------------------------- the guest's reboot


def steps(tmp_path: Path, text: str, patience: Patience | None = None) -> list[str | None]:
    """Play the steps on a played Linux; how each went."""

    async def main() -> list[str | None]:
        async with open_machine(
            found(), CONFIG, GuestScript(), log=tmp_path / "log", patience=patience, sync=Sync.OS
        ) as machine:
            player = Player(machine)
            await player.play(parse(f"machine: {{cpus: 2, maxcpus: 4}}\nsteps: {text}").steps)
            return [result.error for result in player.results]

    return asyncio.run(asyncio.wait_for(main(), 60))


def test_a_reboot_of_the_guest_is_waited_for_until_it_has_booted_again(tmp_path: Path) -> None:
    went = steps(
        tmp_path,
        "[boot, {plug: 2}, {online: 2}, {reboot: , waits: false}, rebooted,"
        " {expect: {enabled: 0-2, online: 0-2}}, {offline: 2}]",
    )
    assert went == [None] * 7
    assert sum(isinstance(r.event, ev.MachineWasReset) for r in records(tmp_path / "log")) == 1


def test_a_reboot_that_came_before_the_step_is_not_waited_for_again(tmp_path: Path) -> None:
    went = steps(
        tmp_path,
        "[boot, {reboot: , waits: false}, {wait: 200ms}, {expect: {enabled: 0-1}}, rebooted,"
        " {reboot: , waits: false}, rebooted]",
    )
    assert went == [None] * 7


@pytest.mark.parametrize("known", ["boot", "reset", "reboot", "rebooted"])
def test_a_reset_that_a_step_knew_of_is_no_news(known: str, tmp_path: Path) -> None:
    before = {"boot": "", "rebooted": "{reboot: , waits: false}, rebooted,"}.get(known, f"{known},")
    went = steps(tmp_path, f"[boot, {before} rebooted]", Patience(end=0.3))
    assert went[:-1] == [None] * (len(went) - 1)
    assert went[-1] == "the guest's own reset did not come within 0.3 s"


def test_the_users_reset_is_not_the_guests(tmp_path: Path) -> None:
    async def main() -> str | None:
        async with open_machine(
            found(), CONFIG, GuestScript(), log=tmp_path / "log", patience=Patience(end=0.3)
        ) as machine:
            player = Player(machine)
            await player.play(parse("steps: [boot]").steps)
            await machine.reset()  # by another front than the scenario
            await player.play(parse("steps: [rebooted]").steps)
            return player.results[-1].error

    assert asyncio.run(main()) == "the guest's own reset did not come within 0.3 s"


# ----------------------------------------------------------------------- hostile


@pytest.mark.parametrize("seed", range(12))
def test_a_hostile_guest_breaks_no_invariant(seed: int) -> None:
    """The controller holds every invariant after every event; the registers agree with it."""

    async def main() -> None:
        random, accelerator = Random(seed), PlayedAccelerator()
        script = GuestScript("hostile", f"seed={seed}")
        controller = Controller(
            initial(CONFIG), ListLog, lambda r: accelerator.open(CONFIG, script, r)
        )
        machine = LiveMachine(controller)
        async with controller as c:
            await machine.boot()
            for _ in range(25):
                await command(machine, random)
                await settle(c, accelerator)
            assert c.failure is None
            kernel = accelerator.sessions[0].guest.kernel
            assert isinstance(kernel, HostileKernel)
            assert 0 < kernel.moves_made <= MOST_MOVES

    asyncio.run(asyncio.wait_for(main(), 60))


@settings(max_examples=200)
@given(some.data())
def test_no_order_of_calls_and_commands_breaks_an_invariant(data: some.DataObject) -> None:
    """The same moves, as hypothesis chooses them, so that a failure shrinks to a few."""
    a_move = some.one_of(some.sampled_from(moves(CONFIG)), some.integers(0, 999))
    drawn = data.draw(some.lists(a_move, max_size=30))

    async def main() -> None:
        accelerator = PlayedAccelerator()
        controller = Controller(
            initial(CONFIG), ListLog, lambda r: accelerator.open(CONFIG, GuestScript(), r)
        )
        machine = LiveMachine(controller)
        async with controller as c:
            await machine.boot()
            for each in drawn:
                if isinstance(each, int):
                    await command(machine, Random(each))
                else:
                    await make(each, accelerator.sessions[0], CONFIG.possible)
                await settle(c, accelerator)
            assert c.failure is None

    asyncio.run(asyncio.wait_for(main(), 60))


async def command(machine: LiveMachine, random: Random) -> None:
    """One of the user's, refused or not, whose end nobody awaits."""
    id_ = f"core{random.randrange(5)}"
    add = st.DeviceAdd(id_, (("core-id", random.randrange(4)),))
    with suppress(CommandRefused):
        await machine.begin(random.choice((add, st.DeviceDel(id_), st.DeviceDel(id_, force=True))))


async def settle(c: Controller, accelerator: PlayedAccelerator) -> None:
    """Wait until nothing is under way; then `_STA` is as the core has it."""
    session = accelerator.sessions[0]
    for _ in range(2):  # what the guest does may begin an effect, and an effect wake the guest
        await session.guest.idle(10)
        await c.submit(st.Note("settled?"))
        await c.until(lambda s: all(slot.step is None for slot in s.slots), 10, "rest")
    for n, slot in enumerate(c.state.slots):
        assert session.device.enabled(n) == slot.enabled, n


# -------------------------------------------------------------------- executing


def test_a_log_is_executed_with_a_played_guest_and_no_core(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert play(load("reset"), log).ok
    effects = [e for r in records(log) for e in ev.effects_of(r.event)]
    effects = [e for e in effects if not isinstance(e, AnswerCpuOn)]
    accelerator = PlayedAccelerator()
    done = asyncio.run(execute_log(log, found(accelerator), GuestScript()))
    assert done.refused is None
    assert done.done == len(effects) + 1  # the reset that the guest asked for
    assert accelerator.sessions[0].powered == {0}  # every CPU_ON is DENIED, none is left waiting


@pytest.mark.parametrize("ids", ["socket-id: 0, core-id: 5", "core-id: 0x5", "core-id: 1_0"])
def test_a_number_is_one_however_yaml_spells_it(ids: str, tmp_path: Path) -> None:
    text = f"machine: {{cpus: 1, maxcpus: 12}}\nsteps: [boot, {{plug: {{id: a, {ids}}}}}]\n"
    assert play(parse(text), tmp_path / "log").ok
