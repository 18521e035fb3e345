"""Kills the worker at random moments, and has the next one attach; what it all came to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field

from hpcore.log import read
from hpcore.model.effects import MachineStep
from hpcore.model.events import MachineStepDone
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.qemu.runtime_directory import is_held
from hpcore.run.kept import place_of
from hpcore.run.saved_file import SavedFileError
from hpcore.run.saving import load_saved
from hpcore.triage.replay import replay
from tests.support.waits import readable

SAY_SECONDS = 120.0
"""For a worker's word: a guest boots meanwhile."""

CARRIES = 0.35
"""The part of the kills that comes amid a move or a save, or soon after."""

MOVED = repr(MachineStepDone(MachineStep.MIGRATE))

Say = Callable[[str], None]


@define
class Tally:
    """What the kills came to."""

    kills: int = 0
    moments: Counter[str] = field(factory=Counter)
    """What was under way at a kill, by the log."""
    during_attach: int = 0
    too_early: int = 0
    """Kills before there was a QEMU: nothing is to be taken up."""
    attach_ms: list[int] = field(factory=list)
    missed_events: list[int] = field(factory=list)
    missed_answers: list[int] = field(factory=list)
    repeated: list[int] = field(factory=list)
    agreed: int = 0
    told: int = 0
    events: int = 0
    logs: int = 0
    moves: int = 0
    saves: int = 0
    wrong: list[str] = field(factory=list)


