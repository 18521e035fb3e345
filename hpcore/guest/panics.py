"""What a guest prints on its console when it can go on no more, told boot by boot.

Sources: kernel/panic.c of Linux; EDK2's DefaultExceptionHandler.c for AArch64; Trusted
Firmware's crash reporting; U-Boot's arch/arm/lib/interrupts_64.c. The monitor of `tcg` has no
words there: it has no console, and an exception of its own ends the machine.
"""

from __future__ import annotations

import re

from hpcore.guest.initramfs import READY_MARKER

KERNEL_MESSAGE = rb"(?:\[ *\d+\.\d{6}\][^\n]*\n)"
"""A message of Linux with its time. It may stand in the middle of anything."""

LONGEST_LINE = 1 << 14
"""Bytes: a line that is longer is looked at in pieces."""

_PANIC = re.compile(
    rb"Kernel panic - not syncing[^\r\n]*"
    rb"|\b(?:Synchronous|IRQ|FIQ|SError) Exception at 0x[0-9A-Fa-f]+"
    rb"|Unhandled (?:Interrupt )?Exception in EL3[^\r\n]*"
    rb"|PANIC at PC *:[^\r\n]*"
    rb'|"[A-Za-z ]+" handler, esr[^\r\n]*'
)
_END = re.compile(rb"---\[ end Kernel panic")
"""Linux says so where it stays as it is after a panic, since it has no panic= to obey."""

_MARKER = READY_MARKER.encode()


def panic_in(text: bytes) -> str | None:
    """The words of the last panic in `text`, or None."""
    found = _PANIC.findall(text)
    return _words(found[-1]) if found else None


def advice(words: str) -> str:
    """What to look at after a panic with these words, to be put behind them; "" for none."""
    nothing_to_run = re.search(r"mount root fs|No working init|Requested init", words)
    return "; is there an /init in the initrd that runs on arm64?" if nothing_to_run else ""


class Panics:
    """Fed with what a guest prints, and told of its resets, it knows how the boots end."""

    def __init__(self) -> None:
        self.words: str | None = None
        """Those of this boot's first panic."""
        self.in_a_row = 0
        """How many boots have panicked since one came to its shell."""
        self.resets = 0
        """How often the guest has reset itself since then."""
        self.stays = False
        """Whether the guest has said that it does nothing more until it is reset."""
        self._rest = b""  # of a line that has not ended
        self._text = b""  # of the shell's line under way, without the kernel's messages

    def feed(self, data: bytes) -> bool:
        """Take what was printed. Whether the boot's first panic is in it."""
        before = self.words
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line + b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._take(self._rest)
            self._rest = b""
        if self._rest.strip():
            self.stays = False
        return before is None and self.words is not None

    def reset(self, *, by_guest: bool) -> None:
        """The machine was reset, by its guest or by its user."""
        self.words, self.stays = None, False
        self.resets += by_guest

    def _take(self, line: bytes) -> None:
        if line.strip():
            self.stays = _END.search(line) is not None
        self._text += re.sub(KERNEL_MESSAGE, b"", line)
        if _MARKER in self._text:  # a good boot, whatever came before it
            self.words, self.in_a_row, self.resets = None, 0, 0
            self._text = b""
        elif self._text.endswith(b"\n") or len(self._text) > LONGEST_LINE:
            self._text = b""
        if self.words is None and (found := panic_in(line)) is not None:
            self.words, self.in_a_row = found, self.in_a_row + 1


def _words(match: bytes) -> str:
    return match.decode("utf-8", "replace").strip()
