"""The XML of a domain, as a person would write it for an arm64 guest, under TCG or KVM."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from attrs import frozen

from hpcore.run.accelerator import GuestImages


@frozen
class VcpuState:
    """One `<vcpu>` of `<vcpus>`."""

    id: int
    enabled: bool
    hotpluggable: bool

    def xml(self) -> str:
        """The element."""
        return (
            f"<vcpu id='{self.id}' enabled='{_yes(self.enabled)}' "
            f"hotpluggable='{_yes(self.hotpluggable)}'/>"
        )


def domain_xml(
    name: str,
    emulator: Path,
    serial: Path,
    *,
    images: GuestImages | None = None,
    disk: Path | None = None,
    append: str = "",
    current: int = 2,
    maximum: int = 4,
    vcpus: Iterable[VcpuState] = (),
    memory: int = 512,
    devices: str = "",
    kvm: bool = False,
) -> str:
    """A domain that boots `images`, or else what is on `disk`, its console at the socket `serial`.

    `disk` is a qcow2 image on virtio; `append` is added to its kernel's command line. `vcpus`
    says of each vCPU whether it is there at boot and may go; `devices` is XML of more devices;
    `memory` is in MiB. With `kvm` its CPU is the host's.
    """
    boot = ""
    if images is not None:
        boot = (
            f"<kernel>{escape(str(images.kernel))}</kernel>"
            f"<initrd>{escape(str(images.initrd))}</initrd>"
            f"<cmdline>{escape(images.append)}</cmdline>"
        )
    if disk is not None:
        devices += disk_xml(disk, "vda")
        boot = f"<cmdline>{escape(append)}</cmdline>" if append else ""
    states = "".join(vcpu.xml() for vcpu in vcpus)
    cpu = "<cpu mode='custom' match='exact'><model>cortex-a57</model></cpu>"
    if kvm:
        cpu = "<cpu mode='host-passthrough'/>"
    return f"""\
<domain type='{"kvm" if kvm else "qemu"}'>
  <name>{escape(name)}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu current='{current}'>{maximum}</vcpu>
  {f"<vcpus>{states}</vcpus>" if states else ""}
  <os><type arch='aarch64' machine='virt'>hvm</type>{boot}</os>
  <features><gic version='3'/></features>
  {cpu}
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>{escape(str(emulator))}</emulator>
    <controller type='pci' model='pcie-root'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <serial type='unix'><source mode='bind' path='{escape(str(serial))}'/></serial>
    <memballoon model='none'/>
    {devices}
  </devices>
</domain>
"""


def disk_xml(image: Path, target: str, format: str = "qcow2") -> str:
    """A disk on virtio; also what `virsh attach-device` takes."""
    return f"""\
<disk type='file' device='disk'>
  <driver name='qemu' type='{format}'/>
  <source file='{escape(str(image))}'/>
  <target dev='{target}' bus='virtio'/>
</disk>
"""


def _yes(value: bool) -> str:
    return "yes" if value else "no"