class Process:
    """A worker, line by line."""

    def __init__(self, how: str, log: Path, seed: int, accelerator: str) -> None:
        self.words = log.with_name(f"worker-{seed}")
        with self.words.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.tcg.kills.worker", how, str(log), str(seed),
                 accelerator],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        assert self.process.stdout is not None
        self._out = self.process.stdout.fileno()
        self._rest = b""
        self.said: list[dict[str, Any]] = []
        self._looked = 0

    def until(self, word: str, seconds: float = SAY_SECONDS) -> dict[str, Any] | None:
        """The next line that has `word`; None where it ends first, or the time is over.

        It goes on behind the line that was found before: a worker that is fast, or a driver that
        is slow, has several lines in one read.
        """
        deadline = time.monotonic() + seconds
        while True:
            while self._looked < len(self.said):
                self._looked += 1
                if word in self.said[self._looked - 1]:
                    return self.said[self._looked - 1]
            left = deadline - time.monotonic()
            if left <= 0 or not readable(self._out, left) or not self._take():
                return None

    def kill(self) -> None:
        """kill -9, and what it had said by then."""
        self.process.kill()
        self.process.wait()
        self.rest()

    def rest(self) -> int:
        """Wait for its end; its exit code."""
        while self._take():
            pass
        return self.process.wait()

    def _take(self) -> bool:
        data = os.read(self._out, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.said += [json.loads(line) for line in lines if line.startswith(b"{")]
        return bool(data)


class Kills:
    """One seed's kills, in `folder`, on an accelerator."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        say: Say = lambda _text: None,
        *,
        accelerator: str = "tcg",
        slower: float = 1.0,
    ) -> None:
        """All that is waited for has `slower` times as long."""
        self.folder, self.dice, self.say = folder, Random(seed), say
        self._accelerator, self._slower = accelerator, slower
        self.tally = Tally()
        self._told: dict[Path, dict[int, str]] = {}
        self._seed = seed * 100_000

    def boots(self, kills: int) -> None:
        """Machines that are killed while they are made and boot, `kills` times in all."""
        while kills > 0:
            log = self._log()
            worker = self._worker("start", log)
            self._hears(worker, "started", 60)
            self._wait(self.dice.uniform(0, 8 if self.dice.random() < 0.4 else 1.2))
            self._kill(worker, log)
            kills -= 1
            if not lives(log):
                self.tally.too_early += 1
                continue
            for _ in range(min(kills, self.dice.randrange(3))):
                self._round(log)
                kills -= 1
            self._end(log)

    def works(self, kills: int) -> None:
        """One machine that is driven at random, killed so often."""
        log = self._log()
        worker = self._worker("start", log)
        if self._hears(worker, "booted", 300) is None:
            self._wrong(worker, "the machine did not boot")
            return
        self._work(worker)
        self._kill(worker, log)
        for _ in range(kills - 1):
            self._round(log)
        self._end(log)

    def _log(self) -> Path:
        self.tally.logs += 1
        return self.folder / f"kept-{self.tally.logs}.jsonl"

    def _work(self, worker: Process) -> None:
        """Let it begin a few things; the last one is not far when this returns. Of every three one
        is a move, or a save, which take longer."""
        if self.dice.random() < CARRIES:
            self._hears(worker, "carries")
            self._wait(self.dice.uniform(0, 1.0) * self._slower)
            return
        for _ in range(self.dice.randint(1, 4)):
            self._hears(worker, "doing")
        self._wait(self.dice.uniform(0, 0.3))

    def _round(self, log: Path) -> None:
        """Attach, agree, work a while, be killed; or be killed amid the attachment."""
        worker = self._worker("attach", log)
        if self.dice.random() < 0.12:
            self._wait(self.dice.uniform(0.5, 2.0) * self._slower)
            self.tally.during_attach += worker.until("attached", 0) is None
        elif self._attached(worker):
            self._work(worker)
        self._kill(worker, log)

    def _attached(self, worker: Process) -> bool:
        found = self._hears(worker, "attached")
        if found is None:
            self._wrong(worker, "no attachment")
            return False
        self.tally.attach_ms.append(found["attached"])
        self.tally.missed_events.append(found["events"])
        self.tally.missed_answers.append(found["answers"])
        self.tally.repeated.append(found["repeated"])
        if self._hears(worker, "agree") is None:
            self._wrong(worker, "witness and model do not agree, or never came to rest")
            return False
        self.tally.agreed += 1
        return True

    def _end(self, log: Path) -> None:
        """Attach for the last time, end the machine, and judge its log."""
        worker = self._worker("end", log)
        self._attached(worker)
        masks = self._hears(worker, "masks", 300)
        code = worker.rest()
        self._hear(worker, log)
        if masks is None or code != 0:
            self._wrong(worker, f"the last attachment ended with {code}")
        self._judge(log)

    def _worker(self, how: str, log: Path) -> Process:
        self._seed += 1
        return Process(how, log, self._seed, self._accelerator)

    def _hears(
        self, worker: Process, word: str, seconds: float = SAY_SECONDS
    ) -> dict[str, Any] | None:
        return worker.until(word, seconds * self._slower)

    def _kill(self, worker: Process, log: Path) -> None:
        ended = worker.process.poll()
        worker.kill()
        if ended is not None:
            self._wrong(worker, f"the worker had ended by itself, with {ended}")
        self._hear(worker, log)
        self.tally.kills += 1
        moment = "no log"
        if log.exists():
            moment = under_way(replay(log).state)
        self.tally.moments[moment] += 1
        self.say(f"kill {self.tally.kills}: {moment}")

    def _hear(self, worker: Process, log: Path) -> None:
        for line in worker.said:
            if "told" in line:
                self._told.setdefault(log, {})[line["told"]] = line["event"]
            elif "wrong" in line:
                self._wrong(worker, line["wrong"])

    def _wrong(self, worker: Process, what: str) -> None:
        words = worker.words.read_text(errors="replace").strip()[-2000:]
        self.tally.wrong.append(f"{what} ({worker.words.name}: {words})")
        self.say(f"WRONG: {self.tally.wrong[-1]}")

    def _judge(self, log: Path) -> None:
        """The log is whole, and has all that a user was told."""
        verdict = replay(log)
        if not verdict.ok or not verdict.says_the_end:
            self.tally.wrong.append(f"{log}: {verdict.wrong or verdict.damage or 'no end'}")
        logged = {record.seq: repr(record.event) for record in read(log)[1]}
        self.tally.events += len(logged)
        self.tally.moves += sum(event == MOVED for event in logged.values())
        for file in log.parent.glob("saved-*"):
            try:
                load_saved(file)
                self.tally.saves += 1
            except SavedFileError as error:
                self.tally.wrong.append(str(error))
            file.unlink()
        for seq, event in self._told.get(log, {}).items():
            self.tally.told += 1
            if logged.get(seq) != event:
                said = f"{log}: {seq} was told as {event}, and is {logged.get(seq)}"
                self.tally.wrong.append(said)

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)  # the moment of a kill is at random: nothing is waited for


def lives(log: Path) -> bool:
    """Whether there is a QEMU where the log says."""
    if not log.exists():
        return False
    header, records = read(log)
    records.close()
    place = place_of(header)
    return place is not None and is_held(place)


def under_way(state: State) -> str:
    """What a kill has interrupted, by the log."""
    shared = state.shared
    doing = sorted({str(slot.step) for slot in state.slots if slot.step is not None})
    if shared.step is not None:
        doing.insert(0, str(shared.step))
    elif shared.phase is not Phase.RUNNING:
        doing.insert(0, str(shared.phase))
    if shared.paused and shared.phase is not Phase.OFF:
        doing.append("paused")
    owed = {str(slot.command) for slot in state.slots} - {"none"}
    return ", ".join(doing or sorted(owed) or ["nothing under way"])
