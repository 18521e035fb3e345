"""The page on guests of one's own: its inits boot on a real machine, with a shell and without."""

from __future__ import annotations

import asyncio
import re
import stat
from pathlib import Path

import pytest

from hpcore.guest.images import fetched_guest
from hpcore.guest.initramfs import Entry, cpio
from hpcore.model.config import MachineConfig
from hpcore.model.events import PlugCompleted, Registered, UnplugCompleted
from hpcore.run import GuestImages, RunError, find, open_machine
from tests.docs.pages import DOCS
from tests.support.command import SECONDS, hpcore, needs_guest, records, refused, scenario

pytestmark = needs_guest


def init(number: int) -> str:
    """One of the page's inits, as it stands there."""
    page = (DOCS / "guest.md").read_text()
    found: list[str] = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return found[number]


def archive(path: Path, script: str) -> Path:
    """What the page's four lines make of an init and a busybox."""
    fetched = fetched_guest()
    assert fetched is not None, "needs_guest"
    program = stat.S_IFREG | 0o755
    path.write_bytes(cpio([
        Entry("bin", stat.S_IFDIR | 0o755),
        Entry("bin/busybox", program, fetched.busybox.read_bytes()),
        Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
        Entry("init", program, script.encode()),
    ]))  # fmt: skip
    return path


def test_the_init_with_a_shell_does_all_that_is_asked_of_one(tmp_path: Path) -> None:
    initrd, console = archive(tmp_path / "my.cpio", init(0)), tmp_path / "console"
    path = scenario(
        tmp_path / "s.yaml",
        "boot", "plug: 1", "online: 1", 'expect: {online: 0-1, enabled: 0-1, slots: {1: online}}',
        "shell: kept=here; sleep 0.1 &", "shell: sleep 0.3",
        "shell: {line: echo $kept, prints: here}",
        "{shell: exit 3, fails: anew}", "offline: 1", "unplug: 1", "reboot", "reset",
        "shell: {line: uname -m, prints: aarch64}", "poweroff",
    )  # fmt: skip
    options = ("--log", tmp_path / "log", "--initrd", initrd, "--console", console)
    ended = hpcore("run", path, *options)
    assert ended.code == 0, ended
    assert b"echo '<hp" not in console.read_bytes()  # nothing is echoed


def test_a_guest_without_a_shell_is_plugged_and_unplugged(tmp_path: Path) -> None:
    initrd, log = archive(tmp_path / "my.cpio", init(1)), tmp_path / "log"
    path = scenario(
        tmp_path / "s.yaml",
        "boot", "plug: 1", "expect: {slots: {1: enabled, 2: parked}}", "pause", "resume",
        "unplug: 1", "expect: {slots: {1: parked}}", "reset", "plug: 2", "settle",
        '{unplug: cpu0, fails: cold-booted}', "repeat: {times: 2, steps: [{plug: 1}, {unplug: 1}]}",
    )  # fmt: skip
    # a kernel that still boots brings up by itself what is there by then: not with maxcpus=1
    options = ("--initrd", initrd, "--no-shell", "--append", "maxcpus=1")
    ended = hpcore("run", path, "--log", log, *options)
    assert ended.code == 0, ended
    found = [type(r.event) for r in records(log)]
    assert [found.count(kind) for kind in (PlugCompleted, Registered, UnplugCompleted)] == [4, 4, 3]


def test_a_guest_without_a_shell_may_reboot_by_itself(tmp_path: Path) -> None:
    script = "#!/bin/sh\n/bin/busybox sleep 2\n/bin/busybox reboot -f\n"
    initrd = archive(tmp_path / "my.cpio", script)
    path = scenario(tmp_path / "s.yaml", "boot", "scale: 2", "rebooted", "rebooted", "scale: 1")
    options = ("--log", tmp_path / "log", "--initrd", initrd, "--no-shell")
    ended = hpcore("run", path, *options)
    assert ended.code == 0, ended


@pytest.mark.parametrize(
    "step",
    [
        "online: 1", "offline: 1", "shell: uname", "expect: {online: 0}", "reboot", "poweroff",
        "{reboot: , waits: false}",
    ],
)
def test_a_step_that_needs_a_shell_is_refused_before_the_start_by_its_line(
    tmp_path: Path, step: str
) -> None:
    steps = ("boot", "expect: {slots: {1: parked}}", f"repeat: {{times: 2, steps: [{step}]}}")
    path, log = scenario(tmp_path / "s.yaml", *steps), tmp_path / "log"
    error = refused("run", path, "--log", log, "--no-shell")
    assert error.startswith("line 5 of the scenario s, `")
    assert "is done by the guest's shell, and this guest is run without one" in error
    assert not log.exists()


def test_a_guest_without_a_shell_that_panics_at_every_boot_is_given_up(tmp_path: Path) -> None:
    fetched = fetched_guest()
    assert fetched is not None, "needs_guest"
    images = GuestImages(fetched.kernel, fetched.initramfs(), "rdinit=/nothing", shell=False)

    async def main() -> str:
        async with open_machine(
            find("tcg"), MachineConfig.of(1, 2), images, log=tmp_path / "log"
        ) as machine:
            await machine.boot()
            with pytest.raises(RunError, match="the guest runs without a shell"):
                await machine.power_off()
            return await machine.ended()

    why = asyncio.run(asyncio.wait_for(main(), SECONDS))
    assert "the guest panicked in 2 boots in a row: Kernel panic - not syncing: VFS" in why
