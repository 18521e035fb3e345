"""JSON tokens to the value that they make, as strictly as QEMU's parser (json-parser.c).

Whether a text is a command of hpcore's must not be a matter of opinion: what QEMU takes for
`cont`, in single quotes or as `\\u0063ont`, is one here, and what QEMU refuses, a key that is
there twice, is refused.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from hpcore.door.qmp import lexer


class NotJson(Exception):
    """The tokens make no value; QEMU answers them with an error of its own."""


class _Expects(Enum):
    VALUE = auto()
    VALUE_OR_END = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()  # the value is complete


_KEYWORDS: Final = {b"true": True, b"false": False, b"null": None}
_LONGEST_INTEGER = 20
"""Characters of the longest number that 64 bits hold: -9223372036854775808."""


class Builder:
    """Makes one value of the tokens that it is given, one by one."""

    def __init__(self) -> None:
        self._stack: list[tuple[dict[str, object] | list[object], str]] = []
        """The containers that are open, each with the key that waits in it for its value."""
        self._expects = _Expects.VALUE
        self._value: object = None
        self._wrong = False

    def take(self, kind: int, text: bytes) -> None:
        """Take the next token. That it does not fit is told by `value`."""
        if not self._wrong:
            try:
                self._take(kind, text)
            except NotJson:
                self._wrong = True
                self._stack.clear()

    def value(self) -> object:
        """The value that all tokens make. Raises NotJson where they make none."""
        if self._wrong or self._expects is not _Expects.NOTHING:
            raise NotJson
        return self._value

    def _take(self, kind: int, text: bytes) -> None:
        expects = self._expects
        if kind in (lexer.RIGHT_CURLY, lexer.RIGHT_SQUARE):
            self._close(dict if kind == lexer.RIGHT_CURLY else list)
        elif expects is _Expects.COLON and kind == lexer.COLON:
            self._expects = _Expects.VALUE
        elif expects is _Expects.COMMA_OR_END and kind == lexer.COMMA:
            in_dict = isinstance(self._stack[-1][0], dict)
            self._expects = _Expects.KEY if in_dict else _Expects.VALUE
        elif expects in (_Expects.KEY, _Expects.KEY_OR_END) and kind == lexer.STRING:
            self._stack[-1] = (self._stack[-1][0], string(text))
            self._expects = _Expects.COLON
        elif expects in (_Expects.VALUE, _Expects.VALUE_OR_END):
            if kind == lexer.LEFT_CURLY:
                self._stack.append(({}, ""))
                self._expects = _Expects.KEY_OR_END
            elif kind == lexer.LEFT_SQUARE:
                self._stack.append(([], ""))
                self._expects = _Expects.VALUE_OR_END
            else:
                self._put(scalar(kind, text))
        else:
            raise NotJson

    def _close(self, kind: type) -> None:
        may_end = self._expects in (
            _Expects.KEY_OR_END, _Expects.VALUE_OR_END, _Expects.COMMA_OR_END,
        )  # fmt: skip
        if not may_end or not isinstance(self._stack[-1][0], kind):
            raise NotJson
        self._put(self._stack.pop()[0])

    def _put(self, value: object) -> None:
        if not self._stack:
            self._value, self._expects = value, _Expects.NOTHING
            return
        container, key = self._stack[-1]
        if isinstance(container, list):
            container.append(value)
        elif key in container:
            raise NotJson  # a key that is there twice
        else:
            container[key] = value
        self._expects = _Expects.COMMA_OR_END


def scalar(kind: int, text: bytes) -> object:
    """The value of a token that stands for one by itself. Raises NotJson."""
    if kind == lexer.STRING:
        return string(text)
    if kind == lexer.INTEGER:
        return integer(text)
    if kind == lexer.FLOAT:
        return float(text)
    if kind == lexer.KEYWORD and text in _KEYWORDS:
        return _KEYWORDS[text]
    raise NotJson


def integer(text: bytes) -> int | float:
    """A number without a fraction; a float where it has more than 64 bits, as in QEMU."""
    if len(text) <= _LONGEST_INTEGER:
        value = int(text)
        if -(1 << 63) <= value < 1 << 64:
            return value
    return float(text)


_HEX = "[0-9a-fA-F]"
_ESCAPED = re.compile(
    rf"\\(?:u([dD][89abAB]{_HEX}{{2}})\\u([dD][c-fC-F]{_HEX}{{2}})|u({_HEX}{{4}})"
    rf"|([\"'\\/bfnrt])|.?)",
    re.DOTALL,
)
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def string(text: bytes) -> str:
    """What a quoted text says, in modified UTF-8: NUL is two bytes. Raises NotJson."""
    inner = text[1:-1].replace(b"\xc0\x80", b"\0")
    try:
        said = inner.decode()
    except UnicodeDecodeError:
        raise NotJson from None
    if not said.isascii() and any(_is_no_character(ord(c)) for c in said):
        raise NotJson
    return _ESCAPED.sub(_unescaped, said) if "\\" in said else said


def _unescaped(found: re.Match[str]) -> str:
    high, low, single, short = found.groups()
    if short is not None:
        return _SHORT.get(short, short)
    if high is not None:
        point = 0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF)
    elif single is not None:
        point = int(single, 16)
    else:
        raise NotJson
    if _is_no_character(point):
        raise NotJson
    return chr(point)


def _is_no_character(point: int) -> bool:
    """Whether Unicode has no such character (util/unicode.c, is_valid_codepoint)."""
    return 0xFDD0 <= point <= 0xFDEF or point & 0xFFFE == 0xFFFE or 0xD800 <= point <= 0xDFFF
