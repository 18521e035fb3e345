"""Machines for the tests of the binding: built step by step, and run one exit at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hpcore_kvm import abi, pmu, smccc
from hpcore_kvm.errors import KvmError
from hpcore_kvm.features import Features
from hpcore_kvm.gic import Vgic
from hpcore_kvm.uapi import Ioctl
from hpcore_kvm.vcpu import Exit, Kicked, Vcpu
from hpcore_kvm.vm import Memory, Vm

from hpcore.platform import virt
from tests.kvm.programs import Program
from tests.support.waits import SECONDS, poll

HOLE = 0x0A00_0000
"""An address where no machine of ours has anything."""

RAM_SIZE = 2 << 20
CODE_STEP = 0x1000


class Rig:
    """A VM with `count` vCPUs, and all else that `ready` has made."""

    def __init__(self, count: int, features: Features | None = None) -> None:
        self.vm = Vm()
        self.features = features or Features()
        self.ram: Memory = self.vm.add_memory(virt.RAM_BASE, RAM_SIZE)
        self.vcpus = [self.vm.create_vcpu(index) for index in range(count)]
        self.gic: Vgic

    def init_vcpus(self) -> None:
        """Initialise all; vCPU 0 is on, the others are off."""
        for vcpu in self.vcpus:
            vcpu.init(self.features, power_off=vcpu.index > 0)

    def make_gic(self) -> Vgic:
        """The VGIC with frames for all, not initialised."""
        self.gic = Vgic(self.vm)
        self.gic.add_redistributors(len(self.vcpus))
        if self.features.pmu:
            for vcpu in self.vcpus:
                pmu.set_interrupt(vcpu)
        return self.gic

    def ready(self) -> Rig:
        """All that must come before the first run."""
        self.init_vcpus()
        self.make_gic().init()
        if self.features.pmu:
            for vcpu in self.vcpus:
                pmu.initialise(vcpu)
        smccc.install_filter(self.vm)
        return self

    def load(self, index: int, program: Program, *arguments: int) -> Vcpu:
        """Put `program` where vCPU `index` is about to run it, with `arguments` in x0 to x3."""
        vcpu = self.vcpus[index]
        offset = index * CODE_STEP
        # Instruction by instruction: a copy may use SVE, and of a page that it writes to
        # QEMU 7.2 forgets only the code at the first byte of every such store. What a
        # former machine had in the same page of the host would be executed.
        words = abi.ffi.cast("uint32_t *", self.ram.host_address + offset)
        for n, (_, word) in enumerate(program):
            words[n] = word
        vcpu.map()
        vcpu.settle()
        vcpu.set_entry(virt.RAM_BASE + offset, 0)
        vcpu.set_x(9, HOLE)
        for number, argument in enumerate(arguments):
            vcpu.set_x(number, argument)
        return vcpu


@contextmanager
def rig(count: int, features: Features | None = None) -> Iterator[Rig]:
    """A rig whose VM is closed in the end, whatever happens."""
    made = Rig(count, features)
    try:
        yield made
    finally:
        made.vm.close()


@contextmanager
def ready(count: int, features: Features | None = None) -> Iterator[Rig]:
    """A rig whose vCPUs can be run."""
    with rig(count, features) as made:
        yield made.ready()


@contextmanager
def refused(call: str, errno: str) -> Iterator[None]:
    """What is inside fails so, and the error explains itself."""
    with pytest.raises(KvmError) as caught:
        yield
    error = caught.value
    assert (error.call, error.name) == (call, errno), str(error)
    assert error.hint, f"no cause and remedy for {error}"
    assert error.hint in str(error)


def run(vcpu: Vcpu) -> Exit:
    """Run `vcpu` until its guest has something to say."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        exit = vcpu.run()
        if not isinstance(exit, Kicked):
            return exit
    raise AssertionError(f"{vcpu.name} had nothing to say for {SECONDS:g} s")


class Runner:
    """A thread that runs a vCPU until it is stopped, and keeps its exits."""

    def __init__(self, vcpu: Vcpu) -> None:
        self.vcpu, self.exits = vcpu, list[Exit]()
        self.error: KvmError | None = None
        self._stop = False
        self._inside = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def start(self) -> None:
        """Start the thread, and wait until a kick reaches it."""
        self._thread.start()
        assert self._inside.wait(SECONDS)

    def stop(self) -> None:
        """Have the thread end, and wait for it."""
        self._stop = True
        self.vcpu.kick()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), f"{self.vcpu.name} did not leave KVM_RUN"

    def waits_in_kvm_run(self) -> bool:
        """Whether the thread sleeps inside KVM_RUN: its guest waits, or is powered off."""
        path = Path(f"/proc/self/task/{self._thread.native_id}/syscall")
        words = path.read_text().split()  # number and arguments, or "running"
        return len(words) > 2 and int(words[2], 16) == Ioctl.KVM_RUN

    def took(self, exit: Exit, times: int) -> bool:
        """Whether the vCPU has ended a run with `exit` that often."""
        return self.exits.count(exit) >= times

    def kick_through(self, times: int) -> None:
        """Kick the vCPU out of as many runs, one after the other."""
        for before in range(self.exits.count(Kicked()), self.exits.count(Kicked()) + times):
            self.vcpu.kick()
            poll(partial(self.took, Kicked(), before + 1), "the end of the run")

    def _main(self) -> None:
        try:
            with self.vcpu.running():
                self._inside.set()
                while not self._stop:
                    self.exits.append(self.vcpu.run())
        except KvmError as error:
            self.error = error


@contextmanager
def running(vcpu: Vcpu) -> Iterator[Runner]:
    """`vcpu` runs in a thread of its own meanwhile."""
    runner = Runner(vcpu)
    runner.start()
    try:
        yield runner
    finally:
        runner.stop()
