"""What hpcore reads of a real Debian's disk."""

from __future__ import annotations

import re
from pathlib import Path

from hpcore.disk import read_disk
from tests.debian.disk import debian_disk, overlay
from tests.support.command import hpcore


def test_debians_own_kernel_is_found_by_the_configuration_that_update_grub_wrote() -> None:
    boot = read_disk(debian_disk(), "qcow2")
    print(boot)
    raise AssertionError


def test_the_command_says_what_the_disk_boots(tmp_path: Path) -> None:
    """Over an image of the tests' own, as a machine has it that writes."""
    image = overlay(debian_disk(), tmp_path / "own.qcow2")
    ended = hpcore("disk", image, "--extract", tmp_path / "boot")
    assert ended.code == 0, ended
    assert re.search(r"kernel +partition 1 \(ext4\): /boot/vmlinuz-6\.12\.\d+", ended.out)
    assert "root=UUID=" in (tmp_path / "boot/cmdline").read_text()
