"""QEMU's arm `virt` with a GICv3 and all possible vCPUs, none of which ever runs."""

from __future__ import annotations

from pathlib import Path

from hpcore.model.config import MachineConfig
from hpcore.platform import virt
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.run.accelerator import Stream
from hpcore_qtest.qemu.machine import Ears, StoppedQemu
from hpcore_qtest.virt.ged_line import CTLR, GedLine
from hpcore_qtest.virt.redistributor import STATE, Redistributors

GED_SPI = virt.ACPI_GED_GSI - 32
SPIS_SHOWN = 32 * 8
"""The SPIs that are compared over a migration: all that `virt` has."""


class VirtMachine:
    """One QEMU process, and the parts of its GIC that a session acts on."""

    def __init__(self, config: MachineConfig, program: Qemu, qemu: StoppedQemu) -> None:
        self._config, self._program = config, program
        self.qemu = qemu
        self.gicr = Redistributors(qemu.qtest, config.possible)
        self.ged: GedLine

    @classmethod
    async def start(
        cls, config: MachineConfig, program: Qemu, ears: Ears, *, incoming: bool = False
    ) -> VirtMachine:
        """Start QEMU; interrupts of the GIC's inputs are told from here on.

        Raises QemuError and leaves nothing behind.
        """
        qemu = await StoppedQemu.start(program, arguments(config), ears, incoming=incoming)
        try:
            started = cls(config, program, qemu)
            gic = await qemu.device("arm-gicv3")
            pins = await qemu.inputs(gic)
            started.ged = GedLine(qemu.qtest, pins[GED_SPI])
            await qemu.qtest.intercept_in(gic)
        except BaseException:
            await qemu.close()
            raise
        return started

    async def moved(self, by: Path | None = None) -> VirtMachine:
        """Migrate to a new QEMU, and return it, once its GIC is seen to have arrived.

        What is sent goes by the file `by`, which is empty, and has all of it then; OSError
        where that takes no more.

        This one is left as it is, and nobody listens to the new one yet. Raises QemuError,
        with the new one ended, if anything of it failed.
        """
        before = await self.gic_state()
        other = await VirtMachine.start(self._config, self._program, Ears(), incoming=True)
        try:
            if by is None:
                await self.qemu.move_to(other.qemu)
            else:
                with by.open("wb") as file:
                    await self.qemu.send_into(file)
                    size = file.tell()
                await other.qemu.take_from(Stream(by, 0, size))
            after = await other.gic_state()
            lost = [register for register in before if after[register] != before[register]]
            if lost:
                first = lost[0]
                raise QemuError(
                    f"{len(lost)} GIC registers did not arrive: the one at {first:#x} was "
                    f"{before[first]:#x}, and is {after[first]:#x}"
                )
        except BaseException:
            await other.qemu.close()
            raise
        return other

    async def gic_state(self) -> dict[int, int]:
        """The distributor's and all redistributors' registers of 4 bytes, by address."""
        banks = (0x80, 0x100, 0x200, 0x300)
        addresses = [CTLR]
        for bank in banks:
            addresses += [virt.GICD_BASE + bank + n // 8 for n in range(32, SPIS_SHOWN + 32, 32)]
        addresses += [virt.GICD_BASE + 0x400 + n for n in range(32, SPIS_SHOWN + 32, 4)]
        addresses += [virt.GICD_BASE + 0xC00 + n // 4 for n in range(32, SPIS_SHOWN + 32, 16)]
        addresses += [virt.GICD_BASE + 0x6000 + 8 * n for n in range(32, SPIS_SHOWN + 32)]
        addresses += [frame + register for frame in self.gicr.frames for register in STATE]
        return dict(zip(addresses, await self.qemu.qtest.read_all(addresses, 4), strict=True))


def arguments(config: MachineConfig) -> list[str]:
    """QEMU's arguments for the machine. Its state is the same in every run."""
    return [
        "-machine", "virt,gic-version=3,dtb-randomness=off", "-cpu", config.cpu_model,
        "-smp", str(config.possible), "-m", f"{config.memory}M",
        "-rtc", "base=2000-01-01,clock=vm",
    ]  # fmt: skip
