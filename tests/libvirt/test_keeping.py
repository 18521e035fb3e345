"""A domain whose door would keep its QEMU: libvirt ends a QEMU whose monitor closes, so it is
refused at its start."""

from __future__ import annotations

from pathlib import Path

from hpcore.run.accelerator import GuestImages
from tests.libvirt.domain import domain_xml
from tests.libvirt.instance import Libvirt
from tests.libvirt.vm import defined


def test_a_domain_is_refused_by_settings_that_keep(
    libvirt: Libvirt, images: GuestImages, door: Path
) -> None:
    link = libvirt.directory / "keeps" / door.name
    link.parent.mkdir()
    link.symlink_to(door.resolve())
    beside = door.with_name(f"{door.name}.toml").read_text()
    link.with_name(f"{link.name}.toml").write_text(f"{beside}keep = true\n")
    logs = libvirt.directory / "logs"
    before = set(logs.glob("*"))
    serial = libvirt.directory / "keeps.serial"
    with defined(libvirt, "keeps", domain_xml("keeps", link, serial, images=images), serial) as vm:
        said = vm.refused("start")
        assert "its descriptor is the caller's and ends with the door" in said
        assert "start the VM by settings without keep, as for libvirt" in said
        assert vm.state == "shut off"
    assert set(logs.glob("*")) == before
