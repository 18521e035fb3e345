"""A machine on the real KVM is saved in a file, and taken up again, all that KVM holds with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from hpcore_kvm import KvmAccelerator, gic_state, uapi, vcpu_state
from hpcore_kvm import gic as g
from hpcore_kvm.bus import Bus, Region
from hpcore_kvm.gic_state import CONFIGURATION, PENDING
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.saved import FEATURES
from hpcore_kvm.session import KvmSession
from hpcore_kvm.vcpu_state import NOT_WRITTEN

from hpcore.guest.images import fetch_guest
from hpcore.model.config import MachineConfig
from hpcore.model.effects import AnswerCpuOn, MachineStep, RaiseGed
from hpcore.model.machines import Phase
from hpcore.model.rules import TEARDOWN
from hpcore.model.states import State, initial
from hpcore.model.stimuli import CpuOnCalled, ResetSeen, Stimulus
from hpcore.platform import virt
from hpcore.promises.rig import COLD_BUILD
from hpcore.run.accelerator import AcceleratorError, GuestImages
from hpcore.run.discovery import find
from tests.kvm.machines import (
    LOAD,
    MAILBOX_SIZE,
    MEMORY,
    STORE,
    KvmRig,
    Mailboxes,
    bare,
    config,
    flat,
    mailbox,
)
from tests.kvm.programs import ACKNOWLEDGE, CALL_FOR_VCPU_1, CALLER
from tests.kvm.rig import HOLE
from tests.kvm.test_gic import GICD_ENABLE, ICC_IGRPEN1, PRIORITY_MASK_OPEN
from tests.support.saved import (
    Kept,
    goes_on_after_a_full_disk,
    goes_on_with_what_was_plugged,
)
from tests.support.waits import until

WORD_AT = virt.RAM_BASE + (96 << 20)
UART_IMSC, UART_RX = virt.UART0_BASE + 0x38, 1 << 4
TIMER_INTID = 27
TIMER_CTL = uapi.REG_ARM64_SYSREG | uapi.system_register(3, 3, 14, 3, 1)
TIMER_CVAL = uapi.REG_ARM64_SYSREG | uapi.system_register(3, 3, 14, 0, 2)
"""KVM's ids of CNTV_CTL and CNTV_CVAL: that of CNTV_CVAL is another register's by mistake, for ever
(Documentation/virt/kvm/api.rst, 4.68)."""


def running(machine: MachineConfig) -> State:
    """What the log of a machine says that runs."""
    state = initial(machine)
    return attrs.evolve(state, shared=attrs.evolve(state.shared, phase=Phase.RUNNING))


def answer(machine: KvmMachine, boxes: Mailboxes, possible: int) -> None:
    """Put the mailboxes on the machine's bus."""
    machine.bus = Bus(*machine.bus.regions, Region(HOLE, MAILBOX_SIZE * possible, boxes))


async def ordered(boxes: Mailboxes, cpu: int, *words: int) -> int:
    boxes.order(cpu, *words)
    return await until(lambda: boxes.result(cpu))


@asynccontextmanager
async def restored(
    machine: MachineConfig, kept: Kept, facts: Mapping[str, str] = {}
) -> AsyncIterator[KvmRig]:
    stimuli: list[Stimulus] = []
    had = kept.belongings
    belongings = attrs.evolve(had, facts={**had.facts, **facts})
    session = await KvmAccelerator().restore(
        running(machine), belongings, kept.stream, stimuli.append
    )
    assert isinstance(session, KvmSession)
    async with KvmRig(session, stimuli) as rig:
        yield rig


