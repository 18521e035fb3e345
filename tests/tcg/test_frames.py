"""The link's frames: no bytes whatever make a reader fail, and it finds its place again."""

from __future__ import annotations

import pytest
from hpcore_tcg.protocol import (
    FIELDS,
    GROUP_BITS,
    MEANING,
    REPLY,
    Decoder,
    Event,
    Op,
    Status,
    crc7,
    encode,
)
from hypothesis import given
from hypothesis import strategies as some


@some.composite
def frames(draw: some.DrawFn) -> tuple[int, dict[str, int]]:
    kind = draw(some.sampled_from(sorted(FIELDS)))
    fields = {
        name: draw(some.integers(0, (1 << (GROUP_BITS * groups)) - 1))
        for name, groups in FIELDS[kind]
    }
    return kind, fields


@given(some.lists(frames(), max_size=5))
def test_what_is_encoded_is_decoded_in_order(sent: list[tuple[int, dict[str, int]]]) -> None:
    decoder = Decoder()
    got = decoder.feed(b"".join(encode(kind, **fields) for kind, fields in sent))
    assert [(frame.kind, frame.fields) for frame in got] == sent
    assert decoder.dropped == 0


@given(frames(), some.integers(1, 60))
def test_frames_may_arrive_in_pieces(sent: tuple[int, dict[str, int]], size: int) -> None:
    data = encode(sent[0], **sent[1])
    decoder = Decoder()
    got = [f for at in range(0, len(data), size) for f in decoder.feed(data[at : at + size])]
    assert [(frame.kind, frame.fields) for frame in got] == [sent]


@given(some.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    Decoder().feed(data)


@given(some.binary(max_size=100), frames())
def test_the_frame_after_garbage_is_read(data: bytes, sent: tuple[int, dict[str, int]]) -> None:
    got = Decoder().feed(data + encode(sent[0], **sent[1]))
    assert (got[-1].kind, got[-1].fields) == sent


@given(frames(), some.data())
def test_a_changed_bit_never_gives_another_frame(
    sent: tuple[int, dict[str, int]], data: some.DataObject
) -> None:
    bad = bytearray(encode(sent[0], **sent[1]))
    at = data.draw(some.integers(1, len(bad) - 1))
    bad[at] ^= 1 << data.draw(some.integers(0, 6))
    decoder = Decoder()
    assert decoder.feed(bytes(bad)) == []
    assert decoder.dropped == len(bad)


def test_bytes_that_are_dropped_are_counted() -> None:
    decoder = Decoder()
    decoder.feed(b"\x01\x02" + b"\xff\x03" + encode(Event.SCAN_ENDED))
    assert decoder.dropped == 4


def test_the_crc_is_the_one_of_sd_cards() -> None:
    assert crc7(bytes([0x40, 0, 0, 0, 0])) == 0x4A  # CMD0, SD physical layer, 4.5


def test_a_field_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="slot is 16384, which 14 bits do not hold"):
        encode(Op.BIND, tag=0, slot=1 << 14, arg=0)
    with pytest.raises(ValueError, match="has the fields"):
        encode(REPLY, tag=0)


def test_every_status_but_ok_has_words() -> None:
    assert set(MEANING) == {int(s) for s in Status} - {Status.OK}
