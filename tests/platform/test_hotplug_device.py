"""The hotplug device: what a guest can do to it, what the core does, what is reported."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.rules import Rules, Trait
from hpcore.model.stimuli import (
    EjectCalled,
    GuestCall,
    InsertAcked,
    OstReported,
    RemoveAcked,
    ScanEnded,
    ScanStarted,
)
from hpcore.model.topology import mp_affinity
from hpcore.platform import virt
from hpcore.platform.firmware import QEMU_KVM_REGISTERS
from hpcore.platform.ged import GedEvent
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.platform.hotplug_registers import (
    COMMAND,
    DATA,
    FLAGS,
    LENGTH,
    SELECTOR,
    Flag,
    RegisterCommand,
    Store,
)
from tests.platform.device_world import BLOCK, BOOTED, CPU, GED, POSSIBLE, DeviceWorld

SIZES = (1, 2, 4, 8)
WELL_AIMED = (
    *((SELECTOR, 4, slot) for slot in (*range(POSSIBLE), POSSIBLE, 0xFFFF_FFFF)),
    *((FLAGS, 1, value) for value in (*Store, 6, 12, 24, 0, 0xFF)),
    *((COMMAND, 1, value) for value in (*RegisterCommand, 0, 0, 4, 0xFF)),
    *((DATA, 4, value) for value in (0, 1, 3, 0x84, 0xFFFF_FFFF)),
)

addresses = (
    some.integers(BLOCK - 8, BLOCK + LENGTH + 8)
    | some.integers(GED - 8, GED + virt.GED_SIZE + 8)
    | some.integers(0, (1 << 64) - 1)
)
sizes = some.sampled_from(SIZES)
slots = some.integers(0, POSSIBLE - 1)
moves = some.one_of(
    some.tuples(some.just("write"), some.sampled_from(WELL_AIMED)).map(
        lambda move: (move[0], (BLOCK + move[1][0], *move[1][1:]))
    ),
    some.tuples(some.just("read"), some.tuples(addresses, sizes)),
    some.tuples(some.just("read"), some.just((GED, 4))),
    some.tuples(
        some.just("write"), some.tuples(addresses, sizes, some.integers(-1, (1 << 64) + 1))
    ),
    some.tuples(some.just("apply"), some.tuples(some.sampled_from(Step), slots)),
    some.tuples(some.just("reassert"), some.tuples(slots)),
    some.tuples(some.sampled_from(["raise_ged", "press_power_button", "reset"]), some.just(())),
)


@settings(max_examples=300)
@given(some.lists(moves, max_size=40))
def test_whatever_happens_the_device_keeps_its_rules(
    done: list[tuple[str, tuple[object, ...]]],
) -> None:
    world = DeviceWorld()
    for name, arguments in done:
        getattr(world, name)(*arguments)


def test_a_long_random_walk_meets_every_report() -> None:
    """Otherwise the rules would be kept by nothing happening."""
    random, world = Random(4), DeviceWorld()
    met: Counter[type[GuestCall]] = Counter()
    for _ in range(4000):
        kind = random.random()
        if kind < 0.6:
            offset, size, value = random.choice(WELL_AIMED)
            world.write(BLOCK + offset, size, value)
        elif kind < 0.75:
            world.read(GED, 4)
        elif kind < 0.97:
            world.apply(random.choice(list(Step)), random.randrange(POSSIBLE))
        else:
            random.choice((world.raise_ged, world.reset, lambda: world.reassert(2)))()
        met.update(map(type, world.said))
    wanted = (ScanStarted, ScanEnded, InsertAcked, RemoveAcked, EjectCalled, OstReported)
    assert min(met[kind] for kind in wanted) >= 10, met


# ------------------------------------------------------------------ by example


class Bench:
    """A device, and short words for what a guest does to it."""

    def __init__(self) -> None:
        self.said: list[GuestCall] = []
        self.pulses: list[int] = []  # how much had been said at each
        config = MachineConfig.of(BOOTED, POSSIBLE)
        self.device = HotplugDevice(config, self.said.append, self._pulse)

    def _pulse(self) -> None:
        self.pulses.append(len(self.said))

    def select(self, slot: int) -> None:
        self.device.write(BLOCK + SELECTOR, 4, slot)

    def store(self, slot: int, flags: int) -> None:
        self.select(slot)
        self.device.write(BLOCK + FLAGS, 1, flags)

    def flags(self, slot: int) -> Flag:
        self.select(slot)
        return Flag(self.device.read(BLOCK + FLAGS, 1))

    def command(self, command: int, data: int | None = None) -> int:
        self.device.write(BLOCK + COMMAND, 1, command)
        if data is not None:
            self.device.write(BLOCK + DATA, 4, data)
        return self.device.read(BLOCK + DATA, 4)

    def take(self) -> int:
        return self.device.read(GED, 4)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_its_regions_are_the_boards() -> None:
    assert Bench().device.regions == ((0x090C_0000, 0x0C), (0x0908_0000, 0x18))
    assert LENGTH == virt.CPU_HOTPLUG_SIZE


def test_its_registers_are_where_the_board_has_them_and_nowhere_else() -> None:
    elsewhere = QEMU_KVM_REGISTERS.base
    said: list[GuestCall] = []
    device = HotplugDevice(
        MachineConfig.of(BOOTED, POSSIBLE), said.append, lambda: None, base=elsewhere
    )
    assert device.regions == ((elsewhere, 0x0C), (0x0908_0000, 0x18))
    device.apply(Step.ENABLE, 2)
    for base, flags in ((BLOCK, 0), (elsewhere, Flag.PRESENT | Flag.ENABLED)):
        device.write(base + SELECTOR, 4, 2)
        assert device.read(base + FLAGS, 1) == flags
        device.write(base + FLAGS, 1, Store.EJECT)
    assert said == [EjectCalled(2)]


def test_a_plug_and_an_unplug_as_a_guest_meets_them(bench: Bench) -> None:
    bench.device.apply(Step.ENABLE, 2)
    assert bench.flags(2) == Flag.PRESENT | Flag.ENABLED
    assert not bench.pulses
    bench.device.apply(Step.NOTIFY_INSERT, 2)
    assert bench.pulses == [0]
    assert bench.take() == CPU
    bench.select(0)
    assert bench.command(RegisterCommand.NEXT_WITH_EVENT) == 2
    bench.store(2, Store.CLEAR_INSERT)
    bench.command(RegisterCommand.NEXT_WITH_EVENT)
    bench.command(RegisterCommand.OST_EVENT, 1)
    bench.command(RegisterCommand.OST_STATUS, 0)
    assert bench.said == [ScanStarted(), InsertAcked(2), ScanEnded(), OstReported(2, 1, 0)]
    bench.said.clear()
    bench.device.apply(Step.NOTIFY_REMOVE, 2)
    assert bench.take() == CPU
    bench.store(2, Store.CLEAR_REMOVE)
    bench.command(RegisterCommand.NEXT_WITH_EVENT)
    bench.store(2, Store.EJECT)
    assert bench.said == [ScanStarted(), RemoveAcked(2), ScanEnded(), EjectCalled(2)]
    assert bench.flags(2) == Flag.PRESENT


def test_every_arch_id_is_the_vcpus_mp_affinity(bench: Bench) -> None:
    for slot in range(POSSIBLE):
        bench.select(slot)
        assert bench.command(RegisterCommand.ARCH_ID) == mp_affinity(slot)


def test_a_step_that_no_register_shows_changes_none(bench: Bench) -> None:
    for step in set(Step) - {Step.ENABLE, Step.DISABLE, Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE}:
        bench.device.apply(step, 2)
    assert bench.flags(2) == Flag.PRESENT
    assert not bench.pulses


@pytest.mark.parametrize("left", [Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE, Store.FIRMWARE])
def test_disable_leaves_nothing_of_the_vcpu(bench: Bench, left: Step | Store) -> None:
    bench.device.apply(Step.ENABLE, 2)
    if isinstance(left, Step):
        bench.device.apply(left, 2)
    else:
        bench.store(2, left)
    assert bench.flags(2) not in (Flag.PRESENT, Flag.PRESENT | Flag.ENABLED)
    bench.device.apply(Step.DISABLE, 2)
    assert bench.flags(2) == Flag.PRESENT
    bench.select(0)
    assert bench.command(RegisterCommand.NEXT_WITH_EVENT) == 0
    bench.device.apply(Step.ENABLE, 2)
    assert bench.flags(2) == Flag.PRESENT | Flag.ENABLED


def test_disable_ends_what_an_eject_began(bench: Bench) -> None:
    bench.device.apply(Step.ENABLE, 2)
    bench.store(2, Store.EJECT)
    bench.device.apply(Step.DISABLE, 2)
    bench.device.reassert(2)  # a refusal of another _EJ0, too late
    assert bench.flags(2) == Flag.PRESENT


def test_a_refused_eject_is_taken_back_once_and_only_if_it_took_something(bench: Bench) -> None:
    bench.store(2, Store.EJECT)
    bench.device.reassert(2)
    assert bench.flags(2) == Flag.PRESENT, "was not enabled"
    bench.device.apply(Step.ENABLE, 2)
    bench.store(2, Store.EJECT)
    bench.store(2, Store.EJECT)
    assert bench.flags(2) == Flag.PRESENT
    bench.device.reassert(2)
    assert bench.flags(2) == Flag.PRESENT | Flag.ENABLED
    bench.device.apply(Step.DISABLE, 2)
    bench.device.reassert(2)
    assert bench.flags(2) == Flag.PRESENT
    assert bench.said == [EjectCalled(2)] * 3


def test_no_step_but_enable_and_disable_settles_an_eject(bench: Bench) -> None:
    bench.device.apply(Step.ENABLE, 2)
    bench.store(2, Store.EJECT)
    for step in set(Step) - {Step.ENABLE, Step.DISABLE}:
        bench.device.apply(step, 2)
    assert not bench.device.enabled(2)
    bench.device.reassert(2)
    assert bench.device.enabled(2)


def test_an_eject_takes_the_firmware_bit_but_no_event(bench: Bench) -> None:
    bench.device.apply(Step.ENABLE, 2)
    bench.device.apply(Step.NOTIFY_REMOVE, 2)
    bench.store(2, Store.FIRMWARE)
    bench.store(2, Store.EJECT)
    assert bench.flags(2) == Flag.PRESENT | Flag.REMOVE


def test_a_cold_booted_vcpu_stays_and_the_core_hears_of_it(bench: Bench) -> None:
    bench.device.apply(Step.ENABLE, 1)
    bench.store(1, Store.FIRMWARE)
    bench.store(1, Store.EJECT)
    assert bench.flags(1) == Flag.PRESENT | Flag.ENABLED
    assert bench.said == [EjectCalled(1)]


def test_by_rules_that_let_what_boots_go_it_is_not_enabled_once_it_is_ejected() -> None:
    config = MachineConfig.of(cpus=BOOTED, maxcpus=POSSIBLE)
    rules = Rules(traits=frozenset({Trait.COLD_BOOTED_CAN_GO}))
    device = HotplugDevice(config, lambda call: None, lambda: None, rules=rules)
    for slot in (0, 1):
        device.apply(Step.ENABLE, slot)
        device.write(BLOCK + SELECTOR, 4, slot)
        device.write(BLOCK + FLAGS, 1, Store.EJECT)
    assert (device.enabled(0), device.enabled(1)) == (True, False)


def test_a_scan_ends_once_and_only_if_it_began(bench: Bench) -> None:
    bench.command(RegisterCommand.NEXT_WITH_EVENT)
    assert not bench.said, "no scan is under way"
    bench.device.raise_ged()
    bench.take()
    bench.take()
    bench.command(RegisterCommand.NEXT_WITH_EVENT)
    bench.command(RegisterCommand.NEXT_WITH_EVENT)
    assert bench.said == [ScanStarted(), ScanEnded()]


def test_a_scan_does_not_end_while_a_slot_has_an_event(bench: Bench) -> None:
    bench.device.apply(Step.ENABLE, 3)
    bench.device.apply(Step.NOTIFY_INSERT, 3)
    bench.take()
    for _ in range(3):
        assert bench.command(RegisterCommand.NEXT_WITH_EVENT) == 3
    assert bench.said == [ScanStarted()]


def test_a_read_of_part_of_the_event_register_takes_nothing(bench: Bench) -> None:
    bench.device.raise_ged()
    for offset, size in ((0, 1), (0, 2), (1, 4), (2, 4), (-4, 8), (4, 4)):
        assert bench.device.read(GED + offset, size) == 0
    bench.device.write(GED, 4, 0xFFFF_FFFF)
    assert bench.device.ged_events == CPU
    assert not bench.said
    assert bench.take() == CPU
    assert bench.take() == 0


def test_events_before_a_read_are_one_and_their_pulses_are_not(bench: Bench) -> None:
    for slot in (2, 3):
        bench.device.apply(Step.NOTIFY_INSERT, slot)
    assert len(bench.pulses) == 2
    assert bench.take() == CPU
    assert bench.device.ged_events == GedEvent(0)


def test_the_power_button_is_an_event_beside_a_vcpus(bench: Bench) -> None:
    bench.device.press_power_button()
    assert bench.take() == GedEvent.POWER_DOWN
    assert not bench.said, "no scan comes of it"
    bench.device.press_power_button()
    bench.device.raise_ged()
    assert len(bench.pulses) == 3
    assert bench.take() == GedEvent.POWER_DOWN | CPU
    assert bench.said == [ScanStarted()]


def test_a_press_that_the_guest_has_not_taken_is_forgotten_by_a_reset(bench: Bench) -> None:
    bench.device.press_power_button()
    bench.device.reset()
    assert bench.take() == 0


def test_a_reset_is_like_a_new_device(bench: Bench) -> None:
    for step in (Step.ENABLE, Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE):
        bench.device.apply(step, 2)
    bench.take()
    bench.device.raise_ged()
    bench.store(2, Store.FIRMWARE)
    bench.command(RegisterCommand.OST_EVENT, 0x103)
    bench.store(2, Store.EJECT)
    bench.device.reset()
    bench.said.clear()
    assert bench.device.read(BLOCK + DATA, 4) == 0, "selector and command"
    assert [bench.flags(slot) for slot in range(POSSIBLE)] == [Flag.PRESENT] * POSSIBLE
    assert bench.take() == 0
    bench.command(RegisterCommand.NEXT_WITH_EVENT)
    bench.device.reassert(2)
    assert bench.flags(2) == Flag.PRESENT, "the eject is forgotten too"
    bench.command(RegisterCommand.OST_STATUS, 0)
    assert bench.said == [OstReported(2, 0, 0)], "no scan is under way; no OST event is kept"
    bench.device.apply(Step.ENABLE, 1)
    bench.store(1, Store.EJECT)
    assert bench.flags(1) == Flag.PRESENT | Flag.ENABLED, "cold-booted ones still stay"
