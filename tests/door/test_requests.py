"""Bytes are cut into requests at the same places, however they come."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcore.door.qmp.json_form import to_json
from hpcore.door.qmp.requests import (
    ABSENT,
    MAX_NESTING,
    TOO_LONG,
    Command,
    Decoder,
    Request,
)


def requests(*pieces: bytes, max_bytes: int = 1 << 20) -> list[Request]:
    decoder = Decoder(max_bytes)
    return [request for piece in pieces for request in decoder.feed(piece)]


FRAGMENTS = (
    b"{'execute':'stop'}",
    b"17",
    b"tru",
    b" ",
    b"{",
    b"}",
    b"#",
    b"\n",
    b'"a',
    b'"',
    b"\xff",
)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=20), st.data())
def test_how_a_stream_is_cut_into_pieces_does_not_matter(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert requests(*pieces) == requests(stream)


def test_a_request_has_its_bytes_and_its_command() -> None:
    raw = b'{ \'execute\' : "a\\u0062", \'arguments\': {"x": [1, -2.5, true, null]}, "id": null}'
    assert requests(b" \r\n" + raw + b" ") == [
        Request(raw, Command("ab", {"x": [1, -2.5, True, None]}, None))
    ]
    assert requests(b"{'exec-oob':'y'}") == [Request(b"{'exec-oob':'y'}", Command("y", oob=True))]


def test_an_id_that_is_not_given_is_not_null() -> None:
    (request,) = requests(b"{'execute':'x'}")
    assert request.command is not None and request.command.id is ABSENT


@pytest.mark.parametrize("text", [
    b"[]", b"{}", b"{'execute':1}", b"{'execute':'x','arguments':[]}", b"{'execute':'x','y':1}",
    b"{'execute':'x','exec-oob':'x'}", b"{'execute':'x','execute':'x'}", b"{'execute':'x',}",
    b"{'execute' 'x'}", b"{execute:'x'}", b"{'execute':'x']", b"{'execute':'\\ud800'}", b"'x'",
])  # fmt: skip
def test_what_qemu_refuses_whatever_its_name_is_no_command(text: bytes) -> None:
    (request,) = requests(text)
    assert request == Request(text)


def test_a_word_at_the_end_is_given_the_end_that_the_next_request_keeps() -> None:
    assert requests(b"12{}") == [Request(b"12\n"), Request(b"{}")]
    assert requests(b"12") == []


def test_an_error_ends_a_request_and_what_is_skipped_belongs_to_none() -> None:
    error = Request(b"{'a': #", begins_anew=True)
    assert requests(b"{'a': # lost } \n{}") == [error, Request(b"}"), Request(b"{}")]


def test_nesting_and_tokens_have_qemus_limits() -> None:
    assert requests(b"[" * MAX_NESTING) == []
    assert requests(b"[" * (MAX_NESTING + 1) + b"1 ") == [
        Request(b"[" * (MAX_NESTING + 1)), Request(b"1\n"),
    ]  # fmt: skip
    few = Decoder(max_tokens=5)
    assert list(few.feed(b"[1,2,3]")) == [Request(b"[1,2,3\n"), Request(b"]")]


@pytest.mark.parametrize("long", [b"'" + b"x" * 200, b"['" + b"x" * 200, b"[" + b" " * 200])
def test_what_is_longer_than_its_limit_is_dropped_and_the_stream_goes_on(long: bytes) -> None:
    assert requests(long, b"{}", max_bytes=100) == [TOO_LONG, Request(b"{}")]


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
), st.booleans())  # fmt: skip
def test_what_is_written_is_json_in_ascii(value: object, pretty: bool) -> None:
    written = to_json(value, pretty=pretty)
    assert written.isascii() and b"\x7f" not in written and json.loads(written) == value
    assert pretty or b"\n" not in written
