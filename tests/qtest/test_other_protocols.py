"""Other protocols than hpcore's own, run on QEMU's GIC and replayed by their own rules."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hpcore_qtest import QtestAccelerator
from hpcore_qtest.virt.redistributor import WAKER

from hpcore.log import read
from hpcore.model import events as ev
from hpcore.model.effects import OTHERS_STEPS, Step
from hpcore.model.machines import GiccState, SlotState
from hpcore.protocols import load
from hpcore.run.accelerator import AcceleratorError, Capabilities, EffectError, GuestScript
from hpcore.run.admission import need_protocol
from hpcore.run.discovery import Found
from hpcore.scenario.read import parse
from hpcore.scenario.runner import Job, run_job
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


def run(tmp_path: Path, name: str) -> Path:
    """Run the scenario by the protocol, as it says; where its log is."""
    qtest = QtestAccelerator()
    found = Found("qtest", "hpcore-qtest", qtest, qtest.probe())
    log = tmp_path / "run.jsonl"
    job = Job(AGAIN, found, GuestScript(), log, protocol=load(name))
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


def test_qtest_says_what_it_cannot_do_of_other_protocols() -> None:
    capabilities = QtestAccelerator().probe()
    assert not set(map(str, OTHERS_STEPS)) & set(capabilities.lacks)
    for name, trait in (("by-device", "realized_at_start"), ("v7", "cold_booted_can_go")):
        assert trait in capabilities.lacks
        assert trait in load(name).rules.traits
        with pytest.raises(AcceleratorError, match=f"the protocol {name} has the trait"):
            need_protocol(Found("qtest", "tests", None, capabilities), load(name))
