"""What two doors say to each other of a machine that moves: whole, or refused with words."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from hpcore.door.moving.arrival import give
from hpcore.door.moving.channel import Channel, Interrupted
from hpcore.door.moving.frames import FORMAT, LARGEST, MAGIC, Frames, Kind, StreamError
from hpcore.door.moving.head import Head, log_of
from hpcore.door.moving.pump import QemuEnd
from hpcore.door.moving.rest import Rest

HEAD = Head("tcg", {"qemu": "7.2.22"}, ran=True, log=b"x" * (LARGEST + 5))


@contextmanager
def pipe() -> Iterator[tuple[Frames, Frames]]:
    """What is read, and what is written."""
    reads, writes = (Channel(number) for number in os.pipe())
    try:
        yield Frames(reads), Frames(writes)
    finally:
        reads.close()
        writes.close()


def sent(head: Head = HEAD) -> bytes:
    """All the bytes of a head."""
    with pipe() as (reads, writes):
        room = bytearray(4 * LARGEST)
        got: list[int] = []
        taking = threading.Thread(target=lambda: got.append(reads.channel.read(memoryview(room))))
        taking.start()
        head.write(writes)
        writes.channel.close()
        taking.join(10)
        return bytes(room[: got[0]])


def said_of(stream: bytes) -> str:
    """Why a head is refused whose bytes are these."""
    with pipe() as (reads, writes):
        giving = threading.Thread(target=put, args=(writes.channel, stream))
        giving.start()
        try:
            with pytest.raises(StreamError) as refusal:
                Head.read(reads)
        finally:
            reads.channel.close()
            giving.join(10)
        return str(refusal.value)


def put(channel: Channel, data: bytes) -> None:
    with suppress(OSError):  # the reader has seen enough
        channel.write(data)
    channel.close()


def test_a_head_is_read_as_it_was_written() -> None:
    with pipe() as (reads, writes):
        giving = threading.Thread(target=HEAD.write, args=(writes,))
        giving.start()
        assert Head.read(reads) == HEAD
        giving.join(10)


@pytest.mark.parametrize("older_format", [b"1", b"2"])
def test_a_head_of_an_older_format_is_read(older_format: bytes) -> None:
    with pipe() as (reads, writes):
        older = MAGIC.replace(b"3", older_format) + sent()[len(MAGIC) :]
        giving = threading.Thread(target=put, args=(writes.channel, older))
        giving.start()
        assert Head.read(reads) == HEAD
        assert reads.format == int(older_format)
        giving.join(10)


Framed = tuple[Kind, bytes]
PAGES, DEVICES = (Kind.DATA, b"pages, "), (Kind.DATA, b"devices")
LOG, END = ((Kind.LOG, b"two "), (Kind.LOG, b"lines")), (Kind.END, b"")


def taken(*frames: Framed, of_format: int = FORMAT) -> tuple[Rest, bytes, bytes]:
    """What a door takes for the rest, and what its QEMU has been given by then, and in all."""
    ours, qemus = socket.socketpair()
    with ours, qemus, pipe() as (reads, writes):
        reads.format = of_format
        for kind, data in frames:
            writes.write(kind, data)
        writes.channel.close()
        end = QemuEnd(reads)
        end.have(ours)
        found: list[tuple[Rest, bytes]] = []
        give(reads, end, lambda rest: found.append((rest, qemus.recv(100, socket.MSG_PEEK))))
        end.stop()
        [(rest, given)] = found
        return rest, given, qemus.recv(100)


def test_what_hpcore_has_of_a_machine_is_taken_before_its_vcpus_are() -> None:
    one, two = (Kind.SECTION, b"one.json\n{}\n"), (Kind.SECTION, b"two.json\n[1]")
    more, still = (Kind.DATA, b"more, "), (Kind.STILL, b"")
    rest, given, whole = taken(PAGES, *LOG, one, more, two, still, DEVICES, END)
    assert rest == Rest(b"two lines", {"one.json": b"{}\n", "two.json": b"[1]"})
    assert (given, whole) == (b"pages, more, ", b"pages, more, devices")


@pytest.mark.parametrize("of_format", [1, 2])
def test_streams_of_older_formats_are_taken(of_format: int) -> None:
    older = partial(taken, of_format=of_format)
    assert older(PAGES, DEVICES, *LOG, END)[::2] == (Rest(b"two lines", {}), b"pages, devices")
    assert older(PAGES, DEVICES, END)[::2] == (Rest(b"", {}), b"pages, devices")


@pytest.mark.parametrize(
    "stream",
    [
        (PAGES,),
        (PAGES, *LOG),
        (PAGES, DEVICES, *LOG, END),  # it does not say that the machine stands still
        (PAGES, (Kind.STILL, b""), DEVICES),
        (PAGES, (Kind.STILL, b""), *LOG, END),
        (PAGES, (Kind.STILL, b""), (Kind.STILL, b""), END),
        (PAGES, (Kind.FITS, b""), END),
    ],
)
def test_a_stream_in_which_something_is_missing_is_refused(stream: tuple[Framed, ...]) -> None:
    with pytest.raises(StreamError, match="it was cut short"):
        taken(*stream)


def test_what_comes_of_a_machine_is_written_as_it_is_read() -> None:
    with pipe() as (reads, writes):
        rest = Rest(b"two lines", {"one.json": b"{}"})
        rest.write(writes)
        writes.channel.close()
        frames = [(frame.kind, bytes(frame.data)) for frame in iter(reads.read, None)]
    assert taken(PAGES, *frames, END)[0] == rest


def test_a_stream_that_was_cut_short_is_refused_wherever_that_was() -> None:
    whole = sent()
    for size in (len(MAGIC), len(MAGIC) + 3, len(MAGIC) + 40, len(whole) // 2, len(whole) - 1):
        assert said_of(whole[:size]) == "it was cut short"
    assert said_of(b"") == "nothing came"


def test_a_damaged_stream_is_refused() -> None:
    whole = bytearray(sent())
    whole[-1] ^= 1
    assert "a checksum does not fit" in said_of(bytes(whole))
    assert "a frame's header" in said_of(MAGIC + b"?" * 9)


def test_what_does_not_come_from_a_door_of_this_version_is_refused() -> None:
    assert "without hpcore" in said_of(b"QEVM" + bytes(100))
    assert "another version" in said_of(MAGIC.replace(b"3", b"4") + bytes(100))
    assert "no machine of hpcore's" in said_of(b"LibvirtQemudSave" + bytes(100))


def test_a_log_that_is_none_is_refused() -> None:
    with pytest.raises(StreamError, match="its log: "):
        log_of(HEAD)


def test_frames_keep_their_kinds_and_are_no_larger_than_a_door_has_room_for() -> None:
    with pipe() as (reads, writes):
        data = os.urandom(LARGEST + 1)
        giving = threading.Thread(target=writes.write, args=(Kind.DATA, data))
        giving.start()
        first = reads.read()
        assert first is not None
        assert len(first.data) == LARGEST
        taken = bytes(first.data)
        while len(taken) < len(data):
            frame = reads.read()
            assert frame is not None
            assert frame.kind is Kind.DATA
            taken += bytes(frame.data)
        giving.join(10)
        assert taken == data


def test_who_waits_for_the_other_side_is_interrupted() -> None:
    with pipe() as (reads, _writes):
        threading.Timer(0.05, reads.channel.interrupt).start()
        with pytest.raises(Interrupted):
            reads.read()
