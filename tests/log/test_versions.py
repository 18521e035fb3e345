from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import frozen

from hpcore.log import (
    FORMATS,
    Codec,
    Formats,
    FormatVersion,
    LogDamaged,
    LogTooNew,
    LogTooOld,
    LogWriter,
    Upgrade,
    read,
)
from hpcore.log.framing import NO_SUM, seal
from hpcore.log.versions import Fields
from hpcore.model.effects import Step
from hpcore.model.events import StepBegun
from tests.log.samples import HEADER, SOME, flat, write


def rewrite(path: Path, lines: list[Fields]) -> None:
    """A log of `lines`, sealed, whatever they are."""
    data, before = b"", NO_SUM
    for fields in lines:
        fields.pop("sum", None)
        line, before = seal(orjson.dumps(fields), before)
        data += line + b"\n"
    path.write_bytes(data)


def sample(path: Path, version: str, **header: Any) -> list[Fields]:
    """The lines of a log whose header says it is of `version`, written by hpcore 9.9."""
    lines = [orjson.loads(line) for line in write(path)]
    lines[0] |= {"version": version, "versions": {"hpcore": "9.9"}, **header}
    return lines


def test_a_newer_major_version_is_refused_with_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    rewrite(path, sample(path, "2.0", machine="of another shape"))
    for opening in (read, LogWriter.resume):
        with pytest.raises(LogTooNew) as error:
            opening(path)
        text = str(error.value)
        assert f"{path}: the log's format is 2.0, written by hpcore 9.9" in text
        assert "reads formats up to 1.x. Install hpcore 9.9 or later" in text
        assert "damaged" not in text


