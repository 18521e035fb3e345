"""QEMU in an SELinux domain of its own: the interposer comes along where `noatsecure` is allowed.

It wants a kernel that has booted with SELinux, and the compiler of policies, which an L1 has by
`--selinux`: so it is run by its name, and tests/nested/other_hosts.py does that.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from hpcore.model.psci import PsciStatus
from hpcore.run.errors import RunError
from tests.kvm_with_qemu.puppet import puppet

SELINUX = Path("/sys/fs/selinux")

POLICY = """\
(handleunknown allow)
(mls false)
(sid kernel) (sid security) (sid unlabeled)
(sidorder (kernel security unlabeled))
(class process (transition dyntransition noatsecure))
(classorder (process))
(sensitivity s0) (sensitivityorder (s0))
(user trial) (role trial) (userrole trial trial)
(userlevel trial (s0)) (userrange trial ((s0) (s0)))
(type starts) (roletype trial starts)
(type guest) (roletype trial guest)
(sidcontext kernel (trial trial starts ((s0) (s0))))
(sidcontext security (trial trial starts ((s0) (s0))))
(sidcontext unlabeled (trial trial starts ((s0) (s0))))
(typetransition starts starts process guest)
(allow starts guest (process (transition)))
"""
"""All processes are `starts`, and what these start is `guest`. What the policy does not know is
allowed; of what it knows it leaves out that a `guest` gets the environment of who has started it as
it is. Without that the loader drops LD_PRELOAD."""

ALLOW = "(allow starts guest (process (noatsecure)))\n"


@pytest.fixture(scope="module", autouse=True)
def selinux() -> None:
    """SELinux is on."""
    subprocess.run(["mount", "-t", "selinuxfs", "selinuxfs", str(SELINUX)], check=True)


def load(policy: str, directory: Path) -> None:
    """Have the kernel go by the policy from now on."""
    (directory / "trial.cil").write_text(policy)
    subprocess.run(
        ["secilc", "-M", "false", "-o", "policy", "-f", "contexts", "trial.cil"],
        cwd=directory, check=True,
    )  # fmt: skip
    (SELINUX / "load").write_bytes((directory / "policy").read_bytes())
    (SELINUX / "enforce").write_text("1")


def domain(pid: int | None) -> str:
    """The domain of a process."""
    context = Path(f"/proc/{pid}/attr/current").read_text()
    return context.strip("\0\n").split(":")[2]


def test_qemu_in_a_domain_of_its_own_hotplugs_and_gives_a_vcpu_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 3) as rig:
            await rig.boot()
            assert domain(rig.core.session.process_id) == "guest"
            assert await rig.cpu_on(1) == PsciStatus.DENIED
            await rig.plug(1)
            assert await rig.cpu_on(1) == PsciStatus.SUCCESS
            await rig.revoke(1)  # by a signal to a thread of QEMU's, while the vCPU runs
            assert await rig.cpu_on(1) == PsciStatus.DENIED

    load(POLICY + ALLOW, tmp_path)
    asyncio.run(run())


def test_where_the_policy_has_no_noatsecure_no_machine_starts(tmp_path: Path) -> None:
    async def run() -> None:
        async with puppet(tmp_path, 1, 2) as rig:
            with pytest.raises(RunError, match="QEMU runs without the interposer"):
                await rig.boot()

    load(POLICY, tmp_path)
    asyncio.run(run())
