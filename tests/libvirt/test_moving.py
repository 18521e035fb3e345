"""A domain rests in a file and moves to another libvirt by virsh, with what is plugged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcore.run.accelerator import GuestImages
from tests.libvirt.domain import domain_xml
from tests.libvirt.instance import Libvirt, running
from tests.libvirt.vm import Vm, defined


@pytest.fixture(scope="module")
def domain(libvirt: Libvirt, images: GuestImages, door: Path) -> Iterator[Vm]:
    """A domain of 2 vCPUs of 4, defined; all tests here share it, and so its boot."""
    serial = libvirt.directory / "moving.serial"
    xml = domain_xml("moving", door, serial, images=images, memory=256)
    with defined(libvirt, "moving", xml, serial) as vm:
        yield vm


@pytest.fixture
def vm(domain: Vm) -> Vm:
    """The domain, running, with vCPU 2 plugged and in use."""
    if domain.state != "running":
        domain.shut_off()
        domain.start()
        domain.run("echo here > /tmp/mark")
    if domain.vcpus() == 2:
        domain.virsh("setvcpus", "3", "--live")
    domain.bring_online(2)
    return domain


def goes_on(vm: Vm) -> None:
    """The guest is the one that it was, and what was plugged is there, and may go."""
    assert vm.run("cat /tmp/mark") == "here"
    assert vm.vcpus() == 3
    assert vm.online == {0, 1, 2}
    assert "can't be unplugged" in vm.refused("setvcpu", "1", "--disable", "--live")
    vm.virsh("setvcpus", "2", "--live")
    assert vm.enabled == {0, 1}


def test_a_domain_that_was_saved_goes_on_with_what_is_plugged(vm: Vm) -> None:
    file = vm.libvirt.directory / "saved"
    vm.hang_up()
    vm.virsh("save", file)
    assert vm.state == "shut off"
    vm.libvirt.virsh("restore", file)
    vm.listen()
    goes_on(vm)


def test_a_managed_save_is_what_the_next_start_takes(vm: Vm) -> None:
    vm.hang_up()
    vm.virsh("managedsave")
    assert vm.state == "shut off"
    vm.virsh("start")
    vm.listen()
    goes_on(vm)


def test_a_snapshot_with_memory_is_taken_and_the_guest_goes_on(vm: Vm) -> None:
    file = vm.libvirt.directory / "memory"
    vm.virsh("snapshot-create-as", "one", "--memspec", f"file={file}")
    vm.virsh("snapshot-delete", "one", "--metadata")
    assert file.stat().st_size > 1 << 20
    file.unlink()
    goes_on(vm)


def test_a_save_that_fails_leaves_the_guest_as_it_was(vm: Vm) -> None:
    assert "No space left" in vm.refused("save", "/dev/full")
    assert vm.state == "running"
    goes_on(vm)


def test_a_domain_moves_to_another_libvirt_and_back(vm: Vm) -> None:
    moves_there_and_back(vm)


def moves_there_and_back(vm: Vm) -> None:
    """To another libvirt by TCP and back by a unix socket; what is plugged goes along."""
    with running() as other:
        there = moved(vm, other, "tcp://127.0.0.1")
        try:
            goes_on(there)
            there.virsh("setvcpus", "3", "--live")
            there.bring_online(2)
            back = moved(there, vm.libvirt, f"unix://{vm.libvirt.directory}/back")
            back.hang_up()
        finally:
            there.hang_up()
        vm.serial = back.serial
        vm.listen()
        goes_on(vm)


def moved(vm: Vm, other: Libvirt, by: str) -> Vm:
    """The domain at `other`, where `virsh migrate` has brought it, with a serial line there."""
    serial = other.directory / f"{vm.name}.serial-there"
    file = other.directory / f"{vm.name}-there.xml"
    file.write_text(vm.virsh("dumpxml").replace(str(vm.serial), str(serial)))
    vm.hang_up()
    vm.virsh("migrate", "--live", "--desturi", other.uri, "--migrateuri", by, "--xml", file)
    there = Vm(other, vm.name, serial)
    there.listen()
    return there
