"""NUMA nodes: how much memory each has, which vCPUs, and how far they are from each other.

QEMU's `virt` places the nodes' memory one behind the other, in the order of their numbers
(hw/arm/virt-acpi-build.c, build_srat), and so is it described here.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from hpcore.errors import HpcoreError
from hpcore.model.config import MachineConfig
from hpcore.model.topology import Topology
from hpcore.platform import virt

LOCAL, UNREACHABLE = 10, 255
"""Distances of ACPI's SLIT: a node from itself, and one that cannot be reached."""


class NodesError(HpcoreError, ValueError):
    """Nodes that do not fit the machine or contradict themselves; the text says where."""


@frozen
class MemoryRange:
    """The memory of `node`; start and size in bytes."""

    node: int
    start: int
    size: int


@frozen
class Nodes:
    """The nodes of a machine, numbered from 0.

    `memory` has the MiB of each node, 0 for a node without memory, and `vcpus` the node of each
    possible vCPU. `distances[a][b]` is how far node `b` is from node `a`; without them the guest
    takes what it thinks usual.
    """

    memory: tuple[int, ...]
    vcpus: tuple[int, ...]
    distances: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def one(cls, config: MachineConfig) -> Nodes:
        """One node for all of the machine: what it has unless its user says otherwise."""
        return cls((config.memory,), (0,) * config.possible)

    def ranges(self) -> Iterator[MemoryRange]:
        """Where the memory of each node lies; a node without memory is left out."""
        start = virt.RAM_BASE
        for node, mebibytes in enumerate(self.memory):
            size = mebibytes << 20
            if size:
                yield MemoryRange(node, start, size)
            start += size

    def check(self, config: MachineConfig) -> None:
        """Hold the nodes against the machine that they are of. Raises NodesError."""
        count = len(self.memory)
        for node, mebibytes in enumerate(self.memory):
            if mebibytes < 0:
                raise NodesError(f"node {node} has {mebibytes} MiB of memory; give it 0 or more")
        if sum(self.memory) != config.memory:
            raise NodesError(
                f"the nodes have {' + '.join(map(str, self.memory))} = {sum(self.memory)} MiB of "
                f"memory and the machine {config.memory} MiB; make them equal"
            )
        if len(self.vcpus) != config.possible:
            raise NodesError(
                f"{len(self.vcpus)} vCPUs have a node and {config.possible} are possible; give "
                "each of these its node"
            )
        for vcpu, node in enumerate(self.vcpus):
            if not 0 <= node < count:
                raise NodesError(
                    f"vCPU {vcpu} is in node {node}; this machine has nodes 0 to {count - 1}"
                )
        if self.distances is not None:
            _check_distances(self.distances, count)


def default_node(topology: Topology, vcpu: int, nodes: int) -> int:
    """The node in which QEMU's `virt` puts a vCPU where the user places none: by its socket.

    Source: hw/arm/virt.c, virt_get_default_cpu_node_id.
    """
    return topology.props(vcpu)["socket-id"] % nodes


def _check_distances(distances: tuple[tuple[int, ...], ...], count: int) -> None:
    if len(distances) != count or any(len(row) != count for row in distances):
        raise NodesError(f"there are {count} nodes; give each its distance from all {count}")
    for here, row in enumerate(distances):
        for there, distance in enumerate(row):
            if here == there and distance != LOCAL:
                raise NodesError(
                    f"node {here} has the distance {distance} from itself; it must be {LOCAL}"
                )
            if here != there and not LOCAL < distance <= UNREACHABLE:
                raise NodesError(
                    f"node {there} has the distance {distance} from node {here}; it must be "
                    f"{LOCAL + 1} to {UNREACHABLE}"
                )
