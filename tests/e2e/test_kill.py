"""kill -9 of hpcore at 50 moments: the log recovers, and says no more and no less than was done.

The witness is QEMU: it keeps a copy of every byte that the monitor sent on the link, be it
an answer to a request or what the guest did.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hpcore_tcg.launch import LINK_LOG
from hpcore_tcg.protocol import FIELDS, HEAD_BIT, REPLY, Decoder, Frame, Status, crc7
from hpcore_tcg.protocol import Event as Said

from hpcore.log import LogEmpty, LogUnreadable, LogWriter, Record
from hpcore.model import events as ev
from hpcore.model.effects import Effect, MachineStep, RaiseGed, Reassert, RunMachineStep, RunStep
from hpcore.triage.replay import replay
from tests.qemu.support import program
from tests.support.command import (
    AROUND,
    Running,
    hpcore,
    logged,
    needs_guest,
    processes,
    records,
    running,
    scenario,
)
from tests.support.waits import poll

pytestmark = needs_guest

ON_THE_LINK = (MachineStep.INIT_GIC, MachineStep.START)
GONE_SECONDS = 10.0

Moment = Callable[[Running, Path, Random], None]
"""Returns when it is time to kill."""


def starting(_run: Running, log: Path, dice: Random) -> None:
    """From the first instruction of Python, and around QEMU's first."""
    if dice.random() < 0.4:
        time.sleep(dice.uniform(0, 0.5))
    else:
        poll(log.exists, "the log was begun", 60)
        time.sleep(dice.uniform(0, 0.2))


def booting(_run: Running, log: Path, dice: Random) -> None:
    """From the start of QEMU to about the guest's shell."""
    poll(logged(log, '"step":"create_vcpus"'), "QEMU was about to be started", 60)
    time.sleep(dice.uniform(0, 3))


def plugging(_run: Running, log: Path, dice: Random) -> None:
    """Anywhere in some ten rounds of plugging, onlining and unplugging."""
    poll(logged(log, "plug_accepted"), "the first plug", 90)
    wanted = lines(log) + dice.randrange(400)
    poll(lambda: lines(log) >= wanted, f"line {wanted} of the log", 60)
    time.sleep(dice.uniform(0, 0.005))


def lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


@pytest.mark.parametrize(
    ("moment", "sync", "seeds"),
    [
        (starting, "durable", range(10)),
        (booting, "os", range(10, 20)),
        (plugging, "durable", range(20, 35)),
        pytest.param(plugging, "os", range(35, 50), marks=pytest.mark.long),
    ],
    ids=["starting", "booting", "plugging-durable", "plugging-os"],
)
def test_what_a_killed_hpcore_logged_is_what_the_monitor_did(
    tmp_path: Path, moment: Moment, sync: str, seeds: range
) -> None:
    path = scenario(tmp_path / "around.yaml", "boot", AROUND)

    def attempt(seed: int) -> str:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            return kill(path, folder, moment, sync, Random(seed))
        except Exception as error:
            raise AssertionError(f"seed {seed}, in {folder}: {error}") from error

    with ThreadPoolExecutor(2) as two:
        for told in two.map(attempt, seeds):
            print(told)


def kill(path: Path, folder: Path, moment: Moment, sync: str, dice: Random) -> str:
    """Run the scenario at `path`, kill it at `moment`, judge what is left; what that was."""
    log, link = folder / "run.jsonl", folder / "link"
    with running("run", path, "--log", log, "--sync", sync, env={LINK_LOG: str(link)}) as run:
        moment(run, log, dice)
        assert run.process.poll() is None, run.process.communicate()
        run.send(signal.SIGKILL)
        run.process.wait(GONE_SECONDS)
        poll(lambda: not processes(run.mark), "QEMU ended with hpcore", GONE_SECONDS)
        left = list(run.temporary.iterdir())
    if not recovered(log):
        assert not link.exists(), "QEMU ran without a log"
        return "no log yet"
    found = records(log)
    if any(r.event == ev.MachineStepDone(MachineStep.CREATE_VCPUS) for r in found):
        assert not left, f"files were left behind: {left}"
    frames = transcript(link)
    judge(found, frames)
    return f"{len(found)} events in the log, {len(frames)} frames on the link"


def recovered(log: Path) -> bool:
    """Recover the log; the run could go on from there. False where none was begun."""
    try:
        before = replay(log)
    except LogEmpty:
        return False
    except LogUnreadable:
        assert not log.exists()
        return False
    assert before.ok, (before.wrong, before.damage)
    with LogWriter.resume(log) as writer:
        assert (writer.recovered is None) == (before.torn is None)
        assert writer.next_seq == before.events + 1
    after = replay(log)
    assert after.ok
    assert (after.torn, after.events, after.state) == (None, before.events, before.state)
    return True


def judge(found: list[Record], frames: list[Frame]) -> None:
    """Hold the log against the link: what was done was begun, what is done was done.

    The log's order of outcomes is the link's: the log may only end earlier.
    """
    begun = [e for r in found for e in ev.effects_of(r.event) if on_the_link(e)]
    replies = [frame for frame in frames if frame.kind == REPLY]
    tags = [reply["tag"] for reply in replies]
    assert sorted(tags) == list(range(len(tags))), "an answer is missing, or came twice"
    assert len(tags) <= len(begun), f"done, and not in the log: tags {len(begun)} and up"
    refused = [(begun[r["tag"]], r["status"]) for r in replies if r["status"] != Status.OK]
    assert not refused

    happened = [what for what in (outcome(frame, begun) for frame in frames) if what]
    told = [event for event in (plain(record.event) for record in found) if event]
    assert told == happened[: len(told)]
    under_way = [e.slot for e in begun[len(tags) :] if isinstance(e, RunStep)]
    assert len(under_way) == len(set(under_way)), "two steps of one vCPU under way"


