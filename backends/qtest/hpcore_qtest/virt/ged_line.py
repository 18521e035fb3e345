"""The GED's interrupt in QEMU's distributor: raised for real, taken as far as qtest reaches.

Source: Arm IHI 0069, 12.9; hw/intc/arm_gicv3_dist.c.
"""

from __future__ import annotations

import asyncio

from hpcore.platform import virt
from hpcore_qtest.qemu import lines
from hpcore_qtest.qemu.client import Qtest
from hpcore_qtest.qemu.lines import Pin

CTLR, TYPER = virt.GICD_BASE, virt.GICD_BASE + 0x4
ENABLE_GROUP1, ARE = 1 << 1, 1 << 4
EDGE = 0b10
PRIORITY = 0xA0


class GedLine:
    """One SPI: `pin` is the GIC's input for it."""

    def __init__(self, qtest: Qtest, pin: Pin) -> None:
        self._qtest, self.pin = qtest, pin
        intid = 32 + pin.number
        self._bit = 1 << intid % 32
        self._intid = intid
        self.enable, self.pending = _bank(0x100, intid), _bank(0x200, intid)
        self._group, self._unpend = _bank(0x80, intid), _bank(0x280, intid)

    async def set_up(self) -> None:
        """What a kernel's GIC driver does for it: Group 1, on an edge, to vCPU 0, enabled."""
        intid = self._intid
        config = virt.GICD_BASE + 0xC00 + intid // 16 * 4
        await self._qtest.send([
            lines.write(CTLR, 4, ENABLE_GROUP1 | ARE),
            lines.write(config, 4, EDGE << intid % 16 * 2),
            lines.write(self._group, 4, self._bit),
            lines.write(virt.GICD_BASE + 0x400 + intid, 1, PRIORITY),
            lines.write(virt.GICD_BASE + 0x6000 + 8 * intid, 8, 0),  # IROUTER: affinity 0
            lines.write(self.enable, 4, self._bit),
        ])  # fmt: skip

    def pulse(self) -> asyncio.Future[list[str]]:
        """Send an edge on the line, at once: it is before all that is sent later."""
        return self._qtest.send([lines.set_irq_in(self.pin, 1), lines.set_irq_in(self.pin, 0)])

    async def pends(self) -> bool:
        """Whether it pends and is enabled, so that vCPU 0 would be interrupted."""
        enabled, pending = await self._qtest.read_all((self.enable, self.pending), 4)
        return bool(enabled & pending & self._bit)

    async def take(self) -> None:
        """Acknowledge it.

        A kernel reads ICC_IAR1_EL1 and writes ICC_EOIR1_EL1, which are system registers and
        out of qtest's reach; the pending bit is cleared as the one would do.
        """
        await self._qtest.write(self._unpend, 4, self._bit)


def _bank(register: int, intid: int) -> int:
    """The word that has INTID's bit, in an array of one bit an interrupt."""
    return virt.GICD_BASE + register + intid // 32 * 4
