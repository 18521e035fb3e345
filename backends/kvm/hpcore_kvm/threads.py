"""The threads of a machine's realized vCPUs: held, let go, waited for and ended together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from enum import Enum, auto

from hpcore_kvm.vcpu import Vcpu
from hpcore_kvm.vcpu_thread import ThreadHost, VcpuThread, Where, wait_for


class Hold(Enum):
    """Why no vCPU may run. Several can be in force at once."""

    PAUSED = auto()
    RESET = auto()  # from the reset until the machine is restarted
    WORK = auto()  # the VGIC's registers are being read or written
    CARRIED = auto()  # its state is being written or sent
    OVER = auto()  # the machine is off or lost


class Threads:
    """The threads of one machine."""

    def __init__(self, machine: ThreadHost) -> None:
        self.machine = machine
        self.lock = threading.Lock()
        self.holds: set[Hold] = set()
        self._moved = threading.Condition(self.lock)
        self._all: dict[int, VcpuThread] = {}

    def __getitem__(self, index: int) -> VcpuThread:
        return self._all[index]

    def get(self, index: int) -> VcpuThread | None:
        """The thread of vCPU `index`, if it has one."""
        return self._all.get(index)

    def __contains__(self, index: int) -> bool:
        return index in self._all

    def start(self, vcpu: Vcpu) -> None:
        """Start a thread for `vcpu`, which is powered off: it waits at its gate.

        Raises RuntimeError where the host has no thread to give.
        """
        thread = VcpuThread(vcpu, self)
        thread.start()
        with self.lock:
            self._all[vcpu.index] = thread

    def join(self, index: int, seconds: float) -> bool:
        """End the thread of vCPU `index` and wait until it is gone. Blocks."""
        thread = self._all[index]
        thread.end()
        if not thread.join(seconds):
            return False
        with self.lock:
            del self._all[index]
        return True

    def join_all(self, seconds: float) -> list[int]:
        """End all threads; return the vCPUs whose thread was not gone in time. Blocks."""
        deadline = time.monotonic() + seconds
        for thread in list(self._all.values()):
            thread.end()
        return [
            index for index in sorted(self._all)
            if not self.join(index, max(0.0, deadline - time.monotonic()))
        ]  # fmt: skip

    def hold(self, why: Hold) -> None:
        """No vCPU may run from here on. Returns at once; `wait_out` waits for them."""
        with self.lock:
            self.holds.add(why)
            self._look_all()

    def let_go(self, why: Hold) -> None:
        """`why` is over; vCPUs run again if nothing else holds them."""
        with self.lock:
            self.holds.discard(why)
            self._look_all()

    def power_off_all(self) -> None:
        """No vCPU is on any more, and no CPU_ON waits for an answer."""
        with self.lock:
            for thread in self._all.values():
                thread.set_power(False)

    def wait_out(self, seconds: float, index: int | None = None) -> list[int]:
        """Wait until every thread, or that of vCPU `index`, is out of KVM_RUN. Blocks.

        Returns the vCPUs whose thread was not in time.
        """
        threads = list(self._all.values()) if index is None else [self._all[index]]
        with self.lock:
            wait_for(self._moved, lambda: not _inside(threads), seconds)
            return _inside(threads)

    @property
    def unanswered(self) -> bool:
        """Whether a CPU_ON waits for its answer still."""
        with self.lock:
            return any(thread.unanswered for thread in self._all.values())

    def ids(self) -> dict[int, int]:
        """The kernel's thread id of every vCPU that has a thread."""
        return {index: thread.native_id for index, thread in self._all.items()}

    def moved(self) -> None:
        """A thread is somewhere else now. Called under the lock."""
        self._moved.notify_all()

    def _look_all(self) -> None:
        for thread in self._all.values():
            thread.look()


def _inside(threads: Iterable[VcpuThread]) -> list[int]:
    return [t.vcpu.index for t in threads if t.where is Where.INSIDE]
