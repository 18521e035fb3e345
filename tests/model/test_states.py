"""What is read off a state: each property says what its fields say together, and no more."""

from __future__ import annotations

from enum import StrEnum

import attrs
import pytest

from hpcore.model import stimuli as st
from hpcore.model.acpi import MadtFlag
from hpcore.model.config import MIN_MEMORY_MIB, MachineConfig
from hpcore.model.effects import NOTIFICATIONS, MachineStep, Step
from hpcore.model.machines import GiccState, Phase, SlotState, Trigger
from hpcore.model.naming import snake_case
from hpcore.model.plain import LARGEST_INTEGER, SMALLEST_INTEGER
from hpcore.model.psci import PsciStatus, psci_status
from hpcore.model.rules import RULES, Habit, Rules
from hpcore.model.states import Owed, Shared, Slot, State, initial, madt_flags, sta
from hpcore.model.topology import MAX_POSSIBLE, Topology, TopologyError

QUIET = Slot(cold=False)


@pytest.mark.parametrize("lifecycle", SlotState)
def test_a_slot_between_two_places_is_busy_and_one_that_has_arrived_is_not(
    lifecycle: SlotState,
) -> None:
    slot = attrs.evolve(QUIET, lifecycle=lifecycle)
    assert slot.busy is (lifecycle in (SlotState.REALIZED, SlotState.EJECTING))


@pytest.mark.parametrize("command", Owed)
def test_a_slot_that_owes_a_commands_end_or_a_steps_is_busy(command: Owed) -> None:
    assert attrs.evolve(QUIET, command=command).busy is (command is not Owed.NONE)
    assert attrs.evolve(QUIET, step=Step.BIND).busy


@pytest.mark.parametrize("command", Owed)
@pytest.mark.parametrize("lifecycle", SlotState)
@pytest.mark.parametrize("step", [None, Step.NOTIFY_REMOVE])
def test_the_guest_is_waited_for_while_an_unplug_is_owed_and_nothing_is_under_way(
    command: Owed, lifecycle: SlotState, step: Step | None
) -> None:
    slot = attrs.evolve(QUIET, command=command, lifecycle=lifecycle, step=step)
    asked = attrs.evolve(slot, requested=True)
    waits = (command, step) == (Owed.UNPLUG, None) and lifecycle is not SlotState.EJECTING
    assert (slot.waits_for_guest, slot.unasked) == (waits, waits)
    assert (asked.waits_for_guest, asked.unasked) == (waits, False)


def test_what_acpi_shows_of_a_slot() -> None:
    assert (sta(QUIET), sta(attrs.evolve(QUIET, enabled=True))) == (0xD, 0xF)
    assert madt_flags(QUIET) is MadtFlag.ONLINE_CAPABLE
    assert madt_flags(Slot(cold=True)) is MadtFlag.ENABLED
    assert (int(MadtFlag.ENABLED), int(MadtFlag.ONLINE_CAPABLE)) == (1, 8)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("step", [None, *MachineStep])
def test_a_guest_runs_from_the_step_that_starts_it_on(
    phase: Phase, step: MachineStep | None
) -> None:
    starts = step in (MachineStep.START, MachineStep.RESTART)
    shared = Shared(phase=phase, step=step)
    assert shared.guest_runs is (phase is Phase.RUNNING or starts)
    assert shared.ended is (phase in (Phase.ENDED, Phase.FAILED))


def test_a_slot_is_replaced_in_its_place() -> None:
    state = initial(MachineConfig.of(cpus=1, maxcpus=3))
    other = attrs.evolve(QUIET, enabled=True)
    for index in range(3):
        slots = state.with_slot(index, other).slots
        assert [slot is other for slot in slots] == [n == index for n in range(3)]
        assert [slots[n] for n in range(3) if n != index] == [
            state.slots[n] for n in range(3) if n != index
        ]
    assert state.with_slot(1, state.slots[1]) is state
    assert state.with_slot(2, other).enabled == (2,)


def test_the_numbers_of_the_standards_are_theirs() -> None:
    assert [(status.name, int(status)) for status in PsciStatus] == [
        ("SUCCESS", 0), ("NOT_SUPPORTED", -1), ("INVALID_PARAMETERS", -2), ("DENIED", -3),
        ("ALREADY_ON", -4),
    ]  # fmt: skip
    assert [psci_status(n) for n in (0, -4, -5, 1)] == ["SUCCESS", "ALREADY_ON", "-5", "1"]
    assert (SMALLEST_INTEGER, LARGEST_INTEGER) == (-(2**63), 2**64 - 1)
    assert MAX_POSSIBLE == 512


