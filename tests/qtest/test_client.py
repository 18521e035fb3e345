"""The qtest client against a real QEMU: registers, interrupts, refusals, lines never sent."""

from __future__ import annotations

import asyncio

import pytest
from hpcore_qtest.qemu import lines
from hpcore_qtest.qemu.client import QtestRefused
from hpcore_qtest.qemu.machine import Ears

from hpcore.platform import virt
from tests.qemu.support import needs_qemu
from tests.qtest.rig import bare
from tests.support.waits import until

GICD_ISPENDR1, GICD_ICFGR2 = virt.GICD_BASE + 0x204, virt.GICD_BASE + 0xC08
UART_DR, UART_IMSC, UART_CR = virt.UART0_BASE, virt.UART0_BASE + 0x38, virt.UART0_BASE + 0x30


@needs_qemu
def test_memory_is_written_and_read_in_every_size_and_in_bulk() -> None:
    async def run() -> None:
        async with bare() as m:
            base = virt.RAM_BASE + 0x1000
            for size in (1, 2, 4, 8):
                value = int.from_bytes(bytes(range(0xF1, 0xF1 + size)), "little")
                await m.qtest.write(base, size, value)
                assert await m.qtest.read(base, size) == value
            data = bytes(range(256)) * 64
            await m.qtest.write_bytes(base, data)
            assert await m.qtest.read_bytes(base, len(data)) == data

    asyncio.run(run())


@needs_qemu
def test_answers_come_in_the_order_of_the_questions() -> None:
    async def run() -> None:
        async with bare() as m:
            base = virt.RAM_BASE + 0x1000
            await m.qtest.write_all(((base + 4 * n, n) for n in range(5000)), 4)
            asked = [m.qtest.send([lines.read(base + 4 * n, 4)]) for n in range(5000)]
            many = m.qtest.read_all((base + 4 * n for n in range(5000)), 4)
            answers = [int((await future)[0], 16) for future in asked]
            assert answers == await many == list(range(5000))

    asyncio.run(run())


@needs_qemu
def test_an_interrupt_is_injected_told_and_pends_in_the_real_gic() -> None:
    async def run() -> None:
        told: list[tuple[int, bool]] = []
        async with bare(Ears(irq=lambda n, raised: told.append((n, raised)))) as m:
            gic = await m.device("arm-gicv3")
            await m.qtest.intercept_in(gic)
            await m.qtest.write(GICD_ICFGR2, 4, 2 << 18)  # SPI 9: edge
            pin = (await m.inputs(gic))[9]
            await m.qtest.set_irq_in(pin, 1)
            await m.qtest.set_irq_in(pin, 0)
            assert told == [(9, True), (9, False)]
            assert await m.qtest.read(GICD_ISPENDR1, 4) == 1 << 9
            await m.reset()
            assert await m.qtest.read(GICD_ISPENDR1, 4) == 0

    asyncio.run(run())


@needs_qemu
def test_a_byte_from_the_host_raises_the_uarts_spi() -> None:
    async def run() -> None:
        told: list[tuple[int, bool]] = []
        ears = Ears(irq=lambda n, raised: told.append((n, raised)))
        async with bare(ears, serials=1) as m:
            await m.qtest.intercept_in(await m.device("arm-gicv3"))
            await m.qtest.write(UART_CR, 4, 0x301)  # enabled, both ways
            await m.qtest.write(UART_IMSC, 4, 0x10)  # the receive interrupt
            m.serials[0].write(b"A")
            await until(lambda: (1, True) in told, "SPI 1 is raised")
            assert await m.qtest.read(GICD_ISPENDR1, 4) == 1 << 1
            assert await m.qtest.read(UART_DR, 4) == ord("A")
            assert told == [(1, True), (1, False)]

    asyncio.run(run())


@needs_qemu
def test_a_refusal_quotes_the_line_and_the_answer_and_the_connection_goes_on() -> None:
    async def run() -> None:
        async with bare() as m:
            with pytest.raises(QtestRefused, match=r"'irq_intercept_in /nobody': FAIL Unknown"):
                await m.qtest.intercept_in("/nobody")
            assert await m.qtest.read(virt.GICD_BASE + 4, 4)

    asyncio.run(run())


@pytest.mark.parametrize("text", [
    "", " ", "readl", "readl 0x1\r", "readl 0x1\n", "readl  0x1", "readl 1 2", "writel 0x1",
    "write 0x1 0x2", "inq 0x1", "inb 0x10000", "set_irq_in / x", "clock_step x", "READL 0x1",
    "readl 0x11111111111111111", "readl -0x1", "outb 0x1", "module_load x y",
])  # fmt: skip
def test_what_would_end_qemu_is_no_line(text: str) -> None:
    with pytest.raises(lines.BadLine):
        lines.parse(text)


def test_an_access_out_of_range_is_named() -> None:
    with pytest.raises(lines.BadLine, match="an access of 3 bytes; there are 1, 2, 4 and 8"):
        lines.read(0, 3)
    with pytest.raises(lines.BadLine, match="port 0x10000 is not within 0 and 0xffff"):
        lines.port_read(0x10000, 1)
    with pytest.raises(lines.BadLine, match="value 0x100 is not within 0 and 0xff"):
        lines.write(0, 1, 0x100)
    with pytest.raises(lines.BadLine, match="number of the input 0x4 is not within"):
        lines.set_irq_in(lines.Pin("/a", 4, 4), 1)
    with pytest.raises(lines.BadLine, match="'/a b' is no path"):
        lines.intercept_in("/a b")
    with pytest.raises(lines.BadLine, match="0 bytes at once"):
        lines.write_bytes(0, b"")
