"""One measurement of the KVM accelerator, in a process of its own: `python -m bench.kvm_sample`.

    start N K      a machine of N possible vCPUs, K of them realized, enabled and run
    power N K HOW  the same up to vCPU 0's first exit, and what CPU_ON of the others costs then;
                   HOW is today (a thread at REALIZE) or deferred (at the first CPU_ON)
    exits          exits a second: bare KVM_RUN, with the exit decoded, with all of ours

Prints one line of JSON. Needs an arm64 /dev/kvm; `bench.kvm` runs it where there is one.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
from hpcore_kvm import abi
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.session import KvmSession
from hpcore_kvm.uapi import Ioctl, MpState

from hpcore.model.config import MachineConfig
from hpcore.model.effects import (
    AnswerCpuOn,
    Effect,
    MachineStep,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.platform import virt
from tests.kvm.programs import POLL, POLL_ONCE, TOUCH, Program

MEMORY = 256
BIND_AND_ENABLE = (Step.BIND, Step.WIRE, Step.ENABLE)
DEVICE = virt.CPU_HOTPLUG_BASE + 4
"""What the guests read: the flags of the hotplug registers."""

SECONDS = 3.0
"""How long exits are counted for."""

DEADLINE = 120.0


def held() -> dict[str, int]:
    """Resident memory of this process and free memory of the machine in KiB; threads; files."""
    own = _numbers(Path("/proc/self/status"))
    machine = _numbers(Path("/proc/meminfo"))
    return {
        "rss": own["VmRSS"],
        "free": machine["MemFree"] + machine["Buffers"] + machine["Cached"],
        "threads": own["Threads"],
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


def _numbers(path: Path) -> dict[str, int]:
    pairs = (line.split(":", 1) for line in path.read_text().splitlines())
    words = ((name, rest.split()) for name, rest in pairs)
    return {name: int(values[0]) for name, values in words if values and values[0].isdigit()}


def _put(machine: KvmMachine, program: Program) -> int:
    """Put `program` into the guest's memory, word by word, and return where."""
    memory = machine.vm.memory[0]
    words = abi.ffi.cast("uint32_t *", memory.host_address)
    for n, (_, word) in enumerate(program):
        words[n] = word
    return memory.base


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"a vCPU had no exit within {DEADLINE:g} s")
        time.sleep(0.0005)


