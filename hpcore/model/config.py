"""The machine that a user asks for, fixed for its life; the head of every log."""

from __future__ import annotations

import attrs
from attrs import field, frozen, validators

from hpcore.model.topology import Topology

MIN_MEMORY_MIB = 256
"""Below this a distribution kernel with an initramfs does not reach its init."""

CPU_MODEL = "cortex-a57"
GIC_VERSION = 3
MEMORY_MIB = 1024
"""What a machine has unless its user says otherwise."""


@frozen
class MachineConfig:
    """Topology, CPU model, GIC and memory. `of` makes one from numbers.

    `memory` is in MiB. `no_hotplug` is the reason why possible vCPUs were capped to
    those present, or None; it is the text behind the refusal of every `device_add`.
    """

    topology: Topology
    cpu_model: str = CPU_MODEL
    gic_version: int = field(default=GIC_VERSION, validator=validators.in_((2, 3)))
    memory: int = field(default=MEMORY_MIB, validator=validators.ge(MIN_MEMORY_MIB))
    no_hotplug: str | None = None

    @classmethod
    def of(
        cls,
        cpus: int | None = None,
        maxcpus: int | None = None,
        *,
        sockets: int | None = None,
        clusters: int | None = None,
        cores: int | None = None,
        threads: int | None = None,
        cpu_model: str = CPU_MODEL,
        gic_version: int = GIC_VERSION,
        memory: int = MEMORY_MIB,
    ) -> MachineConfig:
        """The machine with this geometry, of which `Topology.resolve` fills in the rest.

        Raises TopologyError where the numbers contradict each other.
        """
        topology = Topology.resolve(cpus, maxcpus, sockets, clusters, cores, threads)
        return cls(topology, cpu_model, gic_version, memory)

    @property
    def possible(self) -> int:
        """How many vCPUs can ever exist."""
        return self.topology.maxcpus

    @property
    def driver(self) -> str:
        """The QMP name of the vCPU's device type."""
        return f"{self.cpu_model}-arm-cpu"

    def cold_booted(self, slot: int) -> bool:
        """Whether the slot's vCPU is there at boot, and so for the machine's life."""
        return slot < self.topology.cpus

    def capped(self, reason: str) -> MachineConfig:
        """The same machine with possible vCPUs capped to those present, and why."""
        return attrs.evolve(self, topology=self.topology.without_hotplug(), no_hotplug=reason)


def cap(config: MachineConfig, accelerator_reason: str | None) -> MachineConfig:
    """`config` as it can run: capped where the accelerator or the GIC has no hotplug.

    The research series refuses hotplug for anything but a GICv3, whose redistributors
    exist for every possible vCPU; a GICv2 has no online-capable CPU interfaces to give.
    """
    if config.possible == config.topology.cpus:
        return config
    if accelerator_reason is not None:
        return config.capped(accelerator_reason)
    if config.gic_version != 3:
        return config.capped(
            f"a GICv{config.gic_version} cannot hotplug CPU interfaces; use gic-version 3"
        )
    return config
