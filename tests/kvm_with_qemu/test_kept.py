"""hpcore is killed, and another takes the machine up again, on a real KVM."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hpcore.log import read
from hpcore.model.events import (
    CpuOnDenied,
    CpuOnGranted,
    Event,
    MachineLost,
    Refused,
    UnplugCompleted,
)
from hpcore.model.machines import Phase
from hpcore.model.psci import PsciStatus
from hpcore.platform.firmware import QEMU_KVM_REGISTERS
from hpcore.platform.hotplug_registers import FLAGS, SELECTOR, Flag
from hpcore.run.accelerator import AcceleratorError
from hpcore.run.attach import MachineEnded, attach_machine
from hpcore.triage.replay import replay
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.kept import alone, attached, killed, pids_of, printed
from tests.kvm_with_qemu.strings import SYSTEM_RESET, mailbox
from tests.support.command import hpcore, running
from tests.support.waits import poll, until

BLOCK = QEMU_KVM_REGISTERS.base

LINUX_SECONDS = 400.0
"""For a command that boots Linux, or waits for what Linux does, in a guest's guest."""


def events_of(log: Path) -> list[Event]:
    _, records = read(log)
    with records:
        return [record.event for record in records]


@pytest.mark.long
def test_a_killed_hpcore_comes_back_to_the_machine_and_grants_again(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"

    async def run(place: Path) -> None:
        async with alone(place) as guest:
            await guest.echo()
            assert await guest.cpu_on(1) == PsciStatus.DENIED  # though it is plugged
            before = len(printed(place))
            # a store waits for hpcore, and is taken in by the one that comes back
            guest.send(programs.STORE, 0, BLOCK + SELECTOR, 1)
        async with attached(log) as rig:
            assert len(printed(place)) >= before + 8
            assert rig.taken_up.startswith("1 event ")
            assert rig.machine.slot(1).enabled
            assert await rig.order(programs.LOAD, 0, BLOCK + FLAGS) & Flag.ENABLED
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            await rig.have(1, programs.STORE_64, 0, mailbox(1) + 0x400, 0xFEED)
            assert await rig.done(1) == 0xFEED
            await rig.revoke(1)
            assert await rig.cpu_on(1) == PsciStatus.DENIED
            await until(lambda: isinstance(rig.events[-1], CpuOnDenied))
            rig.machine.end_when_left()

    with killed(log) as place:
        asyncio.run(run(place))
        assert not pids_of(place)
    told = [type(e) for e in events_of(log) if isinstance(
        e, CpuOnGranted | CpuOnDenied | Refused)]  # fmt: skip
    assert told == [CpuOnDenied, CpuOnGranted, CpuOnDenied]
    verdict = replay(log)
    assert verdict.ok
    assert verdict.state.shared.phase is Phase.ENDED


@pytest.mark.long
def test_a_load_waits_for_the_hpcore_that_comes_back_and_is_answered(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"

    async def run(place: Path) -> None:
        async with attached(log) as rig:
            await rig.order(programs.STORE, 0, BLOCK + SELECTOR, 1)
        async with alone(place) as guest:
            before = len(printed(place))
            guest.send(programs.LOAD, 0, BLOCK + FLAGS)
            await asyncio.sleep(0.5)  # time in which a load that did not wait would have ended
            assert len(printed(place)) == before
        async with attached(log):
            await until(lambda: len(printed(place)) >= before + 8)
            found = int.from_bytes(printed(place)[before : before + 8], "little")
            assert found == Flag.ENABLED | Flag.INSERT | Flag.PRESENT

    with killed(log) as place:
        asyncio.run(run(place))


@pytest.mark.long
def test_a_reset_that_was_missed_holds_the_machine_until_hpcore_is_back(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"

    async def run(place: Path) -> None:
        async with attached(log) as rig:
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
        async with alone(place) as guest:
            guest.send(programs.CALL, SYSTEM_RESET)
            await asyncio.sleep(2)
        async with attached(log) as rig:
            assert rig.machine.slot(1).enabled
            assert await rig.cpu_on(2) == PsciStatus.DENIED
            await rig.forget(1)
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            await rig.plug(2)
            assert await rig.cpu_on(2) == PsciStatus.SUCCESS

    with killed(log) as place:
        asyncio.run(run(place))
    assert not any(isinstance(event, MachineLost) for event in events_of(log))
    assert replay(log).ok


@pytest.mark.long
def test_more_than_the_page_remembers_is_refused_and_the_machine_can_be_ended(
    tmp_path: Path,
) -> None:
    log = tmp_path / "run.jsonl"

    async def run(place: Path) -> int:
        async with alone(place) as guest:
            calls = (programs.CHURN, 0xC400_0003, 2, programs.ENTRY, mailbox(2), 2000)
            assert await guest.order(*calls) == 2000  # none was granted
        with pytest.raises(AcceleratorError, match="more than the 1024 messages") as refusal:
            async with attach_machine(log):
                raise AssertionError("it is not known what the guest did")
        (pid,) = pids_of(place)
        assert str(refusal.value).endswith(f"`kill {pid}`")
        os.kill(pid, signal.SIGTERM)
        poll(lambda: not pids_of(place), "QEMU's end")
        with pytest.raises(MachineEnded, match="is gone"):
            async with attach_machine(log):
                raise AssertionError("it is gone")
        return pid

    with killed(log) as place:
        asyncio.run(run(place))
    assert replay(log).state.shared.phase is Phase.FAILED



@pytest.mark.long
def test_linux_plugs_and_unplugs_by_one_hpcore_after_the_other(tmp_path: Path) -> None:
    log, steps = tmp_path / "run.jsonl", tmp_path / "steps.yaml"
    steps.write_text("machine: {cpus: 1, maxcpus: 2}\nsteps: [boot]\n")

    with running("run", steps, "--accel", "kvm-qemu", "--keep", "--log", log, "--json") as run:
        said = run.process.communicate(timeout=LINUX_SECONDS)
        assert run.process.returncode == 0, said
        for step in (("plug", "1"), ("online", "1"), ("unplug", "1"), ("--end",)):
            ended = hpcore("attach", log, *step, "--json", seconds=LINUX_SECONDS)
            assert ended.code == 0, ended
    verdict = replay(log)
    assert verdict.ok
    assert verdict.state.shared.phase is Phase.ENDED
    told = [type(e) for e in events_of(log) if isinstance(
        e, CpuOnGranted | UnplugCompleted)]  # fmt: skip
    assert told == [CpuOnGranted, UnplugCompleted]
