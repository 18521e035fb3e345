"""KVM holds the order that the slot machine promises; out of order is an error that says so."""

from __future__ import annotations

import pytest
from hpcore_kvm import pmu, smccc
from hpcore_kvm.errors import MismatchError, OrderError
from hpcore_kvm.features import Features
from hpcore_kvm.gic import Vgic
from hpcore_kvm.uapi import Cap, MpState
from hpcore_kvm.vcpu import Mmio, Vcpu
from hpcore_kvm.vm import Vm

from hpcore.platform import virt
from tests.kvm.programs import STORE
from tests.kvm.rig import HOLE, ready, refused, rig, run

pytestmark = pytest.mark.nvhe

PLAIN = Features()


# ----------------------------------------------------------------------- vCPUs


def test_a_vcpu_id_is_taken_once() -> None:
    with rig(1) as r, refused("KVM_CREATE_VCPU", "EEXIST"):
        r.vm.create_vcpu(0)


def test_a_vcpu_id_beyond_kvms_limit() -> None:
    with rig(0) as r, refused("KVM_CREATE_VCPU", "EINVAL"):
        r.vm.create_vcpu(r.vm.check(Cap.MAX_VCPUS))


def test_no_vcpu_is_created_once_the_vgic_is_initialised() -> None:
    with rig(2) as r:
        r.init_vcpus()
        r.make_gic().init()
        with refused("KVM_CREATE_VCPU", "EBUSY"):
            r.vm.create_vcpu(2)


def test_nor_after_a_vgic_initialised_with_no_vcpu_at_all() -> None:
    with rig(0) as r:
        Vgic(r.vm).init()
        with refused("KVM_CREATE_VCPU", "EBUSY"):
            r.vm.create_vcpu(0)


def test_a_vcpu_is_not_run_before_it_is_initialised() -> None:
    with rig(1) as r:
        r.vcpus[0].map()
        with refused("KVM_RUN", "ENOEXEC"):
            r.vcpus[0].run()


def test_a_vcpus_registers_are_not_there_before_it_is_initialised() -> None:
    with rig(1) as r:
        with refused("KVM_GET_ONE_REG", "ENOEXEC"):
            r.vcpus[0].get_x(0)
        with refused("KVM_SET_ONE_REG", "ENOEXEC"):
            r.vcpus[0].set_x(0, 1)


def test_a_vcpu_keeps_the_features_of_its_first_initialisation() -> None:
    with ready(2, Features(pmu=True)) as r:
        r.vcpus[1].init(Features(pmu=True), power_off=True)  # the same: fine, again and again
        r.vcpus[1].init(Features(pmu=True), power_off=False)
        with refused("KVM_ARM_VCPU_INIT", "EINVAL"):
            r.vcpus[1].init(PLAIN, power_off=True)


def test_initialisation_may_wait_until_the_vcpu_is_powered_on() -> None:
    """Parked vCPUs are initialised early by choice: SVE, PMU and MPIDR are to be known."""
    with rig(2) as r:
        r.vcpus[0].init(PLAIN, power_off=False)
        r.make_gic().init()
        assert run(r.load(0, STORE)) == Mmio(HOLE, 8, True, 0)
        r.vcpus[1].init(PLAIN, power_off=True)
        r.load(1, STORE, 7)
        r.vcpus[1].mp_state = MpState.RUNNABLE
        assert run(r.vcpus[1]) == Mmio(HOLE, 8, True, 7)


# ------------------------------------------------------------------------ VGIC


def test_the_vgic_may_come_before_the_vcpus_or_after() -> None:
    with Vm() as vm:
        Vgic(vm)
        vm.create_vcpu(0).init(PLAIN, power_off=False)
    with rig(1) as r:
        r.init_vcpus()
        r.make_gic().init()


def test_a_machine_has_one_vgic() -> None:
    with rig(1) as r:
        r.make_gic()
        with refused("KVM_CREATE_DEVICE", "EEXIST"):
            Vgic(r.vm)


def test_no_vgic_once_a_vcpu_has_run() -> None:
    with rig(1) as r:
        r.init_vcpus()
        run(r.load(0, STORE))
        with refused("KVM_CREATE_DEVICE", "EBUSY"):
            Vgic(r.vm)


def test_the_number_of_interrupts_is_set_once() -> None:
    with rig(1) as r, refused("VGIC NR_IRQS", "EBUSY"):
        r.make_gic().set_interrupts(64)


def test_the_number_of_interrupts_is_fixed_by_the_initialisation() -> None:
    with ready(1) as r, refused("VGIC NR_IRQS", "EBUSY"):
        r.gic.set_interrupts(64)


def test_the_distributors_address_is_set_once() -> None:
    with rig(1) as r, refused("VGIC DIST address", "EEXIST"):
        r.make_gic().set_distributor(virt.GICD_BASE)


