"""What a caller's command line asks for: read once, and refused here where it cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from hpcore.door import keyval, machine_option
from hpcore.door.devices import PluggedVcpu, has_virtio_mmio, take_vcpus
from hpcore.door.disks import BootDisk, boot_disk
from hpcore.door.firmware_option import RUNS_FIRMWARE, has_firmware, without_firmware
from hpcore.door.identity import identity
from hpcore.door.monitors import MonitorAsked, take_monitors
from hpcore.door.offered import OFFERED
from hpcore.door.options import ArgumentRefused, Options
from hpcore.door.sizes import machine_config, nodes
from hpcore.model.config import MachineConfig
from hpcore.platform.numa import Nodes
from hpcore.platform.smbios import Identity

_HELP = ("h", "help", "version", "audio-help")
_LISTS = ("accel", "audio", "audiodev", "chardev", "cpu", "d", "device", "display", "M", "machine",
          "netdev", "nic", "object", "tpmdev", "trace", "vga", "watchdog")  # fmt: skip
"""Options that print what there is where they are given `help`."""

_REFUSED = {
    "loadvm": "a snapshot cannot be loaded by hpcore yet; start the machine anew",
    "readconfig": "options in a file are not read here; write them on the command line",
    "dtb": "the device tree is hpcore's, and the guest is told of devices by ACPI; leave it out",
    "icount": "it was not tried with hpcore's monitor at EL3; leave it out",
    "preconfig": "hpcore sets the machine up by itself; use -S",
    "acpitable": "the ACPI tables are hpcore's; leave it out",
    "option-rom": "no firmware runs that would run it; leave it out",
}
"""Options that cannot work, and what to do instead."""

_READ = ("machine", "M", "accel", "enable-kvm", "smp", "m", "numa", "cpu", "no-acpi", "S",
         "serial", "no-shutdown", "incoming")  # fmt: skip
"""Options whose meaning is here in other words; `remade` says them anew."""
_KERNEL = ("kernel", "initrd", "append")
"""What boots. Firmware has it from QEMU, and without firmware hpcore reads it."""


@frozen
class Boots:
    """What boots: the caller's firmware, or a kernel of the caller's, or what the disk says.

    One of the three is there. Firmware finds a kernel by itself, or the one on the command line.
    """

    firmware: bool = False
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    disk: BootDisk | None = None


@frozen
class Asked:
    """A machine that can be had.

    `rest` is passed on as it came. `accel`, `cpu`, `memory` and `numa` are QEMU's own words,
    and `accelerator` is hpcore's name. `serial` is what is behind the guest's console.
    `paused` says that the machine is not to start before the first `cont`, `stays` that QEMU
    is to live on when the guest has powered it off. `incoming` says where its machine comes
    from, if it is not to be booted here. With `virtio_mmio` the guest is told of
    QEMU's places for virtio devices that are not on PCI. `words` are all of the command line, as
    they came.
    """

    rest: Options
    machine: dict[str, str]
    accelerator: str
    accel: str
    config: MachineConfig
    nodes: Nodes | None
    cpu: str
    memory: tuple[str, ...]
    numa: tuple[str, ...]
    serial: str
    vcpus: tuple[PluggedVcpu, ...]
    virtio_mmio: bool
    identity: Identity | None
    monitors: tuple[MonitorAsked, ...]
    boots: Boots
    paused: bool
    stays: bool
    incoming: str | None
    name: str
    words: tuple[str, ...]


@frozen
class Probe:
    """QEMU without a machine, as tools start it to ask what it can do; `rest` is passed on."""

    rest: Options
    monitors: tuple[MonitorAsked, ...]


def is_help(options: Options) -> bool:
    """Whether QEMU is to print something and end."""
    lists = (o for o in options if o.name in _LISTS)
    return options.has(*_HELP) or any({"help", "?"} & set(o.text.split(",")) for o in lists)


def is_probe(options: Options) -> bool:
    """Whether a tool starts QEMU without a machine, to ask what it can do."""
    return machine_option.read(options).get("type") == "none"


def read_probe(options: Options) -> Probe:
    """What a start without a machine asks for. Raises ArgumentRefused."""
    monitors, rest = take_monitors(options, prompts=False)
    return Probe(rest, monitors)


def read(words: Sequence[str]) -> Asked:
    """The machine that the command line `words` asks for. Raises ArgumentRefused."""
    options = Options.of(words)
    for option in options:
        if option.name in _REFUSED:
            raise ArgumentRefused(str(option), _REFUSED[option.name])
    machine = machine_option.read(options)
    machine_option.check(machine)
    accelerator = machine_option.accelerator(machine)
    config = machine_config(options, has_host_cpu=accelerator == "kvm")
    monitors, rest = take_monitors(options)
    vcpus, rest = take_vcpus(rest)
    for vcpu in vcpus:
        if vcpu.driver != config.driver:
            raise ArgumentRefused(
                f"-device {vcpu.driver}", f"this machine's vCPUs are of the type {config.driver}"
            )
    boots, left = _boots(options, machine, accelerator), rest.without(_READ)
    return Asked(
        rest=left if boots.firmware else without_firmware(left.without(_KERNEL)),
        machine=machine,
        accelerator=OFFERED[accelerator],
        accel=_accel(options, accelerator),
        config=config,
        nodes=nodes(options, config),
        cpu=options.last("cpu") or "",
        memory=tuple(options.all("m")),
        numa=tuple(options.all("numa")),
        serial=_serial(options),
        vcpus=vcpus,
        virtio_mmio=has_virtio_mmio(rest),
        identity=identity(options),
        monitors=monitors,
        boots=boots,
        paused=options.has("S"),
        stays=_stays(options),
        incoming=options.last("incoming"),
        name=_name(options),
        words=tuple(words),
    )


def _boots(options: Options, machine: dict[str, str], accelerator: str) -> Boots:
    if accelerator in RUNS_FIRMWARE and has_firmware(options, machine):
        return Boots(firmware=True)
    kernel = options.last("kernel") or machine.get("kernel")
    initrd = options.last("initrd") or machine.get("initrd")
    append = options.last("append") or machine.get("append") or ""
    if kernel is not None:
        own_initrd = None if initrd is None else Path(initrd)
        return Boots(kernel=Path(kernel), initrd=own_initrd, append=append)
    if initrd is not None:
        raise ArgumentRefused(f"-initrd {initrd}", "is of no use without a -kernel; give both")
    disk = boot_disk(options)
    if disk is None:
        raise ArgumentRefused(
            "-kernel", "is missing, and there is no disk to boot from, nor firmware that is run "
            "here; give a kernel, or a disk that has one"
        )  # fmt: skip
    return Boots(append=append, disk=disk)


def _accel(options: Options, name: str) -> str:
    """What the caller says of the accelerator `name` beside its name, with it."""
    for text in reversed(options.all("accel")):
        if _first_word(text) == name:
            return text
    return name


def _serial(options: Options) -> str:
    """What is behind the first serial port; the second one is the accelerator's."""
    serials = options.all("serial")
    if len(serials) > 1:
        raise ArgumentRefused(
            f"-serial {serials[1]}",
            "the machine's second port is taken by hpcore; use -device virtio-serial-pci",
        )
    if serials:
        return "null" if serials[0] == "none" else serials[0]
    if options.has("nodefaults"):
        return "null"
    if options.has("nographic"):
        return "stdio" if options.has("monitor", "mon", "qmp", "qmp-pretty") else "mon:stdio"
    return "vc"


def _stays(options: Options) -> bool:
    actions: dict[str, str] = {}
    for text in options.all("action"):
        actions |= keyval.parse(text)
    return options.has("no-shutdown") or actions.get("shutdown") == "pause"


def _name(options: Options) -> str:
    """The VM's name, or else its UUID, or else nothing."""
    for text in reversed(options.all("name")):
        if name := keyval.parse(text, "guest").get("guest"):
            return name
    return options.last("uuid") or ""


def _first_word(value: str) -> str:
    return value.partition(",")[0]

