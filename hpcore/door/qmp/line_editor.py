"""The line that a person types into a human monitor, edited and echoed as QEMU does it.

The keys are those of QEMU's util/readline.c, but for the tabulator, which completes nothing
here. What is sent back is the same, byte for byte (tests/door/test_prompt.py).
"""

from __future__ import annotations

from enum import Enum, auto

LONGEST = 4095
"""Characters of a line (READLINE_CMD_BUF_SIZE); what is typed beyond is dropped."""
REMEMBERED = 64
"""Lines that the arrow keys bring back (READLINE_MAX_CMDS)."""

_BLANKS = b" \t\n\v\f\r"
_LEFT, _RIGHT, _TO_END = b"\x1b[D", b"\x1b[C", b"\x1b[K"


class _Escape(Enum):
    NONE = auto()
    BEGUN = auto()
    CSI = auto()
    SS3 = auto()


class LineEditor:
    """Takes bytes one by one; `echo` is what the client is sent for them."""

    def __init__(self) -> None:
        self.echo = bytearray()
        self._line, self._at = bytearray(), 0
        self._shown, self._shown_at = b"", 0
        self._escape, self._number = _Escape.NONE, 0
        self._history: list[bytes] = []
        self._recalled: int | None = None

    def begin(self) -> None:
        """Begin an empty line, of a client that is new; the history stays."""
        self._line.clear()
        self._at, self._shown, self._shown_at = 0, b"", 0
        self._escape = _Escape.NONE

    def take(self, byte: int) -> bytes | None:
        """Take one byte; the line, if it ends it."""
        if self._escape is not _Escape.NONE:
            self._escaped(byte)
        elif byte in b"\n\r":
            line = bytes(self._line)
            self._remember(line)
            self.echo += b"\r\n"
            self.begin()
            return line
        else:
            self._key(byte)
        self._show()
        return None

    def _key(self, byte: int) -> None:
        match byte:
            case 1:
                self._at = 0
            case 4:
                self._delete()
            case 5:
                self._at = len(self._line)
            case 8 | 127:
                if self._at:
                    self._at -= 1
                    self._delete()
            case 23:
                self._delete_word()
            case 27:
                self._escape = _Escape.BEGUN
            case 155:
                self._escape, self._number = _Escape.CSI, 0
            case _ if byte >= 32 and len(self._line) < LONGEST:
                self._line.insert(self._at, byte)
                self._at += 1

    def _escaped(self, byte: int) -> None:
        state, self._escape = self._escape, _Escape.NONE
        if state is _Escape.BEGUN:
            if byte in b"[O":
                self._escape = _Escape.CSI if byte == ord("[") else _Escape.SS3
                self._number = 0
        elif state is _Escape.SS3:
            if byte in b"FH":
                self._at = len(self._line) if byte == ord("F") else 0
        elif byte in b"0123456789":
            self._escape = _Escape.CSI
            self._number = self._number % 1000 * 10 + byte - ord("0")
        else:
            self._move(byte)

    def _move(self, byte: int) -> None:
        match chr(byte), self._number:
            case "A", _:
                self._recall(-1)
            case "B", _:
                self._recall(1)
            case "C", _:
                self._at = min(self._at + 1, len(self._line))
            case "D", _:
                self._at = max(self._at - 1, 0)
            case "~", 1:
                self._at = 0
            case "~", 3:
                self._delete()
            case "~", 4:
                self._at = len(self._line)

    def _delete(self) -> None:
        del self._line[self._at : self._at + 1]

    def _delete_word(self) -> None:
        """Delete the word before the cursor; a blank that begins the line goes with the first."""
        begin = self._at - 1
        while begin > 0 and self._line[begin] in _BLANKS:
            begin -= 1
        while begin > 0 and self._line[begin] not in _BLANKS:
            begin -= 1
        begin += begin > 0
        if self._at:
            del self._line[begin : self._at]
            self._at = begin

    # ---------------------------------------------------------------- the history

    def _remember(self, line: bytes) -> None:
        if line:
            self._recalled = None
            if line in self._history:
                self._history.remove(line)
            self._history = [*self._history, line][-REMEMBERED:]

    def _recall(self, way: int) -> None:
        at = len(self._history) if self._recalled is None else self._recalled
        if (way > 0 and self._recalled is None) or at + way < 0:
            return
        if at + way < len(self._history):
            self._recalled = at + way
            self._line[:] = self._history[self._recalled]
        else:
            self._recalled = None
            self._line.clear()
        self._at = len(self._line)

    # ------------------------------------------------------------------- the echo

    def _show(self) -> None:
        line = bytes(self._line)
        if line != self._shown:
            self.echo += _LEFT * self._shown_at + line + _TO_END
            self._shown, self._shown_at = line, len(line)
        delta = self._at - self._shown_at
        self.echo += _RIGHT * delta if delta > 0 else _LEFT * -delta
        self._shown_at = self._at
