"""A conversation with a door before QEMU is the same, byte for byte, as one without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcore.door.qmp import Answers, Passes
from hpcore.door.qmp.json_form import to_json
from tests.door.rig import Client, door, real, timeless
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

END = b"\xff\n{'execute': 'qmp_capabilities', 'id': 'the end'}"
"""Gets an error that resets the lexer, wherever it is, and one answer more."""


OURS = b'{"return": {"answered": "by the door"}'
QEMUS = b'{"return": {}'
"""What `query-name` returns: here from the door's handler, and from a QEMU without a name."""


async def query_name(arguments: Mapping[str, object]) -> object:
    return Passes.ON if arguments else {"answered": "by the door"}


@frozen
class Both:
    """The same QEMU on three monitors: on its own, behind a door, behind one that answers."""

    runner: asyncio.Runner
    direct: Path
    passing: Path
    answering: Path

    def say(self, path: Path, pieces: Sequence[bytes], *, negotiate: bool = True) -> bytes:
        """What is said on one of them to these bytes, sent in these pieces."""
        return self.runner.run(conversation(path, pieces, negotiate))


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
        answers = Answers({"query-name": query_name})
        async with (
            real(3) as qemu,
            door(qemu, qemu.paths[1:2]) as passing,
            door(qemu, qemu.paths[2:], answers) as answering,
        ):
            yield Both(runner, qemu.paths[0], passing.fronts[0], answering.fronts[0])

    with asyncio.Runner() as runner:
        opening = opened(runner)
        yield runner.run(opening.__aenter__())
        runner.run(opening.__aexit__(None, None, None))


QUIET = ("query-version", "query-status", "query-name", "qmp_capabilities", "nosuch")
"""Commands that change nothing for the next example."""


IDS = (b"", b',"id":7', b",'id':[null,{'a':1.5e3}]", b',"id":"\\u20ac\xc3\xa9"')
RESTS = (
    b"", b",'arguments':{}", b",'arguments':{'x':1}", b",'arguments':5", b",'more':1",
    b',"execute":1', b" ", b",",
)  # fmt: skip


def commands() -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda key, name, id_, rest: b"{'%s':\"%s\"%s%s}" % (key, name.encode(), id_, rest),
        st.sampled_from((b"execute", b"\\u0065xecute", b"exec-oob")),
        st.sampled_from(QUIET),
        st.sampled_from(IDS),
        st.sampled_from(RESTS),
    )


WORDS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"'", b"\\", b" ", b"\n", b"\xff", b"\xfe", b"\0",
    b"true", b"null", b"nul", b"Null", b"0", b"00", b"-", b"-0", b"1.5", b"1.", b"1e", b"1e+5",
    b"1e999", b"123456789012345678901234567890", b"%d", b"%", b"#", b'"a"', b'"\\u0000"',
    b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\x"', b"'\"'", b'"\xc0\x80"', b'"\xed\xa0\x80"',
    b'"\xef\xbf\xbf"', b"/* c */", b"// c\n", b"[" * 1025, b"[" * 1024 + b"]" * 1024,
    b"9" * 5000, b'"' + b"x" * 9000 + b'"', b"{'a':1,'a':2}", b"[1,]", b"[1 2]", b"{1:2}",
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


@settings(max_examples=150)
@given(streams(), st.booleans())
def test_any_bytes_are_answered_as_without_a_door(
    both: Both, pieces: list[bytes], negotiate: bool
) -> None:
    direct = both.say(both.direct, pieces, negotiate=negotiate)
    assert both.say(both.passing, pieces, negotiate=negotiate) == direct


def test_a_command_may_be_split_at_every_byte(both: Both) -> None:
    command = b'{\'execute\':"query-status", "id": "\\u00e9\xc3\xa9"} 17 nope '
    pieces = [command[i : i + 1] for i in range(len(command))]
    direct = both.say(both.direct, pieces)
    assert both.say(both.passing, pieces) == direct
    assert direct.count(b"\n") == 2 + 3 + 2, direct


