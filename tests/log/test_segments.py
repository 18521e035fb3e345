"""Logs in segments: each begins with the state, old ones may go, crashes leave a log."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import attrs
import orjson
import pytest

from hpcore.log import (
    Header,
    LogDamaged,
    LogExists,
    LogGap,
    LogLocked,
    LogWriteError,
    LogWriter,
    Record,
    Rotation,
    Sync,
    is_log,
    read,
)
from hpcore.log.framing import NO_SUM, TAIL, seal
from hpcore.log.segments import LEAST_SIZE, UNFINISHED, numbers, place_in_log, segment_path
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.effects import RunMachineStep, RunStep, Step
from hpcore.model.events import Noted
from hpcore.model.states import State, initial
from hpcore.model.topology import mp_affinity
from hpcore.triage.replay import replay
from tests.support.world import World

SMALL = Rotation(LEAST_SIZE)
HEADER = Header(World().config, "qtest", {"qemu": "7.2.0"})


class Life:
    """A machine whose vCPUs come and go, logged decision by decision."""

    def __init__(self, log: LogWriter, state: State | None = None) -> None:
        self.log = log
        self.state = initial(HEADER.machine) if state is None else state

    def feed(self, stimulus: st.Stimulus) -> None:
        decision = decide(self.state, stimulus)
        self.log.append(decision.events, self.log.last_t + 0.001, stimulus, self.log.next_seq)
        self.state = decision.state
        self.log.settled(self.state)
        for effect in decision.effects:
            if isinstance(effect, RunMachineStep):
                self.feed(st.MachineDone(effect.step))
            elif isinstance(effect, RunStep):
                affinity = mp_affinity(effect.slot) if effect.step is Step.BIND else None
                self.feed(st.Done(effect.step, effect.slot, affinity))

    def boot(self) -> Life:
        self.feed(st.Boot())
        return self

    def go_round(self, n: int) -> None:
        """vCPU `n` comes, is used, and goes."""
        for stimulus in (
            st.DeviceAdd(f"core{n}", (("core-id", n),)),
            st.ScanStarted(), st.InsertAcked(n), st.ScanEnded(), st.OstReported(n, 1, 0),
            st.DeviceDel(f"core{n}"),
            st.ScanStarted(), st.RemoveAcked(n), st.ScanEnded(), st.EjectCalled(n),
            st.OstReported(n, 3, 0),
        ):  # fmt: skip
            self.feed(stimulus)


def write(path: Path, rounds: int = 40, rotation: Rotation | None = SMALL) -> State:
    """A log of `rounds` rounds; the state at its end."""
    with LogWriter.create(path, HEADER, sync=Sync.OS, rotation=rotation) as log:
        life = Life(log).boot()
        for n in range(rounds):
            life.go_round(2 + n % 2)
    return life.state


def events_of(path: Path) -> list[Record]:
    return list(read(path)[1])


def paths(log: Path) -> list[Path]:
    return [Path(segment_path(str(log), number)) for number in numbers(str(log))]


# ------------------------------------------------------------------ whole logs


def test_a_log_in_segments_reads_like_one_that_is_in_none(tmp_path: Path) -> None:
    state = write(tmp_path / "whole", rotation=None)
    assert write(tmp_path / "run.jsonl") == state
    assert len(numbers(str(tmp_path / "whole"))) == 1
    assert len(paths(tmp_path / "run.jsonl")) > 5
    assert events_of(tmp_path / "run.jsonl") == events_of(tmp_path / "whole")
    found = replay(tmp_path / "run.jsonl")
    assert found.ok
    assert found.state == state
    assert found.decided_again == sum(r.batch is None for r in events_of(tmp_path / "whole"))


def test_a_segment_begins_once_the_one_before_has_its_size(tmp_path: Path) -> None:
    write(tmp_path / "log")
    *full, last = paths(tmp_path / "log")
    longest = max(len(line) for path in full for line in path.open("rb"))
    for path in full:
        assert LEAST_SIZE <= path.stat().st_size < LEAST_SIZE + 10 * longest
    assert last.stat().st_size < LEAST_SIZE + 10 * longest


def test_a_segment_is_named_by_its_number_and_says_what_was_before(tmp_path: Path) -> None:
    write(tmp_path / "log")
    third = tmp_path / "log.000003"
    header, records = read(third)
    first = next(records)
    assert header.segment is not None
    assert (header.number, header.first, header.state) == (3, first.seq, replay_to(
        tmp_path / "log", first.seq - 1))  # fmt: skip
    before = (tmp_path / "log.000002").read_bytes().splitlines()[-1]
    assert header.segment.before == before[-TAIL:-2].decode()
    assert header.segment.heard == header.first - batch_before(tmp_path / "log", header.first)
    assert (header.machine, header.versions) == (HEADER.machine, read(tmp_path / "log")[0].versions)


def batch_before(log: Path, seq: int) -> int:
    """How many events the decision before event `seq` has."""
    before = [record for record in events_of(log) if record.seq < seq]
    return 1 if before[-1].batch is None else seq - before[-1].batch


def replay_to(log: Path, seq: int) -> State:
    found = replay(log, at=seq)
    assert found.at is not None
    return found.at


@pytest.mark.parametrize("kept", [1, 3])
def test_of_all_segments_as_many_are_kept_as_asked_for(tmp_path: Path, kept: int) -> None:
    state = write(tmp_path / "log", rotation=Rotation(LEAST_SIZE, kept))
    assert len(paths(tmp_path / "log")) == kept
    found = replay(tmp_path / "log")
    assert found.ok
    assert found.state == state
    assert is_log(tmp_path / "log")
    assert not is_log(tmp_path / "none")


def test_a_log_replays_from_any_segment_on(tmp_path: Path) -> None:
    state = write(tmp_path / "log", rounds=8)
    whole = events_of(tmp_path / "log")
    for path in paths(tmp_path / "log"):
        first = read(path)[0].first
        assert events_of(path) == whole[first - 1 :]
        found = replay(path)
        assert found.ok
        assert found.state == state
        assert found.events == len(whole) - first + 1


def test_one_segment_alone_is_read_from_a_stream_or_under_another_name(tmp_path: Path) -> None:
    write(tmp_path / "log")
    third = tmp_path / "log.000003"
    with third.open("rb") as stream:
        alone = list(read(stream)[1])
    (tmp_path / "moved").write_bytes(third.read_bytes())
    assert events_of(tmp_path / "moved") == alone
    assert alone == [r for r in events_of(third) if r.seq < read(tmp_path / "log.000004")[0].first]


def test_writing_goes_on_in_the_last_segment(tmp_path: Path) -> None:
    rotation = Rotation(LEAST_SIZE, 3)
    state = write(tmp_path / "log", rotation=rotation)
    with LogWriter.resume(tmp_path / "log", rotation=rotation) as log:
        assert log.recovered is None
        life = Life(log, state)
        for _ in range(10):
            life.go_round(2)
    assert replay(tmp_path / "log").state == life.state
    assert len(paths(tmp_path / "log")) == 3


def test_only_one_writer_has_a_log_in_segments(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path / "log", HEADER, sync=Sync.OS, rotation=SMALL) as log:
        life = Life(log).boot()
        for _ in range(10):
            life.go_round(2)
        with pytest.raises(LogLocked):
            LogWriter.resume(tmp_path / "log")
        with pytest.raises(LogLocked):
            LogWriter.create(tmp_path / "log", HEADER, overwrite=True)
        life.go_round(3)
    assert replay(tmp_path / "log").state == life.state


def test_another_log_in_its_place_is_refused_or_takes_all_segments_away(tmp_path: Path) -> None:
    write(tmp_path / "log", rotation=Rotation(LEAST_SIZE, 2))
    with pytest.raises(LogExists):
        LogWriter.create(tmp_path / "log", HEADER)
    assert not (tmp_path / "log").exists()
    with LogWriter.create(tmp_path / "log", HEADER, overwrite=True):
        assert paths(tmp_path / "log") == [tmp_path / "log"]
    assert events_of(tmp_path / "log") == []


def test_a_log_of_other_files_names_is_none_of_its_segments(tmp_path: Path) -> None:
    for name in ("log.000001", "log.00002", "log.000002x", "log.x.000002", "og.000002"):
        (tmp_path / name).write_text("no segment")
    write(tmp_path / "log", rounds=1, rotation=None)
    assert paths(tmp_path / "log") == [tmp_path / "log"]
    assert replay(tmp_path / "log").ok
    assert place_in_log("a/log.1234567") == ("a/log", 1234567)


# ------------------------------------------------------------------ wrong ones


def resealed(path: Path, change: dict[str, object]) -> None:
    """Give the segment at `path` another head, and seal all its lines again."""
    header, *lines = path.read_bytes().splitlines()
    fields = orjson.loads(header)
    fields["segment"] |= change
    fields.pop("sum")
    line, before = seal(orjson.dumps(fields), NO_SUM)
    out = [line]
    for old in lines:
        own = orjson.loads(old)
        own.pop("sum")
        line, before = seal(orjson.dumps(own), before)
        out.append(line)
    path.write_bytes(b"\n".join(out) + b"\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"number": 9}, "it says that it is segment 9"),
        ({"first": 7}, "it begins with event 7, and "),
        ({"before": "0" * 16}, f"its line before ended with {'0' * 16}, and that one with "),
    ],
)
def test_a_segment_that_does_not_go_on_from_the_one_before_is_damage(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    write(tmp_path / "log")
    third = tmp_path / "log.000003"
    resealed(third, change)
    with pytest.raises(LogDamaged, match=why) as found:
        events_of(tmp_path / "log")
    assert str(found.value).startswith(f"{third}: line 1 (the header) is damaged: ")


def test_a_log_in_the_place_of_a_segment_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "log")
    (tmp_path / "log.000003").write_bytes((tmp_path / "log").read_bytes())
    with pytest.raises(LogDamaged, match="it is the beginning of a log"):
        events_of(tmp_path / "log")


def test_a_state_that_the_events_before_did_not_lead_to_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "log")
    shared = orjson.loads((tmp_path / "log.000003").open("rb").readline())["segment"]["shared"]
    resealed(tmp_path / "log.000003", {"shared": shared | {"paused": True}})
    found = replay(tmp_path / "log")
    assert not found.ok
    assert "log.000003: line 1 (the header) is damaged: its state is not" in str(found.damage)


def test_a_state_that_breaks_an_invariant_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "log", rotation=Rotation(LEAST_SIZE, 2))
    oldest = paths(tmp_path / "log")[0]
    shared = orjson.loads(oldest.open("rb").readline())["segment"]["shared"]
    resealed(oldest, {"shared": shared | {"gic_inits": 2}})
    found = replay(tmp_path / "log")
    assert "its state breaks gic_sized_once for vCPU 0" in str(found.damage)


def test_a_state_of_another_machine_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "log")
    resealed(tmp_path / "log.000003", {"slots": []})
    with pytest.raises(LogDamaged, match="its state has 0 slots, and its machine 4"):
        events_of(tmp_path / "log")


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    write(tmp_path / "log")
    (tmp_path / "log.000003").unlink()
    with pytest.raises(LogGap) as found:
        events_of(tmp_path / "log")
    assert f"{tmp_path}/log.000003 is missing: " in str(found.value)
    assert "log.000004 alone" in str(found.value)


def test_damage_names_the_file_the_line_and_the_event(tmp_path: Path) -> None:
    write(tmp_path / "log")
    third = tmp_path / "log.000003"
    first = read(third)[0].first
    data = third.read_bytes().splitlines(keepends=True)
    third.write_bytes(b"".join([*data[:4], data[4].replace(b"slot", b"tols"), *data[5:]]))
    with pytest.raises(LogDamaged) as found:
        events_of(tmp_path / "log")
    assert str(found.value).startswith(f"{third}: line 5 (seq {first + 3}) is damaged")


def test_a_torn_line_before_another_segment_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "log")
    with (tmp_path / "log.000003").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 20)
    with pytest.raises(LogDamaged, match="it breaks off, and another segment follows"):
        events_of(tmp_path / "log")


# ------------------------------------------------------------------ crashes


def test_a_crash_at_any_byte_of_a_rotation_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    """Its steps: the last line of the full one, the new file, its header, its name, removals."""
    write(tmp_path / "log", rounds=6, rotation=Rotation(LEAST_SIZE, 3))
    *_, before, last = paths(tmp_path / "log")
    line = last.read_bytes().splitlines(keepends=True)[0]
    whole = before.read_bytes()
    last.unlink()
    unfinished = Path(str(last) + UNFINISHED)
    state = replay(before).state
    for size in (*range(0, len(line), 31), len(line)):
        unfinished.write_bytes(line[:size])
        goes_on(tmp_path / "log", before, whole, state)
    last.write_bytes(line)  # and nothing was appended to it
    goes_on(tmp_path / "log", last, line, state)


def goes_on(log: Path, file: Path, data: bytes, state: State) -> None:
    """Whether the log ends in `file` at `state`, and takes a new segment from there."""
    with LogWriter.resume(log, rotation=Rotation(LEAST_SIZE, 3)) as writer:
        assert writer.recovered is None
        life = Life(writer, state)
        life.go_round(2)
    found = replay(log)
    assert found.ok
    assert found.state == life.state
    assert len(paths(log)) == 3
    assert paths(log)[-1] > file
    restore(log, file, data)


def restore(log: Path, file: Path, data: bytes) -> None:
    """Have the log end with `file` as it was."""
    for path in paths(log):
        if path > file:
            path.unlink()
    file.write_bytes(data)


def test_a_crash_at_any_byte_of_the_last_segment_leaves_a_log(tmp_path: Path) -> None:
    write(tmp_path / "log", rounds=12)
    last = paths(tmp_path / "log")[-1]
    data = last.read_bytes()
    header = data.index(b"\n") + 1
    for size in range(header, len(data), 197):
        last.write_bytes(data[:size])
        with LogWriter.resume(tmp_path / "log") as log:
            kept = log.next_seq - 1
        assert replay(tmp_path / "log").ok
        assert events_of(tmp_path / "log")[-1].seq == kept


def test_a_disk_that_takes_no_new_segment_ends_the_writer_and_leaves_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with LogWriter.create(tmp_path / "log", HEADER, sync=Sync.OS, rotation=SMALL) as log:
        life = Life(log).boot()
        monkeypatch.setattr(os, "rename", full)
        with pytest.raises(LogWriteError, match="No space left on device"):
            for _ in range(10):
                life.go_round(2)
    monkeypatch.undo()
    assert replay(tmp_path / "log").ok
    assert paths(tmp_path / "log") == [tmp_path / "log"]


# ------------------------------------------------------------------ while it is written


def test_a_reader_that_is_overtaken_by_a_rotation_reads_on(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path / "log", HEADER, sync=Sync.OS, rotation=SMALL) as log:
        life = Life(log).boot()
        _, records = read(tmp_path / "log")
        seen = [next(records)]
        for _ in range(20):
            life.go_round(2)
        seen += records
    assert [record.seq for record in seen] == list(range(1, log.next_seq))


def test_the_settings_of_a_rotation_make_sense() -> None:
    with pytest.raises(ValueError, match="size"):
        Rotation(LEAST_SIZE - 1)
    with pytest.raises(ValueError, match="keep"):
        Rotation(LEAST_SIZE, 0)


def test_a_state_too_large_for_a_line_begins_no_segment(tmp_path: Path) -> None:
    config = MachineConfig.of(cpus=1, maxcpus=512)
    long_ids = [attrs.evolve(slot, id="x" * 2100) for slot in initial(config).slots]
    state = attrs.evolve(initial(config), slots=tuple(long_ids))
    with LogWriter.create(tmp_path / "log", Header(config, "x"), rotation=SMALL) as log:
        log.append([Noted("n" * LEAST_SIZE)], 0.0)
        log.settled(state)
        log.append([Noted("on")], 0.0)
    assert len(events_of(tmp_path / "log")) == 2


def test_a_log_that_goes_on_with_another_machine_says_where_that_lives(tmp_path: Path) -> None:
    path = tmp_path / "log"
    header = attrs.evolve(HEADER, kept="host:/was")
    with LogWriter.create(path, header, sync=Sync.OS) as log:
        life = Life(log)
        life.feed(st.Boot())
        said = log.next_seq
        log.moved(life.state, "host:/is")
        assert log.header.kept == "host:/is"
        life.feed(st.DeviceAdd("cpu1", (("core-id", 1),)))
    assert numbers(str(path)) == [1, 2]
    assert read(path)[0].kept == "host:/was"
    last, records = read(path, since=sys.maxsize)
    records.close()
    assert last.kept == "host:/is"
    assert last.segment is not None
    assert (last.segment.heard, last.first) == (None, said)
    assert replay(path).ok
    with LogWriter.resume(path) as log:
        assert log.header.kept == "host:/is"
        log.moved(life.state, None)
    last, records = read(path, since=sys.maxsize)
    records.close()
    assert last.kept is None
    assert replay(path).ok
