"""A hostile guest: Linux, with any call of any vCPU in between, at any time."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from random import Random
from typing import Any

from attrs import frozen

from hpcore.guest.played.aml import BLOCK, PlayedAml
from hpcore.guest.played.hardware import Hardware
from hpcore.guest.played.linux import LinuxKernel
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.config import MachineConfig
from hpcore.model.rules import RULES, Rules
from hpcore.platform import virt
from hpcore.platform.hotplug_registers import COMMAND, DATA, FLAGS, SELECTOR

MOST_MOVES = 2_000
"""A boot's; after that it is Linux, so that a run ends and its log has a size."""

NOISE = 0.25
"""How often one more move is made before each thing that Linux does."""

OST_STATUSES = (
    int(OstStatus.SUCCESS), int(OstStatus.FAILURE), int(OstStatus.EJECTION_DISABLED),
    int(OstStatus.DEVICE_BUSY), int(OstStatus.IN_PROGRESS), 0x7FFF,
)  # fmt: skip
"""What a hostile guest says of an eject, a status that no standard names among them."""

_DEVICE_CHECK, _EJECT_REQUEST = int(OstSource.DEVICE_CHECK), int(OstSource.EJECT_REQUEST)


class Call(StrEnum):
    """A kind of move."""

    READ = "read"
    WRITE = "write"
    OST = "ost"
    EJECT = "eject"
    CPU_ON = "cpu_on"
    CPU_OFF = "cpu_off"


ARGUMENTS = {
    Call.READ: ("address", "size"),
    Call.WRITE: ("address", "size", "value"),
    Call.OST: ("cpu", "source", "status"),
    Call.EJECT: ("cpu",),
    Call.CPU_ON: ("caller", "cpu"),
    Call.CPU_OFF: ("cpu",),
}
"""What each call takes, in order."""


@frozen
class Move:
    """One call. `arguments` are those of the hardware's or the firmware's method."""

    call: Call
    arguments: tuple[int, ...]


def moves(config: MachineConfig) -> tuple[Move, ...]:
    """Every move worth making on a machine: vCPUs there are and are not, registers, values."""
    possible = config.possible
    cpus = (*range(possible), possible, 0xFFFF_FFFF)
    out = [Move(Call.READ, (address, size)) for address, size in _READS]
    out += [Move(Call.WRITE, (BLOCK + SELECTOR, 4, cpu)) for cpu in cpus]
    out += [
        Move(Call.WRITE, (BLOCK + FLAGS, 1, value)) for value in (1, 2, 4, 6, 8, 14, 16, 32, 0xFF)
    ]
    out += [Move(Call.WRITE, (BLOCK + COMMAND, 1, value)) for value in (0, 1, 2, 3, 4, 0xFF)]
    out += [Move(Call.WRITE, (BLOCK + DATA, 4, value)) for value in (0, 1, 3, 0x82, 0xFFFF_FFFF)]
    for cpu in cpus:
        out += [Move(Call.OST, (cpu, _DEVICE_CHECK, 0)), Move(Call.EJECT, (cpu,))]
        out += [Move(Call.OST, (cpu, _EJECT_REQUEST, status)) for status in OST_STATUSES]
    for cpu in range(possible):
        out += [Move(Call.CPU_ON, (0, cpu)), Move(Call.CPU_OFF, (cpu,))]
    out.append(Move(Call.CPU_ON, (0, possible)))
    return tuple(out)


_READS = (
    (virt.GED_BASE, 4), (BLOCK + SELECTOR, 4), (BLOCK + FLAGS, 1), (BLOCK + FLAGS, 4),
    (BLOCK + COMMAND, 1), (BLOCK + DATA, 4), (BLOCK, 8),
)  # fmt: skip


async def make(move: Move, hardware: Hardware, possible: int) -> None:
    """Make one move, by whatever means; AML's mutex is not heeded."""
    firmware = PlayedAml(hardware, possible)
    match move.call, move.arguments:
        case Call.READ, (address, size):
            await hardware.read(address, size)
        case Call.WRITE, (address, size, value):
            await hardware.write(address, size, value)
        case Call.OST, (cpu, source, status):
            await firmware.ost(cpu, source, status)
        case Call.EJECT, (cpu,):
            await firmware.eject(cpu)
        case Call.CPU_ON, (caller, cpu):
            await hardware.cpu_on(caller, cpu)
        case Call.CPU_OFF, (cpu,):
            await hardware.cpu_off(cpu)


class _Noisy:
    """Hardware on which moves are made before some of what passes."""

    def __init__(self, hardware: Hardware, kernel: HostileKernel) -> None:
        self._hardware, self._kernel = hardware, kernel

    async def read(self, address: int, size: int) -> int:
        await self._kernel.noise()
        return await self._hardware.read(address, size)

    async def write(self, address: int, size: int, value: int) -> None:
        await self._kernel.noise()
        await self._hardware.write(address, size, value)

    async def cpu_on(self, caller: int, cpu: int) -> int:
        await self._kernel.noise()
        return await self._hardware.cpu_on(caller, cpu)

    async def cpu_off(self, cpu: int) -> None:
        await self._kernel.noise()
        await self._hardware.cpu_off(cpu)

    async def system_reset(self) -> None:
        await self._hardware.system_reset()

    async def system_off(self) -> None:
        await self._hardware.system_off()


class HostileKernel(LinuxKernel):
    """Linux on noisy hardware. The moves are `random`'s choice."""

    def __init__(
        self,
        config: MachineConfig,
        append: str,
        hardware: Hardware,
        random: Random,
        rules: Rules = RULES,
    ) -> None:
        super().__init__(config, append, _Noisy(hardware, self), rules)
        self._quiet, self._random = hardware, random
        self._moves = moves(config)
        self.moves_made = 0

    def saved(self) -> dict[str, Any]:
        return super().saved() | {"moves": self.moves_made, "random": self._random.getstate()}

    def load(self, saved: Mapping[str, Any]) -> None:
        super().load(saved)
        self.moves_made = int(saved["moves"])
        version, numbers, gauss = saved["random"]
        self._random.setstate((version, tuple(numbers), gauss))

    async def noise(self) -> None:
        """Make one more move, or none."""
        if self.moves_made < MOST_MOVES and self._random.random() < NOISE:
            self.moves_made += 1
            await make(self._random.choice(self._moves), self._quiet, self.config.possible)
