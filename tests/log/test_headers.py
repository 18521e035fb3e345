"""A header of this version is taken to the letter."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from hpcore.log import LogDamaged, read
from hpcore.log.framing import NO_SUM, seal
from tests.log.samples import write


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
