"""Power state, registers, exits and kicks of a vCPU, as KVM has them."""

from __future__ import annotations

import threading

import pytest
from hpcore_kvm.features import Features
from hpcore_kvm.smccc import Function
from hpcore_kvm.uapi import REG_PC, REG_PSTATE, MpState, SystemEventType
from hpcore_kvm.vcpu import Hypercall, Kicked, Mmio, SystemEvent, Undecodable

from hpcore.model.psci import PsciStatus
from hpcore.model.topology import mp_affinity
from hpcore.platform import virt
from tests.kvm.programs import COPY, HVC, IDLE, LOAD, SMC, SPIN, STORE, UNDECODABLE, Program
from tests.kvm.rig import (
    HOLE,
    Runner,
    ready,
    refused,
    rig,
    run,
    running,
)
from tests.support.waits import SECONDS, poll

PSCI_AFFINITY_INFO, PSCI_SYSTEM_OFF, PSCI_SYSTEM_RESET = 0xC400_0004, 0x8400_0008, 0x8400_0009
PSCI_VERSION, PSCI_MIGRATE_INFO_TYPE, PSCI_FEATURES = 0x8400_0000, 0x8400_0006, 0x8400_000A
PSCI_CPU_SUSPEND, PSCI_SYSTEM_SUSPEND, PSCI_SYSTEM_RESET2 = 0xC400_0001, 0xC400_000E, 0xC400_0012
SMCCC_VERSION = 0x8000_0000
EL1H, DAIF = 0x5, 0x3C0
MINUS_3 = (1 << 64) - 3


def test_power_state_takes_what_arm64_has_and_nothing_else() -> None:
    with ready(2) as r:
        parked = r.vcpus[1]
        assert (r.vcpus[0].mp_state, parked.mp_state) == (MpState.RUNNABLE, MpState.STOPPED)
        for state in (MpState.SUSPENDED, MpState.RUNNABLE, MpState.STOPPED):
            parked.mp_state = state
            assert parked.mp_state is state
        for other in (1, 2, 3, 4, 6, 11):
            with refused("KVM_SET_MP_STATE", "EINVAL"):
                parked.mp_state = other  # type: ignore[assignment]


def test_power_state_resets_no_register_and_initialisation_resets_all() -> None:
    with ready(2) as r:
        vcpu = r.vcpus[1]
        vcpu.set_entry(0x4020_0000, 0x77)
        vcpu.set_x(30, -3)
        for state in (MpState.RUNNABLE, MpState.STOPPED, MpState.RUNNABLE):
            vcpu.mp_state = state
        found = (vcpu.get_register(REG_PC), vcpu.get_x(0), vcpu.get_x(30))
        assert found == (0x4020_0000, 0x77, MINUS_3)
        vcpu.init(r.features, power_off=True)
        assert (vcpu.get_register(REG_PC), vcpu.get_x(0), vcpu.get_x(30)) == (0, 0, 0)
        assert vcpu.get_register(REG_PSTATE) == EL1H | DAIF
        assert vcpu.mp_state is MpState.STOPPED


def test_kvm_numbers_vcpus_as_the_tables_do() -> None:
    with rig(20) as r:
        r.init_vcpus()
        assert [v.affinity for v in r.vcpus] == [mp_affinity(n) for n in range(20)]


def test_what_the_guest_reads_and_writes_comes_in_every_size() -> None:
    with ready(1) as r:
        vcpu = r.load(0, COPY)
        word = 0xFEDC_BA98_7654_3210
        for size in (1, 2, 4):
            assert run(vcpu) == Mmio(HOLE, size, False, 0)
            vcpu.answer_read(word)
            assert run(vcpu) == Mmio(HOLE, 8, True, word & (1 << 8 * size) - 1)
        assert run(vcpu) == Mmio(HOLE, 8, False, 0)
        vcpu.answer_read(word)
        for size in (1, 2, 4):
            assert run(vcpu) == Mmio(HOLE, size, True, word & (1 << 8 * size) - 1)


def test_what_kvm_cannot_decode_can_be_aborted() -> None:
    data_abort_in_el1, external = 0x25, 0x10
    with ready(1) as r:
        vcpu = r.load(0, UNDECODABLE)
        assert run(vcpu) == Undecodable(HOLE)
        vcpu.abort_access()
        why = run(vcpu)
        assert isinstance(why, Mmio)
        assert (why.value >> 26, why.value & 0x3F) == (data_abort_in_el1, external)
        assert run(vcpu) == Mmio(HOLE, 8, True, HOLE)  # FAR_EL1
        assert run(vcpu) == SystemEvent(SystemEventType.SHUTDOWN)