def _rate(once: Callable[[], object]) -> float:
    """How often a second `once` can be done."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for _ in range(100):
            once()
        count += 100
    return count / (time.perf_counter() - began)


async def start(possible: int, realized: int) -> dict[str, object]:
    """Create a machine, and have `realized` of its vCPUs reach their first exit."""
    config = MachineConfig.of(cpus=realized, maxcpus=possible, memory=MEMORY)
    session = KvmSession(config, None, lambda _: None)
    try:
        before = held()
        began = time.perf_counter()
        await session.execute(RunMachineStep(MachineStep.CREATE_VCPUS))
        await session.execute(RunMachineStep(MachineStep.INIT_GIC))
        created = time.perf_counter()
        machine = session.machine
        assert machine is not None
        parked = held()
        entry = _put(machine, POLL_ONCE)
        realizing = time.perf_counter()
        for slot in range(realized):
            await session.execute(RunStep(Step.REALIZE, slot))
        realized_all = time.perf_counter()
        for slot in range(realized):
            for step in BIND_AND_ENABLE:
                await session.execute(RunStep(step, slot))
        enabled = time.perf_counter()
        for slot in range(realized):
            machine.vcpu(slot).set_x(9, DEVICE)
            machine.power_on(slot, entry, slot)
        _wait(lambda: all(machine.threads[slot].exits for slot in range(realized)))
        ran = time.perf_counter()
        return {
            "possible": possible, "realized": realized, "create": created - began,
            "thread": realized_all - realizing, "enable": enabled - realized_all,
            "run": ran - enabled,
            "realize": ran - realizing, "start": created - began + ran - realizing,
            "before": before, "parked": parked, "running": held(),
        }  # fmt: skip
    finally:
        await session.close()


async def power(possible: int, realized: int, how: str) -> dict[str, object]:
    """Start a machine up to its first exit, then power a vCPU on, again, and all the others.

    Where none but vCPU 0 is realized, vCPU 1 is plugged before that.
    """
    config = MachineConfig.of(cpus=realized, maxcpus=possible, memory=MEMORY)
    session = KvmSession(config, None, lambda _: None, deferred=how == "deferred")
    try:
        before = held()
        began = time.perf_counter()
        await session.execute(RunMachineStep(MachineStep.CREATE_VCPUS))
        await session.execute(RunMachineStep(MachineStep.INIT_GIC))
        created = time.perf_counter()
        for slot in range(realized):
            await _build(session, slot)
        built = time.perf_counter()
        machine = session.machine
        assert machine is not None
        entry = _put(machine, TOUCH)
        putting = time.perf_counter()
        machine.power_on(0, entry, DEVICE)
        _wait(lambda: _exits(machine, 0) > 0)
        ran = time.perf_counter()
        started = held()
        plugging = time.perf_counter()
        if realized == 1:
            await _build(session, 1)
        plugged = time.perf_counter()
        first = await _on(session, machine, entry, 1)
        machine.threads[1].power_off()
        machine.threads.wait_out(DEADLINE, 1)
        again = await _on(session, machine, entry, 1)
        rest = time.perf_counter()
        for slot in range(2, realized):
            await session.execute(AnswerCpuOn(slot, 0, True, 0, entry, DEVICE))
        _wait(lambda: all(_exits(machine, slot) for slot in range(2, realized)))
        return {
            "possible": possible, "realized": realized, "how": how,
            "create": created - began, "build": built - created, "run": ran - putting,
            "start": built - began + ran - putting, "plug": plugged - plugging,
            "first": first, "again": again, "rest": time.perf_counter() - rest,
            "before": before, "started": started, "running": held(),
        }  # fmt: skip
    finally:
        await session.close()


async def _build(session: KvmSession, slot: int) -> None:
    for step in (Step.REALIZE, *BIND_AND_ENABLE):
        await session.execute(RunStep(step, slot))


async def _on(session: KvmSession, machine: KvmMachine, entry: int, slot: int) -> float:
    """Seconds from the grant of a CPU_ON to the vCPU's next exit."""
    seen = _exits(machine, slot)
    began = time.perf_counter()
    await session.execute(AnswerCpuOn(slot, 0, True, 0, entry, DEVICE))
    _wait(lambda: _exits(machine, slot) > seen)
    return time.perf_counter() - began


def _exits(machine: KvmMachine, slot: int) -> int:
    thread = machine.threads.get(slot)
    return 0 if thread is None else thread.exits


async def exits() -> dict[str, float]:
    """Exits a second of one vCPU that reads a device, one way after the other."""
    session = KvmSession(
        MachineConfig.of(cpus=1, memory=MEMORY), None, lambda _: None
    )
    try:
        effects: tuple[Effect, ...] = (
            RunMachineStep(MachineStep.CREATE_VCPUS), RunMachineStep(MachineStep.INIT_GIC),
            *(RunStep(step, 0) for step in (Step.REALIZE, *BIND_AND_ENABLE)),
        )  # fmt: skip
        for effect in effects:
            await session.execute(effect)
        machine = session.machine
        assert machine is not None
        entry, vcpu = _put(machine, POLL), machine.vcpu(0)
        nothing = abi.ffi.cast("unsigned long", 0)
        vcpu.set_entry(entry, 0)
        vcpu.set_x(9, DEVICE)
        vcpu.mp_state = MpState.RUNNABLE
        bare = _rate(lambda: abi.system(vcpu.fd, Ioctl.KVM_RUN, nothing))

        def decoded() -> None:
            vcpu.run()
            vcpu.answer_read(0)

        with_exit = _rate(decoded)
        vcpu.settle()
        thread = machine.threads[0]
        machine.power_on(0, entry, 0)  # x9 stays as it is
        first, began = thread.exits, time.perf_counter()
        await asyncio.sleep(SECONDS)
        ours = (thread.exits - first) / (time.perf_counter() - began)
        return {"bare KVM_RUN": bare, "exit decoded": with_exit, "thread, bus, registers": ours}
    finally:
        await session.close()


def main(arguments: list[str]) -> None:
    """See the module."""
    match arguments:
        case ["start", possible, realized]:
            print(orjson.dumps(asyncio.run(start(int(possible), int(realized)))).decode())
        case ["power", possible, realized, how]:
            print(orjson.dumps(asyncio.run(power(int(possible), int(realized), how))).decode())
        case ["exits"]:
            print(orjson.dumps(asyncio.run(exits())).decode())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
