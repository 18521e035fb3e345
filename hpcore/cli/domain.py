"""`hpcore domain`: a libvirt domain whose vCPUs can be hotplugged."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hpcore.cli.boots import Boots, images_for
from hpcore.cli.output import Output, Problem, json_option
from hpcore.door.domain import domain_xml
from hpcore.model.config import CPU_MODEL, MEMORY_MIB, MachineConfig

EXECUTABLE = "hpcore-qemu-system-aarch64"


@click.command()
@click.argument("name")
@click.option("--disk", type=click.Path(path_type=Path), help="Boot what is on this disk image.")
@click.option("--kernel", type=click.Path(path_type=Path), help="An arm64 Image of your own.")
@click.option("--initrd", type=click.Path(path_type=Path), help="An initramfs of your own.")
@click.option("--append", default="console=ttyAMA0", show_default=True, help="Kernel arguments.")
@click.option("--cpus", type=int, default=2, show_default=True, help="vCPUs at boot.")
@click.option("--maxcpus", type=int, default=4, show_default=True, help="Possible vCPUs.")
@click.option("--memory", type=int, default=MEMORY_MIB, show_default=True, help="MiB.")
@click.option("--cpu", help=f"The CPU model.  [default: {CPU_MODEL}, or the host's with --kvm]")
@click.option("--kvm", is_flag=True, help="For an arm64 host: on its KVM, with its CPU.")
@json_option
def domain(
    name: str, disk: Path | None, kernel: Path | None, initrd: Path | None, append: str,
    cpus: int, maxcpus: int, memory: int, cpu: str | None, kvm: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print the XML of a libvirt domain NAME whose vCPUs can be hotplugged.

    \b
    hpcore domain vm1 > vm1.xml
    hpcore domain vm1 --disk debian.qcow2 --cpus 2 --maxcpus 8 --memory 2048
    hpcore domain vm1 --kvm > vm1.xml          on an arm64 host
    virsh define vm1.xml
    virsh start vm1
    virsh setvcpus vm1 4 --live

    Without --disk or --kernel it boots the Linux that `hpcore guest fetch` has fetched. Its
    emulator is the executable beside this one.
    """
    out = Output(json=as_json)
    emulator = Path(sys.argv[0]).absolute().with_name(EXECUTABLE)
    if not emulator.exists():
        raise Problem(f"{emulator} is not there; install hpcore with its scripts")
    if disk is not None and (kernel is not None or initrd is not None):
        raise Problem("a disk has a kernel of its own; give --disk, or --kernel and --initrd")
    if kvm and cpu is not None:
        raise Problem(f"with --kvm the CPU is the host's; leave --cpu {cpu} out")
    config = MachineConfig.of(cpus, maxcpus, cpu_model=cpu or CPU_MODEL, memory=memory)
    boots = disk or images_for(out, Boots(kernel, initrd, None, append, no_shell=True))
    xml = domain_xml(name, emulator, config, boots, kvm=kvm)
    out.say(xml.rstrip())
    out.close(True, domain=name, emulator=str(emulator), xml=xml)
