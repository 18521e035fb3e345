"""Machines that outlive hpcore, as a user has them: left, killed, taken up, refused, gone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hpcore_tcg.made_of import FILE

from hpcore.guest.images import fetched_guest
from hpcore.log import LogWriter, read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.qemu.kept_directory import QemuDirectory
from hpcore.qemu.runtime_directory import is_held
from hpcore.run.accelerator import GuestImages
from hpcore.run.attach import attach_machine
from hpcore.run.discovery import find
from hpcore.run.kept import NEWEST, NotKept, place_of, recorded
from hpcore.run.open import open_machine
from hpcore.triage.replay import replay
from tests.qemu.support import alive
from tests.support.command import HPCORE, MARK, Ended, hpcore, needs_guest, refused
from tests.support.terminal import on_a_terminal
from tests.support.waits import poll
from tests.tcg.kills.driver import Kills, Process
from tests.tcg.rig import no_more

pytestmark = needs_guest

HERE = {"TMPDIR": tempfile.gettempdir()}
"""Where the machine was made by this process: `hpcore kept` looks there."""

LEAVES = {**HERE, MARK: None}
"""The same, of a command that leaves a QEMU which it has started: see tests.support.command."""


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


KILLED_AMID_RESTORE = """
import os, signal
from hpcore_tcg.kept_machine import KeptMachine
KeptMachine.may_have_machine = lambda _self: os.kill(os.getpid(), signal.SIGKILL)
from hpcore.cli.start import main
main()
"""
"""QEMU has the machine by then, and nobody knows."""


def place(log: Path) -> Path:
    """Where the log says that its machine lives."""
    header, records = read(log, since=NEWEST)
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
    left(log)
    yield log
    asyncio.run(no_more(place(log)))


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


def test_a_kept_machine_moves_and_lives_where_its_log_says(kept: Path) -> None:
    where = place(kept)
    assert [one.number for one in QemuDirectory.all_of(where)] == [0]
    for number in (1, 2):
        ended = hpcore("attach", kept, "migrate", "--json", env=LEAVES)
        assert ended.code == 0, ended
        assert ended.last["kept"] is True
        assert [(one.number, one.lives) for one in QemuDirectory.all_of(where)] == [(number, True)]
    assert place(kept) == where
    listed = hpcore("kept", "--json", env=HERE).last["machines"]
    assert [m["place"] for m in listed if m["log"] == str(kept)] == [str(where)]
    plugged = hpcore("attach", kept, "plug 1", "--json", env=HERE)
    assert plugged.code == 0, plugged
    unplugged = hpcore("attach", kept, "unplug cpu1", "--json", env=HERE)
    assert unplugged.code == 0, unplugged
    assert replay(kept).ok


def test_a_move_for_which_a_file_has_changed_is_refused_and_the_machine_goes_on(
    kept: Path,
) -> None:
    said = place(kept) / FILE
    before = said.read_text()
    kernel = json.loads(before)["images"][0]
    found = json.loads(before)
    found["loaded"][kernel][2] += 1  # bytes that it had
    said.write_text(json.dumps(found))
    try:
        ended = hpcore("attach", kept, "migrate", "--json", env=HERE)
        assert "has changed since the machine was made" in str(ended.last["error"])
        said.write_text("{}")
        ended = hpcore("attach", kept, "migrate", "--json", env=HERE)
        assert "what the machine was made of is not to be read" in str(ended.last["error"])
        assert (ended.code, ended.last["kept"]) == (1, True)
    finally:
        said.write_text(before)
    assert hpcore("attach", kept, "migrate", env=LEAVES).code == 0


def test_a_machine_that_an_older_hpcore_keeps_is_left_alone(kept: Path) -> None:
    (place(kept) / "qmp").touch()  # where it had its sockets
    try:
        error = refused("attach", kept, env=HERE)
        assert "was made by an older hpcore: attach with that one" in error
    finally:
        (place(kept) / "qmp").unlink()
    assert hpcore("attach", kept, "settle", env=HERE).code == 0


def test_a_kept_machine_is_saved_and_restored_as_one_that_is_kept(
    kept: Path, tmp_path: Path
) -> None:
    file, log = tmp_path / "vm.saved", tmp_path / "on.jsonl"
    saved = hpcore("attach", kept, "save-machine", str(file), "--json", env=HERE)
    assert (saved.code, saved.last["kept"]) == (0, True), saved
    restored = hpcore("restore", file, "--keep", "--log", log, "--json", env=LEAVES)
    assert (restored.code, restored.last["kept"]) == (0, True), restored
    where = place(log)
    try:
        assert where != place(kept)
        assert is_held(where)
        for step in ("plug 1", "migrate", "unplug cpu1"):
            ended = hpcore("attach", log, step, "--json", env=LEAVES)
            assert ended.code == 0, ended
        ended = hpcore("attach", kept, "settle", env=HERE)  # which lives, too
        assert ended.code == 0, ended
    finally:
        end(log)
    assert not where.exists()
    assert replay(log).ok
    assert replay(log).state.shared.phase is Phase.ENDED
    assert replay(kept).ok
    once = hpcore("restore", file, "--log", tmp_path / "once.jsonl", "--json", env=HERE)
    assert (once.code, once.last["kept"]) == (0, False), once
    assert "was not to outlive hpcore" in refused("attach", tmp_path / "once.jsonl")


def test_an_hpcore_that_is_killed_amid_a_restore_leaves_a_log_whose_machine_is_gone(
    kept: Path, tmp_path: Path
) -> None:
    file, log = tmp_path / "vm.saved", tmp_path / "on.jsonl"
    assert hpcore("attach", kept, "save-machine", str(file), env=HERE).code == 0
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AMID_RESTORE, "restore", str(file), "--keep", "--log",
         str(log)],
        env={**os.environ, **HERE}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed
    where = place(log)
    (qemu,) = QemuDirectory.all_of(where)
    assert qemu.lives
    error = refused("attach", log, env=HERE)
    assert error.startswith(f"{log}: the machine is gone: ")
    assert not qemu.lives
    assert replay(log).ok
    assert replay(log).state.shared.phase is Phase.FAILED
    shutil.rmtree(where)


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
