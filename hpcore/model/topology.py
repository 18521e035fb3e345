"""Where each possible vCPU sits: `-smp` geometry, props, mp-affinity.

The index of a vCPU runs fastest over threads, then cores, clusters and
sockets, as QEMU's arm `virt` numbers them (hw/arm/virt.c,
virt_possible_cpu_arch_ids). The refusals of a wrong request carry the texts
that QEMU's research series answers with, so that a management layer written
for one reads the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import attrs
from attrs import frozen

from hpcore.errors import HpcoreError

MAX_POSSIBLE = 512
"""The most vCPUs that arm `virt` with a GICv3 can have."""

AFF0_WIDTH = 16
"""vCPUs per Aff1 group: one GICv3 SGI target list (GIC spec, ICC_SGI1R_EL1)."""

PROPS = ("socket-id", "cluster-id", "core-id", "thread-id")


class TopologyError(HpcoreError, ValueError):
    """A geometry or a set of props that names no machine or no vCPU."""


def mp_affinity(index: int) -> int:
    """MPIDR_EL1 affinity fields of vCPU `index`: Aff1 in bits 15:8, Aff0 in 7:0.

    Source: hw/arm/virt.c, virt_cpu_mp_affinity, for gic-version=3.
    """
    return (index // AFF0_WIDTH) << 8 | index % AFF0_WIDTH


def index_of(affinity: int, possible: int) -> int | None:
    """The vCPU that has `affinity`, or None where no possible vCPU has it."""
    index = (affinity >> 8 & 0xFF) * AFF0_WIDTH + (affinity & 0xFF)
    return index if index < possible and mp_affinity(index) == affinity else None


@frozen
class Topology:
    """`-smp cpus=,maxcpus=,sockets=,clusters=,cores=,threads=`, complete and consistent.

    Build one with `resolve`, which fills in what the user left out.
    """

    cpus: int
    maxcpus: int
    sockets: int
    clusters: int
    cores: int
    threads: int

    @classmethod
    def resolve(
        cls,
        cpus: int | None = None,
        maxcpus: int | None = None,
        sockets: int | None = None,
        clusters: int | None = None,
        cores: int | None = None,
        threads: int | None = None,
    ) -> Topology:
        """Fill in what is missing as QEMU does: cores take what the other levels leave.

        Raises TopologyError, naming the number that is wrong, when a value is below 1,
        more vCPUs boot than are possible, the possible ones exceed MAX_POSSIBLE, or the
        product of the levels is not maxcpus.
        """
        given = {
            "cpus": cpus, "maxcpus": maxcpus, "sockets": sockets,
            "clusters": clusters, "cores": cores, "threads": threads,
        }  # fmt: skip
        for name, value in given.items():
            if value is not None and value < 1:
                raise TopologyError(f"{name} is {value}; it must be 1 or more")
        levels = (sockets or 1) * (clusters or 1) * (threads or 1)
        if maxcpus is None:
            maxcpus = levels * cores if cores else max(cpus or 1, levels)
        if maxcpus > MAX_POSSIBLE:
            raise TopologyError(
                f"maxcpus is {maxcpus}; arm virt with a GICv3 has at most {MAX_POSSIBLE} vCPUs"
            )
        if cpus is None:
            cpus = maxcpus
        if cpus > maxcpus:
            raise TopologyError(f"cpus is {cpus}, more than maxcpus, which is {maxcpus}")
        if cores is None:
            if maxcpus % levels:
                raise TopologyError(
                    f"maxcpus is {maxcpus}, which sockets * clusters * threads = {levels} "
                    "does not divide"
                )
            cores = maxcpus // levels
        topology = cls(cpus, maxcpus, sockets or 1, clusters or 1, cores, threads or 1)
        if levels * cores != maxcpus:
            raise TopologyError(
                f"sockets ({topology.sockets}) * clusters ({topology.clusters}) * "
                f"cores ({cores}) * threads ({topology.threads}) = {levels * cores}; "
                f"it must equal maxcpus, which is {maxcpus}"
            )
        return topology

    def without_hotplug(self) -> Topology:
        """The same machine with possible capped to present: what boots is all there is."""
        return attrs.evolve(
            self, maxcpus=self.cpus, sockets=1, clusters=1, cores=self.cpus, threads=1
        )

    def props(self, index: int) -> dict[str, int]:
        """The {socket,cluster,core,thread}-id of vCPU `index`.

        As in hw/arm/virt.c each id counts within the level above it.
        """
        self._check_index(index)
        core_all, thread = divmod(index, self.threads)
        cluster_all, core = divmod(core_all, self.cores)
        socket, cluster = divmod(cluster_all, self.clusters)
        return dict(zip(PROPS, (socket, cluster, core, thread), strict=True))

    def arch_name(self, index: int) -> str:
        """How a refusal names an occupied slot: `id4=0:0:4:0`."""
        return f"id{index}=" + ":".join(str(v) for v in self.props(index).values())

    def locate(self, wanted: Mapping[str, object], device: str = "cpu") -> tuple[int, ...]:
        """The indices of the vCPUs that have the props in `wanted`, the lowest first.

        One at least, and one only where every prop is given of which there are several. Callers
        leave props out: Kata's gives `core-id` 0 alone for each vCPU of `-smp cores=1,sockets=N`.

        Raises TopologyError with QEMU's text for an unknown property, a value that is
        no integer of 64 bits, which to QEMU's JSON is none at all, one that has more than
        32, and one out of range.
        """
        sizes = dict(
            zip(PROPS, (self.sockets, self.clusters, self.cores, self.threads), strict=True)
        )
        ids: dict[str, int] = {}
        for name, value in wanted.items():
            if name not in sizes:
                raise TopologyError(f"Property '{device}.{name}' not found")
            if isinstance(value, bool) or not isinstance(value, int) or not _has(64, value):
                raise TopologyError(f"Invalid parameter type for '{name}', expected: integer")
            if not _has(32, value):
                raise TopologyError(f"Parameter '{name}' expects int32_t")
            if not 0 <= value < sizes[name]:
                raise TopologyError(
                    f"Invalid {name} {value} specified, correct range 0:{sizes[name] - 1}"
                )
            ids[name] = value
        each = (
            (ids[name],) if name in ids else range(size) for name, size in sizes.items()
        )
        return tuple(
            ((socket * self.clusters + cluster) * self.cores + core) * self.threads + thread
            for socket, cluster, core, thread in product(*each)
        )

    def _check_index(self, index: int) -> None:
        if not 0 <= index < self.maxcpus:
            raise TopologyError(
                f"there is no vCPU {index}; this machine has 0 to {self.maxcpus - 1}"
            )


def _has(bits: int, value: int) -> bool:
    """Whether `value` is a signed integer of so many bits."""
    return -(1 << bits - 1) <= value < 1 << bits - 1