@pytest.mark.parametrize(("program", "by_smc"), [(HVC, False), (SMC, True)])
@pytest.mark.parametrize("function", [Function.CPU_ON_64, Function.CPU_ON_32])
def test_cpu_on_comes_to_us_with_its_arguments_and_takes_our_answer(
    program: Program, by_smc: bool, function: Function
) -> None:
    with ready(2) as r:
        caller = r.load(0, program, function, 1, 0x4020_0000, 0xABCD)
        assert run(caller) == Hypercall(function, by_smc)
        assert [caller.get_x(n) for n in (1, 2, 3)] == [1, 0x4020_0000, 0xABCD]
        caller.set_x(0, PsciStatus.DENIED)
        assert run(caller) == Mmio(HOLE, 8, True, MINUS_3)  # the PC was past the call
        assert r.vcpus[1].mp_state is MpState.STOPPED


def test_a_vcpu_that_asks_to_be_off_goes_where_we_put_it() -> None:
    with ready(1) as r:
        vcpu = r.load(0, HVC, Function.CPU_OFF)
        assert run(vcpu) == Hypercall(Function.CPU_OFF, False)
        vcpu.mp_state = MpState.STOPPED
        with running(vcpu) as runner:
            poll(runner.waits_in_kvm_run, "KVM_RUN")
            runner.kick_through(2)
        assert set(runner.exits) == {Kicked()}


def test_the_kernel_tells_the_guest_who_is_on_by_our_power_states() -> None:
    on, off = 0, 1
    with ready(2) as r:
        caller = r.load(0, HVC, PSCI_AFFINITY_INFO, 1, 0)
        assert run(caller) == Mmio(HOLE, 8, True, off)
        r.vcpus[1].mp_state = MpState.RUNNABLE
        caller.set_x(0, PSCI_AFFINITY_INFO)
        assert run(caller) == Mmio(HOLE, 8, True, on)


def test_the_kernel_answers_all_else_as_if_cpu_on_and_cpu_off_were_its_own() -> None:
    yes, no, no_migration = 0, -1, 2
    with ready(1) as r:
        caller = r.load(0, HVC)
        for call, argument, answer in (
            (SMCCC_VERSION, 0, None),
            (PSCI_VERSION, 0, None),
            (PSCI_MIGRATE_INFO_TYPE, 0, no_migration),
            (PSCI_FEATURES, SMCCC_VERSION, yes),
            (PSCI_FEATURES, Function.CPU_ON_64, yes),
            (PSCI_FEATURES, Function.CPU_ON_32, yes),
            (PSCI_FEATURES, Function.CPU_OFF, yes),
            (PSCI_FEATURES, PSCI_CPU_SUSPEND, yes),
            (PSCI_FEATURES, PSCI_SYSTEM_RESET2, yes),
            (PSCI_FEATURES, PSCI_SYSTEM_SUSPEND, no),
        ):
            caller.set_x(0, call)
            caller.set_x(1, argument)
            said = run(caller)
            assert isinstance(said, Mmio)
            if answer is None:
                assert said.value >= 0x1_0001, f"{call:#x} is older than 1.1"
            else:
                assert said.value == answer & (1 << 64) - 1, f"{call:#x} of {argument:#x}"


@pytest.mark.parametrize(
    ("call", "event"),
    [
        (PSCI_SYSTEM_OFF, SystemEventType.SHUTDOWN),
        (PSCI_SYSTEM_RESET, SystemEventType.RESET),
        (PSCI_SYSTEM_RESET2, SystemEventType.RESET),  # warm: what `reboot=warm` calls
    ],
)
def test_the_end_of_the_machine_stops_every_vcpu(call: int, event: SystemEventType) -> None:
    with ready(3) as r:
        r.vcpus[1].mp_state = MpState.RUNNABLE
        end = run(r.load(0, HVC, call))
        assert end == SystemEvent(event)
        assert isinstance(end, SystemEvent) and end.says == event.name
        assert [v.mp_state for v in r.vcpus] == [MpState.STOPPED] * 3


def test_an_event_of_a_newer_kernel_has_a_number() -> None:
    assert SystemEvent(99).says == "type 99"


# ------------------------------------------------------------------------ kicks


@pytest.mark.parametrize("program", [SPIN, IDLE])
def test_a_kick_ends_a_run(program: Program) -> None:
    with ready(1) as r, running(r.load(0, program)) as runner:
        runner.kick_through(5)
    assert set(runner.exits) == {Kicked()}


def test_a_kick_before_the_run_ends_it_before_the_guest_has_run() -> None:
    with ready(1) as r:
        vcpu = r.load(0, STORE)
        with vcpu.running():
            vcpu.kick()
            assert vcpu.run() == Kicked()
            assert vcpu.run() == Mmio(HOLE, 8, True, 0)


def test_no_kick_is_lost_in_a_storm_of_exits() -> None:
    """Each time it is asked for, the thread stops, wherever the kick found it."""
    with ready(1) as r:
        vcpu = r.load(0, STORE)
        for _ in range(50):
            runner = Runner(vcpu)
            runner.start()
            runner.stop()


