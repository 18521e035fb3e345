"""Tables about where vCPUs and memory sit: PPTT, SRAT and SLIT."""

from __future__ import annotations

import struct

from hpcore.model.topology import Topology
from hpcore.platform.acpi.header import HEADER_SIZE, table
from hpcore.platform.numa import Nodes

_PACKAGE, _ID_VALID, _THREAD, _LEAF, _IDENTICAL = (1 << bit for bit in range(5))
_NODE = struct.Struct("<BBHIIII")


def pptt(topology: Topology) -> bytes:
    """Processor Properties Topology Table, revision 2 (ACPI 6.5, 5.2.30), without caches.

    A tree of sockets, clusters, cores and, where a core has more than one, threads. The
    leaves carry the vCPU's UID, not-enabled vCPUs included: the tree is fixed for the
    machine's life.
    """
    nodes = bytearray()

    def node(flags: int, parent: int, identifier: int) -> int:
        """Append a node and return its offset in the table, by which children name it."""
        offset = HEADER_SIZE + len(nodes)
        nodes.extend(_NODE.pack(0, _NODE.size, 0, flags, parent, identifier, 0))
        return offset

    vcpu = 0
    for socket in range(topology.sockets):
        package = node(_PACKAGE | _IDENTICAL, 0, socket)
        for cluster in range(topology.clusters):
            group = node(_IDENTICAL, package, cluster)
            for core in range(topology.cores):
                if topology.threads == 1:
                    node(_ID_VALID | _LEAF, group, vcpu)
                    vcpu += 1
                    continue
                parent = node(_IDENTICAL, group, core)
                for _thread in range(topology.threads):
                    node(_ID_VALID | _LEAF | _THREAD, parent, vcpu)
                    vcpu += 1
    return table(b"PPTT", 2, bytes(nodes))


def srat(nodes: Nodes) -> bytes:
    """System Resource Affinity Table, revision 3 (ACPI 6.5, 5.2.16): a domain for each node.

    Every possible vCPU is in it, not-enabled ones included: its node is known before it comes.
    """
    memory_affinity, gicc_affinity, enabled = 1, 3, 1
    memory = (
        struct.pack("<BBIHQQII8x", memory_affinity, 40, at.node, 0, at.start, at.size, 0, enabled)
        for at in nodes.ranges()
    )
    vcpus = (
        struct.pack("<BBIIII", gicc_affinity, 18, node, index, enabled, 0)
        for index, node in enumerate(nodes.vcpus)
    )
    return table(b"SRAT", 3, struct.pack("<IQ", 1, 0) + b"".join((*memory, *vcpus)))


def slit(distances: tuple[tuple[int, ...], ...]) -> bytes:
    """System Locality Information Table, revision 1 (ACPI 6.5, 5.2.17): a row for each node."""
    return table(b"SLIT", 1, struct.pack("<Q", len(distances)) + b"".join(map(bytes, distances)))
