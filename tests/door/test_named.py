"""The copies of descriptors that clients have given names: how long they are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hpcore.door.qmp.named import NamedDescriptors
from hpcore.door.qmp.requests import Command


@pytest.fixture
def named() -> Iterator[NamedDescriptors]:
    found = NamedDescriptors()
    yield found
    found.close()


def given(named: NamedDescriptors, name: str) -> int:
    """The reading end of a pipe whose other end only `named` has, under that name."""
    reading, writing = os.pipe()
    getfd = Command("getfd", {"fdname": name}, oob=False)
    named.passed_on(getfd, [writing])
    named.answered(getfd, {"return": {}})
    os.close(writing)
    os.set_blocking(reading, False)
    return reading


def has_ended(reading: int) -> bool:
    """Whether nobody has the writing end any more."""
    try:
        return os.read(reading, 1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("dump-guest-memory", {"paging": False, "protocol": "fd:one", "detach": True}),
        ("netdev_add", {"type": "tap", "id": "n", "fds": "two:one"}),
        ("chardev-add", {"id": "c", "backend": {"data": {"addr": {"data": {"str": "one"}}}}}),
        ("closefd", {"fdname": "one"}),
    ],
)
def test_what_the_real_qemu_uses_up_is_not_kept(
    named: NamedDescriptors, name: str, arguments: dict[str, object]
) -> None:
    one, other = given(named, "one"), given(named, "other")
    try:
        command = Command(name, arguments, oob=False)
        named.passed_on(command, [])
        named.answered(command, {"return": {}})
        assert has_ended(one)
        assert not has_ended(other)
    finally:
        os.close(one)
        os.close(other)


def test_what_hpcore_uses_is_kept_until_it_is_taken(named: NamedDescriptors) -> None:
    reading = given(named, "one")
    try:
        named.passed_on(Command("query-status", {}, oob=False), [])
        taken = named.take("one")
        assert taken is not None and not has_ended(reading)
        os.close(taken)
        assert has_ended(reading) and named.take("one") is None
    finally:
        os.close(reading)
