"""What two doors say to each other of a machine that moves: whole, or refused with words."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from hpcore.door.moving.arrival import _give
from hpcore.door.moving.channel import Channel, Interrupted
from hpcore.door.moving.frames import LARGEST, MAGIC, Frames, Kind, StreamError
from hpcore.door.moving.head import Head, log_of
from hpcore.door.moving.pump import QemuEnd

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
        giving = threading.Thread(target=give, args=(writes.channel, stream))
        giving.start()
        try:
            with pytest.raises(StreamError) as refusal:
                Head.read(reads)
        finally:
            reads.channel.close()
            giving.join(10)
        return str(refusal.value)


def give(channel: Channel, data: bytes) -> None:
    with suppress(OSError):  # the reader has seen enough
        channel.write(data)
    channel.close()


def test_a_head_is_read_as_it_was_written() -> None:
    with pipe() as (reads, writes):
        giving = threading.Thread(target=HEAD.write, args=(writes,))
        giving.start()
        assert Head.read(reads) == HEAD
        giving.join(10)


def test_a_head_of_an_older_format_is_read() -> None:
    with pipe() as (reads, writes):
        older = MAGIC.replace(b"format 2", b"format 1") + sent()[len(MAGIC) :]
        giving = threading.Thread(target=give, args=(writes.channel, older))
        giving.start()
        assert Head.read(reads) == HEAD
        giving.join(10)


def behind_the_stream(*frames: tuple[Kind, bytes]) -> tuple[bytes, bytes]:
    """What a door takes for the rest of the log, and what its QEMU is given."""
    ours, qemus = socket.socketpair()
    with ours, qemus, pipe() as (reads, writes):
        for kind, data in frames:
            writes.write(kind, data)
        writes.channel.close()
        end = QemuEnd(reads)
        end.have(ours)
        rest = _give(reads, end)
        end.stop()
        return rest, qemus.recv(100)


def test_what_has_come_to_the_log_meanwhile_is_behind_the_stream() -> None:
    stream = (Kind.DATA, b"pages, "), (Kind.DATA, b"devices")
    whole = behind_the_stream(*stream, (Kind.LOG, b"two "), (Kind.LOG, b"lines"), (Kind.END, b""))
    assert whole == (b"two lines", b"pages, devices")
    assert behind_the_stream(*stream, (Kind.END, b"")) == (b"", b"pages, devices")
    for short in ((Kind.LOG, b"two "),), ((Kind.LOG, b"two "), (Kind.DATA, b"x"), (Kind.END, b"")):
        with pytest.raises(StreamError, match="it was cut short"):
            behind_the_stream(*stream, *short)


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
    assert "another version" in said_of(MAGIC.replace(b"2", b"3") + bytes(100))
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
