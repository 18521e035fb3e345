"""Bytes to JSON tokens, byte for byte as QEMU's own lexer takes them (qobject/json-lexer.c).

QMP is a stream of values without lines. Where QEMU finds an error it answers, and goes on at
a place that its lexer alone defines. A door that finds another place would be out of step
with the QEMU behind it for good. So the states here are QEMU's, as of 3.1 and later; that
nothing differs is tested against a QEMU (tests/door/test_in_step.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

ERROR: Final = 0
"""The token that QEMU answers with `JSON parse error, stray '...'`; what follows it is skipped
up to a byte that begins anew."""

(_RECOVERY, _DQ, _DQ_ESCAPE, _SQ, _SQ_ESCAPE, _ZERO, _DIGITS, _SIGN, _MANTISSA,
 _MANTISSA_DIGITS, _EXP_E, _EXP_SIGN, _EXP_DIGITS, _WORD, _START) = range(1, 16)  # fmt: skip

(LEFT_CURLY, RIGHT_CURLY, LEFT_SQUARE, RIGHT_SQUARE, COLON, COMMA,
 INTEGER, FLOAT, KEYWORD, STRING) = range(32, 42)  # fmt: skip
"""The other tokens. A keyword is any word of small letters."""

_LOOKAHEAD = 0x80
"""The byte that ends a token is not part of it."""

_DIGIT = range(ord("0"), ord("9") + 1)
_LETTER = range(ord("a"), ord("z") + 1)
_TEXT = range(0x20, 0xFE)
_ANY = range(256)


def _row(*moves: tuple[Iterable[int], int]) -> bytes:
    """The next states from one state, by byte; a later move overrules an earlier one."""
    row = bytearray(256)  # ERROR
    for bytes_, state in moves:
        for byte in bytes_:
            row[byte] = state
    return bytes(row)


_NUMBER = ((b"eE", _EXP_E), (b".", _MANTISSA))
_TABLE: dict[int, bytes] = {
    _RECOVERY: _row(
        (_ANY, _RECOVERY), (range(0x20), _START | _LOOKAHEAD), (b"\t", _RECOVERY),
        (b"\xfe\xff[]{}:,", _START | _LOOKAHEAD),
    ),
    _DQ: _row((_TEXT, _DQ), (b"\\", _DQ_ESCAPE), (b'"', STRING)),
    _DQ_ESCAPE: _row((_TEXT, _DQ)),
    _SQ: _row((_TEXT, _SQ), (b"\\", _SQ_ESCAPE), (b"'", STRING)),
    _SQ_ESCAPE: _row((_TEXT, _SQ)),
    _ZERO: _row((_ANY, INTEGER | _LOOKAHEAD), (_DIGIT, ERROR), (b".", _MANTISSA)),
    _DIGITS: _row((_ANY, INTEGER | _LOOKAHEAD), (_DIGIT, _DIGITS), *_NUMBER),
    _SIGN: _row((_DIGIT, _DIGITS), (b"0", _ZERO)),
    _MANTISSA: _row((_DIGIT, _MANTISSA_DIGITS)),
    _MANTISSA_DIGITS: _row(
        (_ANY, FLOAT | _LOOKAHEAD), (_DIGIT, _MANTISSA_DIGITS), (b"eE", _EXP_E)
    ),
    _EXP_E: _row((_DIGIT, _EXP_DIGITS), (b"+-", _EXP_SIGN)),
    _EXP_SIGN: _row((_DIGIT, _EXP_DIGITS)),
    _EXP_DIGITS: _row((_ANY, FLOAT | _LOOKAHEAD), (_DIGIT, _EXP_DIGITS)),
    _WORD: _row((_ANY, KEYWORD | _LOOKAHEAD), (_LETTER, _WORD)),
    _START: _row(
        (b" \t\r\n", _START), (b'"', _DQ), (b"'", _SQ), (_DIGIT, _DIGITS), (b"0", _ZERO),
        (b"-", _SIGN), (_LETTER, _WORD), (b"{", LEFT_CURLY), (b"}", RIGHT_CURLY),
        (b"[", LEFT_SQUARE), (b"]", RIGHT_SQUARE), (b":", COLON), (b",", COMMA),
    ),
}  # fmt: skip
_NEXT: tuple[bytes, ...] = tuple(_TABLE.get(state, b"") for state in range(16))


def _run(state: int) -> Callable[[bytes, int], int]:
    """What finds the end of a run of bytes that leave a state as it is, without a loop."""
    stays = b"".join(re.escape(bytes([b])) for b in _ANY if _TABLE[state][b] == state)
    match = re.compile(b"[" + stays + b"]*").match
    return lambda data, at: match(data, at).end()  # type: ignore[union-attr] # matches nothing too


_RUNS = {
    state: _run(state)
    for state in (_RECOVERY, _DQ, _SQ, _DIGITS, _MANTISSA_DIGITS, _EXP_DIGITS, _WORD, _START)
}

Token = tuple[int, bytes, int]
"""Its kind, its bytes, and the place in the data that was fed at which it ends."""


class Lexer:
    """Takes bytes as they come, in pieces of any size."""

    def __init__(self) -> None:
        self._state = _START
        self._begun = bytearray()
        """What has come of the token that has not ended."""

    def __len__(self) -> int:
        """How many bytes of an unfinished token are kept."""
        return len(self._begun)

    def forget(self) -> None:
        """Drop the unfinished token and begin anew, as QEMU does of one that is too long."""
        self._begun.clear()
        self._state = _START

    def feed(self, data: bytes) -> Iterator[Token]:
        """The tokens that end in `data`. All of them are to be taken before the next call."""
        at, begin, state = 0, 0, self._state
        while at < len(data):
            if state in _RUNS:
                at = _RUNS[state](data, at)
                if at == len(data):
                    break
            if state in (_START, _RECOVERY):
                begin = at
            move = _NEXT[state][data[at]]
            at += not move & _LOOKAHEAD
            state = move & ~_LOOKAHEAD
            if state == ERROR or state >= LEFT_CURLY:
                text = data[begin:at]
                if self._begun:
                    text = bytes(self._begun) + text
                    self._begun.clear()
                kind, state, begin = state, _START if state else _RECOVERY, at
                yield kind, text, at
        if state not in (_START, _RECOVERY):
            self._begun += data[begin:]
        self._state = state
