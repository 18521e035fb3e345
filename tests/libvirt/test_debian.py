"""A Debian on its disk, and nothing else: its own kernel, its network, its power button.

Each test goes on where the one before has left the machine: it boots twice in all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.debian.archive import FILE, GREETING, PACKAGE, serving
from tests.debian.disk import debian_disk, overlay
from tests.libvirt.domain import domain_xml
from tests.libvirt.instance import Libvirt
from tests.libvirt.vm import Vm, defined
from tests.support.waits import poll

pytestmark = pytest.mark.debian

NETWORK = """\
<interface type='user'><model type='virtio'/><rom enabled='no'/></interface>
"""
"""QEMU's user network. Its card's program for the firmware is a package of its own, and unused."""


@pytest.fixture(scope="module")
def vm(libvirt: Libvirt, door: Path) -> Iterator[Vm]:
    """A domain without a kernel of the host's, started."""
    disk = overlay(debian_disk(), libvirt.directory / "debian.qcow2")
    clock = f"systemd.clock_usec={time.time_ns() // 1000}"
    serial = libvirt.directory / "debian.serial"
    xml = domain_xml("debian", door, serial, disk=disk, append=clock, memory=1024, devices=NETWORK)
    with defined(libvirt, "debian", xml, serial) as domain:
        domain.start()
        yield domain


def wait_for_button(vm: Vm) -> None:
    """Until logind watches the power button: a press before that is lost, as on any machine."""
    line = "journalctl -q -b -u systemd-logind | grep 'Watching system buttons'; true"
    poll(lambda: bool(vm.run(line)), "logind watches the power button", 120.0)


def test_it_boots_its_own_kernel_from_the_disk_alone(vm: Vm) -> None:
    assert "<kernel>" not in vm.virsh("dumpxml")
    assert "BOOT_IMAGE=/boot/vmlinuz-6.12" in vm.run("cat /proc/cmdline")
    assert vm.run("findmnt -no SOURCE /") == "/dev/vda1"
    assert vm.run("cat /proc/1/comm") == "systemd"


def test_its_clock_starts_where_its_command_line_says(vm: Vm) -> None:
    given = int(vm.run("grep -o 'clock_usec=[0-9]*' /proc/cmdline").partition("=")[2])
    assert given <= int(vm.run("date +%s")) * 1_000_000 <= time.time_ns() // 1000


def test_it_installs_a_package_from_a_server_on_loopback(vm: Vm, tmp_path: Path) -> None:
    poll(lambda: "default" in vm.run("ip -4 route"), "the guest has its address", 120.0)
    with serving(tmp_path) as archive:
        vm.run("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d")
        vm.run(f"echo '{archive.source}' > /etc/apt/sources.list")
        vm.run("apt-get -q update", 180.0)
        vm.run(f"apt-get -q -y install {PACKAGE}", 180.0)
    assert f"/./{PACKAGE}.deb" in archive.asked_for
    assert vm.run(f"cat {FILE}") == GREETING.strip()


def test_its_vcpus_come_and_go(vm: Vm) -> None:
    assert vm.enabled == {0, 1}
    vm.virsh("setvcpus", "4", "--live")
    vm.bring_online(2)
    vm.bring_online(3)
    assert vm.run("nproc") == "4"
    vm.virsh("setvcpu", "3", "--disable", "--live")
    vm.enabled_is(0, 1, 2)


def test_virsh_reboot_presses_its_power_button_and_keeps_what_is_plugged(vm: Vm) -> None:
    """libvirt lets it power off, then resets it and goes on."""
    before = vm.run("cat /proc/sys/kernel/random/boot_id")
    wait_for_button(vm)
    vm.virsh("reboot", "--mode", "acpi")
    vm.wait_ready()
    assert vm.run("cat /proc/sys/kernel/random/boot_id") != before
    assert vm.online == {0, 1, 2}
    assert vm.vcpus() == 3
    assert vm.run(f"cat {FILE}") == GREETING.strip()


def test_virsh_shutdown_ends_it(vm: Vm) -> None:
    wait_for_button(vm)
    vm.virsh("shutdown", "--mode", "acpi")
    vm.wait_state("shut off", 180.0)
