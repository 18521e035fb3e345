"""Lines of another minor version: what an event, or the stimulus it answers, may lack or add."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from hpcore.log import FORMATS, Header, LogDamaged, LogWriter, Record, Sync, read
from hpcore.log.framing import NO_SUM, seal
from hpcore.log.versions import FormatVersion
from hpcore.model.events import CpuOnGranted
from hpcore.model.stimuli import CpuOnCalled
from tests.log.samples import HEADER

NOW = FORMATS.current
OLDER, NEWER = FormatVersion(NOW.major, NOW.minor - 1), FormatVersion(NOW.major, NOW.minor + 1)
EVENT, STIMULUS = CpuOnGranted(1, 0), CpuOnCalled(1, 0)


def record_of(path: Path, version: FormatVersion, part: str, changes: dict[str, Any]) -> Record:
    """The one event of a log of `version`, with fields of a `part` of its line changed or gone."""
    with LogWriter.create(path, HEADER, sync=Sync.OS) as log:
        log.append([EVENT], 0.5, STIMULUS)
    header, line = map(orjson.loads, path.read_bytes().splitlines())
    header["version"] = str(version)
    changed = line if part == "event" else line["answers"]
    changed |= changes
    for name in [name for name, value in changed.items() if value is ...]:
        del changed[name]
    data, before = b"", NO_SUM
    for fields in (header, line):
        del fields["sum"]
        sealed, before = seal(orjson.dumps(fields), before)
        data += sealed + b"\n"
    found, records = read(io.BytesIO(data))
    assert isinstance(found, Header) and found.format == version
    (record,) = records
    return record


@pytest.mark.parametrize("part", ["event", "stimulus"])
@pytest.mark.parametrize("version", [OLDER, NOW, NEWER], ids=["older", "now", "newer"])
def test_what_is_as_this_version_has_it_is_read_in_any_minor_version(
    tmp_path: Path, version: FormatVersion, part: str
) -> None:
    record = record_of(tmp_path / "log", version, part, {})
    assert (record.event, record.answers) == (EVENT, STIMULUS)


@pytest.mark.parametrize("part", ["event", "stimulus"])
@pytest.mark.parametrize("version", [OLDER, NEWER], ids=["older", "newer"])
def test_a_field_that_is_missing_in_another_minor_version_has_its_default(
    tmp_path: Path, version: FormatVersion, part: str
) -> None:
    record = record_of(tmp_path / "log", version, part, {"context": ...})
    assert (record.event, record.answers) == (EVENT, STIMULUS)


@pytest.mark.parametrize("part", ["event", "stimulus"])
def test_a_field_that_only_a_newer_minor_version_has_is_passed_over(
    tmp_path: Path, part: str
) -> None:
    record = record_of(tmp_path / "log", NEWER, part, {"colour": "red"})
    assert (record.event, record.answers) == (EVENT, STIMULUS)


@pytest.mark.parametrize(
    ("version", "changes", "says"),
    [
        (NOW, {"context": ...}, "field 'context' is missing"),
        (NOW, {"colour": "red"}, "field 'colour' is unknown"),
        (OLDER, {"colour": "red"}, "field 'colour' is unknown"),
        (OLDER, {"slot": ...}, "field 'slot' is missing"),  # it has no default
        (NEWER, {"slot": ...}, "field 'slot' is missing"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("part", ["event", "stimulus"])
def test_what_that_version_itself_would_not_have_written_is_damage(
    tmp_path: Path, part: str, version: FormatVersion, changes: dict[str, Any], says: str
) -> None:
    name = "event cpu_on_granted" if part == "event" else "stimulus cpu_on_called"
    with pytest.raises(LogDamaged, match=f"it is sealed, but {name}: {says}; the lines"):
        record_of(tmp_path / "log", version, part, changes)
