"""QEMU's command line, as VM managers write it: what is read of it, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hpcore.door.asked import Asked, is_help, is_probe, read, read_probe
from hpcore.door.console import with_copy
from hpcore.door.disks import BootDisk
from hpcore.door.front import Part
from hpcore.door.options import ArgumentRefused, Option, Options
from hpcore.door.remade import MonitorSocket, remade

LIBVIRT = """
-name guest=dom,debug-threads=on -S
-object '{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/d/master-key.aes"}'
-machine virt-7.2,usb=off,gic-version=2,dump-guest-core=off,memory-backend=mach-virt.ram
-accel tcg -cpu cortex-a57 -m 1024
-object '{"qom-type":"memory-backend-ram","id":"mach-virt.ram","size":1073741824}'
-overcommit mem-lock=off -smp 2,maxcpus=4,sockets=4,cores=1,threads=1
-uuid 6f1c7ff6-4c4f-4b93-90b3-6f2a7d3c3c66 -display none -no-user-config -nodefaults
-chardev socket,id=charmonitor,fd=27,server=on,wait=off
-mon chardev=charmonitor,id=monitor,mode=control -rtc base=utc -no-shutdown -no-acpi
-boot strict=on -kernel /k/Image -initrd /k/initrd -append console=ttyAMA0
-chardev socket,id=charserial0,fd=26,server=on,wait=off -serial chardev:charserial0
-audiodev '{"id":"audio1","driver":"none"}' -sandbox on,obsolete=deny -msg timestamp=on
"""
"""As libvirt 9.0 starts a domain with 2 of 4 vCPUs."""

KATA = """
-name sandbox-7 -uuid 6f1c7ff6-4c4f-4b93-90b3-6f2a7d3c3c66
-machine virt,usb=off,accel=tcg,gic-version=host -cpu cortex-a57,pmu=off
-qmp unix:fd=3,server=on,wait=off -m 2048M,slots=10,maxmem=8192M
-device pci-bridge,bus=pcie.0,id=pci-bridge-0,chassis_nr=1,shpc=off,addr=2
-rtc base=utc,driftfix=slew,clock=host -global kvm-pit.lost_tick_policy=discard
-vga none -no-user-config -nodefaults -nographic --no-reboot
-object memory-backend-ram,id=dimm1,size=2048M -machine memory-backend=dimm1
-kernel /k/vmlinux -append 'console=ttyAMA0 quiet' -pidfile /run/pid
-smp 1,cores=1,threads=1,sockets=4,maxcpus=4
"""
"""As Kata's Go runtime starts a sandbox."""

USUAL = "-M virt -cpu cortex-a57 -m 1G -nodefaults -kernel k"
"""The least that can be had."""


def asked(text: str) -> Asked:
    return read(shlex.split(text))


def made(text: str) -> list[str]:
    """The real QEMU's words for it."""
    part = Part({"secure": "on", "gic-version": "3"}, (Option("bios", "monitor"),))
    return remade(asked(text), part, [MonitorSocket(Path("/d/qmp0"))]).words()


class TestWhatLibvirtStarts:
    def test_has_its_topology_memory_name_and_kernel(self) -> None:
        vm = asked(LIBVIRT)
        shape = vm.config.topology
        assert (shape.cpus, shape.maxcpus, shape.sockets, shape.cores) == (2, 4, 4, 1)
        assert (vm.config.memory, vm.config.cpu_model, vm.name) == (1024, "cortex-a57", "dom")
        assert vm.boots.kernel == Path("/k/Image") and vm.boots.append == "console=ttyAMA0"
        assert vm.paused and vm.stays

    def test_has_one_monitor_on_the_inherited_descriptor(self) -> None:
        (monitor,) = asked(LIBVIRT).monitors
        assert monitor.device["fd"] == "27" and monitor.serves and not monitor.waits

    def test_becomes_a_qemu_with_all_vcpus_and_el3_and_hpcores_monitor(self) -> None:
        words = made(LIBVIRT)
        machine = words[words.index("-machine") + 1]
        assert machine == (
            "virt-7.2,usb=off,dump-guest-core=off,memory-backend=mach-virt.ram,"
            "secure=on,gic-version=3"
        )
        smp = words[words.index("-smp") + 1]
        assert smp == "4,maxcpus=4,sockets=4,clusters=1,cores=1,threads=1"
        assert words[words.index("-qmp") + 1] == "unix:/d/qmp0,server=on,wait=off"
        assert words[words.index("-serial") + 1] == "chardev:charserial0"
        assert not {"-mon", "-no-acpi", "-no-shutdown", "-kernel", "-append"} & set(words)
        assert "socket,id=charmonitor,fd=27,server=on,wait=off" not in words
        assert "socket,id=charserial0,fd=26,server=on,wait=off" in words
        kept = ("-uuid", "-rtc", "-boot", "-sandbox", "-msg", "-overcommit", "-audiodev", "-object")
        assert set(kept) <= set(words)


