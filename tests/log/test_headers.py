"""A header of this version is taken to the letter, and says what it is made with."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from hpcore.log import Header, LogDamaged, Sync, read
from hpcore.log.framing import NO_SUM, seal
from tests.log.samples import HEADER, MACHINE, write


def with_header(tmp_path: Path, **changes: Any) -> io.BytesIO:
    fields = {**orjson.loads(write(tmp_path / "log", [])[0]), **changes}
    del fields["sum"]
    line, _ = seal(orjson.dumps(fields), NO_SUM)
    return io.BytesIO(line + b"\n")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host": "pi5"}, "host"),
        ({"accelerator": 3}, "expected str @ header.accelerator"),
        ({"sync": "never"}, "@ header.sync"),
    ],
)
def test_what_is_wrong_in_a_header_is_named(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(LogDamaged) as error:
        read(with_header(tmp_path, **changes))
    assert says in str(error.value)
    assert "line 1 (the header) is damaged: it is sealed, but " in str(error.value)


@pytest.mark.parametrize("memory", ["1024", 1024.0, True])
def test_a_number_in_a_header_is_a_number(tmp_path: Path, memory: object) -> None:
    machine = orjson.loads(write(tmp_path / "log", [])[0])["machine"]
    with pytest.raises(LogDamaged) as error:
        read(with_header(tmp_path, machine={**machine, "memory": memory}))
    assert "expected int @ header.machine.memory" in str(error.value)


def test_headers_of_the_same_machine_are_found_under_the_same_hash() -> None:
    other = attrs.evolve(HEADER, versions={"qemu": "10.0"}, modelled={"a": "b"}, differs={"c": "d"})
    assert hash(other) == hash(HEADER)
    assert other != HEADER


def test_a_header_says_when_it_was_made_to_the_second() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    made = Header(MACHINE, "tcg")
    assert before <= datetime.fromisoformat(made.created) <= datetime.now(UTC)
    assert datetime.fromisoformat(made.created).microsecond == 0
    assert made.created.endswith("+00:00")
    assert (made.versions, made.modelled, made.differs, made.format) == ({}, {}, {}, None)
    assert made.sync is Sync.DURABLE
