"""The entry point: what can run here, and a session of it."""

from __future__ import annotations

import asyncio

import attrs
from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.model.rules import Rules, Trait
from hpcore.model.states import State
from hpcore.platform import firmware
from hpcore.run import admission
from hpcore.run.accelerator import (
    AcceleratorError,
    Belongings,
    Capabilities,
    GuestImages,
    GuestScript,
    Report,
    Session,
    Stream,
)
from hpcore.run.saved_parts import boot_files, need_running
from hpcore_kvm import probe

QUIET = "quiet"
"""For the kernel: a character on the console costs two exits to us, and a boot that tells
everything some thirty thousand. Whoever wants to read it appends `loglevel=8`."""


@frozen
class KvmAccelerator:
    """A small arm64 VMM on /dev/kvm: the vCPUs are KVM's, everything around them ours."""

    deferred: bool = False
    """Whether a vCPU has no thread before its first CPU_ON."""

    def probe(self) -> Capabilities:
        """What this machine's KVM can do. Makes an empty VM for a moment."""
        can = probe.probe()
        lacks = dict(can.lacks)
        if can.no_hotplug is None:  # else KVM answers CPU_ON by itself
            del lacks[Trait.THREAD_AT_CPU_ON]
        return attrs.evolve(can, lacks=lacks)

    def by(self, rules: Rules) -> KvmAccelerator:
        """See `hpcore.run.accelerator.RuledAccelerator`."""
        return KvmAccelerator(deferred=Trait.THREAD_AT_CPU_ON in rules.traits)

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> Session:
        """A session for `machine`. Without a guest everything works but START."""
        images = admission.images_of("kvm", guest)
        admission.need_gicv3("kvm", machine)
        await self._need_room(machine)
        boot = await admission.prepare(machine, firmware.HPCORE_VIRT, images, QUIET)
        # not before here: where KVM is not, its binding need not be loaded either
        from hpcore_kvm.session import KvmSession  # noqa: PLC0415

        return KvmSession(machine, boot, report, deferred=self.deferred)

    async def restore(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> Session:
        """See `hpcore.run.accelerator.RestoringAccelerator`."""
        need_running(state)
        await self._need_room(state.config)
        boot = await asyncio.to_thread(boot_files, belongings)
        from hpcore_kvm.session import KvmSession  # noqa: PLC0415

        session = KvmSession(state.config, boot, report, deferred=self.deferred)
        await session.load(state, belongings, stream)
        return session

    async def _need_room(self, machine: MachineConfig) -> None:
        """Raise AcceleratorError where this host's KVM cannot run `machine`."""
        can = await asyncio.to_thread(self.probe)
        if can.unavailable is not None:
            raise AcceleratorError(can.unavailable)
        if machine.possible > can.max_vcpus:
            raise AcceleratorError(probe.too_many(machine.possible, can.max_vcpus))
