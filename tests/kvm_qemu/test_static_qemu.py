"""A QEMU that has no loader: hpcore ends it before anything of a guest could run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hpcore_kvm_qemu.launch import Sockets
from hpcore_kvm_qemu.machine import KvmQemuMachine, Told
from hpcore_kvm_qemu.policy import Policy

from hpcore.model.config import MachineConfig
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.running import RunningQemu
from tests.kvm_qemu.native import gcc

SOURCE = Path(__file__).with_name("static_qemu.c")
HEARS_NOTHING = Told(lambda _call: None, lambda: None, lambda _why: None, lambda _reason: None)


def test_a_static_qemu_is_ended_since_nobody_decides_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, object_ = tmp_path / "qemu", tmp_path / "interposer.so"
    gcc("-static", "-Wall", "-Werror", SOURCE, "-o", program)
    object_.touch()  # a loader would read it, and say that it is no object
    started: list[int] = []
    attach = KvmQemuMachine.attach

    async def seen(
        process: RunningQemu, policy: Policy, sockets: Sockets, told: Told
    ) -> KvmQemuMachine:
        started.append(process.pid)
        return await attach(process, policy, sockets, told)

    monkeypatch.setattr(KvmQemuMachine, "attach", seen)

    async def run() -> None:
        config = MachineConfig.of(cpus=1, maxcpus=2)
        qemu = Qemu(program, "7.2")
        await KvmQemuMachine.start(config, None, qemu, object_, HEARS_NOTHING)

    with pytest.raises(QemuError, match="a static program has no loader"):
        asyncio.run(run())
    (pid,) = started
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
