"""Tables about where vCPUs and memory sit: PPTT and SRAT."""

from __future__ import annotations

import struct

from hpcore.model.config import MachineConfig
from hpcore.model.topology import Topology
from hpcore.platform import virt
from hpcore.platform.acpi.header import HEADER_SIZE, table

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


def srat(config: MachineConfig) -> bytes:
    """System Resource Affinity Table, revision 3 (ACPI 6.5, 5.2.16): one domain for all."""
    gicc, memory, enabled, domain = 3, 1, 1, 0
    ram = struct.pack(
        "<BBIHQQII8x", memory, 40, domain, 0, virt.RAM_BASE, config.memory << 20, 0, enabled
    )
    vcpus = (
        struct.pack("<BBIIII", gicc, 18, domain, index, enabled, 0)
        for index in range(config.possible)
    )
    return table(b"SRAT", 3, struct.pack("<IQ", 1, 0) + ram + b"".join(vcpus))
