"""The hotplug device under vCPU threads and the core at once."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest
from attrs import field, mutable

from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.stimuli import GuestCall, InsertAcked, ScanEnded, ScanStarted
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.platform.hotplug_registers import COMMAND, FLAGS, Flag, RegisterCommand, Store
from tests.platform.device_world import BLOCK, BOOTED, CPU, GED, POSSIBLE

NOTIFICATIONS = 300
VCPUS = 3
SECONDS = 20.0
HOT = range(BOOTED, POSSIBLE)


@pytest.fixture
def switching_often() -> Iterator[None]:
    """A thread may lose its turn after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@mutable
class Crowd:
    """Some vCPUs that take what they find, until the core has notified often enough."""

    said: list[GuestCall] = field(factory=list)
    notified: Counter[int] = field(factory=Counter)
    overlaps: int = 0
    failed: list[BaseException] = field(factory=list)
    device: HotplugDevice = field(init=False)
    _inside: int = 0
    _done: threading.Event = field(factory=threading.Event)
    _ready: threading.Barrier = field(factory=lambda: threading.Barrier(VCPUS + 1))

    def __attrs_post_init__(self) -> None:
        config = MachineConfig.of(BOOTED, POSSIBLE)
        self.device = HotplugDevice(config, self._report, self._called)

    def run(self) -> None:
        """All of it, to its end."""
        runs = [self._vcpu(number) for number in range(VCPUS)] + [self._core]
        threads = [threading.Thread(target=self._guarded(run), daemon=True) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        assert not self.failed, self.failed

    def _report(self, call: GuestCall) -> None:
        self._called()
        self.said.append(call)

    def _called(self) -> None:
        """Both of the device's calls come here, one at a time."""
        self._inside += 1
        self.overlaps += self._inside != 1
        time.sleep(0)  # lets others in, if there is anything to keep them out
        self._inside -= 1

    def _guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                self._ready.wait(SECONDS)
                run()
            except BaseException as error:
                self.failed.append(error)
            finally:
                if run == self._core:
                    self._done.set()

        return guarded

    def _vcpu(self, number: int) -> Callable[[], None]:
        random, device = Random(number), self.device

        def run() -> None:
            while not self._done.is_set():
                assert device.read(GED, 4) in (0, CPU)
                # one store that selects and acts, as all vCPUs have one selector
                flags = random.choice((Store.CLEAR_INSERT, Store.EJECT))
                device.write(BLOCK, 8, int(flags) << 32 | random.choice(HOT))
                assert device.read(BLOCK + FLAGS, 1) & Flag.PRESENT
                device.write(BLOCK + COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT)

        return run

    def _core(self) -> None:
        random, until = Random(VCPUS), time.monotonic() + SECONDS
        while self.notified.total() < NOTIFICATIONS:
            assert time.monotonic() < until, self.notified
            slot = random.choice(HOT)
            self.device.apply(Step.ENABLE, slot)
            if not self.device.pending(slot)[0]:  # the guest only takes away
                self.notified[slot] += 1
                self.device.apply(Step.NOTIFY_INSERT, slot)
            self.device.reassert(slot)


@pytest.fixture
def crowd(switching_often: None) -> Crowd:
    made = Crowd()
    made.run()
    return made


def test_nothing_is_lost_and_nothing_told_twice_in_a_crowd(crowd: Crowd) -> None:
    acked = Counter(call.slot for call in crowd.said if isinstance(call, InsertAcked))
    for slot in HOT:
        assert acked[slot] + crowd.device.pending(slot)[0] == crowd.notified[slot]
    assert crowd.overlaps == 0
    scans = [call for call in crowd.said if isinstance(call, ScanStarted | ScanEnded)]
    ends = [n for n, call in enumerate(scans) if call == ScanEnded()]
    assert ends
    assert all(n > 0 and scans[n - 1] == ScanStarted() for n in ends)
