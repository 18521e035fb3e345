"""Whether a QEMU hotplugs the vCPUs of a board itself: it is started, and asked."""

from __future__ import annotations

from hpcore.model.config import MachineConfig
from hpcore.qemu.find import Qemu
from hpcore_qtest.native.boards import ARM_VIRT, NativeBoard
from hpcore_qtest.native.hotpluggable_cpus import NoHotplug
from hpcore_qtest.native.machine import NativeMachine
from hpcore_qtest.qemu.machine import Ears

ARM_KNOWN_WITHOUT = (10, 0)
"""The newest QEMU whose arm `virt` is known to hotplug no vCPU; up to it none is asked."""

_ASKED: dict[tuple[Qemu, str], bool] = {}


async def hotplugs_itself(qemu: Qemu, board: NativeBoard) -> bool:
    """Whether `qemu` hotplugs vCPUs of `board`: it is started and asked, once a process.

    Raises QemuError where it does not start.
    """
    if (qemu, board.name) not in _ASKED:
        config = MachineConfig.of(cpus=1, maxcpus=2)
        try:
            machine = await NativeMachine.start(config, board, qemu, Ears())
        except NoHotplug:
            _ASKED[qemu, board.name] = False
        else:
            _ASKED[qemu, board.name] = True
            await machine.qemu.close()
    return _ASKED[qemu, board.name]


async def arm_hotplugs_itself(qemu: Qemu) -> bool:
    """Whether arm `virt` of `qemu` hotplugs vCPUs itself. Raises QemuError."""
    version = tuple(int(part) for part in qemu.version.split(".")[:2])
    return version > ARM_KNOWN_WITHOUT and await hotplugs_itself(qemu, ARM_VIRT)
