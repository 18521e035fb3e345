"""A QEMU without the interposer, which no loader has loaded: hpcore ends it, and says why."""

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


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("-static",), "a static program has no loader"),
        ((), "interposer.so' from LD_PRELOAD cannot be preloaded"),  # the loader's own words
    ],
    ids=["static", "unreadable"],
)
def test_a_qemu_in_which_nobody_decides_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], says: str
) -> None:
    program, object_ = tmp_path / "qemu", tmp_path / "interposer.so"
    gcc(*flags, "-Wall", "-Werror", SOURCE, "-o", program)
    object_.touch()  # which is no object
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

    with pytest.raises(QemuError, match=says):
        asyncio.run(run())
    (pid,) = started
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
