"""The PL011 UART that is the guest's console (Arm DDI 0183, PrimeCell UART, chapter 3).

Linux drives it through ACPI's ARMH0011 as an SBSA generic UART: it never writes the line
and control registers and takes the UART to be on, with its FIFOs. So this one is on from
reset, and its FIFOs cannot be turned off.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from enum import IntEnum, IntFlag
from typing import Any

SIZE = 0x1000
FIFO_DEPTH = 32
VERSION = 1
"""Of the form in which the UART's state is saved."""


class Register(IntEnum):
    """Offsets of the registers that do something."""

    DR = 0x00
    FR = 0x18
    ILPR = 0x20
    IBRD = 0x24
    FBRD = 0x28
    LCR_H = 0x2C
    CR = 0x30
    IFLS = 0x34
    IMSC = 0x38
    RIS = 0x3C
    MIS = 0x40
    ICR = 0x44


class UartFlag(IntFlag):
    """Bits of the flag register."""

    RXFE = 1 << 4
    RXFF = 1 << 6
    TXFE = 1 << 7


class Interrupt(IntFlag):
    """Bits of RIS, MIS, IMSC and ICR that this UART raises."""

    RX = 1 << 4  # the receive FIFO has reached its level
    TX = 1 << 5  # what was written is sent
    RT = 1 << 6  # something is in the receive FIFO, and nothing more came


_MASKS: dict[int, int] = {
    Register.ILPR: 0xFF,
    Register.IBRD: 0xFFFF,
    Register.FBRD: 0x3F,
    Register.LCR_H: 0xFF,
    Register.CR: 0xFFFF,
    Register.IFLS: 0x3F,
    Register.IMSC: 0x7FF,
}
"""Registers that are kept as they are written, and the bits that each has."""

_AT_RESET: dict[int, int] = {
    Register.LCR_H: 0x70,  # 8 bits a character, FIFOs on
    Register.CR: 0x301,  # on, sending and receiving
    Register.IFLS: 0x12,  # both levels at one half
}

_RX_LEVELS = tuple(FIFO_DEPTH * eighths // 8 for eighths in (1, 2, 4, 6, 7))

_IDENTITY = {  # revision 3: a FIFO of 32
    0xFE0 + 4 * n: byte
    for n, byte in enumerate((0x11, 0x10, 0x34, 0x00, 0x0D, 0xF0, 0x05, 0xB1))
}

# As plain numbers, for what happens at every character: an enum's members cost ten times
# as much to name, which the guest waits for.
_DR, _FR, _IMSC, _IFLS = map(int, (Register.DR, Register.FR, Register.IMSC, Register.IFLS))
_RX, _TX, _RT = map(int, (Interrupt.RX, Interrupt.TX, Interrupt.RT))
_FLAGS_EMPTY, _FLAGS_SOME = int(UartFlag.TXFE | UartFlag.RXFE), int(UartFlag.TXFE)
_FLAGS_FULL = int(UartFlag.TXFE | UartFlag.RXFF)


class Pl011:
    """The registers. Safe to use from several threads.

    `set_line` is told the level of the interrupt line when it changes, `output` what the
    guest sends. Both are called under the UART's lock, so that their order is the guest's.
    """

    def __init__(
        self, set_line: Callable[[bool], None], output: Callable[[bytes], None]
    ) -> None:
        self._set_line, self._output = set_line, output
        self._lock = threading.Lock()
        self._waiting: deque[int] = deque()  # what does not fit into the FIFO yet
        self._level = False
        self._clear()

    def reset(self) -> None:
        """Registers as at power-on; input that the guest has not read is dropped."""
        with self._lock:
            self._clear()
            self._update()

    def receive(self, data: bytes) -> None:
        """Let `data` come in on the line. What the FIFO does not hold waits."""
        with self._lock:
            self._waiting.extend(data)
            self._refill()
            self._update()

    def saved(self) -> dict[str, object]:
        """Its state, of the form `VERSION`, as JSON takes it."""
        with self._lock:
            return {
                "fifo": list(self._fifo), "waiting": list(self._waiting),
                "raised": self._raised, "registers": [self._kept[r] for r in sorted(_MASKS)],
            }  # fmt: skip

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take up the state that `saved` gave, and put the line to its level.

        Raises ValueError, KeyError or TypeError for what nothing was said of.
        """
        with self._lock:
            self._clear()
            self._fifo.extend(bytes(saved["fifo"][:FIFO_DEPTH]))
            self._waiting.extend(bytes(saved["waiting"]))
            self._raised = int(saved["raised"])
            values = map(int, saved["registers"])
            self._kept = {
                r: value & _MASKS[r] for r, value in zip(sorted(_MASKS), values, strict=True)
            }
            self._update()

    def read(self, offset: int, _size: int) -> int:
        """The guest reads the register at `offset`; one that does not exist is 0."""
        with self._lock:
            if offset == _FR:
                return self._flags()
            if offset == _DR:
                return self._take()
            if offset == Register.RIS:
                return self._raised
            if offset == Register.MIS:
                return self._raised & self._kept[_IMSC]
            return self._kept.get(offset) or _IDENTITY.get(offset, 0)

    def write(self, offset: int, _size: int, value: int) -> None:
        """The guest writes `value` to the register at `offset`."""
        with self._lock:
            if offset == _DR:
                self._output(bytes((value & 0xFF,)))
                self._raised |= _TX  # it is sent at once
            elif offset == Register.ICR:
                self._raised &= ~value
            elif offset in self._kept:
                self._kept[offset] = value & _MASKS[offset]
            self._update()

    def _clear(self) -> None:
        self._waiting.clear()
        self._fifo: deque[int] = deque()
        self._raised = 0
        self._kept = {int(register): _AT_RESET.get(register, 0) for register in _MASKS}

    def _flags(self) -> int:
        if not self._fifo:
            return _FLAGS_EMPTY
        return _FLAGS_FULL if len(self._fifo) == FIFO_DEPTH else _FLAGS_SOME

    def _take(self) -> int:
        value = self._fifo.popleft() if self._fifo else 0
        if len(self._fifo) < self._rx_level():
            self._raised &= ~_RX
        if not self._fifo:
            self._raised &= ~_RT
        self._refill()
        self._update()
        return value

    def _refill(self) -> None:
        before = len(self._fifo)
        while self._waiting and len(self._fifo) < FIFO_DEPTH:
            self._fifo.append(self._waiting.popleft())
        if len(self._fifo) > before:
            # no clock here: characters that are in have been in long enough
            self._raised |= _RT
            if len(self._fifo) >= self._rx_level():
                self._raised |= _RX

    def _rx_level(self) -> int:
        choice = self._kept[_IFLS] >> 3 & 7
        return _RX_LEVELS[min(choice, len(_RX_LEVELS) - 1)]

    def _update(self) -> None:
        level = self._raised & self._kept[_IMSC] != 0
        if level != self._level:
            self._level = level
            self._set_line(level)
