"""What a QMP client sends, cut into requests: each is what QEMU gives one answer to.

A request is a JSON value, or whatever QEMU answers with a parse error. Its bytes can be sent
to the real QEMU as they came, and QEMU's parser is then where this one is: at its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import field, frozen

from hpcore.door.qmp import lexer
from hpcore.door.qmp.lexer import Lexer
from hpcore.door.qmp.values import Builder, NotJson

MAX_BYTES = 16 << 20
"""The longest request. QEMU takes 64 MiB of tokens; no command of its own comes near to 16."""
MAX_TOKENS = 2 << 20
MAX_NESTING = 1 << 10
"""QEMU's own limits (qobject/json-streamer.c)."""


class _Absent:
    """Stands for an id that was not given; null is one."""


ABSENT: Final = _Absent()


@frozen
class Command:
    """A request that QEMU takes for a command: its name, its arguments, its id if it has one."""

    name: str
    arguments: dict[str, object] = field(factory=dict)
    id: object = ABSENT
    oob: bool = False


@frozen
class Request:
    """Bytes that get one answer, and what they say.

    `begins_anew`: QEMU finds an error at the end of the bytes, and skips what follows up to a
    byte that begins anew; a line feed is one. `too_long`: nothing was kept of it.
    """

    raw: bytes
    command: Command | None = None
    begins_anew: bool = False
    too_long: bool = False


TOO_LONG: Final = Request(b"", too_long=True)
_DEPTH: Final = {
    lexer.LEFT_CURLY: (1, 0), lexer.RIGHT_CURLY: (-1, 0),
    lexer.LEFT_SQUARE: (0, 1), lexer.RIGHT_SQUARE: (0, -1),
}  # fmt: skip
_NEEDS_AN_END: Final = (lexer.INTEGER, lexer.FLOAT, lexer.KEYWORD)


class Decoder:
    """Takes a client's bytes as they come, and gives the requests that are complete."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_tokens: int = MAX_TOKENS) -> None:
        self._max_bytes, self._max_tokens = max_bytes, max_tokens
        self._lexer = Lexer()
        self._raw = bytearray()
        self._start()

    def _start(self) -> None:
        self._curly = self._square = self._tokens = 0
        self._builder = Builder()
        self._raw.clear()

    def feed(self, data: bytes) -> Iterator[Request]:
        """The requests that end in `data`. All of them are to be taken before the next call."""
        kept = 0  # up to here `data` is in `_raw`, if a request is under way
        for kind, text, end in self._lexer.feed(data):
            self._raw += data[kept:end] if self._tokens else text
            kept = end
            if self._ends(kind, text):
                yield self._request(kind)
                self._start()
        if self._tokens:
            self._raw += data[kept:]
        if len(self._raw) > self._max_bytes or len(self._lexer) > self._max_bytes:
            self._lexer.forget()
            self._start()
            yield TOO_LONG

    def _ends(self, kind: int, text: bytes) -> bool:
        """Take a token, and say whether QEMU answers now."""
        self._tokens += 1
        if kind == lexer.ERROR or self._tokens > self._max_tokens:
            return True
        curly, square = _DEPTH.get(kind, (0, 0))
        self._curly += curly
        self._square += square
        self._builder.take(kind, text)
        depth = self._curly + self._square
        return depth > MAX_NESTING or depth <= 0 or self._curly < 0 or self._square < 0

    def _request(self, kind: int) -> Request:
        raw = bytes(self._raw)
        if kind in _NEEDS_AN_END:
            raw += b"\n"  # in place of the byte that ended it, which is the next request's
        try:
            command = command_in(self._builder.value())
        except NotJson:
            command = None
        return Request(raw, command, begins_anew=kind == lexer.ERROR)


def command_in(value: object) -> Command | None:
    """The command that a value is, or None where QEMU refuses it, whatever its name.

    QEMU's checks are those of qmp_dispatch_check_obj in qapi/qmp-dispatch.c.
    """
    if not isinstance(value, dict):
        return None
    rest = dict(value)
    oob = "exec-oob" in rest and "execute" not in rest
    name = rest.pop("exec-oob" if oob else "execute", None)
    arguments = rest.pop("arguments", {})
    id_ = rest.pop("id", ABSENT)
    if rest or not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return Command(name, arguments, id_, oob)
