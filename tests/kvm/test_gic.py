"""The VGIC: frames where the tables say, interfaces touched only while bound, state put back."""

from __future__ import annotations

from functools import partial

import pytest
from hpcore_kvm import gic as g
from hpcore_kvm.errors import OrderError
from hpcore_kvm.uapi import MpState
from hpcore_kvm.vcpu import Mmio

from hpcore.model.topology import mp_affinity
from hpcore.platform import virt
from tests.kvm.programs import ACKNOWLEDGE, IDLE, LOAD
from tests.kvm.rig import HOLE, Rig, ready, refused, run, running
from tests.support.waits import poll

pytestmark = pytest.mark.nvhe

SPI = 41
PRIORITY_MASK_OPEN = 0xF0
ICC_IGRPEN1 = g.ICC_REGISTERS[3]
GICD_ENABLE = 0x2  # GICD_CTLR.EnableGrp1NS
LAST = 1 << 4


def guest_reads(r: Rig, address: int) -> int:
    """What vCPU 0 finds at `address`."""
    stored = run(r.load(0, LOAD, address))
    assert isinstance(stored, Mmio) and stored.is_write
    return stored.value


def test_the_guest_finds_each_redistributor_where_the_tables_say() -> None:
    count = virt.GICR_FIRST_REGION + 3  # both regions
    with ready(count) as r:
        for index in (0, 1, 15, 16, virt.GICR_FIRST_REGION - 1, *range(count - 3, count)):
            typer = guest_reads(r, virt.redistributor(index) + g.GICR_TYPER)
            assert typer >> 32 == mp_affinity(index), index
            assert typer >> 8 & 0xFFFF == index, "the processor number"
            last = index in (virt.GICR_FIRST_REGION - 1, count - 1)
            assert bool(typer & LAST) == last, "the last frame of its region"


def test_binding_finds_the_interface_by_its_affinity() -> None:
    with ready(18) as r:
        assert [r.gic.bind(index) for index in (0, 1, 16, 17)] == [0, 1, 0x100, 0x101]
        assert r.gic.bound == {0, 1, 16, 17}


def test_an_unbound_interface_is_not_touched() -> None:
    with ready(2) as r:
        r.gic.bind(0)
        state = r.gic.save(0)
        touches = (
            lambda: r.gic.save(1),
            lambda: r.gic.restore(1, state),
            lambda: r.gic.read_redistributor(1, g.GICR_ISENABLER0),
            lambda: r.gic.write_redistributor(1, g.GICR_ISENABLER0, 1),
            lambda: r.gic.read_cpu(1, g.ICC_PMR_EL1),
            lambda: r.gic.write_cpu(1, g.ICC_PMR_EL1, 1),
            lambda: r.gic.unbind(1),
        )
        for touch in touches:
            with pytest.raises(OrderError, match="interface of vCPU 1 is not bound; bind it"):
                touch()
        with pytest.raises(OrderError, match="interface of vCPU 0 is bound already"):
            r.gic.bind(0)
        r.gic.unbind(0)
        with pytest.raises(OrderError, match="not bound"):
            r.gic.save(0)


def test_a_vcpu_comes_back_to_an_interface_in_reset_state() -> None:
    """KVM_ARM_VCPU_INIT touches neither, so a vCPU would find what the last one left."""
    with ready(2) as r:
        r.gic.bind(1)
        fresh = r.gic.save(1)
        use(r, 1)
        used = r.gic.save(1)
        assert len(different(fresh, used)) >= 6, "the test dirties what there is"
        r.vcpus[1].init(r.features, power_off=True)
        assert r.gic.save(1) == used, "the initialisation of the vCPU leaves it as it was"
        r.gic.unbind(1)
        r.gic.bind(1)
        assert r.gic.save(1) == fresh


def test_kvm_makes_all_interfaces_alike() -> None:
    """So that the reset state of the first to be bound is that of all."""
    states = []
    for index in (0, 1, 17):
        with ready(18) as r:
            r.gic.bind(index)  # the first, so nothing is put back
            states.append(r.gic.save(index))
    assert states[0] == states[1] == states[2]


def test_what_is_saved_is_what_is_restored() -> None:
    with ready(2) as r:
        for index in (0, 1):
            r.gic.bind(index)
        use(r, 1)
        used, other = r.gic.save(1), r.gic.save(0)
        r.gic.reset()
        assert r.gic.save(1) != used
        r.gic.restore(1, used)
        assert r.gic.save(1) == used
        assert r.gic.save(0) == other, "the other interface is not touched"


def test_the_distributors_reset_is_how_kvm_makes_one() -> None:
    words = (
        g.GICD_CTLR,
        *(base + 4 * n for base in (g.GICD_IGROUPR, g.GICD_ISENABLER, g.GICD_ISPENDR,
                                    g.GICD_ISACTIVER) for n in range(1, 9)),
        *(g.GICD_ICFGR + 4 * n for n in range(2, 18)),
        *(g.GICD_IPRIORITYR + 4 * n for n in range(8, 72)),
        *(g.GICD_IROUTER + 4 * n for n in range(64, 576)),
    )  # fmt: skip
    with ready(2) as r:
        fresh = {word: r.gic.read_distributor(word) for word in words}
        for word, value in (
            (g.GICD_CTLR, GICD_ENABLE),
            (g.GICD_ISENABLER + 4, g.ALL),
            (g.GICD_ISPENDR + 32, 0x8000_0000),  # the last SPI
            (g.GICD_ISACTIVER + 8, 0xF0),
            (g.GICD_IGROUPR + 4, 0),
            (g.GICD_ICFGR + 8, 0),
            (g.GICD_IPRIORITYR + 284, 0xA0A0_A0A0),
            (g.GICD_IROUTER + 8 * 287, 1),
        ):
            r.gic.write_distributor(word, value)
            assert r.gic.read_distributor(word) != fresh[word], hex(word)
        r.gic.reset()
        assert {word: r.gic.read_distributor(word) for word in words} == fresh


