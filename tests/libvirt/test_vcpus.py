"""vCPUs come and go by virsh, on a machine that runs, rests, is reset and is looked after anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcore.run.accelerator import GuestImages
from tests.libvirt.domain import disk_xml, domain_xml
from tests.libvirt.instance import Libvirt
from tests.libvirt.vm import Vm, defined
from tests.support.tools import run_tool
from tests.support.waits import poll


@pytest.fixture(scope="module")
def domain(libvirt: Libvirt, images: GuestImages, door: Path) -> Iterator[Vm]:
    """A domain of 2 vCPUs of 4, defined; all tests here share it, and so its boots."""
    serial = libvirt.directory / "vcpus.serial"
    xml = domain_xml("vcpus", door, serial, images=images)
    with defined(libvirt, "vcpus", xml, serial) as vm:
        yield vm


@pytest.fixture
def vm(domain: Vm) -> Vm:
    """The domain, running with its 2 vCPUs: as the test before left it, or started anew."""
    if domain.state != "running" or domain.vcpus() != 2:
        domain.shut_off()
        domain.start()
    return domain


def test_setvcpus_plugs_and_unplugs(vm: Vm) -> None:
    assert vm.enabled == {0, 1}
    vm.virsh("setvcpus", "4", "--live")
    vm.bring_online(2)
    vm.bring_online(3)
    assert vm.online == {0, 1, 2, 3}
    assert vm.vcpus() == 4
    vm.virsh("setvcpus", "2", "--live")
    assert vm.enabled == {0, 1}
    assert vm.vcpus() == 2


def test_setvcpu_plugs_the_one_that_is_named(vm: Vm) -> None:
    vm.virsh("setvcpu", "3", "--enable", "--live")
    vm.enabled_is(0, 1, 3)
    vm.virsh("setvcpu", "3", "--disable", "--live")
    vm.enabled_is(0, 1)


def test_a_cold_booted_vcpu_stays(vm: Vm) -> None:
    assert "can't be unplugged" in vm.refused("setvcpu", "1", "--disable", "--live")
    assert vm.enabled == {0, 1}


def test_vcpuinfo_and_vcpupin_know_the_thread_of_a_plugged_vcpu(vm: Vm) -> None:
    vm.virsh("setvcpus", "3", "--live")
    vm.bring_online(2)
    info = vm.vcpuinfo()
    assert list(info) == [0, 1, 2]
    assert info[2]["State"] == "running"
    before = float(info[2]["CPU time"].removesuffix("s"))
    vm.virsh("vcpupin", "2", "0", "--live")
    assert vm.vcpuinfo()[2]["CPU Affinity"] == "y" + "-" * (len(info[2]["CPU Affinity"]) - 1)
    vm.run("taskset 4 sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'")
    assert float(vm.vcpuinfo()[2]["CPU time"].removesuffix("s")) > before
    vm.virsh("setvcpus", "2", "--live")


def test_a_vcpu_plugged_while_suspended_comes_with_the_resume(vm: Vm) -> None:
    vm.virsh("suspend")
    vm.virsh("setvcpus", "3", "--live")
    assert vm.state == "paused"
    assert vm.vcpus() == 3
    vm.virsh("resume")
    vm.enabled_is(0, 1, 2)
    vm.virsh("setvcpus", "2", "--live")


def test_a_vcpu_unplugged_while_suspended_goes_with_the_resume(vm: Vm) -> None:
    vm.virsh("setvcpus", "3", "--live")
    vm.bring_online(2)
    vm.virsh("suspend")
    assert "unplug request timed out" in vm.refused("setvcpus", "2", "--live")
    assert vm.vcpus() == 3
    vm.virsh("resume")
    vm.enabled_is(0, 1)
    poll(lambda: vm.vcpus() == 2, "libvirt hears that the vCPU is gone", 60.0)


def test_a_guest_that_refuses_an_unplug_is_reported_and_keeps_its_vcpu(vm: Vm) -> None:
    """No kernel gives up its last CPU."""
    vm.virsh("setvcpus", "3", "--live")
    vm.bring_online(2)
    vm.take_offline(0)
    vm.take_offline(1)
    said = vm.refused("setvcpus", "2", "--live")
    assert "unplug of device was rejected by the guest" in said
    assert vm.vcpus() == 3
    assert vm.online == {2}
    vm.bring_online(0)
    vm.bring_online(1)
    vm.virsh("setvcpus", "2", "--live")
    assert vm.enabled == {0, 1}


def test_libvirtd_started_anew_knows_which_vcpus_may_go(vm: Vm) -> None:
    vm.virsh("setvcpus", "3", "--live")
    vm.bring_online(2)
    vm.libvirt.stop()
    vm.libvirt.start()
    assert vm.state == "running"
    assert vm.vcpus() == 3
    assert vm.online == {0, 1, 2}
    assert "can't be unplugged" in vm.refused("setvcpu", "1", "--disable", "--live")
    vm.virsh("setvcpus", "2", "--live")
    assert vm.enabled == {0, 1}


def test_a_vcpu_that_goes_while_libvirtd_is_away_is_gone_when_it_is_back(vm: Vm) -> None:
    vm.virsh("setvcpus", "3", "--live")
    vm.bring_online(2)
    vm.virsh("suspend")
    vm.refused("setvcpus", "2", "--live")
    vm.virsh("resume")
    vm.libvirt.stop()
    vm.enabled_is(0, 1)
    vm.libvirt.start()
    assert vm.vcpus() == 2
    vm.virsh("setvcpus", "3", "--live")
    vm.enabled_is(0, 1, 2)
    vm.virsh("setvcpus", "2", "--live")


def test_a_dump_of_the_memory_is_taken_and_the_guest_goes_on(vm: Vm) -> None:
    file = vm.libvirt.directory / "memory"
    vm.virsh("dump", "--memory-only", "--live", file)
    assert file.read_bytes()[:4] == b"\x7fELF"
    file.unlink()
    assert vm.state == "running"
    assert vm.enabled == {0, 1}


def test_a_disk_is_attached_and_detached(vm: Vm, tmp_path: Path) -> None:
    """The guest's kernel knows its bus alone, which is what the tables are needed for."""
    image = vm.libvirt.directory / "more.qcow2"
    run_tool("qemu-img", "create", "-q", "-f", "qcow2", image, "8M")
    file = tmp_path / "disk.xml"
    file.write_text(disk_xml(image, "vda"))
    devices = "ls /sys/bus/virtio/devices"
    assert vm.run(devices) == ""
    vm.virsh("attach-device", file, "--live")
    poll(lambda: bool(vm.run(devices)), "the guest has the disk", 60.0)
    assert vm.run("cat /sys/bus/virtio/devices/*/device") == "0x0002"
    vm.virsh("detach-device", file, "--live")
    poll(lambda: not vm.run(devices), "the guest has let go of the disk", 60.0)
    poll(lambda: "vda" not in vm.virsh("domblklist"), "libvirt has, too", 60.0)


def test_a_reset_keeps_what_is_plugged(vm: Vm) -> None:
    vm.virsh("setvcpus", "3", "--live")
    vm.virsh("reset")
    vm.wait_ready()
    assert vm.online == {0, 1, 2}
    assert vm.vcpus() == 3
    vm.virsh("setvcpus", "2", "--live")
    assert vm.enabled == {0, 1}


def test_a_guest_that_reboots_keeps_what_is_plugged(vm: Vm) -> None:
    vm.virsh("setvcpus", "4", "--live")
    vm.begin_reboot()
    vm.wait_ready()
    assert vm.online == {0, 1, 2, 3}
    vm.virsh("setvcpus", "2", "--live")
    assert vm.enabled == {0, 1}


def test_a_guest_that_powers_off_is_shut_off_and_starts_with_its_first_vcpus(vm: Vm) -> None:
    vm.virsh("setvcpus", "4", "--live")
    vm.power_off()
    vm.wait_state("shut off")
    vm.start()
    assert vm.vcpus() == 2
    assert vm.enabled == {0, 1}
