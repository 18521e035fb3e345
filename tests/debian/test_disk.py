"""What hpcore reads of a real Debian's disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcore.disk import read_disk
from hpcore.guest.kernel import take_kernel
from tests.debian.disk import debian_disk, kernels_of, overlay
from tests.support.command import hpcore

pytestmark = pytest.mark.debian


def test_debians_own_kernel_is_found_by_the_configuration_that_update_grub_wrote() -> None:
    boot = read_disk(debian_disk(), "qcow2")
    contents = {partition.number: partition.content for partition in boot.partitions}
    assert contents == {1: "ext4", 15: "vfat"}
    assert re.search(r"/boot/grub/grub\.cfg, line \d+$", boot.configuration)
    assert boot.title == "Debian GNU/Linux"
    release = boot.kernel_file.partition("/boot/vmlinuz-")[2]
    assert re.fullmatch(r"6\.12\.\d+\+deb12-cloud-arm64", release)
    assert release == kernels_of(debian_disk())[0], "the newer of two"
    assert boot.initrd_files == (f"partition 1 (ext4): /boot/initrd.img-{release}",)
    assert boot.append.startswith(f"BOOT_IMAGE=/boot/vmlinuz-{release} root=UUID=")
    assert boot.append.endswith(" ro console=ttyAMA0 systemd.show_status=no quiet")
    assert take_kernel(boot.kernel, boot.kernel_file).version == release


def test_the_command_says_what_the_disk_boots(tmp_path: Path) -> None:
    """Over an image of the tests' own, as a machine has it that writes."""
    image = overlay(debian_disk(), tmp_path / "own.qcow2")
    ended = hpcore("disk", image, "--extract", tmp_path / "boot")
    assert ended.code == 0, ended
    assert re.search(r"kernel +partition 1 \(ext4\): /boot/vmlinuz-6\.12\.\d+", ended.out)
    assert "root=UUID=" in (tmp_path / "boot/cmdline").read_text()
