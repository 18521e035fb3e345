"""hpcore dies before and after each line that a move, or a save, of a kept machine writes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcore.guest.images import fetched_guest
from hpcore.log import read
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep
from hpcore.qemu.kept_directory import QemuDirectory
from hpcore.run.accelerator import GuestImages
from hpcore.run.attach import attach_machine
from hpcore.run.discovery import find
from hpcore.run.kept import place_of
from hpcore.run.open import open_machine
from hpcore.run.saving import load_saved
from hpcore.triage.replay import replay
from tests.support.command import needs_guest
from tests.support.waits import poll, until
from tests.tcg.rig import no_more

pytestmark = needs_guest

SECONDS = 60
WRITES = 12
"""More than an attachment that moves the machine has."""

DIES = """
import asyncio, os, signal, sys
from hpcore.log import LogWriter
from hpcore.model import stimuli
from hpcore.run.attach import attach_machine

log, at, when, file = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
real, count = LogWriter.append_all, 0


def append_all(writer, entries):
    global count
    count += 1
    if count == at and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    written = real(writer, entries)
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return written


async def run():
    async with attach_machine(log) as attached:
        LogWriter.append_all = append_all
        command = stimuli.Save(file) if file else stimuli.Migrate()
        await (await attached.machine.begin(command)).ended()


asyncio.run(run())
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of a machine that goes on, and whose guest has booted."""
    log = tmp_path_factory.mktemp("moving") / "run.jsonl"

    async def boot() -> None:
        guest = fetched_guest()
        assert guest is not None
        images = GuestImages(guest.kernel, guest.initramfs())
        config = MachineConfig.of(cpus=1, maxcpus=2)
        async with open_machine(find("tcg"), config, images, log=log, keep=True) as machine:
            await machine.boot()

    asyncio.run(boot())
    yield log
    asyncio.run(no_more(place(log)))


def place(log: Path) -> Path:
    header, records = read(log)
    records.close()
    found = place_of(header)
    assert found is not None
    return found


def dies(log: Path, at: int, when: str, file: str) -> bool:
    """Whether it was killed, and did not come to its end before."""
    ended = subprocess.run(
        [sys.executable, "-c", DIES, str(log), str(at), when, file],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode in (0, -signal.SIGKILL), ended
    return ended.returncode != 0


async def taken_up(log: Path) -> None:
    """Take it up, and have vCPU 1 plugged and unplugged."""
    async with asyncio.timeout(SECONDS), attach_machine(log) as attached:
        machine = attached.machine
        assert not machine.state.shared.migrating
        await machine.guest_ready()
        await machine.plug("core1", core_id=1)
        await machine.unplug("core1")


def ends(log: Path, step: MachineStep) -> tuple[int, int]:
    """How often the log says that `step` was done, and how often that it failed."""
    _, records = read(log)
    with records:
        events = [record.event for record in records]
    done = sum(isinstance(e, ev.MachineStepDone) and e.step is step for e in events)
    return done, sum(isinstance(e, ev.MachineStepFailed) and e.step is step for e in events)


def begun(log: Path, step: MachineStep) -> int:
    _, records = read(log)
    with records:
        return sum(r.event == ev.MachineStepBegun(step) for r in records)


def lives_in_one(where: Path) -> int:
    """The number of the QEMU that alone lives there."""
    poll(lambda: sum(one.lives for one in QemuDirectory.all_of(where)) == 1, "one QEMU")
    (one,) = QemuDirectory.all_of(where)
    return one.number


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_death_at_each_line_of_a_move_is_told_of_truly(kept: Path, when: str) -> None:
    where = place(kept)
    outcomes = set()
    for at in range(1, WRITES):
        moves = ends(kept, MachineStep.MIGRATE)[0]
        if not dies(kept, at, when, ""):
            break
        asyncio.run(taken_up(kept))
        done, failed = ends(kept, MachineStep.MIGRATE)
        assert lives_in_one(where) == done
        assert begun(kept, MachineStep.MIGRATE) == done + failed
        assert replay(kept).ok
        outcomes.add(done > moves)
    else:
        pytest.fail("it wrote more than a move does")
    assert outcomes == {True, False}
    assert lives_in_one(where) == ends(kept, MachineStep.MIGRATE)[0]


LEFT_AT: dict[str, Callable[[list[QemuDirectory]], bool]] = {
    "at once": lambda _every: True,
    "as the other QEMU starts": lambda every: len(every) > 1,
    "as the other one may have it": lambda every: len(every) > 1 and every[1].may_have,
    "as the first one is given up": lambda every: not every[0].may_have,
}
"""By the QEMUs' directories, the oldest first."""


@pytest.mark.parametrize("when", LEFT_AT)
def test_a_machine_that_is_left_amid_a_move_is_where_the_log_says(kept: Path, when: str) -> None:
    where = place(kept)
    before = lives_in_one(where)

    async def leave() -> None:
        async with asyncio.timeout(SECONDS), attach_machine(kept) as attached:
            await attached.machine.begin(stimuli.Migrate())
            await until(lambda: is_time(QemuDirectory.all_of(where)), when)

    def is_time(every: list[QemuDirectory]) -> bool:
        has_moved = every[0].number > before  # before anybody has looked
        return has_moved or LEFT_AT[when](every)

    asyncio.run(leave())
    there = lives_in_one(where)
    assert there in (before, before + 1)
    asyncio.run(taken_up(kept))
    done, failed = ends(kept, MachineStep.MIGRATE)
    assert lives_in_one(where) == there == done
    assert begun(kept, MachineStep.MIGRATE) == done + failed
    assert replay(kept).ok


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_death_at_each_line_of_a_save_leaves_a_whole_file_or_none(
    kept: Path, tmp_path: Path, when: str
) -> None:
    for at in range(1, WRITES):
        file = tmp_path / f"{at}.saved"
        killed = dies(kept, at, when, str(file))
        asyncio.run(taken_up(kept))
        done, failed = ends(kept, MachineStep.SAVE)
        assert begun(kept, MachineStep.SAVE) == done + failed
        assert replay(kept).ok
        if file.exists():
            load_saved(file)
            file.unlink()
        for part in tmp_path.glob(".*.part"):
            part.unlink()
        if not killed:
            assert done
            return
    pytest.fail("it wrote more than a save does")