def test_after_an_error_the_door_skips_the_bytes_that_qemu_skips(both: Both) -> None:
    for byte in map(bytes, zip(range(256), strict=True)):
        pieces = [b"#" + byte + b"1 " + byte + b"x'y' {}"]
        assert both.say(both.passing, pieces) == both.say(both.direct, pieces), byte


def test_a_long_request_is_answered_as_without_a_door(both: Both) -> None:
    long = b'{"execute":"nosuch","arguments":{"x":"' + b"y" * (1 << 16) + b'"}}'
    assert both.say(both.passing, [long]) == both.say(both.direct, [long])


# ------------------------------------------- what the door takes for a command of its own

STRINGS = (
    b"a", b"'", b'"', b"/", b"%", b"%s", b"\\'", b'\\"', b"\\\\", b"\\/", b"\\b\\f\\n\\r\\t",
    b"\\x", b"\\N", b"\\U0041", b"\\u0041", b"\\u00", b"\\u0000", b"\xc0\x80", b"\xc1\x81",
    b"\\ud83d\\ude00", b"\\ud83d", b"\\ude00", b"\\ud83dx", b"\\ud83d\\u0041", b"\\ufffe",
    b"\\ufdd0", b"\xef\xbf\xbe", b"\xf0\x9f\x98\x80", b"\xf4\x90\x80\x80", b"\xed\xa0\x80",
    b"\xc3", b"\xc3\xa9", b"\xfd", b"\x7f",
)  # fmt: skip
NUMBERS = (
    b"0", b"-0", b"-0.0", b"1", b"-17", b"9223372036854775807", b"9223372036854775808",
    b"-9223372036854775808", b"-9223372036854775809", b"18446744073709551615",
    b"18446744073709551616", b"1e2", b"1E+2", b"1.5e-300", b"0.1", b"123456.789", b"1e22",
    b"4.9e-324", b"00", b"1.", b".5", b"-", b"+1", b"0x1", b"true", b"false", b"null", b"TRUE",
)  # fmt: skip


def values() -> st.SearchStrategy[bytes]:
    """A JSON value, and what nearly is one."""
    quoted = st.builds(
        lambda quote, inner: quote + inner + quote,
        st.sampled_from((b'"', b"'")), st.lists(st.sampled_from(STRINGS), max_size=3).map(b"".join),
    )  # fmt: skip
    return st.recursive(
        quoted | st.sampled_from(NUMBERS),
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda v: b"[" + b",".join(v) + b"]")
            | st.lists(st.tuples(quoted, inner), max_size=3).map(
                lambda v: b"{ " + b" ,\t".join(k + b":" + x for k, x in v) + b"\n}"
            )
        ),
        max_leaves=5,
    )


@settings(max_examples=250)
@given(st.lists(st.builds(
    lambda name, value, rest: b"{%s:%s,'id':%s%s}" % (b"'execute'", name, value, rest),
    st.sampled_from((b"'query-name'", b'"query-n\\u0061me"', b"'query\\u002Dname'")),
    values(), st.sampled_from(RESTS),
), min_size=1, max_size=4))  # fmt: skip
def test_a_handler_is_given_what_qemu_takes_for_its_command_and_nothing_else(
    both: Both, requests: list[bytes]
) -> None:
    """Its answers have the id in QEMU's own form, and each comes in its turn."""
    direct = both.say(both.direct, requests).partition(b"\n{")[2].partition(b"\n")[2]
    ours = both.say(both.answering, requests).partition(b"\n{")[2].partition(b"\n")[2]
    assert ours == direct.replace(QEMUS, OURS)


def test_what_qemu_says_is_written_here_in_the_same_bytes(both: Both) -> None:
    """Keys in the same order, too, of which JSON knows none."""
    asked = b"".join(b"{'execute':'%s'}" % name for name in (
        b"query-version", b"query-machines", b"query-commands", b"query-qmp-schema",
        b"query-command-line-options", b"query-chardev", b"query-memory-size-summary",
    ))  # fmt: skip
    lines = both.say(both.direct, [asked]).splitlines()
    assert len(lines) == 2 + 7 + 2
    for line in lines:
        assert to_json(orjson.loads(line)) == line
