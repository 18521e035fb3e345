"""A real Linux sees the machine that was asked for: topology, nodes, PCI hotplug, the button.

One boot for all of it, as booting is what costs.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from pathlib import Path
from uuid import UUID

import attrs
from hpcore_tcg.build import ensure_monitor
from hpcore_tcg.machine import TcgMachine
from hpcore_tcg.session import TcgSession

from hpcore.guest import boot
from hpcore.guest.cpulist import parse_cpu_list
from hpcore.model.config import MachineConfig
from hpcore.model.stimuli import Stimulus
from hpcore.platform.firmware import QEMU_VIRT
from hpcore.platform.numa import Nodes, default_node
from hpcore.platform.smbios import Identity, structures
from hpcore.promises.waits import SECONDS
from hpcore.qemu import Qemu, Qmp, find_qemu
from tests.qemu.support import needs_qemu, program
from tests.support.guests import guest_or_skip
from tests.tcg.rig import TcgRig

pytestmark = needs_qemu

MACHINE = MachineConfig.of(2, 8, sockets=2, clusters=2, threads=2, memory=1024)
MEMORY = (384, 640)
DISTANCES = ((10, 21), (22, 10))
NODES = Nodes(
    MEMORY, tuple(default_node(MACHINE.topology, vcpu, len(MEMORY)) for vcpu in range(8)), DISTANCES
)
IDENTITY = Identity(
    UUID("00112233-4455-6677-8899-aabbccddeeff"), serial="number 5", oem_strings=("io.example=1",)
)
BUTTON = "/sys/bus/acpi/devices/PNP0C0C:00"
QEMU_ARGUMENTS = (
    "-smp", "8,sockets=2,clusters=2,cores=1,threads=2",
    *(
        argument for node, size in enumerate(MEMORY) for argument in (
            "-object", f"memory-backend-ram,id=m{node},size={size}M",
            "-numa", f"node,nodeid={node},memdev=m{node}",
        )
    ),
    "-device", "pcie-root-port,id=root1,chassis=1,slot=1",
    "-blockdev", "null-co,node-name=disk,size=1048576,read-zeroes=on",
)  # fmt: skip
"""What QEMU is started with beside what the accelerator gives it."""


def test_linux_sees_the_machine_that_was_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with machine(tmp_path, "ftrace=function ftrace_filter=acpi_run_osc") as rig:
            await rig.created()
            await rig.started(0, 1)
            await rig.linux()
            await it_boots_without_a_complaint(rig)
            await it_negotiated_with_the_platform_and_the_host_bridge(rig)
            await it_has_the_nodes_memory_and_distances(rig)
            await it_knows_who_it_is(rig)
            await it_can_read_fw_cfg(rig)
            await it_finds_every_place_of_virtio_mmio(rig)
            await it_is_told_of_the_power_button(rig)
            await a_disk_comes_and_goes_behind_a_root_port(rig)
            for slot in range(2, 8):
                assert await rig.plug(slot) == 0
                assert (await rig.online(slot)).status == 0
            await it_has_the_sockets_clusters_cores_and_threads(rig)
            await each_vcpu_is_in_its_node(rig)

    asyncio.run(main())


def machine(directory: Path, append: str) -> TcgRig:
    """A session whose QEMU has more arguments, and whose guest has nodes."""
    guest, qemu, stimuli = guest_or_skip(), find_qemu(), list[Stimulus]()
    more = " ".join(QEMU_ARGUMENTS)
    wrapped = program(directory / "qemu", f'exec {qemu.path} "$@" {more}')
    board = attrs.evolve(QEMU_VIRT, virtio_mmio=True)
    files = boot.prepare(
        MACHINE, board, guest.kernel, guest.initramfs(), append, NODES, identity=IDENTITY
    )
    program_ = Qemu(wrapped, qemu.version)
    start = partial(TcgMachine.start, MACHINE, files, program_, ensure_monitor())
    return TcgRig(TcgSession(MACHINE, start, stimuli.append, boots=True), stimuli)


async def said(rig: TcgRig, line: str) -> str:
    """What a line of shell prints, which must not fail."""
    ran = await rig.shell.run(line)
    assert ran.status == 0, f"{line}: {ran.output}"
    return ran.output


async def told(rig: TcgRig, line: str, wanted: str) -> None:
    """Wait until a line prints `wanted`."""
    output = "nothing yet"
    try:
        async with asyncio.timeout(SECONDS):
            while output.strip() != wanted:
                output = (await rig.shell.run(line)).output
    except TimeoutError:
        raise AssertionError(f"`{line}` prints {output}, not {wanted}") from None


def qmp(rig: TcgRig) -> Qmp:
    assert rig.session._machine is not None
    return rig.session._machine.qmp


async def it_boots_without_a_complaint(rig: TcgRig) -> None:
    dmesg = await said(rig, "dmesg")
    complaint = r"ACPI.*(Error|Warning|Exception|\bBIOS|Invalid|failed)|Firmware Bug|_OSC: not"
    assert [line for line in dmesg.splitlines() if re.search(complaint, line)] == []
    assert "ACPI: button: Power Button [PWRB]" in dmesg


async def it_negotiated_with_the_platform_and_the_host_bridge(rig: TcgRig) -> None:
    """Linux asks the platform a second time, for what was granted, only where the first call
    succeeded; of the host bridge it says itself what came of it."""
    await said(rig, "mount -t tracefs none /sys/kernel/tracing")
    trace = await said(rig, "cat /sys/kernel/tracing/trace")
    assert trace.count("acpi_run_osc <-acpi_init") == 2
    dmesg = await said(rig, "dmesg")
    assert "_OSC: OS now controls [PCIeHotplug PME AER PCIeCapability]" in dmesg


async def it_has_the_nodes_memory_and_distances(rig: TcgRig) -> None:
    nodes = "/sys/devices/system/node"
    distances = await said(rig, f"cat {nodes}/node*/distance")
    assert [tuple(map(int, row.split())) for row in distances.splitlines()] == list(DISTANCES)
    dmesg = await said(rig, "dmesg | grep 'SRAT: Node'")
    ranges = re.findall(r"Node (\d) PXM (\d) \[mem (0x\w+)-(0x\w+)\]", dmesg)
    assert [
        (int(node), int(first, 16), int(last, 16) + 1 - int(first, 16))
        for node, _, first, last in ranges
    ] == [attrs.astuple(found) for found in NODES.ranges()]
    total = await said(rig, f"grep -h MemTotal {nodes}/node*/meminfo")
    mebibytes = [int(kib) >> 10 for kib in re.findall(r"(\d+) kB", total)]
    assert all(size * 0.9 < seen <= size for seen, size in zip(mebibytes, MEMORY, strict=True))


async def it_knows_who_it_is(rig: TcgRig) -> None:
    names = ("sys_vendor", "product_name", "product_serial", "product_uuid")
    read = [(await said(rig, f"cat /sys/class/dmi/id/{name}")).strip() for name in names]
    assert read == ["QEMU", "QEMU Virtual Machine", "number 5", str(IDENTITY.uuid)]
    tables = await said(rig, "od -An -v -tx1 /sys/firmware/dmi/tables/DMI")
    assert bytes.fromhex(tables.replace("\n", "")) == structures(IDENTITY)


async def it_can_read_fw_cfg(rig: TcgRig) -> None:
    """The signature, byte by byte, after entry 0 was selected: the device is in the guest's
    reach. The kernel's own driver is a module, which this guest has not."""
    await said(rig, "ls /sys/bus/acpi/devices/QEMU0002:00")
    await said(rig, "devmem 0x09020008 16 0")
    read = await said(rig, "for i in 1 2 3 4; do devmem 0x09020000 8; done")
    assert bytes(int(byte, 16) for byte in read.split()) == b"QEMU"