def test_regions_of_redistributors_come_in_order_and_do_not_overlap() -> None:
    with rig(1) as r:
        gic = Vgic(r.vm)
        with refused("VGIC REDIST_REGION", "EINVAL"):
            gic.add_region(1, virt.GICR_HIGH_BASE, 1)
        gic.add_region(0, virt.GICR_BASE, 2)
        with refused("VGIC REDIST_REGION", "EINVAL"):
            gic.add_region(1, virt.GICR_BASE + virt.GICR_FRAME, 2)


def test_a_region_beyond_the_guests_addresses() -> None:
    with rig(1) as r, refused("VGIC REDIST_REGION", "E2BIG"):
        Vgic(r.vm).add_region(0, 1 << 40, 1)


def test_too_few_redistributors_are_found_out_at_the_first_run_and_lose_the_machine() -> None:
    with rig(3) as r:
        r.init_vcpus()
        gic = Vgic(r.vm)
        gic.add_region(0, virt.GICR_BASE, 2)
        gic.init()  # KVM takes it
        r.load(0, STORE)
        with refused("KVM_RUN", "ENXIO"):
            r.vcpus[0].run()
        with refused("KVM_GET_MP_STATE", "EIO"):
            _ = r.vcpus[1].mp_state
        with refused("KVM_CREATE_VCPU", "EIO"):
            r.vm.create_vcpu(3)


def test_a_vgic_may_be_initialised_twice() -> None:
    with ready(2) as r:
        r.gic.init()


def test_a_vcpu_that_kvm_numbers_otherwise_than_the_tables_is_reported() -> None:
    with rig(1) as r:
        r.init_vcpus()
        gic = r.make_gic()
        r.vcpus[0].index = 17  # what the tables would call 0x101
        with pytest.raises(MismatchError, match=r"gave vCPU 0 the mp-affinity 0x0, .* say 0x101"):
            gic.init()


# --------------------------------------------------------------- SMCCC filter


def test_the_filter_comes_before_the_first_run() -> None:
    with rig(1) as r:
        r.init_vcpus()
        r.make_gic().init()
        run(r.load(0, STORE))
        with refused("SMCCC filter", "EBUSY"):
            smccc.install_filter(r.vm)


def test_the_filter_is_installed_once() -> None:
    with ready(1) as r, refused("SMCCC filter", "EEXIST"):
        smccc.install_filter(r.vm)


def test_the_calls_of_the_architecture_are_not_ours_to_filter() -> None:
    with rig(1) as r:
        for reserved in (0x8000_0000, 0xC000_0000):
            with refused("SMCCC filter", "EEXIST"):
                smccc.forward(r.vm, reserved, 1)


def test_an_empty_range_is_refused() -> None:
    with rig(1) as r, refused("SMCCC filter", "EINVAL"):
        smccc.forward(r.vm, 0x8400_0100, 0)


# ------------------------------------------------------------------------- PMU


def test_the_pmu_is_initialised_after_the_vgic_with_an_interrupt_and_once() -> None:
    with rig(1, Features(pmu=True)) as r:
        vcpu = r.vcpus[0]
        r.init_vcpus()
        gic = Vgic(r.vm)
        gic.add_redistributors(1)
        with refused("PMU INIT", "ENODEV"):
            pmu.initialise(vcpu)
        gic.init()
        with refused("PMU INIT", "ENXIO"):
            pmu.initialise(vcpu)
        with refused("PMU IRQ", "EINVAL"):
            pmu.set_interrupt(vcpu, 3)  # an SGI
        pmu.set_interrupt(vcpu)
        with refused("PMU IRQ", "EBUSY"):
            pmu.set_interrupt(vcpu)
        pmu.initialise(vcpu)
        with refused("PMU INIT", "EBUSY"):
            pmu.initialise(vcpu)


def test_a_vcpu_whose_pmu_is_not_initialised_does_not_run() -> None:
    with rig(1, Features(pmu=True)) as r:
        r.init_vcpus()
        r.make_gic().init()
        r.load(0, STORE)
        with refused("KVM_RUN", "EINVAL"):
            r.vcpus[0].run()


# ---------------------------------------------------------- memory, interrupts


def test_memory_does_not_overlap() -> None:
    with rig(1) as r, refused("KVM_SET_USER_MEMORY_REGION", "EEXIST"):
        r.vm.add_memory(virt.RAM_BASE, 1 << 16)


def test_memory_is_whole_pages() -> None:
    with rig(1) as r, refused("KVM_SET_USER_MEMORY_REGION", "EINVAL"):
        r.vm.add_memory(0x1_0000_0001, 1 << 16)


def test_memory_beyond_the_guests_addresses() -> None:
    with rig(1) as r, refused("KVM_SET_USER_MEMORY_REGION", "EFAULT"):
        r.vm.add_memory(1 << 40, 1 << 16)


def test_an_spi_that_the_vgic_has_not() -> None:
    with ready(1) as r, refused("KVM_IRQ_LINE", "EINVAL"):
        r.vm.set_irq(32 + 256, True)


def test_a_second_thread_for_a_vcpu_is_refused() -> None:
    vcpu = Vcpu(0, -1, 8192, 5)
    with (
        vcpu.running(),
        pytest.raises(OrderError, match="vCPU 0 has a thread already"),
        vcpu.running(),
    ):
        pass
