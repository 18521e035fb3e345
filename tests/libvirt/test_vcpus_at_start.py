"""Boot-time hotpluggable vCPUs: libvirt plugs them between the start of QEMU and the first cont."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcore.run.accelerator import GuestImages
from tests.libvirt.domain import VcpuState, domain_xml
from tests.libvirt.instance import Libvirt
from tests.libvirt.vm import Vm, defined

VCPUS = (
    VcpuState(0, enabled=True, hotpluggable=False),
    VcpuState(1, enabled=True, hotpluggable=True),
    VcpuState(2, enabled=False, hotpluggable=True),
    VcpuState(3, enabled=True, hotpluggable=True),
)


@pytest.fixture(scope="module")
def vm(libvirt: Libvirt, images: GuestImages, door: Path) -> Iterator[Vm]:
    """A domain with vCPUs 0, 1 and 3, of which 1 and 3 may go; started."""
    serial = libvirt.directory / "at-start.serial"
    xml = domain_xml("at-start", door, serial, images=images, current=3, vcpus=VCPUS)
    with defined(libvirt, "at-start", xml, serial) as domain:
        domain.start()
        yield domain


def test_they_are_there_when_the_guest_boots(vm: Vm) -> None:
    """Nobody has to bring them online: the kernel does, as with every CPU of its boot."""
    assert vm.online == {0, 1, 3}
    assert list(vm.vcpuinfo()) == [0, 1, 3]


def test_each_goes_and_comes_back(vm: Vm) -> None:
    vm.virsh("setvcpu", "1", "--disable", "--live")
    vm.enabled_is(0, 3)
    vm.virsh("setvcpu", "2", "--enable", "--live")
    vm.enabled_is(0, 2, 3)
    vm.virsh("setvcpu", "1", "--enable", "--live")
    vm.enabled_is(0, 1, 2, 3)
    vm.virsh("setvcpu", "2", "--disable", "--live")
    vm.enabled_is(0, 1, 3)


def test_the_one_that_is_not_hotpluggable_stays(vm: Vm) -> None:
    assert "can't be unplugged" in vm.refused("setvcpu", "0", "--disable", "--live")
