"""Every command that reads a log takes it packed as well, and says that it was packed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hpcore.log import Header, LogWriter, Sync
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.effects import RunMachineStep, RunStep, Step
from hpcore.model.states import initial
from hpcore.model.stimuli import Boot, Done, MachineDone, Stimulus
from hpcore.model.topology import mp_affinity
from tests.support.command import hpcore
from tests.triage.test_shrink import grabbed

SAID = " is packed with gzip; what is read is the log in it."


def packed(log: Path) -> Path:
    data = log.read_bytes()
    log.unlink()
    out = log.with_name(log.name + ".gz")
    out.write_bytes(gzip.compress(data))
    return out


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(grabbed(tmp_path_factory.mktemp("wrong") / "wrong.jsonl", 2, "core2"))


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that boots and runs, as the core alone has it."""
    path = tmp_path_factory.mktemp("boot") / "boot.jsonl"
    config = MachineConfig.of(cpus=1, maxcpus=2)
    state, waiting = initial(config), list[Stimulus]([Boot()])
    with LogWriter.create(path, Header(config, "paper"), sync=Sync.BUFFERED) as log:
        while waiting:
            stimulus = waiting.pop(0)
            decision = decide(state, stimulus)
            log.append(decision.events, 0.0, stimulus)
            state = decision.state
            for effect in decision.effects:
                if isinstance(effect, RunStep):
                    affinity = mp_affinity(effect.slot) if effect.step is Step.BIND else None
                    waiting.append(Done(effect.step, effect.slot, affinity))
                elif isinstance(effect, RunMachineStep):
                    waiting.append(MachineDone(effect.step))
    return packed(path)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("replay", "WRONG", "--quiet"), 1), (("triage", "WRONG"), 1), (("shrink", "WRONG"), 0),
        (("diff", "WRONG", "WRONG"), 0), (("show", "WRONG", "--html", "NEW"), 1),
        (("run", "BOOT", "--accel", "qtest"), 0), (("check", "--from", "BOOT"), 0),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)  # fmt: skip
def test_that_a_log_was_packed_is_said(
    words: tuple[str, ...], code: int, wrong: Path, boot: Path, tmp_path: Path
) -> None:
    given = {"WRONG": wrong, "BOOT": boot, "NEW": tmp_path / "new"}
    ended = hpcore(*(given.get(word, word) for word in words))
    assert ended.code == code, ended
    assert f"{boot if 'BOOT' in words else wrong}{SAID}" in ended.out.splitlines()


def test_of_a_log_that_is_executed_it_stands_in_the_object_too(boot: Path) -> None:
    ended = hpcore("run", boot, "--accel", "qtest", "--json")
    assert ended.last["wrapping"] == ["is packed with gzip"]