async def it_finds_every_place_of_virtio_mmio(rig: TcgRig) -> None:
    """In each place, a device would say here what it is; its driver is a module, too."""
    places = await said(rig, "ls /sys/bus/platform/devices | grep LNRO0005")
    assert places.split() == [f"LNRO0005:{index:02x}" for index in range(32)]
    magic = [await said(rig, f"devmem 0x{0x0A00_0000 + 0x200 * index:x}") for index in (0, 31)]
    assert [int(word, 16) for word in magic] == [int.from_bytes(b"virt", "little")] * 2


async def it_is_told_of_the_power_button(rig: TcgRig) -> None:
    for presses in (1, 2, 3):
        await qmp(rig).execute("system_powerdown")
        await told(rig, f"cat {BUTTON}/power/wakeup_active_count", str(presses))


async def a_disk_comes_and_goes_behind_a_root_port(rig: TcgRig) -> None:
    disk = {"driver": "nvme", "id": "nvme", "bus": "root1", "drive": "disk", "serial": "hpcore"}
    await qmp(rig).execute("device_add", disk)
    await told(rig, "cat /sys/block/nvme0n1/size", "2048")
    assert (await said(rig, "dd if=/dev/nvme0n1 bs=1M 2>/dev/null | wc -c")).strip() == "1048576"
    await qmp(rig).execute("device_del", {"id": "nvme"})
    await told(rig, "ls /sys/block", "")


async def it_has_the_sockets_clusters_cores_and_threads(rig: TcgRig) -> None:
    """By the siblings of each vCPU, which lscpu counts; the ids are the kernel's own."""
    props = [MACHINE.topology.props(vcpu) for vcpu in range(8)]
    for siblings, shared in (
        ("package_cpus_list", ("socket-id",)),
        ("cluster_cpus_list", ("socket-id", "cluster-id")),
        ("core_cpus_list", ("socket-id", "cluster-id", "core-id")),
        ("thread_siblings_list", ("socket-id", "cluster-id", "core-id")),
    ):
        lists = await said(rig, f"cat /sys/devices/system/cpu/cpu[0-7]/topology/{siblings}")
        assert [parse_cpu_list(seen) for seen in lists.splitlines()] == [
            {other for other in range(8) if all(props[other][p] == mine[p] for p in shared)}
            for mine in props
        ], siblings


async def each_vcpu_is_in_its_node(rig: TcgRig) -> None:
    lists = await said(rig, "cat /sys/devices/system/node/node[01]/cpulist")
    assert [parse_cpu_list(seen) for seen in lists.splitlines()] == [
        {vcpu for vcpu in range(8) if NODES.vcpus[vcpu] == node} for node in (0, 1)
    ]
