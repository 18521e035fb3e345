"""The README's way to a libvirt domain with vCPU hotplug, as it is printed there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.docs.pages import ROOT, blocks
from tests.libvirt.instance import Libvirt


def test_the_lines_of_the_readme_lead_to_a_vm_with_four_vcpus(
    libvirt: Libvirt, door: Path, tmp_path: Path
) -> None:
    (block,) = (b for b in blocks(ROOT / "README.md") if "virsh define" in b)
    install, *lines = block.splitlines()
    assert install.startswith("apt-get install ")  # done by the tests' set-up
    path = {"PATH": f"{door.parent}:{os.environ['PATH']}", "LIBVIRT_DEFAULT_URI": libvirt.uri}
    try:
        for line in lines:
            done = subprocess.run(
                line, shell=True, cwd=tmp_path, env={**os.environ, **path},
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert libvirt.virsh("vcpucount", "vm1", "--live").split()[-1] == "4"
    finally:
        subprocess.run(
            ["virsh", "--connect", libvirt.uri, "destroy", "vm1"], check=False, capture_output=True
        )
