"""Machines that outlive hpcore, as a user has them: left, killed, taken up, refused, gone."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hpcore.guest.images import fetched_guest
from hpcore.log import LogWriter, read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.qemu.runtime_directory import is_held
from hpcore.run.accelerator import GuestImages
from hpcore.run.attach import attach_machine
from hpcore.run.discovery import find
from hpcore.run.kept import NotKept, place_of, recorded
from hpcore.run.open import open_machine
from hpcore.triage.replay import replay
from tests.qemu.support import alive
from tests.support.command import HPCORE, Ended, hpcore, needs_guest, refused
from tests.support.terminal import on_a_terminal
from tests.support.waits import poll
from tests.tcg.kills.driver import Kills, Process

pytestmark = needs_guest

HERE = {"TMPDIR": tempfile.gettempdir()}
"""Where the machine was made by this process: `hpcore kept` looks there."""


def left(log: Path) -> int:
    """A machine that has just been started, with the log `log`; its QEMU's process id."""

    async def run() -> int:
        guest = fetched_guest()
        assert guest is not None
        images = GuestImages(guest.kernel, guest.initramfs())
        config = MachineConfig.of(cpus=1, maxcpus=2)
        async with open_machine(find("tcg"), config, images, log=log, keep=True) as machine:
            await machine.start()
            pid = machine._c.session.process_id
            assert pid is not None
            return pid

    return asyncio.run(run())


def place(log: Path) -> Path:
    """Where the log says that its machine lives."""
    header, records = read(log)
    records.close()
    place = place_of(header)
    assert place is not None
    return place


