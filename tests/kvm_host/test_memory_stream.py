"""A guest's memory as a stream, to a file and through a socket, with no KVM around it."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hpcore_kvm import memory_stream
from hpcore_kvm.memory_stream import CHUNK, StreamError, marked
from hpcore_kvm.precopy import FEW, ROUNDS, Precopy
from hpcore_kvm.vm import PAGE, Memory

from hpcore.run.accelerator import Stream

BASE, SIZE = 0x4000_0000, 4 << 20
PAGES = SIZE // PAGE


@pytest.fixture
def memory() -> Iterator[Memory]:
    """Some pages of it, alone, in rows and across chunks, are not zero."""
    made = Memory(BASE, SIZE, shared=False)
    for page in (0, 7, 8, 9, CHUNK // PAGE - 1, CHUNK // PAGE, PAGES - 1):
        made.data[page * PAGE + 5] = page % 255 + 1
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Memory]:
    made = Memory(BASE, SIZE, shared=False)
    yield made
    made.close()


def written(memory: Memory, path: Path) -> Stream:
    with path.open("wb") as file:
        file.write(b"before")
        memory_stream.write(memory, file)
        size = file.tell() - 6
        file.write(b"after")
    return Stream(path, 6, size)


def test_what_is_written_is_read_again_and_zeros_take_no_room(
    memory: Memory, other: Memory, tmp_path: Path
) -> None:
    stream = written(memory, tmp_path / "stream")
    memory_stream.read(other, stream)
    assert bytes(other.data) == bytes(memory.data)
    assert stream.size < 8 * PAGE


def test_a_stream_that_does_not_fit_is_refused_with_words(memory: Memory, tmp_path: Path) -> None:
    stream = written(memory, tmp_path / "stream")
    smaller = Memory(BASE, SIZE // 2, shared=False)
    with pytest.raises(StreamError, match="of other memory, or of another form"):
        memory_stream.read(smaller, stream)
    smaller.close()
    data = bytearray((tmp_path / "stream").read_bytes()[6:])
    for size in (0, 20, 40, 60, 5000):
        (tmp_path / "cut").write_bytes(data[:size])
        fresh = Memory(BASE, SIZE, shared=False)
        with pytest.raises(StreamError, match="was cut short"):
            memory_stream.read(fresh, Stream(tmp_path / "cut", 0, size))
        fresh.close()  # nothing holds on to it
    data[32:40] = (BASE - PAGE).to_bytes(8, "little")
    (tmp_path / "astray").write_bytes(data)
    fresh = Memory(BASE, SIZE, shared=False)
    with pytest.raises(StreamError, match=r"has 0x1000 bytes at 0x3ffff000, no memory"):
        memory_stream.read(fresh, Stream(tmp_path / "astray", 0, len(data)))
    fresh.close()


def test_a_file_that_takes_no_more_leaves_the_memory_free_to_go(memory: Memory) -> None:
    class Full:
        def write(self, data: bytes | memoryview, /) -> None:
            if len(data) >= PAGE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    full = Memory(BASE, SIZE, shared=False)
    full.data[0] = 1
    with pytest.raises(OSError, match="No space left") as failed:
        memory_stream.write(full, Full())
    full.close()
    assert failed.value.__traceback__ is not None, "and what was raised still has its frames"


def test_the_bits_of_a_log_say_which_parts_of_a_memory() -> None:
    assert list(marked(bytes([0b0000_0110, 0, 0b1000_0000, 0b0000_0001]), 10)) == [
        (10, 30), (230, 250),
    ]  # fmt: skip
    assert list(marked(b"\xff\xff", 1)) == [(0, 16)]
    assert list(marked(bytes(8), 1)) == []


class LoggingVm:
    """As a VM notes what its guest writes: this one's guest writes when it is asked."""

    def __init__(self, memory: Memory, writes: list[list[int]]) -> None:
        self._memory, self._writes = memory, writes
        self.logged = False
        self.asked = 0

    def log_writes(self, _memory: Memory, logged: bool) -> None:
        self.logged = logged

    def written(self, _memory: Memory) -> bytes:
        assert self.logged
        self.asked += 1
        bits = bytearray(PAGES // 8)
        for page in self._writes.pop(0) if self._writes else []:
            self._memory.data[page * PAGE] = self.asked
            bits[page // 8] |= 1 << page % 8
        return bytes(bits)


def test_what_a_guest_writes_meanwhile_arrives_as_it_was_last(
    memory: Memory, other: Memory
) -> None:
    draw = random.Random(1)
    many = [draw.sample(range(PAGES), FEW + 40) for _ in range(3)]
    vm = LoggingVm(memory, [*many, [3, 8], [8, PAGES - 2]])
    copy = Precopy(vm, memory, other)  # type: ignore[arg-type]
    copy.start()
    assert vm.asked == 4, "so little is left then"
    copy.finish()
    assert bytes(other.data) == bytes(memory.data)
    assert copy.rounds == 6
    copy.close()
    assert not vm.logged


def test_a_guest_that_writes_too_fast_stands_still_for_the_rest(
    memory: Memory, other: Memory
) -> None:
    vm = LoggingVm(memory, [list(range(FEW + 1))] * (ROUNDS + 5))
    copy = Precopy(vm, memory, other)  # type: ignore[arg-type]
    copy.start()
    assert copy.rounds == ROUNDS
    copy.finish()
    assert bytes(other.data) == bytes(memory.data)
    copy.close()


def test_a_receiver_that_fails_is_told_and_all_is_let_go(memory: Memory) -> None:
    smaller = Memory(BASE, SIZE // 2, shared=False)
    vm = LoggingVm(memory, [])
    copy = Precopy(vm, memory, smaller)  # type: ignore[arg-type]
    with pytest.raises(StreamError, match="does not arrive: the stream is of other memory"):
        copy.start()
        copy.finish()
    copy.close()
    copy.close()
    smaller.close()
    assert not vm.logged


def test_a_receiver_that_fails_at_once_says_why(
    memory: Memory, other: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise StreamError("it is gone")

    monkeypatch.setattr(memory_stream, "take", gone)
    copy = Precopy(LoggingVm(memory, []), memory, other)  # type: ignore[arg-type]
    with pytest.raises(StreamError, match="the memory does not arrive: it is gone"):
        copy.start()
        copy.finish()
    copy.close()
