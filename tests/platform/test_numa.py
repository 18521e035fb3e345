"""NUMA nodes: what fits a machine, where memory lies, and the tables that say so."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest

from hpcore.model.config import MachineConfig
from hpcore.model.topology import Topology
from hpcore.platform import virt
from hpcore.platform.firmware import HPCORE_VIRT, QEMU_VIRT, Board, build
from hpcore.platform.numa import MemoryRange, Nodes, NodesError, default_node
from hpcore.qemu import find_qemu
from tests.platform.iasl import body, judge
from tests.platform.machines import machine
from tests.qemu.support import needs_qemu

MIB = 1 << 20
MACHINE = MachineConfig.of(2, 6, memory=1024)
NODES = Nodes((300, 0, 724), (0, 2, 1, 2, 0, 1), ((10, 20, 30), (20, 10, 40), (31, 41, 10)))


def memory_of(srat: bytes) -> list[tuple[int, int, int]]:
    """Domain, start and size of each memory affinity structure."""
    found, at = [], 48
    while at < len(srat):
        kind, size = srat[at], srat[at + 1]
        if kind == 1:
            domain, _, start, length, _, flags = struct.unpack_from("<IHQQII", srat, at + 2)
            assert flags == 1
            found.append((domain, start, length))
        at += size
    assert at == len(srat)
    return found


def test_memory_lies_one_node_behind_the_other_from_the_start_of_ram() -> None:
    assert list(NODES.ranges()) == [
        MemoryRange(0, virt.RAM_BASE, 300 * MIB),
        MemoryRange(2, virt.RAM_BASE + 300 * MIB, 724 * MIB),
    ]
    assert memory_of(build(MACHINE, nodes=NODES).tables["SRAT"]) == [
        attrs.astuple(found) for found in NODES.ranges()
    ]


def test_every_possible_vcpu_has_its_node_before_it_comes() -> None:
    srat = build(MACHINE, nodes=NODES).tables["SRAT"]
    giccs = [struct.unpack_from("<BBIIII", srat, 128 + 18 * index) for index in range(6)]
    assert giccs == [(3, 18, node, index, 1, 0) for index, node in enumerate(NODES.vcpus)]


def test_distances_are_rows_of_bytes_and_none_are_there_unless_given() -> None:
    slit = build(MACHINE, nodes=NODES).tables["SLIT"]
    assert slit[36:] == struct.pack("<Q", 3) + bytes((10, 20, 30, 20, 10, 40, 31, 41, 10))
    assert "SLIT" not in build(MACHINE, nodes=attrs.evolve(NODES, distances=None)).tables


@pytest.mark.parametrize("signature", ["SRAT", "SLIT"])
def test_iasl_reads_the_nodes_and_writes_the_same_bytes(signature: str, tmp_path: Path) -> None:
    table = build(MACHINE, nodes=NODES).tables[signature]
    verdict = judge(table, tmp_path)
    assert (verdict.errors, verdict.warnings) == (0, 0), verdict.said
    assert body(verdict.recompiled) == body(table)


@pytest.mark.parametrize("board", [QEMU_VIRT, HPCORE_VIRT])
def test_a_machine_without_nodes_has_one_and_its_tables_are_the_same_bytes(board: Board) -> None:
    assert build(machine(6), board, Nodes.one(machine(6))) == build(machine(6), board)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"memory": (300, -1, 725)}, "node 1 has -1 MiB of memory; give it 0 or more"),
        ({"memory": (300, 0, 725)}, r"300 \+ 0 \+ 725 = 1025 MiB .* the machine 1024 MiB"),
        ({"vcpus": (0,) * 5}, "5 vCPUs have a node and 6 are possible"),
        ({"vcpus": (0, 0, 3, 0, 0, 0)}, "vCPU 2 is in node 3; this machine has nodes 0 to 2"),
        ({"vcpus": (0, -1, 0, 0, 0, 0)}, "vCPU 1 is in node -1"),
        ({"distances": ((10, 20), (20, 10))}, "there are 3 nodes; give each its distance"),
        ({"distances": ((10, 20, 20), (20, 10), (20, 20, 10))}, "from all 3"),
        ({"distances": ((10, 20, 20), (20, 10, 20))}, "from all 3"),
        (
            {"distances": ((10, 20, 20), (20, 11, 20), (20, 20, 10))},
            "node 1 has the distance 11 from itself; it must be 10",
        ),
        (
            {"distances": ((10, 20, 10), (20, 10, 20), (20, 20, 10))},
            "node 2 has the distance 10 from node 0; it must be 11 to 255",
        ),
        ({"distances": ((10, 20, 20), (256, 10, 20), (20, 20, 10))}, "256 from node 1"),
    ],
)
def test_nodes_that_do_not_fit_are_refused_in_words(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(NodesError, match=said):
        build(MACHINE, nodes=attrs.evolve(NODES, **changed))


def test_the_farthest_nodes_and_the_nearest_fit() -> None:
    ends = attrs.evolve(NODES, distances=((10, 11, 255), (255, 10, 11), (11, 255, 10)))
    assert build(MACHINE, nodes=ends).tables["SLIT"][-9:] == bytes(
        (10, 11, 255, 255, 10, 11, 11, 255, 10)
    )


@needs_qemu
@pytest.mark.parametrize("levels", [{"sockets": 3}, {"sockets": 2, "threads": 3}, {"sockets": 1}])
def test_a_vcpu_that_nobody_places_is_where_qemu_puts_it(levels: dict[str, int]) -> None:
    topology = Topology.resolve(maxcpus=6, **levels)
    smp = ",".join(f"{level}={count}" for level, count in levels.items())
    asked = [{"execute": name} for name in ("qmp_capabilities", "query-cpus-fast", "quit")]
    done = subprocess.run(
        [
            str(find_qemu().path), "-machine", "virt,gic-version=3", "-cpu", "cortex-a57",
            "-smp", f"6,{smp}", "-m", "512", "-nodefaults", "-display", "none", "-S",
            "-object", "memory-backend-ram,id=a,size=256M", "-numa", "node,memdev=a",
            "-object", "memory-backend-ram,id=b,size=256M", "-numa", "node,memdev=b",
            "-qmp", "stdio",
        ],
        input="".join(map(json.dumps, asked)), capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    vcpus = next(answer["return"] for answer in answers if isinstance(answer.get("return"), list))
    assert {vcpu["cpu-index"]: vcpu["props"]["node-id"] for vcpu in vcpus} == {
        index: default_node(topology, index, nodes=2) for index in range(6)
    }