def test_what_kata_starts_is_had() -> None:
    vm = asked(KATA)
    assert vm.monitors[0].device["fd"] == "3"
    assert vm.config.topology.sockets == 4 and vm.config.topology.cpus == 1
    assert vm.config.memory == 2048 and not vm.paused and not vm.stays
    words = made(KATA)
    assert words[words.index("-m") + 1] == "2048M,slots=10,maxmem=8192M"
    assert "-no-reboot" in words
    assert words[words.index("-cpu") + 1] == "cortex-a57,pmu=off"


def test_two_dashes_are_as_good_as_one_and_a_word_without_is_a_disk() -> None:
    options = Options.of(["--smp", "2", "disk.img", "-S"])
    assert list(options) == [Option("smp", "2"), Option("hda", "disk.img"), Option("S")]


def test_an_option_without_its_value_is_refused() -> None:
    with pytest.raises(ArgumentRefused, match=r"-smp: requires an argument"):
        Options.of(["-S", "-smp"])


def test_a_vcpu_of_the_command_line_is_hpcores() -> None:
    vm = asked(f"{USUAL} -smp 1,maxcpus=3 -device cortex-a57-arm-cpu,id=c1,core-id=1")
    (vcpu,) = vm.vcpus
    assert (vcpu.id, vcpu.props) == ("c1", {"core-id": 1})
    assert not vm.rest.has("device")


@pytest.mark.parametrize("device", [
    '{"driver":"cortex-a57-arm-cpu","id":"c1","core-id":1,"socket-id":0}',
    "cortex-a57-arm-cpu,id=c1,core-id=1,socket-id=0,node-id=0",
])  # fmt: skip
def test_a_vcpu_is_read_in_either_form(device: str) -> None:
    (vcpu,) = asked(f"{USUAL} -smp 1,maxcpus=3 -device '{device}'").vcpus
    assert vcpu.props == {"core-id": 1, "socket-id": 0}


