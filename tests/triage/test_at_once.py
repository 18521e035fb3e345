"""What is replayed at once comes to the same as what is replayed plainly, whatever the log."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given, strategies

from hpcore.log import Entry, Header, LogWriter, Rotation, Sync, read
from hpcore.log.framing import NO_SUM, seal
from hpcore.log.segments import LEAST_SIZE
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.states import State, initial
from hpcore.triage import at_once
from hpcore.triage.at_once import by_search, repeats
from hpcore.triage.replay import Replay, replay
from tests.support.world import World
from tests.triage.test_older_logs import LOGS

ROUND: tuple[st.Stimulus, ...] = (
    st.DeviceAdd("core2", (("core-id", 2),)),
    st.ScanStarted(), st.InsertAcked(2), st.ScanEnded(), st.OstReported(2, 1, 0),
    st.CpuOnCalled(2, 0), st.EjectCalled(3), st.CpuOffSeen(2), st.Note("again"),
    st.DeviceDel("core2"),
    st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded(), st.EjectCalled(2), st.OstReported(2, 3, 0),
)  # fmt: skip


def rounds(count: int) -> list[object]:
    """The stimuli of a machine whose life repeats itself."""
    world = World().boot()
    for _ in range(count):
        for stimulus in ROUND:
            world.feed(stimulus)
            while world.steps:
                world.finish_one()
    return world.log


def walk(seed: int) -> list[object]:
    """Those of one that is told anything at any time."""
    world, random = World().boot(), Random(seed)
    for _ in range(150):
        world.random_move(random)
    return world.log


def write(path: Path, stimuli: list[object], random: Random | None = None) -> Path:
    """Their log; with `random`, in segments, with groups, and numbers of what was heard."""
    state: State = initial(World().config)
    rotation = None if random is None else Rotation(LEAST_SIZE)
    entries: list[Entry] = []
    with LogWriter.create(
        path, Header(state.config, "test"), sync=Sync.BUFFERED, rotation=rotation
    ) as log:
        for n, stimulus in enumerate(stimuli):
            events = decide(state, stimulus).events  # type: ignore[arg-type]
            state = decide(state, stimulus).state  # type: ignore[arg-type]
            if random is None:
                log.append(events, n / 1000, stimulus)
                continue
            heard = n if random.random() < 0.3 else None
            entries.append(Entry(events, n / 7, stimulus, heard))
            if random.random() < 0.7:
                log.append_all(entries)
                entries = []
                log.flush()
                log.settled(state)
        log.append_all(entries)
    return path


def found(result: Replay) -> dict[str, Any]:
    out = attrs.asdict(result, recurse=False)
    return out | {"damage": str(result.damage), "header": None}


def agree(path: Path) -> Replay:
    """That both ways find the same of the log at `path`; what that is."""
    quick, plain = replay(path), replay(path, each=lambda _decision: None)
    assert found(quick) == found(plain)
    return plain


def test_a_life_that_repeats_itself_is_replayed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "log", rounds(20))
    replayed: list[object] = []
    real = at_once.AtOnce._replay

    def counted(self: at_once.AtOnce, decision: Any) -> bool:
        replayed.append(decision)
        return real(self, decision)

    monkeypatch.setattr(at_once.AtOnce, "_replay", counted)
    whole = agree(path)
    assert whole.ok
    assert len(replayed) < whole.decided_again / 5


@pytest.mark.parametrize("seed", range(4))
def test_any_log_comes_to_the_same(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    assert agree(write(tmp_path / "walk", walk(seed))).ok
    assert agree(write(tmp_path / "parts", walk(seed), random)).ok
    assert agree(write(tmp_path / "rounds", rounds(8), random)).ok


def test_a_log_that_is_cut_anywhere_comes_to_the_same(tmp_path: Path) -> None:
    data = write(tmp_path / "log", rounds(3)).read_bytes()
    for size in range(data.index(b"\n") + 1, len(data), 611):
        (tmp_path / "cut").write_bytes(data[:size])
        agree(tmp_path / "cut")


@pytest.mark.parametrize("most", [1, 3, 40])
def test_what_is_forgotten_is_replayed_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(at_once, "MOST_MOVES", most)
    assert agree(write(tmp_path / "log", rounds(6))).ok


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_logs_of_older_formats_come_to_the_same(version: str) -> None:
    assert agree(LOGS / f"{version}.jsonl").ok


def resealed(lines: list[bytes]) -> bytes:
    out, before = [], NO_SUM
    for line in lines:
        sealed, before = seal(line, before)
        out.append(sealed + b"\n")
    return b"".join(out)


def forgeries(line: bytes, random: Random) -> bytes:
    """A line, without its checksum, that somebody has changed and sealed again."""
    fields = orjson.loads(line)
    changes: list[dict[str, Any]] = [
        {"seq": fields["seq"] + 1}, {"t": 7}, {"t": 1e-9}, {"t": 1e30}, {"t": "soon"},
        {"slot": 3}, {"slot": "3"}, {"batch": fields["seq"] - 1}, {"batch": 1.0}, {"batch": 0},
        {"heard": 5}, {"heard": -5}, {"group": 1}, {"group": "x"}, {"counted": 2}, {"counted": 0},
        {"event": "noted", "text": "x"}, {"event": "nothing"}, {"answers": None}, {"more": 1},
    ]  # fmt: skip
    whole = [
        line.replace(b'"t":', b'"t": '), line.replace(b',"event"', b',"seq":1,"event"'), line[:-1],
        line[:-1] + b',"batch":1}', line[:-1] + b',"heard":1,"batch":1}', b"{}", b"[]", b"",
        line.replace(b'"t":', b'"t":0'), line.replace(b'{"seq":', b'{"seq":0'),
        line.replace(b'"answers"', b'"batch":1,"answers"'),
    ]  # fmt: skip
    drop = {k: v for k, v in fields.items() if k != random.choice(list(fields))}
    return random.choice([*(orjson.dumps(fields | c) for c in changes), *whole, orjson.dumps(drop)])


@pytest.mark.parametrize("seed", range(6))
def test_forged_lines_come_to_the_same(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    path = write(tmp_path / "log", rounds(4))
    sealed = path.read_bytes().splitlines()
    plain = [line[: line.rindex(b',"sum":')] + b"}" for line in sealed]
    last = len(list(read(path)[1]))
    for _ in range(15):
        at = random.randrange(last // 2, last + 1)
        lines = [*plain[:at], forgeries(plain[at], random), *plain[at + 1 :]]
        if random.random() < 0.2:
            del lines[random.randrange(last // 2, last)]
        (tmp_path / "forged").write_bytes(resealed(lines))
        agree(tmp_path / "forged")


PARTS = (
    b',"slot":4', b'}', b',"heard":12', b',"batch":51', b',"batch":051', b',"batch":0',
    b',"group":7', b',"group":x', b',"says":"\\",\\"batch\\":3"', b'"', b',"batch":',
)  # fmt: skip


@given(strategies.lists(strategies.sampled_from(PARTS), max_size=5))
def test_what_repeats_of_a_line_is_found_as_by_a_search_for_it(parts: list[bytes]) -> None:
    rest = b"".join(parts)
    assert repeats(rest) == by_search(rest)


def test_of_the_usual_lines_what_repeats_is_found_without_a_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("hpcore.triage.at_once.by_search")
    assert repeats(b'"step_begun","slot":4,"batch":51') == (b'"step_begun","slot":4', 51)
    assert repeats(b'"noted","batch":51,"group":40') == (b'"noted"', 51)
    assert repeats(b'"noted","answers":{},"group":40') == (b'"noted","answers":{}', 0)