def on_the_link(effect: Effect) -> bool:
    """Whether the TCG accelerator has the monitor do it. Tags count these, in order."""
    if isinstance(effect, RunMachineStep):
        return effect.step in ON_THE_LINK
    return isinstance(effect, RunStep | Reassert | RaiseGed)


def outcome(frame: Frame, begun: list[Effect]) -> ev.Event | None:
    """What the log has for a frame, with all that the link does not tell left out."""
    if frame.kind == REPLY:
        match begun[frame["tag"]]:
            case RunStep(step=step, slot=slot):
                return ev.StepDone(slot, step, frame["value"] if step == "bind" else None)
            case RunMachineStep(step=machine_step):
                return ev.MachineStepDone(machine_step)
        return None
    slot = frame.fields.get("slot", 0)
    match frame.kind:
        case Said.CPU_ON if frame["granted"]:
            return ev.CpuOnGranted(slot, frame["caller"])
        case Said.CPU_ON:
            return ev.CpuOnDenied(slot, frame["caller"], 0)
        case Said.CPU_OFF:
            return ev.CpuWentOff(slot)
        case Said.SCAN_STARTED:
            return ev.ScanBegun()
        case Said.SCAN_ENDED:
            return ev.ScanFinished()
        case Said.INSERT_ACKED:
            return ev.InsertCleared(slot)
        case Said.REMOVE_ACKED:
            return ev.RemoveCleared(slot)
        case Said.OST:
            return ev.OstReceived(slot, frame["source"], frame["status"])
        case Said.EJECT:
            return ev.EjectAccepted(slot)
    assert frame.kind == Said.HELLO, frame
    return None


def plain(event: ev.Event) -> ev.Event | None:
    """An event that a frame of the link has caused, as `outcome` has it; None for others."""
    match event:
        case ev.CpuOnGranted(slot=slot, caller=caller):
            return ev.CpuOnGranted(slot, caller)
        case ev.CpuOnDenied(slot=slot, caller=caller):
            return ev.CpuOnDenied(slot, caller, 0)
        case ev.MachineStepDone(step=step):
            return event if step in ON_THE_LINK else None
        case (
            ev.StepDone() | ev.CpuWentOff() | ev.ScanBegun() | ev.ScanFinished()
            | ev.InsertCleared() | ev.RemoveCleared() | ev.OstReceived() | ev.EjectAccepted()
        ):  # fmt: skip
            return event
    return None


def transcript(link: Path) -> list[Frame]:
    """Every frame that the monitor sent.

    QEMU sends a byte first and keeps it then, so the last one of all may be missing here
    and have reached hpcore nevertheless. It can only be a checksum, which can be told.
    """
    data = link.read_bytes() if link.exists() else b""
    decoder = Decoder()
    frames = decoder.feed(data)
    assert decoder.dropped == 0
    start = max((at for at, byte in enumerate(data) if byte & HEAD_BIT), default=0)
    rest = data[start:]
    if rest and len(rest) == 1 + sum(size for _, size in FIELDS[rest[0] & ~HEAD_BIT]):
        frames += decoder.feed(bytes([crc7(rest)]))
    return frames


def test_a_log_that_says_more_or_less_than_was_done_is_told(tmp_path: Path) -> None:
    """The judge itself: it sees an outcome that was made up, and a step that was kept quiet."""
    path = scenario(tmp_path / "s.yaml", "boot", "plug: 1", "unplug: 1", AROUND)
    log, link = tmp_path / "run.jsonl", tmp_path / "link"
    with running("run", path, "--log", log, "--sync", "os", env={LINK_LOG: str(link)}) as run:
        poll(logged(log, "unplug_completed"), "a round", 90)
        run.send(signal.SIGKILL)
        run.process.wait(GONE_SECONDS)
        poll(lambda: not processes(run.mark), "QEMU ended with hpcore", GONE_SECONDS)
    found, frames = records(log), transcript(link)
    judge(found, frames)
    done = next(at for at, r in enumerate(found) if isinstance(r.event, ev.StepDone))
    with pytest.raises(AssertionError):
        judge([*found[:done], found[done], *found[done:]], frames)
    begun = [r for r in found if not isinstance(r.event, ev.StepBegun) or r.seq < 10]
    with pytest.raises(AssertionError):
        judge(begun, frames)


def test_what_is_left_by_a_kill_while_qemu_is_connected_to_goes_with_the_next_run(
    tmp_path: Path,
) -> None:
    version = "[ $1 != --version ] || { echo QEMU emulator version 8.0.0; exit; }"
    deaf = program(tmp_path / "deaf", f"{version}; exec sleep 60")
    dead = program(tmp_path / "dead", f"{version}; exit 7")
    command = ("run", "cover-letter", "--force", "--log", tmp_path / "log")
    with running(*command, env={"HPCORE_QEMU": str(deaf)}) as run:

        def connecting() -> bool:
            return any(run.temporary.glob("*/tree.dtb"))

        poll(connecting, "QEMU's files were written", 60)
        run.send(signal.SIGKILL)
        run.process.wait(GONE_SECONDS)
        assert connecting()
        env = {"HPCORE_QEMU": str(dead), "TMPDIR": str(run.temporary)}
        assert hpcore(*command, env=env).code == 2
        assert not list(run.temporary.iterdir())
