"""The private libvirt itself: nobody else's, and gone with the tests whatever ends them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from hpcore.qemu import find_qemu
from hpcore.run.accelerator import GuestImages
from tests.libvirt.domain import domain_xml
from tests.libvirt.instance import Libvirt
from tests.libvirt.vm import defined
from tests.support.waits import poll

ROOT = Path(__file__).parents[2]

KILLED = """
import signal, sys
from pathlib import Path
from tests.libvirt.instance import running
with running() as libvirt:
    serial = libvirt.directory / "serial"
    file = libvirt.directory / "domain.xml"
    file.write_text(Path(sys.argv[1]).read_text().replace("SERIAL", str(serial)))
    libvirt.virsh("create", file)
    print(libvirt.directory, flush=True)
    signal.pause()
"""
"""Tests that start a machine and are killed."""


def command_lines() -> dict[int, str]:
    """Of every process that lives."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "cmdline").read_text(errors="replace")
            except OSError:  # it has ended
                continue
    return found


def test_libvirtd_and_its_machines_end_with_tests_that_are_killed(
    tmp_path: Path, images: GuestImages
) -> None:
    name = f"orphan-{uuid.uuid4().hex}"
    xml = tmp_path / "domain.xml"
    xml.write_text(domain_xml(name, find_qemu().path, Path("SERIAL"), images=images))
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, xml], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        directory = tests.stdout.readline().strip()
        assert directory
        ours = [pid for pid, line in command_lines().items() if name in line or directory in line]
        assert len(ours) >= 3, "the keeper, libvirtd and QEMU"
        tests.send_signal(signal.SIGKILL)
    poll(lambda: not set(ours) & set(command_lines()), "all of them have ended", 30.0)
    shutil.rmtree(directory)


def test_what_is_defined_in_it_is_not_in_the_machines_own(
    libvirt: Libvirt, images: GuestImages
) -> None:
    name = f"private-{uuid.uuid4().hex}"
    xml = domain_xml(name, find_qemu().path, libvirt.directory / "none.serial", images=images)
    with defined(libvirt, name, xml, libvirt.directory / "none.serial") as vm:
        assert vm.state == "shut off"
        for directory in (Path("/etc/libvirt/qemu"), Path("~/.config/libvirt/qemu").expanduser()):
            assert not (directory / f"{name}.xml").exists()