def test_what_a_stimulus_says_where_its_sender_says_nothing() -> None:
    assert st.CpuOnCalled(2) == st.CpuOnCalled(2, 0, 0, 0, None)
    assert st.Failed(Step.BIND, 2).error == st.MachineFailed(MachineStep.START).error == "failed"
    assert st.Done(Step.BIND, 2).affinity is None
    assert st.DeviceDel("cpu1").force is False


def test_of_the_steps_two_are_notifications() -> None:
    assert {Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE} == NOTIFICATIONS


def test_a_machine_has_as_much_memory_as_its_guest_needs() -> None:
    usual = MachineConfig.of(cpus=1)
    assert (usual.memory, usual.gic_version, usual.driver) == (1024, 3, "cortex-a57-arm-cpu")
    least = MachineConfig.of(cpus=1, memory=MIN_MEMORY_MIB)
    assert least.memory == MIN_MEMORY_MIB == 256
    with pytest.raises(ValueError, match="256"):
        MachineConfig.of(cpus=1, memory=MIN_MEMORY_MIB - 1)


@pytest.mark.parametrize("index", [-1, 4])
def test_a_vcpu_beyond_the_machine_has_no_props(index: int) -> None:
    topology = Topology.resolve(cpus=1, maxcpus=4)
    assert topology.props(0) and topology.props(3)
    for ask in (topology.props, topology.arch_name):
        with pytest.raises(TopologyError) as error:
            ask(index)
        assert str(error.value) == f"there is no vCPU {index}; this machine has 0 to 3"


@pytest.mark.parametrize(
    "name", ["cpus", "maxcpus", "sockets", "clusters", "cores", "threads"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_a_number_below_1_is_refused_by_its_name(name: str, value: int) -> None:
    with pytest.raises(TopologyError) as error:
        Topology.resolve(**{name: value})
    assert str(error.value) == f"{name} is {value}; it must be 1 or more"


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({}, (1, 1, 1, 1, 1, 1)),
        ({"cpus": 4}, (4, 4, 1, 1, 4, 1)),
        ({"cpus": 1, "maxcpus": 6}, (1, 6, 1, 1, 6, 1)),
        ({"sockets": 2}, (2, 2, 2, 1, 1, 1)),
        ({"clusters": 2}, (2, 2, 1, 2, 1, 1)),
        ({"threads": 2}, (2, 2, 1, 1, 1, 2)),
        ({"cores": 3}, (3, 3, 1, 1, 3, 1)),
        ({"cpus": 2, "sockets": 2, "clusters": 2, "cores": 2, "threads": 2}, (2, 16, 2, 2, 2, 2)),
        ({"cpus": 4, "threads": 2}, (4, 4, 1, 1, 2, 2)),
        ({"maxcpus": MAX_POSSIBLE}, (MAX_POSSIBLE, MAX_POSSIBLE, 1, 1, MAX_POSSIBLE, 1)),
    ],
)
def test_what_is_not_given_of_a_geometry_is_filled_in(
    given: dict[str, int], whole: tuple[int, ...]
) -> None:
    assert attrs.astuple(Topology.resolve(**given)) == whole


def test_a_machine_larger_than_any_is_refused() -> None:
    with pytest.raises(TopologyError, match=f"at most {MAX_POSSIBLE} vCPUs"):
        Topology.resolve(maxcpus=MAX_POSSIBLE + 1)


@pytest.mark.parametrize(
    "names", [SlotState, GiccState, Phase, Trigger, Owed, Step, MachineStep, Habit]
)
def test_what_a_log_and_a_diagram_call_it_is_what_the_code_does(names: type[StrEnum]) -> None:
    assert [str(member) for member in names] == [member.name.lower() for member in names]


def test_a_class_of_the_model_has_its_name_in_a_log() -> None:
    assert [snake_case(cls) for cls in (State, Shared, Slot)] == ["state", "shared", "slot"]
    assert st.STIMULI["device_add"] is st.DeviceAdd
    assert st.STIMULI["cpu_on_called"] is st.CpuOnCalled


def test_rules_can_be_told_apart_and_looked_up() -> None:
    assert {RULES: "usual", RULES.without("machine_runs"): "other"}[Rules()] == "usual"


def test_without_hotplug_all_that_is_left_is_cores() -> None:
    topology = Topology.resolve(cpus=3, sockets=2, clusters=2, cores=2, threads=2)
    assert topology.without_hotplug() == Topology(3, 3, 1, 1, 3, 1)
