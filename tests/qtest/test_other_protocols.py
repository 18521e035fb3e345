"""Other protocols than hpcore's own, run on QEMU's GIC and replayed by their own rules."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hpcore_qtest import QtestAccelerator
from hpcore_qtest.virt.redistributor import ASLEEP, EVERY, IGROUPR0, WAKER

from hpcore.check.proof import prove
from hpcore.check.variants.revisions import all_wrong
from hpcore.guest.played.script import MASK_GED
from hpcore.log import read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import GiccState, SlotState
from hpcore.model.revision import Revision
from hpcore.model.rules import Trait
from hpcore.protocols import bundled, load
from hpcore.run.accelerator import AcceleratorError, Capabilities, EffectError, GuestScript
from hpcore.run.admission import need_protocol
from hpcore.run.discovery import Found, find
from hpcore.run.errors import ProtocolBroken
from hpcore.run.open import open_machine
from hpcore.run.saving import load_saved, restore_machine
from hpcore.scenario import values as sc
from hpcore.scenario.of_counterexample import NotScripted, scripted
from hpcore.scenario.read import load as read_scenario
from hpcore.scenario.read import parse
from hpcore.scenario.runner import Job, run_job
from hpcore.scenario.values import Scenario
from hpcore.scenario.write import dump
from hpcore.triage.replay import replay
from tests.qemu.support import needs_qemu
from tests.qtest.sessions import WIRE, rig

AGAIN = parse(
    "machine: {cpus: 2, maxcpus: 3}\n"
    "steps:\n"
    "  - boot\n"
    "  - plug: {id: core2, core-id: 2}\n"
    "  - unplug: core2\n"
    "  - plug: {id: again, core-id: 2}\n"
    "  - reset\n"
    "  - expect: {enabled: 0-2}\n"
    "  - unplug: again\n",
    "again",
)


EXAMPLES = Path(__file__).parents[2] / "examples" / "protocols"


def run(tmp_path: Path, by: str | Revision, scenario: Scenario = AGAIN) -> Path:
    """Run the scenario by the protocol, as it says; where its log is."""
    qtest = QtestAccelerator()
    found = Found("qtest", "hpcore-qtest", qtest, qtest.probe())
    log = tmp_path / "run.jsonl"
    protocol = load(by) if isinstance(by, str) else by
    job = Job(scenario, found, GuestScript(), log, protocol=protocol)
    outcome = asyncio.run(run_job(job))
    assert outcome.ok, outcome.error
    return log


@needs_qemu
def test_v6_wakes_what_it_halted_and_realizes_it_once(tmp_path: Path) -> None:
    log = run(tmp_path, "v6")
    header, records = read(log)
    with records:
        begun = [r.event for r in records if isinstance(r.event, ev.StepBegun)]
    assert header.protocol.name == "v6"
    of_two = [event.step for event in begun if event.slot == 2]
    assert of_two.count(Step.REALIZE) == of_two.count(Step.WAKE) == 1
    assert of_two.count(Step.HALT) == of_two.count(Step.SHUT) == 2
    assert not {Step.UNBIND, Step.STOP, Step.PARK} & set(of_two)
    found = replay(log)
    assert found.ok
    assert found.decided_again and found.otherwise is None
    two = found.state.slots[2]
    assert (two.lifecycle, two.gicc, two.thread) == (SlotState.PARKED, GiccState.SHUT, True)


@needs_qemu
def test_a_gicc_that_is_shut_sleeps_and_its_vcpu_is_halted_only_then() -> None:
    async def steps() -> None:
        async with rig() as r:
            await r.steps(1, *WIRE)
            with pytest.raises(EffectError, match="still open"):
                await r.steps(1, Step.HALT)
            await r.steps(1, Step.SHUT)
            assert await r.register(1, WAKER) == 6
            await r.steps(1, Step.HALT, Step.WAKE, Step.OPEN)
            assert await r.register(1, WAKER) == 0
            with pytest.raises(EffectError, match="is not wired"):
                await r.steps(2, Step.SHUT)

    asyncio.run(steps())


@pytest.mark.parametrize("name", ["v6", "v7", "by-device", "deferred"])
def test_an_accelerator_that_knows_hpcores_own_protocol_alone_says_what_it_lacks(
    name: str,
) -> None:
    found = Found("another", "tests", None, Capabilities())
    with pytest.raises(AcceleratorError, match=r"which 'another' cannot do: it was built for"):
        need_protocol(found, load(name))


def test_what_takes_a_vcpu_apart_in_hpcores_order_every_accelerator_can_do() -> None:
    need_protocol(Found("another", "tests", None, Capabilities()), load("v5"))


def test_qtest_can_do_all_that_a_protocol_may_ask_for() -> None:
    capabilities = QtestAccelerator().probe()
    assert not capabilities.lacks
    for name in bundled():
        need_protocol(Found("qtest", "tests", None, capabilities), load(name))


@needs_qemu
@pytest.mark.parametrize("name", bundled())
def test_what_a_protocol_promises_is_seen_on_qtest(name: str, tmp_path: Path) -> None:
    scenario = read_scenario(str(EXAMPLES / f"{name}.yaml"))
    assert scenario.name == name
    log = run(tmp_path, name, scenario)
    found = replay(log)
    assert found.ok
    assert found.decided_again and found.otherwise is None
    header, records = read(log)
    with records:
        events = [record.event for record in records]
    assert header.protocol.name == name
    ejected = {event.slot for event in events if isinstance(event, ev.UnplugCompleted)}
    cold = {slot for slot in ejected if header.machine.cold_booted(slot)}
    assert bool(cold) is (Trait.COLD_BOOTED_CAN_GO in load(name).rules.traits)


@needs_qemu
def test_by_rules_that_realize_all_at_start_init_gic_wires_what_does_not_boot_and_shuts_it(
) -> None:
    async def steps() -> None:
        async with rig(rules=load("by-device").rules) as r:
            assert [await r.register(slot, IGROUPR0) for slot in range(3)] == [0, EVERY, EVERY]
            assert [await r.register(slot, WAKER) for slot in range(3)] == [ASLEEP] * 3
            await r.steps(1, Step.OPEN)
            assert await r.register(1, WAKER) == 0

    asyncio.run(steps())


@needs_qemu
def test_a_machine_of_v7_is_restored_by_its_rules(tmp_path: Path) -> None:
    file, protocol = tmp_path / "vm.saved", load("v7")
    config = MachineConfig.of(cpus=3, maxcpus=4, memory=256)

    async def steps() -> None:
        qtest, first = find("qtest"), tmp_path / "a.jsonl"
        async with open_machine(
            qtest, config, GuestScript(), log=first, protocol=protocol
        ) as machine:
            await machine.boot()
            await machine.unplug("cpu1")
            await machine.save(file)
        again = tmp_path / "b.jsonl"
        async with restore_machine(qtest, load_saved(file), log=again) as machine:
            await machine.resume()
            await machine.unplug("cpu2")
            await machine.plug("back", core_id=1)
            assert machine.state.enabled == (0, 1)
        assert replay(again).ok

    asyncio.run(asyncio.wait_for(steps(), 60))


@needs_qemu
def test_a_guest_before_6_11_has_vcpu_0_alone_where_what_boots_can_go(tmp_path: Path) -> None:
    scenario = parse(
        "machine: {cpus: 2, maxcpus: 3}\n"
        "guest: {kind: legacy}\n"
        "steps:\n"
        "  - boot\n"
        "  - expect: {possible: 0, online: 0}\n",
        "old",
    )
    run(tmp_path, "v7", scenario)


BUGS = [(name, bug.name) for name in bundled() for bug in load(name).bugs]


@needs_qemu
@pytest.mark.parametrize(("name", "bug"), BUGS)
def test_what_a_check_finds_of_a_reported_bug_is_seen_again_on_qtest(
    name: str, bug: str, tmp_path: Path
) -> None:
    wrong = next(each for each in all_wrong(load(name)) if each.name == bug)
    found = prove(wrong.environment, wrong.revision.rules, properties=wrong.properties)
    way = found.counterexample
    assert way is not None
    scenario = scripted("again", "", way.start.state.config, way.stimuli)
    with pytest.raises(ProtocolBroken) as broken:
        run(tmp_path, wrong.revision, parse(dump(scenario), "again"))
    assert broken.value.violation.invariant in wrong.caught_by
    assert broken.value.violation.slot == way.slot
    assert broken.value.violation.invariant in found.violations
    told = replay(tmp_path / "run.jsonl")
    assert told.wrong is not None
    assert told.wrong.violation.invariant == broken.value.violation.invariant


def test_what_no_scenario_can_script_is_said() -> None:
    config = MachineConfig.of(cpus=1, maxcpus=2)
    with pytest.raises(NotScripted, match="come about: failed"):
        scripted("again", "", config, [st.Failed(Step.BIND, 1)])


def test_a_reset_that_the_user_asks_for_is_scripted_once_and_the_guest_is_deaf_after_it() -> None:
    config = MachineConfig.of(cpus=1, maxcpus=2)
    asked: list[st.Stimulus] = [st.Reset(), st.MachineDone(MachineStep.RESET), st.ResetSeen()]
    steps = [line.step for line in scripted("again", "", config, [*asked, st.ResetSeen()]).steps]
    deaf = sc.CallStep(MASK_GED.call, MASK_GED.arguments)
    assert steps[:-1] == [sc.BootStep(), deaf, sc.ResetStep(), deaf, sc.ResetStep(), deaf]
    assert isinstance(steps[-1], sc.WaitStep)