def test_a_newer_major_version_with_another_checksum_is_still_named(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(b'{"format":"hpcore-log","version":"3.1","crc":1}\n')
    with pytest.raises(LogTooNew, match=r"3\.1, written by hpcore unknown.*header is damaged"):
        read(path)


@pytest.mark.parametrize("versions", [["hpcore", "9.9"], {}, {"qemu": "7.2"}, None])
def test_who_wrote_a_newer_log_is_unknown_where_its_versions_do_not_say(
    tmp_path: Path, versions: object
) -> None:
    path = tmp_path / "run.log"
    rewrite(path, sample(path, "2.0", versions=versions))
    with pytest.raises(LogTooNew, match=r"format is 2\.0, written by hpcore unknown; "):
        read(path)


def test_a_newer_minor_version_is_read_and_its_new_fields_ignored(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = sample(path, "1.7", host="pi5")
    for fields in lines[1:]:
        fields["colour"] = {"any": "thing"}
    rewrite(path, lines)
    header, records = read(path)
    assert header.format == FormatVersion(1, 7)
    assert [r.event for r in records] == flat(SOME)


def test_an_event_that_a_newer_minor_version_added_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = sample(path, "1.7")
    lines[4]["event"] = "slot_painted"
    rewrite(path, lines)
    with pytest.raises(LogTooNew, match=r"line 5 \(seq 4\) is an event 'slot_painted'.*9\.9"):
        list(read(path)[1])


@pytest.mark.parametrize("event", [["slot_painted"], None, 7])
def test_what_no_version_would_call_an_event_is_refused_in_a_newer_one_too(
    tmp_path: Path, event: object
) -> None:
    path = tmp_path / "run.log"
    lines = sample(path, "1.7")
    lines[4]["event"] = event
    rewrite(path, lines)
    with pytest.raises(LogTooNew, match=r"line 5 \(seq 4\)"):
        list(read(path)[1])


def test_an_older_major_version_is_brought_up_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = sample(path, "0.4")
    lines[0]["oldest"] = lines[0].pop("accelerator")
    for fields in lines[1:]:
        fields["oldest"] = fields.pop("event")
    rewrite(path, lines)

    def renamed(old: str, new: str) -> Callable[[Fields], Fields]:
        return lambda fields: {new if key == old else key: v for key, v in fields.items()}

    formats = Formats(FormatVersion(2, 0), {
        0: Upgrade(renamed("oldest", "older"), renamed("oldest", "older")),
        1: Upgrade(renamed("older", "accelerator"), renamed("older", "event")),
    })  # fmt: skip
    header, records = read(path, formats=formats)
    assert (header.accelerator, header.format) == (HEADER.accelerator, FormatVersion(0, 4))
    assert [r.event for r in records] == flat(SOME)
    for missing in (0, 1):
        upgrades = {n: up for n, up in formats.upgrades.items() if n != missing}
        with pytest.raises(LogTooOld, match=rf"cannot upgrade format {missing}\.x.*hpcore 9\.9"):
            read(path, formats=Formats(formats.current, upgrades))


@pytest.mark.parametrize("version", ["1.7", "0.4"])
def test_only_the_current_version_is_appended_to(tmp_path: Path, version: str) -> None:
    path = tmp_path / "run.log"
    rewrite(path, sample(path, version))
    before = path.read_bytes()
    formats = Formats(FORMATS.current, {0: Upgrade(lambda header: header, lambda event: event)})
    with pytest.raises(LogTooOld, match=r"appends to 1\.3 only"):
        LogWriter.resume(path, formats=formats)
    assert path.read_bytes() == before


def test_a_header_of_format_1_0_says_nothing_of_its_accelerators_ways(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = sample(path, "1.0")
    del lines[0]["modelled"], lines[0]["differs"]
    rewrite(path, lines)
    header, records = read(path)
    assert (header.modelled, header.differs) == ({}, {})
    assert [r.event for r in records] == flat(SOME)


def test_a_field_that_an_older_minor_version_did_not_have_has_its_default(
    tmp_path: Path,
) -> None:
    @frozen
    class StepBegunSince14:
        slot: int
        step: Step
        retries: int = 3

    path = tmp_path / "run.log"
    write(path, [[StepBegun(1, Step.BIND)]])
    codec = Codec({"step_begun": StepBegunSince14})
    newer: list[Any] = [r.event for r in read(path, codec, Formats(FormatVersion(1, 4)))[1]]
    assert newer == [StepBegunSince14(1, Step.BIND, 3)]
    with pytest.raises(LogDamaged, match="'retries' is missing"):
        list(read(path, codec)[1])


def header_from_0(fields: Fields) -> Fields:
    return {**fields, "accelerator": fields["accel"]} if "accel" in fields else fields


def event_from_0(fields: Fields) -> Fields:
    """Format 0 was a made-up one: times in ms, the event under `kind`."""
    kind, ms = fields.pop("kind"), fields.pop("ms")
    return {**fields, "event": kind, "t": ms / 1000}


def test_an_older_major_version_is_upgraded_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = sample(path, "0.4")
    for fields in lines[1:]:
        fields["kind"], fields["ms"] = fields.pop("event"), int(fields.pop("t") * 1000)
    rewrite(path, lines)
    formats = Formats(FormatVersion(1, 0), {0: Upgrade(header_from_0, event_from_0)})
    header, records = read(path, formats=formats)
    assert header.format == FormatVersion(0, 4)
    assert header.accelerator == HEADER.accelerator
    read_back = list(records)
    assert [r.event for r in read_back] == flat(SOME)
    assert read_back[-1].t == (len(SOME) - 1) / 8


def test_upgrades_are_chained(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    rewrite(path, sample(path, "0.0"))
    seen = []

    def step(number: int) -> Upgrade:
        def event(fields: Fields) -> Fields:
            seen.append(number)
            return fields

        return Upgrade(lambda header: header, event)

    formats = Formats(FormatVersion(2, 0), {0: step(0), 1: step(1)})
    next(read(path, formats=formats)[1])
    assert seen == [0, 1]
    with pytest.raises(LogTooOld, match=r"cannot upgrade format 1\.x"):
        read(path, formats=Formats(FormatVersion(2, 0), {0: step(0)}))


def test_an_older_version_without_upgrade_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    rewrite(path, sample(path, "0.4"))
    with pytest.raises(LogTooOld, match=r"cannot upgrade format 0\.x. Read it with hpcore 9\.9"):
        read(path)


def test_what_an_upgrade_cannot_read_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    rewrite(path, sample(path, "0.4"))
    formats = Formats(FormatVersion(1, 0), {0: Upgrade(header_from_0, event_from_0)})
    with pytest.raises(LogDamaged, match="line 2"):
        list(read(path, formats=formats)[1])