def test_a_kick_where_there_is_no_thread_does_nothing() -> None:
    with ready(1) as r:
        vcpu = r.load(0, STORE)
        vcpu.kick()
        assert vcpu.run() == Mmio(HOLE, 8, True, 0)
        vcpu.unmap()
        vcpu.kick()


def test_a_stopped_vcpu_waits_inside_and_its_power_state_with_it_until_a_kick() -> None:
    """Why a powered-off vCPU's thread waits elsewhere: KVM would hold its lock."""
    with ready(2) as r:
        vcpu = r.load(1, STORE)
        done = threading.Event()

        def power_on() -> None:
            vcpu.mp_state = MpState.RUNNABLE
            done.set()

        with running(vcpu) as runner:
            poll(runner.waits_in_kvm_run, "KVM_RUN")
            switch = threading.Thread(target=power_on, daemon=True)
            switch.start()
            assert not done.wait(0.3)
            assert runner.exits == []

            def kick_free() -> bool:
                vcpu.kick()
                return done.is_set()

            poll(kick_free, "the power state")
        switch.join(SECONDS)


# --------------------------------------------------------------------- parking


def test_a_parked_vcpu_is_a_file_and_comes_back_with_nothing_of_its_former_life() -> None:
    with ready(2) as r:
        vcpu = r.load(1, STORE, 5)
        vcpu.mp_state = MpState.RUNNABLE
        assert run(vcpu) == Mmio(HOLE, 8, True, 5)
        vcpu.unmap()
        assert not vcpu.mapped
        vcpu.init(r.features, power_off=True)
        r.load(1, STORE, 6)
        vcpu.mp_state = MpState.RUNNABLE
        assert run(vcpu) == Mmio(HOLE, 8, True, 6)


def test_all_that_the_host_has_is_final_for_a_parked_vcpu_and_stays_so() -> None:
    """The PMU, and SVE's vector lengths, where the research series had them too late."""
    with rig(2) as r:
        r.features = r.vm.host_features()
        assert r.features.pmu
        r.ready()
        for life in range(2):
            vcpu = r.load(1, STORE, life)
            vcpu.mp_state = MpState.RUNNABLE
            assert run(vcpu) == Mmio(HOLE, 8, True, life)
            vcpu.unmap()
            vcpu.init(r.features, power_off=True)


def test_sve_that_is_not_final_or_not_there() -> None:
    with rig(1) as r:
        vcpu = r.vcpus[0]
        if not r.vm.host_features().sve:
            with refused("KVM_ARM_VCPU_INIT", "EINVAL"):
                vcpu.init(Features(sve=True), power_off=False)
            return
        vcpu.features = Features(sve=True)  # as if it had been made final before
        vcpu.init(Features(sve=True), power_off=False)
        r.make_gic().init()
        vcpu.map()
        with refused("KVM_RUN", "EPERM"):
            vcpu.run()


def test_an_exit_is_settled_before_the_vcpu_is_reset() -> None:
    """KVM would step over the first instruction of the next life for the last one's MMIO."""
    with ready(1) as r:
        vcpu = r.load(0, STORE, 1)
        assert run(vcpu) == Mmio(HOLE, 8, True, 1)
        assert vcpu.get_register(REG_PC) == virt.RAM_BASE
        vcpu.settle()
        assert vcpu.get_register(REG_PC) == virt.RAM_BASE + 4
        vcpu.settle()  # once is enough
        assert vcpu.get_register(REG_PC) == virt.RAM_BASE + 4
        assert run(vcpu) == Mmio(HOLE, 8, True, 2)
        vcpu.init(r.features, power_off=False)
        r.load(0, STORE, 7)
        assert run(vcpu) == Mmio(HOLE, 8, True, 7)


@pytest.mark.parametrize("shared", [False, True])
def test_cleared_memory_is_zero_and_the_guest_finds_what_is_put_there_then(
    shared: bool,
) -> None:
    far = 0x8_0000_0000
    with ready(1) as r:
        other = r.vm.add_memory(far, 1 << 20, shared)
        other.write(far + 0x1000, b"before")
        seen = run(r.load(0, LOAD, far + 0x1000))
        assert seen == Mmio(HOLE, 8, True, int.from_bytes(b"before", "little"))
        other.clear()
        assert bytes(other.data[0x1000:0x1008]) == bytes(8)
        other.write(far + 0x1000, b"after")
        seen = run(r.load(0, LOAD, far + 0x1000))
        assert seen == Mmio(HOLE, 8, True, int.from_bytes(b"after", "little"))


def test_memory_of_the_guest_is_ours_to_read() -> None:
    with ready(1) as r:
        vcpu = r.load(0, STORE, 0x1122)
        vcpu.set_x(9, virt.RAM_BASE + 0x8000)
        with running(vcpu):
            poll(lambda: r.ram.data[0x8000] or r.ram.data[0x8001], "the store")
