"""The static ACPI tables: what iasl says of them, and what Linux relies on."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from hpcore.model.acpi import MadtFlag
from hpcore.model.config import MachineConfig
from hpcore.model.revision import HPCORE
from hpcore.model.rules import Trait
from hpcore.model.topology import Topology, mp_affinity
from hpcore.platform import virt
from hpcore.platform.acpi.madt import GICC_SIZE
from hpcore.platform.acpi.topology import pptt
from hpcore.platform.firmware import HPCORE_VIRT, QEMU_KVM_VIRT, QEMU_VIRT, Board, build
from hpcore.platform.numa import Nodes
from hpcore.protocols import bundled, load
from tests.platform.iasl import body, judge
from tests.platform.machines import SIZES, machine


def subtables(madt: bytes) -> Iterator[tuple[int, bytes]]:
    position = 44
    while position < len(madt):
        kind, size = madt[position], madt[position + 1]
        yield kind, madt[position : position + size]
        position += size
    assert position == len(madt)


def tables(config: MachineConfig, board: Board = QEMU_VIRT) -> Mapping[str, bytes]:
    return build(config, board).tables


@pytest.mark.parametrize("possible", SIZES)
def test_every_table_sums_to_zero_and_says_its_length(possible: int) -> None:
    for signature, table in tables(machine(possible)).items():
        assert table[:4] == signature.encode()
        assert struct.unpack_from("<I", table, 4) == (len(table),)
        assert sum(table) & 0xFF == 0


def test_every_table_is_of_the_revision_that_its_builder_follows() -> None:
    nodes = attrs.evolve(Nodes.one(machine(6)), distances=((10,),))
    found = {name: table[8] for name, table in build(machine(6), nodes=nodes).tables.items()}
    assert found == {
        "DSDT": 2, "FACP": 6, "APIC": 6, "GTDT": 3, "SPCR": 2, "PPTT": 2, "SRAT": 3, "SLIT": 1,
        "MCFG": 1, "IORT": 3,
    }  # fmt: skip


@pytest.mark.parametrize("possible", SIZES)
@pytest.mark.parametrize("signature", ["FACP", "GTDT", "SPCR", "MCFG", "IORT", "PPTT", "SRAT"])
def test_iasl_reads_the_data_tables_and_writes_the_same_bytes(
    signature: str, possible: int, tmp_path: Path
) -> None:
    table = tables(machine(possible))[signature]
    verdict = judge(table, tmp_path)
    assert verdict.errors == 0, verdict.said
    if signature == "IORT":
        # iasl before 2021 takes the nodes' identifiers (revision E) for reserved bytes
        table, again = (_without_identifiers(data) for data in (table, verdict.recompiled))
        assert body(again) == body(table)
    else:
        assert verdict.warnings == 0, verdict.said
        assert body(verdict.recompiled) == body(table)


def _without_identifiers(iort: bytes) -> bytes:
    out = bytearray(iort)
    out[52:56] = out[76:80] = bytes(4)
    return bytes(out)


@pytest.mark.parametrize("possible", SIZES)
def test_iasl_reads_the_madt(possible: int, tmp_path: Path) -> None:
    """Bytes are not compared: iasl before 2023 knows GICCs of 80 bytes, ACPI 6.5 has 82."""
    verdict = judge(tables(machine(possible))["APIC"], tmp_path)
    assert (verdict.errors, verdict.warnings) == (0, 0), verdict.said
    assert verdict.source.count("[Generic Interrupt Controller]") == possible
    assert "Invalid" not in verdict.source


@pytest.mark.parametrize(("possible", "booted"), [(1, 1), (6, 1), (6, 2), (6, 6), (512, 100)])
def test_a_gicc_is_enabled_xor_online_capable(possible: int, booted: int) -> None:
    giccs = [
        data for kind, data in subtables(tables(machine(possible, booted))["APIC"]) if kind == 0x0B
    ]
    assert len(giccs) == possible
    for index, gicc in enumerate(giccs):
        assert len(gicc) == GICC_SIZE
        interface, uid, flags = struct.unpack_from("<III", gicc, 4)
        assert (interface, uid) == (index, index)
        assert flags == (MadtFlag.ENABLED if index < booted else MadtFlag.ONLINE_CAPABLE)
        gicr, mpidr = struct.unpack_from("<QQ", gicc, 60)
        assert gicr == 0, "a GICR in a GICC makes Linux refuse an online-capable vCPU"
        assert mpidr == mp_affinity(index)


@pytest.mark.parametrize("protocol", [HPCORE.name, *bundled()])
def test_the_madt_and_the_dsdt_say_of_each_vcpu_what_the_rules_do(protocol: str) -> None:
    config, rules = machine(4, 2), load(protocol).rules
    made = build(config, HPCORE_VIRT, rules=rules).tables
    giccs = [data for kind, data in subtables(made["APIC"]) if kind == 0x0B]
    flags = [struct.unpack_from("<I", gicc, 12)[0] for gicc in giccs]
    devices = made["DSDT"].split(b"\x5b\x82")[-4:]  # DeviceOp, of which the vCPUs are the last
    can_go = Trait.COLD_BOOTED_CAN_GO in rules.traits
    assert flags == [1, 8 if can_go else 1, 8, 8]
    assert [b"_EJ0" in device for device in devices] == [False, can_go, True, True]


@pytest.mark.parametrize("possible", SIZES)
def test_redistributors_exist_for_every_possible_vcpu(possible: int) -> None:
    madt = tables(machine(possible))["APIC"]
    regions = [struct.unpack_from("<QI", data, 4) for kind, data in subtables(madt) if kind == 14]
    frames = {base + offset for base, size in regions for offset in range(0, size, virt.GICR_FRAME)}
    assert {virt.redistributor(index) for index in range(possible)} <= frames


def test_there_is_one_gicv3_distributor_and_one_its() -> None:
    kinds = dict(subtables(tables(machine(6))["APIC"]))
    assert struct.unpack_from("<Q", kinds[0x0C], 8) == (virt.GICD_BASE,)
    assert kinds[0x0C][20] == 3
    assert struct.unpack_from("<Q", kinds[0x0F], 8) == (virt.ITS_BASE,)


@pytest.mark.parametrize(
    ("board", "flags"), [(QEMU_VIRT, 1), (QEMU_KVM_VIRT, 3), (HPCORE_VIRT, 3)]
)
def test_the_fadt_is_hardware_reduced_and_names_the_conduit(board: Board, flags: int) -> None:
    facp = tables(machine(6), board)["FACP"]
    assert len(facp) == 276
    assert (facp[8], facp[131]) == (6, 5)
    assert struct.unpack_from("<I", facp, 112) == (1 << 20,)
    assert struct.unpack_from("<H", facp, 129) == (flags,)


@pytest.mark.parametrize(
    "levels",
    [
        {"sockets": 2, "clusters": 2, "cores": 3, "threads": 2},
        {"sockets": 3, "clusters": 2, "cores": 4},
        {"sockets": 24},
        {"threads": 4},
    ],
    ids=str,
)
def test_the_processor_tree_has_every_possible_vcpu_below_its_core_cluster_and_socket(
    levels: dict[str, int],
) -> None:
    topology = Topology.resolve(maxcpus=24, **levels)
    threads = topology.threads > 1
    table = pptt(topology)
    nodes = {
        offset: struct.unpack_from("<BBHIIII", table, offset)
        for offset in range(36, len(table), 20)
    }
    package, valid, thread, leaf, identical = (1 << bit for bit in range(5))
    leaves = [node for node in nodes.values() if node[3] & leaf]
    assert [node[5] for node in leaves] == list(range(24))
    for node in leaves:
        assert node[3] == valid | leaf | (thread if threads else 0), "its id is a vCPU's UID"
        props, above, parent = topology.props(node[5]), [], node[4]
        while parent:
            _, _, _, flags, next_parent, number, _ = nodes[parent]
            assert flags == identical | (0 if next_parent else package)
            above.append(number)
            parent = next_parent
        ids = [props["socket-id"], props["cluster-id"]] + [props["core-id"]] * threads
        assert above == ids[::-1]
    shared = topology.sockets * (1 + topology.clusters)
    assert len(nodes) == 24 + shared + (24 // topology.threads if threads else 0)


def test_all_memory_and_vcpus_are_in_one_proximity_domain() -> None:
    table = tables(machine(6, memory=768))["SRAT"]
    assert struct.unpack_from("<BBIHQQII", table, 48) == (
        1, 40, 0, 0, virt.RAM_BASE, 768 << 20, 0, 1,
    )  # fmt: skip
    giccs = [struct.unpack_from("<BBIIII", table, 88 + 18 * index) for index in range(6)]
    assert giccs == [(3, 18, 0, index, 1, 0) for index in range(6)]