def end(log: Path) -> Ended:
    return hpcore("attach", log, "--end", "--json", env=HERE)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of a machine that goes on."""
    log = tmp_path_factory.mktemp("kept") / "run.jsonl"
    pid = left(log)
    yield log
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    poll(lambda: not alive(pid), "QEMU's end")
    shutil.rmtree(place(log), ignore_errors=True)


def test_killed_hpcores_lose_nothing_and_say_nothing_that_is_untrue(tmp_path: Path) -> None:
    kills = Kills(tmp_path, 3)
    kills.works(4)
    assert not kills.tally.wrong
    assert kills.tally.agreed > 1
    assert kills.tally.told > 50


def test_words_of_a_worker_that_come_in_one_read_are_all_heard() -> None:
    said, into = os.pipe()
    worker = object.__new__(Process)
    worker._out, worker._rest, worker.said, worker._looked = said, b"", [], 0
    os.write(into, b'{"attached": 1}\n{"agree": 6}\n')
    os.close(into)
    assert worker.until("attached") == {"attached": 1}
    assert worker.until("agree") == {"agree": 6}
    assert worker.until("agree") is None
    os.close(said)


def test_a_machine_that_is_left_is_listed_and_can_be_had_again(kept: Path) -> None:
    listed = hpcore("kept", "--json", env=HERE).last["machines"]
    mine = [machine for machine in listed if machine["log"] == str(kept)]
    assert mine == [{
        "log": str(kept), "log_is_there": True, "accelerator": "tcg", "held": False,
        "place": str(place(kept)), "console_dropped": 0,
    }]  # fmt: skip
    before = replay(kept).events
    ended = hpcore("attach", kept, "pause", "--json", env=HERE)
    assert ended.code == 0, ended
    assert ended.last["kept"] is True
    assert ended.last["events"] > before
    assert replay(kept).state.shared.paused

    async def look() -> None:
        async with attach_machine(kept) as attached:
            assert attached.machine.state.shared.paused
            held = await asyncio.to_thread(hpcore, "kept", "--json", env=HERE)
            assert [m["held"] for m in held.last["machines"] if m["log"] == str(kept)] == [True]
            error = await asyncio.to_thread(refused, "attach", kept, env=HERE)
            assert f"{kept}: another hpcore has this machine" in error
            await attached.machine.resume()

    asyncio.run(look())
    assert replay(kept).ok


def test_a_copy_of_the_log_is_refused_and_the_log_itself_may_be_moved(
    kept: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(kept, tmp_path / "copy.jsonl")
    error = refused("attach", copy, "--end", env=HERE)
    assert error.endswith(f"is {kept}; attach to that")
    moved = kept.rename(kept.with_name("moved.jsonl"))
    try:
        assert hpcore("attach", moved, "settle", env=HERE).code == 0
    finally:
        moved.rename(kept)


def test_what_is_no_log_of_a_kept_machine_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    assert hpcore("run", "cover-letter", "--accel", "qtest", "--log", other).code == 0
    assert "was not to outlive hpcore, and is gone" in refused("attach", other)
    other.write_text("steps: [boot]\n")
    assert "not a log of hpcore" in refused("attach", other)
    assert "No such file" in refused("attach", tmp_path / "none.jsonl")
    error = refused("run", "cover-letter", "--accel", "qtest", "--keep", "--log", other, "--force")
    assert error.startswith("no machine of 'qtest' outlives hpcore: the guest that is played")


def test_a_kept_machine_is_ended_and_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    pid = left(log)
    where = place(log)
    assert is_held(where)
    assert recorded(where) is not None
    ended = end(log)
    assert (ended.code, ended.last["kept"]) == (0, False)
    assert not alive(pid)
    assert not where.exists()
    verdict = replay(log)
    assert verdict.ok
    assert verdict.state.shared.phase is Phase.ENDED
    assert "its machine has ended" in refused("attach", log)


def test_a_machine_that_has_gone_meanwhile_is_said_to_be_and_its_log_ends(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    pid = left(log)
    os.kill(pid, signal.SIGKILL)
    poll(lambda: not alive(pid), "QEMU's end")
    error = refused("attach", log, env=HERE)
    assert error.startswith(f"{log}: the machine is gone: QEMU has ended")
    verdict = replay(log)
    assert verdict.ok
    assert verdict.state.shared.phase is Phase.FAILED

    async def again() -> None:
        with pytest.raises(NotKept, match="has ended"):
            async with attach_machine(log):
                raise AssertionError("it is gone")

    asyncio.run(again())
    shutil.rmtree(place(log), ignore_errors=True)


def test_at_the_prompt_quit_leaves_the_machine_and_end_ends_it(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    pid = left(log)
    command = [str(HPCORE), "attach", str(log)]
    with on_a_terminal(command, tmp_path) as typist:
        typist.reads("attached in")
        typist.reads("hpcore>")
        typist.does("plug 1", "ok     1")
        typist.process.kill()
        typist.process.wait()
    with on_a_terminal(command, tmp_path) as typist:
        typist.reads("1     cpu1     enabled  no")
        typist.does("quit", "the machine goes on")
        assert typist.ends() == 0
    assert alive(pid)
    with on_a_terminal(command, tmp_path) as typist:
        typist.reads("hpcore>")
        typist.type("end\r")
        assert typist.ends() == 0
    assert not alive(pid)
    assert replay(log).state.shared.phase is Phase.ENDED


def test_a_kept_machine_is_neither_migrated_nor_saved_and_goes_on(kept: Path) -> None:
    def fails(*step: str) -> str:
        ended = hpcore("attach", kept, *step, "--json", env=HERE)
        assert ended.code == 1, ended
        assert ended.last["kept"] is True
        return str(ended.last["error"])

    assert "(--keep) lives where its log says, and is neither migrated" in fails("migrate")
    file = kept.with_name("vm.saved")
    assert f"a machine of --keep is not saved yet; {file} was" in fails("save-machine", str(file))
    assert not file.exists()
    assert replay(kept).ok


def test_a_pause_that_was_under_way_is_done_by_who_attaches(kept: Path) -> None:
    with LogWriter.resume(kept) as writer:
        begun = ev.MachineStepBegun(MachineStep.PAUSE)
        writer.append([begun], writer.last_t, st.Pause())
    ended = hpcore("attach", kept, "resume", "--json", env=HERE)
    assert ended.code == 0, ended
    assert replay(kept).ok
    assert not replay(kept).state.shared.paused


def test_a_power_off_and_a_death_that_were_missed_are_told(tmp_path: Path) -> None:
    """The guest powers off while nobody is there; who attaches can start it anew."""
    log = tmp_path / "run.jsonl"
    pid = left(log)
    off = hpcore("attach", log, "--json", env=HERE, stdin=b"shell: (sleep 8; poweroff -f) &\n")
    assert off.code == 0, off
    poll(lambda: console(log).count(b"Power down") > 0, "the guest's last word", 60)

    async def look() -> None:
        async with attach_machine(log) as attached:
            assert attached.machine.state.shared.phase is Phase.OFF
            await attached.machine.begin(st.Reset())
            await attached.machine.resume()
            await attached.machine.until(lambda s: s.shared.guest_runs, "the next boot")
            os.kill(pid, signal.SIGKILL)
            assert "QEMU is gone" in await attached.machine.ended()

    asyncio.run(look())
    assert replay(log).ok
    assert replay(log).state.shared.phase is Phase.FAILED


def console(log: Path) -> bytes:
    """What the guest has printed."""
    return (place(log) / "console.log").read_bytes()