@pytest.mark.nvhe
def test_two_machines_of_one_file_go_on_where_it_was_saved(tmp_path: Path) -> None:
    async def run() -> None:
        boxes = Mailboxes()
        async with bare(1, 3, flat(tmp_path, CALLER)) as rig:
            await rig.created()
            answer(rig.machine, boxes, 3)
            await rig.started(0)
            await rig.steps(2, *COLD_BUILD)
            await ordered(boxes, 0, STORE, 0, WORD_AT, 0x600D)
            await ordered(boxes, 0, STORE, 0, UART_IMSC, UART_RX)
            rig.machine.uart.receive(b"what the guest has not read")
            kept = Kept(tmp_path / "stream")
            await rig.session.save(kept.keep)
            assert await ordered(boxes, 0, LOAD, 0, WORD_AT) == 0x600D  # it goes on
            await rig.steps(2, *TEARDOWN)
            assert rig.stimuli == []
        async with restored(config(1, 3), kept) as one, restored(config(1, 3), kept) as other:
            for rig in (one, other):
                boxes = Mailboxes()
                answer(rig.machine, boxes, 3)
                await rig.machine_step(MachineStep.RESUME)
                assert await ordered(boxes, 0, LOAD, 0, WORD_AT) == 0x600D
                assert await ordered(boxes, 0, LOAD, 0, UART_IMSC) == UART_RX
                assert await ordered(boxes, 0, LOAD, 0, virt.UART0_BASE) == ord("w")
                await rig.steps(2, *TEARDOWN)  # which it knows to be enabled and wired
                await rig.steps(2, *COLD_BUILD)
                await rig.session.save(Kept(tmp_path / "again").keep)
                await rig.machine_step(MachineStep.RESET)
                await rig.heard(ResetSeen())
                await rig.machine_step(MachineStep.RESTART, (0, 2))
                assert await ordered(boxes, 0, LOAD, 0, virt.UART0_BASE) == 0

    asyncio.run(run())


@pytest.mark.nvhe
def test_what_kvm_holds_is_the_same_in_the_machine_that_was_restored(tmp_path: Path) -> None:
    """Every register that KVM lists, every word of the VGIC, and the guest's clock."""

    async def run() -> None:
        async with bare(2, 3, flat(tmp_path, CALLER)) as rig:
            await with_much_in_it(rig)
            kept = Kept(tmp_path / "stream")
            await rig.session.save(kept.keep)
            before = everything(rig.machine)
        async with restored(config(2, 3), kept) as rig:
            after = everything(rig.machine)
            assert {key for key in before if before[key] != after[key]} == set()
            at = rig.machine.stopped_at
            assert at is not None and at == before["counter"]
            await rig.machine_step(MachineStep.RESUME)
            await rig.machine_step(MachineStep.PAUSE)
            assert at <= (rig.machine.stopped_at or 0) < at + 60 * 62_500_000

    asyncio.run(run())


