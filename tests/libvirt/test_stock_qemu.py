"""libvirt with the QEMU of this machine: it starts machines, and has no vCPU hotplug."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hpcore.qemu import find_qemu
from hpcore.run.accelerator import GuestImages
from tests.libvirt.domain import domain_xml
from tests.libvirt.instance import Libvirt
from tests.libvirt.vm import Vm, defined


@pytest.fixture(scope="module")
def stock(libvirt: Libvirt, images: GuestImages) -> Iterator[Vm]:
    """A domain on the stock QEMU, started."""
    serial = libvirt.directory / "stock.serial"
    xml = domain_xml("stock", find_qemu().path, serial, images=images)
    with defined(libvirt, "stock", xml, serial) as vm:
        vm.start()
        yield vm


def test_stock_qemu_says_no_to_a_plug(stock: Vm) -> None:
    said = stock.refused("setvcpus", "3", "--live")
    assert said == "error: Operation not supported: cpu hotplug is not supported"


def test_its_guest_is_what_the_domain_says(stock: Vm) -> None:
    """Or the refusal above would say nothing."""
    assert stock.state == "running"
    assert stock.online == {0, 1}
    assert list(stock.vcpuinfo()) == [0, 1]


def test_its_machine_goes_on_while_libvirtd_is_started_anew(stock: Vm) -> None:
    stock.run("echo was here > /tmp/mark")
    stock.libvirt.stop()
    stock.libvirt.start()
    assert stock.state == "running"
    assert stock.run("cat /tmp/mark") == "was here"


def test_a_guest_that_powers_off_is_shut_off(stock: Vm) -> None:
    stock.power_off()
    stock.wait_state("shut off")
