"""libvirt's `<domain type='kvm'>` with the door as emulator: unpatched QEMU on a real KVM.

It wants a KVM and a libvirt for arm64, which an L1 has by `--libvirt`: so it is run by its name,
and tests/nested/other_hosts.py does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcore.model.events import CpuOnDenied
from hpcore.run.accelerator import GuestImages
from tests.libvirt.domain import domain_xml
from tests.libvirt.instance import Libvirt
from tests.libvirt.test_moving import goes_on, moves_there_and_back
from tests.libvirt.vm import Vm, defined
from tests.support.command import records


@pytest.fixture(scope="module")
def vm(libvirt: Libvirt, images: GuestImages, door: Path) -> Iterator[Vm]:
    """A domain of 2 vCPUs of 4 that runs; all tests here share it, in their order."""
    serial = libvirt.directory / "on-kvm.serial"
    xml = domain_xml("on-kvm", door, serial, images=images, kvm=True)
    with defined(libvirt, "on-kvm", xml, serial) as domain:
        domain.start()
        yield domain


def test_libvirt_says_that_it_is_kvms(vm: Vm) -> None:
    assert "<domain type='kvm' id=" in vm.virsh("dumpxml")
    assert vm.run("dmesg | grep -c 'KVM: hypervisor services detected'") == "1"
    assert vm.enabled == {0, 1}


def test_what_is_not_plugged_was_denied_as_the_guest_booted(vm: Vm, libvirt: Libvirt) -> None:
    """Linux calls CPU_ON of all that are present, up to maxcpus."""
    [log] = (libvirt.directory / "logs").rglob("*.jsonl")
    denied = [r.event.slot for r in records(log) if isinstance(r.event, CpuOnDenied)]
    assert set(denied) == {2, 3}


def test_setvcpus_plugs_and_unplugs(vm: Vm) -> None:
    vm.virsh("setvcpus", "4", "--live")
    vm.bring_online(2)
    vm.bring_online(3)
    assert vm.online == {0, 1, 2, 3}
    assert vm.vcpuinfo()[3]["State"] == "running"
    vm.virsh("setvcpus", "2", "--live")
    assert vm.enabled == {0, 1}
    assert vm.vcpus() == 2


def test_a_cold_booted_vcpu_stays(vm: Vm) -> None:
    assert "can't be unplugged" in vm.refused("setvcpu", "1", "--disable", "--live")


def test_a_vcpu_plugged_while_suspended_comes_with_the_resume(vm: Vm) -> None:
    vm.virsh("suspend")
    vm.virsh("setvcpus", "3", "--live")
    assert vm.state == "paused"
    vm.virsh("resume")
    vm.enabled_is(0, 1, 2)


def test_a_reset_and_a_new_libvirtd_keep_what_is_plugged(vm: Vm, libvirt: Libvirt) -> None:
    vm.virsh("reset")
    vm.wait_ready()
    assert vm.online == {0, 1, 2}
    libvirt.stop()
    libvirt.start()
    assert vm.vcpus() == 3
    vm.virsh("setvcpus", "2", "--live")
    assert vm.enabled == {0, 1}


def test_a_domain_rests_in_a_file_with_what_is_plugged(vm: Vm, libvirt: Libvirt) -> None:
    in_use(vm)
    file = libvirt.directory / "saved"
    vm.hang_up()
    vm.virsh("save", file)
    assert vm.state == "shut off"
    libvirt.virsh("restore", file)
    vm.listen()
    goes_on(vm)


def test_a_managed_save_is_what_the_next_start_takes(vm: Vm) -> None:
    in_use(vm)
    vm.hang_up()
    vm.virsh("managedsave")
    vm.virsh("start")
    vm.listen()
    goes_on(vm)


def test_a_domain_moves_to_another_libvirt_and_back(vm: Vm) -> None:
    in_use(vm)
    moves_there_and_back(vm)


def in_use(vm: Vm) -> None:
    """vCPU 2 is plugged and in use, and the guest has a mark of its own."""
    vm.virsh("setvcpus", "3", "--live")
    vm.bring_online(2)
    vm.run("echo here > /tmp/mark")


def test_a_guest_that_powers_off_is_shut_off(vm: Vm) -> None:
    vm.power_off()
    vm.wait_state("shut off")
