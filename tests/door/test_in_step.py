"""A conversation with a door before QEMU is the same, byte for byte, as one without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.door.rig import SECONDS, Client, door, real, timeless
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

END = b"\xff\n{'execute': 'qmp_capabilities', 'id': 'the end'}"
"""Gets an error that resets the lexer, wherever it is, and one answer more."""


@frozen
class Both:
    """The same QEMU twice: a monitor of its own, and one behind a door."""

    runner: asyncio.Runner
    direct: Path
    front: Path

    def differ(self, pieces: Sequence[bytes], *, negotiate: bool = True) -> tuple[bytes, bytes]:
        """What both say to the same bytes, sent in the same pieces."""

        async def scene() -> tuple[bytes, bytes]:
            said = [await conversation(p, pieces, negotiate) for p in (self.direct, self.front)]
            return said[0], said[1]

        return self.runner.run(scene())


async def conversation(path: Path, pieces: Sequence[bytes], negotiate: bool) -> bytes:
    client = await Client.to(path)
    try:
        said = await client.line()
        if negotiate:
            await client.send(b'{"execute": "qmp_capabilities"}')
            said += await client.line()
        for piece in (*pieces, END):
            await client.send(piece)
            await asyncio.sleep(0)
        while b'"id": "the end"' not in (line := await client.line()):
            assert line, said
            said += line
        return timeless(said + line)
    finally:
        await client.close()


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    @asynccontextmanager
    async def opened(runner: asyncio.Runner) -> AsyncIterator[Both]:
        async with real(2) as qemu, door(qemu, qemu.paths[1:]) as before:
            yield Both(runner, qemu.paths[0], before.fronts[0])

    with asyncio.Runner() as runner:
        opening = opened(runner)
        yield runner.run(opening.__aenter__())
        runner.run(opening.__aexit__(None, None, None))


QUIET = ("query-version", "query-status", "query-name", "qmp_capabilities", "nosuch")
"""Commands that change nothing for the next example."""


def commands() -> st.SearchStrategy[bytes]:
    ids = st.sampled_from((b"", b',"id":7', b",'id':[null,{'a':1.5e3}]", b',"id":"\\u20ac\xc3\xa9"'))
    return st.builds(
        lambda key, name, id_, rest: b"{'%s':\"%s\"%s%s}" % (key, name.encode(), id_, rest),
        st.sampled_from((b"execute", b"\\u0065xecute", b"exec-oob")),
        st.sampled_from(QUIET),
        ids,
        st.sampled_from((b"", b",'arguments':{}", b",'arguments':{'x':1}", b",'arguments':5",
                         b",'more':1", b',"execute":1', b" ", b",")),
    )  # fmt: skip


WORDS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"'", b"\\", b" ", b"\n", b"\xff", b"\xfe", b"\0",
    b"true", b"null", b"nul", b"Null", b"0", b"00", b"-", b"-0", b"1.5", b"1.", b"1e", b"1e+5",
    b"1e999", b"123456789012345678901234567890", b"%d", b"%", b"#", b'"a"', b'"\\u0000"',
    b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\x"', b"'\"'", b'"\xc0\x80"', b'"\xed\xa0\x80"',
    b'"\xef\xbf\xbf"', b"/* c */", b"// c\n", b"[" * 1025, b"[" * 1024 + b"]" * 1024,
    b"9" * 5000, b'"' + b"x" * 40000 + b'"', b"{'a':1,'a':2}", b"[1,]", b"[1 2]", b"{1:2}",
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Commands, garbage, and commands broken somewhere, cut anywhere."""
    parts = draw(st.lists(st.one_of(
        commands(), st.sampled_from(WORDS), st.binary(max_size=6),
        st.builds(lambda c, n: c[:n], commands(), st.integers(0, 30)),
    ), max_size=12))  # fmt: skip
    stream = b"".join(parts)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@settings(max_examples=300)
@given(streams(), st.booleans())
@example([b"{'execute':'query-status'}{\"execute\":\"query-name\"}"], True)
def test_any_bytes_are_answered_as_without_a_door(
    both: Both, pieces: list[bytes], negotiate: bool
) -> None:
    direct, behind = both.differ(pieces, negotiate=negotiate)
    assert behind == direct


def test_a_command_may_be_split_at_every_byte(both: Both) -> None:
    command = b"{'execute':\"query-status\", \"id\": \"\\u00e9\xc3\xa9\"} 17 nope "
    direct, behind = both.differ([command[i : i + 1] for i in range(len(command))])
    assert behind == direct
    assert direct.count(b"\n") == 2 + 3 + 2, direct


def test_every_byte_after_an_error_is_skipped_as_qemu_skips_it(both: Both) -> None:
    for byte in range(256):
        pieces = [b"#" + bytes([byte]) + b"1 " + bytes([byte]) + b"x'y' {}"]
        direct, behind = both.differ(pieces)
        assert behind == direct, byte


def test_a_request_of_ten_megabytes_is_answered_as_without_a_door(both: Both) -> None:
    megabytes = b'{"execute":"nosuch","arguments":{"x":"' + b"y" * (1 << 20) + b'"}}'
    direct, behind = both.differ([megabytes])
    assert behind == direct and SECONDS
