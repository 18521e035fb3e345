"""A libvirt domain whose emulator is the door: what `virsh define` takes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

from hpcore.disk.image import open_image
from hpcore.model.config import MachineConfig
from hpcore.run.accelerator import GuestImages

ROOT_PORTS = 4
"""Places for devices that come while the guest runs."""


def domain_xml(
    name: str, emulator: Path, config: MachineConfig, boots: GuestImages | Path, *, kvm: bool
) -> str:
    """The domain `name`, which boots these images, or what is on a disk image.

    With `kvm` its CPU is the host's, otherwise QEMU's of that model. Its console is a pty, for
    `virsh console`; a disk is on virtio, beside a network of QEMU's own.
    Raises DiskError for an image that is none.
    """
    domain = Xml.Element("domain", type="kvm" if kvm else "qemu")
    _add(domain, "name", name)
    _add(domain, "memory", str(config.memory), unit="MiB")
    shape = config.topology
    _add(domain, "vcpu", str(shape.maxcpus), current=str(shape.cpus))
    system = _add(domain, "os")
    _add(system, "type", "hvm", arch="aarch64", machine="virt")
    _add(_add(domain, "features"), "gic", version="3")
    if kvm:
        cpu = _add(domain, "cpu", mode="host-passthrough")
    else:
        cpu = _add(domain, "cpu", mode="custom", match="exact")
        _add(cpu, "model", config.cpu_model)
    levels = {"sockets": shape.sockets, "cores": shape.cores, "threads": shape.threads}
    if shape.clusters == 1:  # libvirt knows of clusters since 10.1
        _add(cpu, "topology", **{level: str(n) for level, n in levels.items()})
    devices = _add(domain, "devices")
    _add(devices, "emulator", str(emulator))
    _add(devices, "controller", type="pci", model="pcie-root")
    for _ in range(ROOT_PORTS):
        _add(devices, "controller", type="pci", model="pcie-root-port")
    _add(devices, "serial", type="pty")
    if isinstance(boots, Path):
        _disk(devices, boots)
        network = _add(devices, "interface", type="user")
        _add(network, "model", type="virtio")
        _add(network, "rom", enabled="no")  # the card's program for firmware, which does not run
    else:
        _add(system, "kernel", str(boots.kernel))
        _add(system, "initrd", str(boots.initrd))
        _add(system, "cmdline", boots.append)
    Xml.indent(domain)
    return Xml.tostring(domain, encoding="unicode") + "\n"


def _disk(devices: Xml.Element, image: Path) -> None:
    disk = _add(devices, "disk", type="file", device="disk")
    opened = open_image(image)
    opened.close()
    _add(disk, "driver", name="qemu", type=opened.format)
    _add(disk, "source", file=str(image.absolute()))
    _add(disk, "target", dev="vda", bus="virtio")


def _add(parent: Xml.Element, tag: str, text: str | None = None, **values: str) -> Xml.Element:
    element = Xml.SubElement(parent, tag, dict[str, str](values))
    element.text = text
    return element


