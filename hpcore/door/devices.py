"""-device: which are vCPUs, and which the guest would not see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attrs import frozen

from hpcore.door import keyval
from hpcore.door.options import ArgumentRefused, Option, Options

VCPU = re.compile(r"(?P<model>.+)-arm-cpu")

_NO_TABLE = "the tables describe none, so the guest would not see it; leave it out"
_UNSEEN: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"pc-dimm|nvdimm|cxl-.*"),
     "the tables describe no slots for memory; use virtio-mem-pci"),
    (re.compile(r"pxb.*"), "the tables describe one host bridge; use pcie-root-port"),
    (re.compile(r"arm-smmuv3|virtio-iommu.*|tpm-tis-device|vfio-platform|vfio-amba.*|ramfb"),
     _NO_TABLE),
)  # fmt: skip
"""Devices that are not found by PCI, which the guest is told of by tables alone."""


_VIRTIO_MMIO = re.compile(r"(virtio|vhost)-.*-device")


@frozen
class PluggedVcpu:
    """A vCPU of the command line: there at boot, and the user's to unplug.

    `props` are numbers, as QMP has them.
    """

    driver: str
    id: str
    props: Mapping[str, object]


def has_virtio_mmio(options: Options) -> bool:
    """Whether there is a virtio device that is not on PCI."""
    devices = (keyval.parse_object("-device", d, "driver") for d in options.all("device"))
    return any(_VIRTIO_MMIO.fullmatch(str(device.get("driver"))) for device in devices)


def take_vcpus(options: Options) -> tuple[tuple[PluggedVcpu, ...], Options]:
    """The vCPUs among the devices, and the command line without them.

    Raises ArgumentRefused for a device that the guest would not see, and a vCPU without id.
    """
    vcpus: list[PluggedVcpu] = []
    rest = Options(_seen(options, vcpus))
    return tuple(vcpus), rest


def _seen(options: Options, vcpus: list[PluggedVcpu]) -> Iterator[Option]:
    for option in options:
        if option.name != "device":
            yield option
            continue
        values = keyval.parse_object("-device", option.text, "driver")
        driver = str(values.pop("driver", ""))
        if VCPU.fullmatch(driver):
            vcpus.append(_vcpu(option, driver, values))
            continue
        for pattern, why in _UNSEEN:
            if pattern.fullmatch(driver):
                raise ArgumentRefused(f"-device {driver}", why)
        yield option


def _vcpu(option: Option, driver: str, values: dict[str, object]) -> PluggedVcpu:
    id_ = values.pop("id", None)
    if not isinstance(id_, str):
        raise ArgumentRefused(str(option), "give the vCPU an id=, by which it can be unplugged")
    values.pop("node-id", None)  # its place is the topology's, and so is its node
    props = {
        name: int(value) if isinstance(value, str) and value.isdigit() else value
        for name, value in values.items()
    }
    return PluggedVcpu(driver, id_, props)