def test_kvm_lets_nobody_at_the_registers_while_a_vcpu_runs() -> None:
    with ready(2) as r:
        r.gic.bind(0)
        with running(r.load(0, IDLE)) as runner:
            poll(runner.waits_in_kvm_run, "KVM_RUN")
            with refused("VGIC GICR register", "EBUSY"):
                r.gic.read_redistributor(0, g.GICR_ISENABLER0)
        r.gic.read_redistributor(0, g.GICR_ISENABLER0)


def test_a_failed_bind_leaves_the_interface_unbound() -> None:
    with ready(2) as r:
        with running(r.load(0, IDLE)) as runner:
            poll(runner.waits_in_kvm_run, "KVM_RUN")
            with refused("VGIC GICR register", "EBUSY"):
                r.gic.bind(1)
        assert r.gic.bound == frozenset()
        assert r.gic.bind(1) == 1


def test_registers_wait_for_the_initialisation_and_for_the_vcpu() -> None:
    with Rig(2).vm as vm:
        gic = g.Vgic(vm)
        with refused("VGIC GICR register", "EINVAL"):
            gic.bind(1)  # never initialised, so it has no affinity yet
    with Rig(1).vm as vm:
        vm.vcpus[0].init(vm.host_features(), power_off=False)
        with refused("VGIC GICR register", "EBUSY"):
            g.Vgic(vm).bind(0)


@pytest.mark.parametrize("by_eventfd", [False, True])
def test_an_spi_reaches_the_guest(by_eventfd: bool) -> None:
    with ready(1) as r:
        listen(r)
        vcpu = r.load(0, ACKNOWLEDGE)
        irqfd = r.vm.irqfd(SPI) if by_eventfd else None
        taken = Mmio(HOLE, 8, True, SPI)
        with running(vcpu) as runner:
            for times in (1, 2, 3):
                if irqfd is not None:
                    irqfd.trigger()
                else:
                    r.vm.set_irq(SPI, True)
                    r.vm.set_irq(SPI, False)
                poll(partial(runner.took, taken, times), "the SPI")
        assert runner.exits.count(taken) == 3


def test_an_interrupt_left_pending_does_not_reach_the_next_life() -> None:
    ppi = 25
    with ready(2) as r:
        r.gic.bind(1)
        listen(r, index=1, enabled=1 << ppi)
        r.gic.write_redistributor(1, g.GICR_ISPENDR0, 1 << ppi)
        r.gic.unbind(1)
        r.vcpus[1].init(r.features, power_off=True)
        r.gic.bind(1)
        r.gic.unbind(1)
        r.gic.bind(1)
        listen(r, index=1, enabled=1 << ppi)
        vcpu = r.load(1, ACKNOWLEDGE)
        vcpu.mp_state = MpState.RUNNABLE
        with running(vcpu) as runner:
            runner.kick_through(5)
        assert Mmio(HOLE, 8, True, ppi) not in runner.exits


def use(r: Rig, index: int) -> None:
    """Leave traces in the interface of vCPU `index`."""
    for word, value in (
        (g.GICR_IGROUPR0, 0xFFFF_0000),
        (g.GICR_ISENABLER0, 0x0F00_0000),
        (g.GICR_ISPENDR0, 1 << 24),
        (g.GICR_ISACTIVER0, 1 << 25),
        (g.GICR_IPRIORITYR0 + 24, 0xA0A0_A0A0),
        (g.GICR_ICFGR1, 0xAAAA_AAAA),
    ):
        r.gic.write_redistributor(index, word, value)
    r.gic.write_cpu(index, g.ICC_PMR_EL1, PRIORITY_MASK_OPEN)
    r.gic.write_cpu(index, ICC_IGRPEN1, 1)


def listen(r: Rig, index: int = 0, enabled: int = 0) -> None:
    """Have vCPU `index` take group 1 interrupts: `SPI`, and the private ones `enabled`."""
    if index not in r.gic.bound:
        r.gic.bind(index)
    r.gic.write_distributor(g.GICD_CTLR, GICD_ENABLE)
    r.gic.write_distributor(g.GICD_ISENABLER + 4 * (SPI // 32), 1 << SPI % 32)
    r.gic.write_redistributor(index, g.GICR_ISENABLER0, enabled)
    r.gic.write_cpu(index, g.ICC_PMR_EL1, PRIORITY_MASK_OPEN)
    r.gic.write_cpu(index, ICC_IGRPEN1, 1)


def different(one: g.InterfaceState, other: g.InterfaceState) -> list[int]:
    """The registers in which two states differ."""
    pairs = zip(
        one.redistributor + one.cpu, other.redistributor + other.cpu, strict=True
    )
    return [register for (register, a), (_, b) in pairs if a != b]