@pytest.mark.parametrize(("text", "says"), [
    ("-M raspi3b -cpu cortex-a57 -kernel k", "-machine raspi3b: vCPU hotplug is for the board"),
    ("-cpu cortex-a57 -kernel k", "-machine: vCPU hotplug is for the board virt"),
    ("-M virt-2.12 -cpu cortex-a57 -kernel k", "-machine virt-2.12: use virt or a version"),
    ("-M virt -m 1G -kernel k", "-cpu: is missing"),
    ("-M virt -cpu cortex-a15 -m 1G -kernel k", "-cpu cortex-a15: has 32 bits"),
    ("-M virt -cpu cortex-a57,aarch64=off -m 1G -kernel k", "has 32 bits"),
    ("-M virt -cpu host -m 1G -kernel k", "-cpu host: there is no host CPU"),
    ("-M virt -cpu cortex-a57 -kernel k", "-m 128: is 128 MiB"),
    ("-M virt -cpu cortex-a57 -m 1G -nodefaults", "-kernel: is missing"),
    ("-M virt -cpu cortex-a57 -m 1G -initrd i", "-initrd i: is of no use without"),
    (f"{USUAL} -accel hvf", "-accel hvf: hotplug is to be had with tcg or kvm"),
    (f"{USUAL} -M its=off", "-machine its=off"),
    (f"{USUAL} -M virtualization=on", "-machine virtualization=on"),
    (f"{USUAL} -M highmem=off", "-machine highmem=off"),
    (f"{USUAL} -M iommu=smmuv3", "-machine iommu=smmuv3"),
    (f"{USUAL} -M nvdimm=on", "-machine nvdimm=on"),
    (f"{USUAL} -smp 2,dies=2", "dies are not supported"),
    (f"{USUAL} -smp 2,cheese=2", "Invalid parameter 'cheese'"),
    (f"{USUAL} -smp 4,maxcpus=2", "cpus is 4, more than maxcpus"),
    (f"{USUAL} -smp two", "Parameter 'cpus' expects a number"),
    (f"{USUAL} -loadvm s", "-loadvm s"),
    (f"{USUAL} -readconfig f", "-readconfig f"),
    (f"{USUAL} -dtb d", "-dtb d"),
    (f"{USUAL} -smbios type=0,vendor=x", "type=1 and type=11 here, not 0"),
    (f"{USUAL} -smbios type=1,cheese=x", "the guest would not see 'cheese'"),
    (f"{USUAL} -uuid x", "-uuid x: is no UUID"),
    (f"{USUAL} -device pc-dimm,memdev=m", "-device pc-dimm"),
    (f"{USUAL} -device virtio-iommu-pci", "-device virtio-iommu-pci"),
    (f"{USUAL} -device cortex-a57-arm-cpu,core-id=1", "give the vCPU an id="),
    (f"{USUAL} -device cortex-a72-arm-cpu,id=a", "are of the type cortex-a57-arm-cpu"),
    (f"{USUAL} -serial null -serial null", "-serial null: the machine's second port"),
    (f"{USUAL} -qmp stdio", "-qmp stdio: QMP is served on sockets"),
    (f"{USUAL} -mon chardev=none,mode=control", "there is no -chardev with id=none"),
    (f"{USUAL} -numa node,mem=512M", "512 MiB of memory and the machine 1024 MiB"),
    (f"{USUAL} -numa node,memdev=m", "there is no -object memory-backend"),
    (f"{USUAL} -numa hmat-lb,x=1", "the tables cannot describe 'hmat-lb'"),
])  # fmt: skip
def test_what_cannot_work_is_refused_and_named(text: str, says: str) -> None:
    with pytest.raises(ArgumentRefused, match=says):
        asked(text)


@pytest.mark.parametrize(("text", "serial"), [
    ("-nodefaults", "null"),
    ("-nodefaults -serial none", "null"),
    ("-nodefaults -serial stdio", "stdio"),
    ("-nographic", "mon:stdio"),
    ("-nographic -qmp unix:q,server=on,wait=off", "stdio"),
    ("-nographic -nodefaults", "null"),
])  # fmt: skip
def test_the_console_is_where_qemu_would_have_it(text: str, serial: str) -> None:
    vm = asked(f"-M virt -cpu cortex-a57 -m 1G -kernel k {text}")
    assert vm.serial == serial


def test_the_guest_is_told_who_it_is() -> None:
    who = asked(
        f"{USUAL} -uuid 6f1c7ff6-4c4f-4b93-90b3-6f2a7d3c3c66 "
        "-smbios type=1,product=thing,serial=7 -smbios type=11,value=a,,b,value=c"
    ).identity
    assert who is not None
    assert str(who.uuid).startswith("6f1c7ff6") and (who.product, who.serial) == ("thing", "7")
    assert who.oem_strings == ("a,b", "c")
    assert asked(USUAL).identity is None


@pytest.mark.parametrize(("device", "told"), [
    ("virtio-blk-device,drive=d", True), ("virtio-blk-pci,drive=d", False),
])  # fmt: skip
def test_the_guest_is_told_of_virtio_mmio_where_it_is_used(device: str, told: bool) -> None:
    assert asked(f"{USUAL} -device {device}").virtio_mmio is told


def test_nodes_have_the_memory_of_their_backends_and_their_vcpus() -> None:
    vm = asked(
        f"{USUAL} -smp 4 -object memory-backend-ram,id=a,size=256M "
        """-object '{"qom-type":"memory-backend-ram","id":"b","size":805306368}' """
        "-numa node,nodeid=0,cpus=0,cpus=2,memdev=a -numa node,nodeid=1,cpus=1,memdev=b "
        "-numa cpu,node-id=1,core-id=3 -numa dist,src=0,dst=1,val=30"
    )
    assert vm.nodes is not None
    assert vm.nodes.memory == (256, 768)
    assert vm.nodes.vcpus == (0, 1, 0, 1)
    assert vm.nodes.distances == ((10, 30), (30, 10))