@pytest.mark.nvhe
def test_a_timer_that_was_due_when_the_machine_was_saved_interrupts_its_guest(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with bare(1, 1, flat(tmp_path, ACKNOWLEDGE)) as rig:
            await rig.created()
            await rig.started(0)
            await rig.machine_step(MachineStep.PAUSE)
            waits_for_its_timer(rig.machine)
            kept = Kept(tmp_path / "stream")
            await rig.session.save(kept.keep)
        async with restored(config(1, 1), kept) as rig:
            boxes = Mailboxes()
            answer(rig.machine, boxes, 1)
            await rig.machine_step(MachineStep.RESUME)
            await until(lambda: boxes.result(0) == TIMER_INTID)

    asyncio.run(run())


def waits_for_its_timer(machine: KvmMachine) -> None:
    """vCPU 0 takes its timer's interrupt, whose line is up, and which KVM has yet to give it."""
    vcpu, vgic = machine.vcpu(0), machine.vgic
    vcpu.set_x(9, mailbox(0))
    vcpu.set_register(TIMER_CVAL, 0)
    vcpu.set_register(TIMER_CTL, 1)
    vgic.write_distributor(g.GICD_CTLR, GICD_ENABLE)
    vgic.write_cpu(0, g.ICC_PMR_EL1, PRIORITY_MASK_OPEN)
    vgic.write_cpu(0, ICC_IGRPEN1, 1)
    state = vgic.save(0)
    words = dict(state.redistributor) | {g.GICR_ISENABLER0: 1 << TIMER_INTID}
    vgic.restore(0, attrs.evolve(
        state, redistributor=tuple(words.items()), line_levels=1 << TIMER_INTID
    ))  # fmt: skip


async def with_much_in_it(rig: KvmRig) -> None:
    """Have the guest started, and paused, and much of what KVM holds be of its own."""
    await rig.created()
    await rig.started(0, 1)
    await rig.do(RaiseGed())
    await rig.machine_step(MachineStep.PAUSE)
    vgic = rig.machine.vgic
    vgic.write_distributor(g.GICD_IPRIORITYR + 40, 0x50A0_F010)
    vgic.write_distributor(g.GICD_ISENABLER + 4, 0x0000_0206)
    vgic.write_distributor(g.GICD_ISPENDR + 8, 0x8000_0001)
    vgic.write_redistributor(1, g.GICR_ISENABLER0, 1 << 27)


def everything(machine: KvmMachine) -> dict[object, object]:
    """What KVM holds of `machine`, whose vCPUs are held."""
    out: dict[object, object] = {"counter": machine.stopped_at}
    for index in (0, 1):
        state = vcpu_state.read(machine.vcpu(index))
        out |= {(index, hex(r)): v for r, v in state.registers.items() if r not in NOT_WRITTEN}
        out[index] = state.mp_state, state.serror, machine.vgic.save(index)
    distributor = gic_state.read(machine.vgic)
    out |= {hex(word): distributor.words[word] for word in (*CONFIGURATION, *PENDING)}
    return out | {f"levels {n}": level for n, level in distributor.levels.items()}


def test_a_cpu_on_that_is_answered_while_it_is_saved_is_answered_in_the_file(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with bare(1, 2, flat(tmp_path, CALL_FOR_VCPU_1)) as rig:
            await rig.created()
            await rig.started(0)
            await until(lambda: any(isinstance(s, CpuOnCalled) for s in rig.stimuli))
            kept = Kept(tmp_path / "stream")
            saving = asyncio.create_task(rig.session.save(kept.keep))
            await asyncio.sleep(0)
            assert not saving.done()
            await rig.do(AnswerCpuOn(1, 0, False, -3))
            await saving
        async with restored(config(1, 2), kept) as rig:
            x0 = rig.machine.vcpu(0).get_x(0)
            assert x0 == (-3) & ((1 << 64) - 1)

    asyncio.run(run())


def test_a_disk_that_is_full_fails_the_save_and_the_machine_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with bare(1, 2, flat(tmp_path, CALLER)) as rig:
            await rig.created()
            boxes = Mailboxes()
            answer(rig.machine, boxes, 2)
            await rig.started(0)
            await goes_on_after_a_full_disk(rig, tmp_path, 1, sizes=(0, 100))
            assert await ordered(boxes, 0, STORE, 0, WORD_AT, 1) == 1
            assert rig.stimuli == []

    asyncio.run(run())


def test_what_does_not_fit_is_refused_with_words(tmp_path: Path) -> None:
    async def run() -> None:
        machine = config(1, 2)
        async with bare(1, 2, flat(tmp_path, CALLER)) as rig:
            await rig.created()
            await rig.started(0)
            await rig.machine_step(MachineStep.PAUSE)
            kept = Kept(tmp_path / "stream")
            await rig.session.save(kept.keep)
        with pytest.raises(AcceleratorError, match="saved with vcpu-features 0x1, and here it is"):
            async with restored(machine, kept, {FEATURES: "0x1"}):
                pass
        with pytest.raises(AcceleratorError, match="has 2 slots, and the machine 3"):
            async with restored(config(1, 3), kept):
                pass
        with pytest.raises(AcceleratorError, match="is of other memory, or of another form"):
            async with restored(attrs.evolve(machine, memory=2 * MEMORY), kept):
                pass
        kept.file.write_bytes(kept.file.read_bytes()[:-20])
        with pytest.raises(AcceleratorError, match="the stream was cut short"):
            async with restored(machine, kept):
                pass
        kept.file.write_bytes(bytes(64))
        with pytest.raises(AcceleratorError, match="of other memory, or of another form"):
            async with restored(machine, kept):
                pass

    asyncio.run(run())


@pytest.mark.long
def test_a_linux_that_was_saved_goes_on_with_what_was_plugged(tmp_path: Path) -> None:
    guest = fetch_guest()
    images = GuestImages(guest.kernel, guest.initramfs())
    machine = MachineConfig.of(cpus=2, maxcpus=4, memory=256)

    async def run() -> None:
        await goes_on_with_what_was_plugged(find("kvm"), machine, images, tmp_path, clones=1)

    asyncio.run(run())
