"""Where the interposer is not in QEMU, or hpcore is not there for it: nothing of a guest runs."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hpcore_kvm_qemu import wire

from hpcore.fetch.cache import cache_directory
from hpcore.model.psci import PsciStatus
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import find_qemu
from hpcore.run.errors import RunError
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.by_hand import POSSIBLE, answers, begun, page, qemu
from tests.kvm_with_qemu.puppet import puppet
from tests.kvm_with_qemu.strings import OFF, ON, SYSTEM_RESET, Strings, mailbox
from tests.support.command import hpcore, scenario

NOT_ENFORCED = "QEMU runs without the interposer"
GONE = "the link to the interposer is closed"
"""Where it was in a wrapper, and went with that."""

NOBODY = 65534


# ------------------------------------------------- the loader does not load it


@pytest.mark.parametrize(
    "wrapper",
    [
        "#!/bin/sh\nunset LD_PRELOAD\nexec {} \"$@\"\n",
        # a wrapper that is no static program has the interposer itself, and QEMU has not
        "#!/usr/bin/python3\nimport os, sys\nos.execv({!r}, sys.argv)\n",
    ],
    ids=["unset", "dynamic"],
)
def test_a_wrapper_that_drops_it_starts_no_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapper: str
) -> None:
    program = tmp_path / "qemu"
    program.write_text(wrapper.format(str(find_qemu().path)))
    program.chmod(0o755)
    monkeypatch.setenv("HPCORE_QEMU", str(program))

    async def run() -> None:
        async with puppet(tmp_path, 1, 2) as rig:
            with pytest.raises(RunError, match=f"{NOT_ENFORCED}|{GONE}"):
                await rig.boot()
            assert rig.core.session.process_id is None

    asyncio.run(run())


def set_uid(program: Path) -> None:
    """Have it run as root, whoever starts it."""
    program.chmod(0o4755)


def capable(program: Path) -> None:
    """Have it gain a privilege, by a file capability, that whoever starts it has not."""
    program.chmod(0o755)
    # struct vfs_cap_data of linux/capability.h: CAP_NET_ADMIN permitted, and effective
    data = struct.pack("<5I", 0x0200_0001, 1 << 12, 0, 0, 0)
    os.setxattr(program, "security.capability", data)


@pytest.mark.parametrize(
    ("privilege", "says"), [(capable, NOT_ENFORCED), (set_uid, "QEMU runs as another user")]
)
def test_a_qemu_that_gains_a_privilege_starts_no_machine(
    tmp_path: Path, privilege: Callable[[Path], None], says: str
) -> None:
    """The loader drops LD_PRELOAD for it (AT_SECURE, ld.so(8)). Who starts it is not root."""
    program, log = tmp_path / "qemu", tmp_path / "log.jsonl"
    shutil.copy(find_qemu().path, program)
    privilege(program)
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o777)
    with everybody_may_use_kvm():
        ended = hpcore(
            "run", scenario(tmp_path / "boot.yaml", "boot"), "--accel", "kvm-qemu", "--log", log,
            "--json", before=["python3", "-c", AS_NOBODY],
            env={"HPCORE_QEMU": str(program), "HPCORE_CACHE": str(cache_directory())},
        )  # fmt: skip
    assert ended.code == 2, ended
    assert says in ended.last["error"]


# ------------------------------------------------- hpcore is not there, or is somebody else


def test_without_hpcores_socket_qemu_does_not_start(tmp_path: Path) -> None:
    async def run() -> None:
        async with qemu(tmp_path / "none") as by_hand:
            said = await by_hand.ended()
            assert "exit status 97" in said
            assert "cannot reach hpcore's socket" in said

    asyncio.run(run())


def test_qemu_does_not_start_where_nobody_answers_the_greeting(tmp_path: Path) -> None:
    async def run() -> None:
        link = tmp_path / "link"
        with answers(link, None):
            async with qemu(link) as by_hand:
                said = await by_hand.ended()
                assert "exit status 97" in said
                assert "hpcore does not answer the greeting" in said

    asyncio.run(run())


@pytest.mark.parametrize(
    ("magic", "possible", "seals", "says"),
    [
        (wire.MAGIC, POSSIBLE, 0, "is not sealed against shrinking"),
        (wire.MAGIC + 1, POSSIBLE, fcntl.F_SEAL_SHRINK, "is of another version of hpcore"),
        (wire.MAGIC, 0, fcntl.F_SEAL_SHRINK, "an impossible number of vCPUs"),
        (wire.MAGIC, 1, fcntl.F_SEAL_SHRINK, "a vCPU that hpcore's machine does not have"),
    ],
)
def test_qemu_does_not_start_with_a_wrong_page(
    tmp_path: Path, magic: int, possible: int, seals: int, says: str
) -> None:
    async def run() -> None:
        link = tmp_path / "link"
        with page(magic, possible, seals) as descriptor, answers(link, descriptor):
            async with qemu(link) as by_hand:
                said = await by_hand.ended()
                assert "exit status 97" in said
                assert says in said

    asyncio.run(run())


def test_a_machine_that_hpcore_does_not_consent_to_does_not_run(tmp_path: Path) -> None:
    async def run() -> None:
        link = tmp_path / "link"
        right = page(wire.MAGIC, POSSIBLE, fcntl.F_SEAL_SHRINK)
        with right as descriptor, answers(link, descriptor, consent=0):
            async with qemu(link) as by_hand:
                await by_hand.connect()
                await by_hand.command("cont")
                said = await by_hand.ended()
                assert "exit status 97" in said
                assert "hpcore does not let this machine run" in said

    asyncio.run(run())


# ------------------------------------------------- hpcore dies


def test_when_hpcore_is_killed_before_the_start_nothing_runs(tmp_path: Path) -> None:
    async def run() -> None:
        async with begun(tmp_path / "link", 1) as (by_hand, side, _guest):
            side.kill()
            with contextlib.suppress(QemuError):  # it may end before it has answered
                await by_hand.command("cont")
            said = await by_hand.ended()
            assert "exit status 97" in said
            assert "hpcore is gone" in said or "does not let this machine run" in said

    asyncio.run(run())


def test_when_hpcore_is_killed_what_runs_runs_on_and_no_cpu_on_is_granted(tmp_path: Path) -> None:
    async def run() -> None:
        async with begun(tmp_path / "link", 1, 2) as (by_hand, side, guest):
            await by_hand.command("cont")
            await side.tell("run")
            await guest.echo()
            assert await guest.cpu_on(1) == PsciStatus.SUCCESS
            side.kill()
            await runs_on(guest)
            await by_hand.command("stop")
            await by_hand.command("cont")
            await runs_on(guest)
            guest.send(programs.CALL, SYSTEM_RESET)
            await guest.echo()
            for slot in (1, 2):
                assert await guest.affinity_info(slot) == OFF
                assert await guest.cpu_on(slot) == PsciStatus.DENIED

    asyncio.run(run())


async def runs_on(guest: Strings) -> None:
    """vCPUs 0 and 1 work; vCPU 2, which was granted and is off, stays off."""
    await guest.have(1, programs.STORE_64, 0, mailbox(1) + 0x400, 0xFEED)
    assert await guest.done(1) == 0xFEED
    assert await guest.affinity_info(1) == ON
    assert await guest.cpu_on(2) == PsciStatus.DENIED
    assert await guest.affinity_info(2) == OFF


# ------------------------------------------------- a migration's target


def test_a_vcpu_that_comes_in_powered_and_is_not_granted_is_kept_off(tmp_path: Path) -> None:
    """vCPUs 1 and 2 were on where they come from; where they come to, vCPU 2 is not granted."""

    async def run() -> None:
        state = tmp_path / "state"
        async with begun(tmp_path / "from", 1, 2) as (source, side, guest):
            await source.command("cont")
            await side.tell("run")
            await guest.echo()
            for slot in (1, 2):
                assert await guest.cpu_on(slot) == PsciStatus.SUCCESS
                await guest.done(slot)
            await source.command("migrate", uri=f"exec:cat >{state}")
            await source.status("query-migrate", "completed")
        incoming = ("-incoming", "defer")
        async with begun(tmp_path / "to", 1, more=incoming) as (target, side, guest):
            await target.command("migrate-incoming", uri=f"exec:cat {state}")
            await target.status("query-status", "paused", "postmigrate", "prelaunch")
            await target.command("cont")
            await side.tell("run")
            await runs_on(guest)

    asyncio.run(run())


# ------------------------------------------------------------------- what is needed

AS_NOBODY = f"""\
import os, sys
os.environ["HOME"] = "/tmp"
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
os.execv(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def everybody_may_use_kvm() -> Iterator[None]:
    before = Path("/dev/kvm").stat().st_mode
    Path("/dev/kvm").chmod(0o666)
    try:
        yield
    finally:
        Path("/dev/kvm").chmod(before & 0o777)

