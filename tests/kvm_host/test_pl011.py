"""The UART as Linux's driver uses it: what it sends, what it hears, when it interrupts."""

from __future__ import annotations

import json

import pytest
from hpcore_kvm.pl011 import FIFO_DEPTH, Interrupt, Pl011, Register, UartFlag


class Rig:
    """A UART, the levels of its line, and what it sent."""

    def __init__(self) -> None:
        self.levels: list[bool] = []
        self.sent = bytearray()
        self.uart = Pl011(self.levels.append, self.sent.extend)

    def read(self, register: int) -> int:
        return self.uart.read(register, 4)

    def write(self, register: int, value: int) -> None:
        self.uart.write(register, 4, value)

    def take(self) -> bytes:
        """All that a driver reads until the receive FIFO is empty."""
        data = bytearray()
        while not self.read(Register.FR) & UartFlag.RXFE:
            data.append(self.read(Register.DR))
        return bytes(data)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_it_is_on_from_reset_as_an_sbsa_driver_takes_it_to_be(rig: Rig) -> None:
    rig.uart.receive(b"x")
    rig.write(Register.DR, ord("y"))
    assert rig.take() == b"x"
    assert rig.sent == b"y"


def test_what_is_written_is_sent_at_once_and_interrupts_if_asked(rig: Rig) -> None:
    rig.write(Register.DR, 0x141)  # the upper bits are no part of a character
    assert rig.sent == b"A"
    assert rig.read(Register.FR) == UartFlag.TXFE | UartFlag.RXFE
    assert rig.read(Register.RIS) == Interrupt.TX
    assert rig.levels == []
    rig.write(Register.IMSC, Interrupt.TX)
    assert rig.levels == [True]
    assert rig.read(Register.MIS) == Interrupt.TX
    rig.write(Register.ICR, Interrupt.TX)
    assert rig.levels == [True, False]


def test_input_raises_the_timeout_interrupt_until_it_is_read(rig: Rig) -> None:
    rig.write(Register.IMSC, Interrupt.RX | Interrupt.RT)
    rig.uart.receive(b"ls\n")
    assert rig.levels == [True]
    assert rig.read(Register.MIS) == Interrupt.RT
    assert rig.take() == b"ls\n"
    assert rig.levels == [True, False]


def test_a_fifo_at_its_level_raises_the_receive_interrupt(rig: Rig) -> None:
    rig.uart.receive(bytes(FIFO_DEPTH // 2 - 1))
    assert not rig.read(Register.RIS) & Interrupt.RX
    rig.uart.receive(b"x")
    assert rig.read(Register.RIS) & Interrupt.RX
    rig.read(Register.DR)
    assert not rig.read(Register.RIS) & Interrupt.RX


@pytest.mark.parametrize(("choice", "level"), [(0, 4), (2, 16), (4, 28), (7, 28)])
def test_the_receive_level_can_be_chosen(rig: Rig, choice: int, level: int) -> None:
    rig.write(Register.IFLS, choice << 3)
    rig.uart.receive(bytes(level - 1))
    assert not rig.read(Register.RIS) & Interrupt.RX
    rig.uart.receive(b"x")
    assert rig.read(Register.RIS) & Interrupt.RX


def test_a_line_longer_than_the_fifo_loses_nothing(rig: Rig) -> None:
    line = bytes(n % 251 for n in range(4000))
    rig.uart.receive(line[:3000])
    assert rig.read(Register.FR) & UartFlag.RXFF
    rig.uart.receive(line[3000:])
    assert rig.take() == line
    assert rig.read(Register.RIS) == 0


def test_an_interrupt_cleared_too_early_comes_again_with_more_input(rig: Rig) -> None:
    rig.write(Register.IMSC, Interrupt.RT)
    rig.uart.receive(b"a")
    rig.write(Register.ICR, Interrupt.RT)
    assert rig.levels == [True, False]
    rig.uart.receive(b"b")
    assert rig.levels == [True, False, True]
    assert rig.take() == b"ab"


def test_control_registers_are_kept_and_cannot_turn_it_off(rig: Rig) -> None:
    rig.write(Register.LCR_H, 0xFFFF_FF60)
    rig.write(Register.CR, 0)
    rig.write(Register.IBRD, 0x1_0027)
    assert rig.read(Register.LCR_H) == 0x60
    assert rig.read(Register.IBRD) == 0x27
    rig.uart.receive(b"still")
    assert rig.take() == b"still"


def test_it_says_what_it_is(rig: Rig) -> None:
    peripheral = [rig.read(0xFE0 + 4 * n) for n in range(4)]
    assert peripheral[0] | (peripheral[1] & 0xF) << 8 == 0x011  # the part number
    cell = sum(rig.read(0xFF0 + 4 * n) << 8 * n for n in range(4))
    assert cell == 0xB105_F00D


def test_registers_that_are_not_there_read_as_zero_and_take_writes(rig: Rig) -> None:
    for offset in (0x08, 0x48, 0x100, 0x800, 0xFE1, 0xFFF, 1, 0x19):
        rig.write(offset, 0xFFFF_FFFF)
        assert rig.read(offset) == 0
    assert rig.sent == b""


def test_a_reset_drops_input_masks_and_the_line(rig: Rig) -> None:
    rig.write(Register.IMSC, Interrupt.RT)
    rig.uart.receive(bytes(100))
    rig.uart.reset()
    assert rig.levels == [True, False]
    assert rig.take() == b""
    assert rig.read(Register.IMSC) == 0
    assert rig.read(Register.CR) == 0x301


def test_what_it_held_is_held_by_one_that_loads_it(rig: Rig) -> None:
    rig.write(Register.IMSC, Interrupt.RX | Interrupt.RT)
    rig.uart.receive(bytes(range(100)))
    assert rig.read(Register.DR) == 0
    other = Rig()
    other.uart.load(json.loads(json.dumps(rig.uart.saved())))
    assert other.levels == [True], "its line is put where it was"
    for register in (Register.IMSC, Register.RIS, Register.MIS, Register.IFLS, Register.CR):
        assert other.read(register) == rig.read(register)
    assert other.take() == bytes(range(1, 100))
    assert other.levels == [True, False]