@pytest.mark.parametrize(("text", "disk"), [
    ("-drive file=a.qcow2,format=qcow2", BootDisk(Path("a.qcow2"), "qcow2")),
    ("a.img", BootDisk(Path("a.img"), None)),
    ("-drive if=none,id=d,file=b.raw,format=raw -device virtio-blk-pci,drive=d",
     BootDisk(Path("b.raw"), "raw")),
    ("-drive file=a,format=raw -drive if=none,id=d,file=b,format=raw "
     "-device nvme,drive=d,serial=1,bootindex=1", BootDisk(Path("b"), "raw")),
    ("-drive if=pflash,file=fw.fd,format=raw -drive file=b,format=raw", BootDisk(Path("b"), "raw")),
    ("-drive media=cdrom,file=cd.iso -drive file=b,format=raw", BootDisk(Path("b"), "raw")),
    ("""-blockdev '{"driver":"file","filename":"/i/d.qcow2","node-name":"s"}' """
     """-blockdev '{"node-name":"f","driver":"qcow2","file":"s"}' """
     """-device '{"driver":"virtio-blk-pci","drive":"f","id":"v","bootindex":1}'""",
     BootDisk(Path("/i/d.qcow2"), "qcow2")),
    ("-drive file=a,,b.raw,format=raw", BootDisk(Path("a,b.raw"), "raw")),
])  # fmt: skip
def test_without_a_kernel_the_first_disk_boots(text: str, disk: BootDisk) -> None:
    vm = asked(f"-M virt -cpu cortex-a57 -m 1G -nodefaults {text}")
    assert vm.boots.kernel is None and vm.boots.disk == disk


@pytest.mark.parametrize("words", [["-h"], ["-version"], ["-machine", "help"], ["-device", "?"],
                                   ["-device", "virtio-blk-pci,help"]])  # fmt: skip
def test_help_is_the_real_qemus(words: list[str]) -> None:
    assert is_help(Options.of(words))


def test_a_probe_is_passed_on_with_its_monitor_taken_out() -> None:
    words = shlex.split(
        "-S -no-user-config -nodefaults -nographic -machine none,accel=kvm:tcg "
        "-qmp unix:/p/m,server=on,wait=off -pidfile /p/f -daemonize"
    )
    options = Options.of(words)
    assert is_probe(options)
    probe = read_probe(options)
    assert probe.monitors[0].device["path"] == "/p/m"
    assert probe.rest.has("daemonize", "pidfile") and not probe.rest.has("qmp")


def test_a_comma_in_a_value_is_kept() -> None:
    words = made(f"{USUAL} -cpu cortex-a57 -M memory-backend=a,,b -object x,id=a,,b")
    assert "memory-backend=a,,b" in words[words.index("-machine") + 1]


@pytest.mark.parametrize(("text", "devices", "serial"), [
    ("-serial stdio", ["stdio,id=hpcore-console,logfile=/p,logappend=on"], "hpcore-console"),
    ("-nographic", ["stdio,mux=on,signal=off,id=hpcore-console,logfile=/p,logappend=on"],
     "hpcore-console"),
    ("-serial unix:/s,server=on,wait=off",
     ["socket,path=/s,server=on,wait=off,id=hpcore-console,logfile=/p,logappend=on"],
     "hpcore-console"),
    ("-chardev pty,id=a -serial chardev:a", ["pty,id=a,logfile=/p,logappend=on"], "a"),
])  # fmt: skip
def test_the_consoles_output_is_copied_for_panics_to_be_seen(
    text: str, devices: list[str], serial: str
) -> None:
    vm = asked(f"-M virt -cpu cortex-a57 -m 1G -kernel k {text}")
    copied = with_copy(vm, Path("/p"))
    assert copied is not None
    assert copied.rest.all("chardev") == devices
    assert copied.serial == f"chardev:{serial}"
    assert copied.rest.all("mon") == (
        ["chardev=hpcore-console,mode=readline"] if text == "-nographic" else []
    )


@pytest.mark.parametrize("text", [
    "-serial null", "-serial vc", "-chardev null,id=a -serial chardev:a",
    "-chardev pty,id=a,logfile=mine -serial chardev:a",
])  # fmt: skip
def test_a_console_that_cannot_be_copied_is_left_as_it_is(text: str) -> None:
    assert with_copy(asked(f"{USUAL} {text}"), Path("/p")) is None
