"""QEMU under libvirt's AppArmor rules: what the interposer needs, and what happens without it.

It wants AppArmor's parser and its rules, which an L1 has by `--apparmor`: so it is run by its name,
and tests/nested/other_hosts.py does that.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hpcore_kvm_qemu import build

from hpcore.fetch.cache import cache_directory
from hpcore.model.psci import PsciStatus
from hpcore.qemu.find import find_qemu
from hpcore.run.errors import RunError
from tests.kvm_with_qemu.puppet import puppet

PROFILE = "hpcore-trial"
RULES = Path("/etc/apparmor.d")
LOCAL = RULES / "local/abstractions/libvirt-qemu"
"""Where a site adds its own rules to those of libvirt's."""

NEEDS = """\
{object} mr,
{tmp}/** rwk,
{cache}/** r,
"""
"""What QEMU opens for hpcore: the interposer; what hpcore has written for it below its runtime
directory, where their sockets are, too; and the guest's kernel, were it Linux."""


@pytest.fixture(scope="module", autouse=True)
def apparmor() -> None:
    """AppArmor is on, and can be told of profiles."""
    subprocess.run(
        ["mount", "-t", "securityfs", "securityfs", "/sys/kernel/security"], check=True
    )
    assert Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y"


@contextmanager
def confined(*, forbid: str = "") -> Iterator[None]:
    """Every QEMU that starts meanwhile has libvirt's rules for a guest, and what hpcore needs.

    `forbid` names rules that are taken away again.
    """
    LOCAL.parent.mkdir(parents=True, exist_ok=True)
    LOCAL.write_text(rules(NEEDS + forbid))
    profile = (
        "#include <tunables/global>\n"
        f"profile {PROFILE} {find_qemu().path} flags=(attach_disconnected) {{\n"
        "  #include <abstractions/libvirt-qemu>\n}\n"
    )
    tell("--replace", profile)
    try:
        yield
    finally:
        tell("--remove", profile)


def rules(text: str) -> str:
    """With the paths of this machine."""
    return text.format(
        object=build.ensure_interposer(), tmp=tempfile.gettempdir(), cache=cache_directory()
    )


def tell(how: str, profile: str) -> None:
    """Have the kernel load the profile, or forget it."""
    parser = ["apparmor_parser", how, "--skip-cache", "--base", str(RULES)]
    done = subprocess.run(parser, input=profile, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def label(pid: int | None) -> str:
    """The profile of a process."""
    return Path(f"/proc/{pid}/attr/current").read_text().strip("\0\n ")


def test_a_confined_qemu_boots_hotplugs_and_gives_a_vcpu_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await rig.boot()
            assert label(rig.core.session.process_id) == f"{PROFILE} (enforce)"
            assert await rig.cpu_on(1) == PsciStatus.DENIED
            await rig.plug(1)
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            await rig.revoke(1)  # by a signal to a thread of QEMU's, while the vCPU runs
            assert await rig.cpu_on(1) == PsciStatus.DENIED

    with confined():
        asyncio.run(run())


@pytest.mark.parametrize(
    ("forbidden", "says"),
    [
        ("audit deny {object} m,\n", "QEMU runs without the interposer"),
        ("audit deny {object} rm,\n", "QEMU runs without the interposer"),
    ],
    ids=["map", "read"],
)
def test_where_a_rule_is_missing_no_machine_starts(
    tmp_path: Path, forbidden: str, says: str
) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 2) as rig:
            with pytest.raises(RunError, match=says):
                await rig.boot()

    with confined(forbid=forbidden):
        asyncio.run(run())
