"""The entry point: what can run here, and a session of it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from attrs import evolve, frozen
from hpcore_kvm import probe

from hpcore.door.front import BeforeStart, GuestFiles, Part
from hpcore.door.options import Options
from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.states import State
from hpcore.platform.firmware import QEMU_KVM_VIRT, Board
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu, find_qemu
from hpcore.qemu.running import RunningQemu
from hpcore.qemu.runtime_directory import runtime_directory
from hpcore.qemu.uefi import fw_cfg_arguments
from hpcore.run import admission
from hpcore.run.accelerator import (
    AcceleratorError,
    Belongings,
    Capabilities,
    GuestImages,
    GuestScript,
    Kept,
    Report,
    Stream,
)
from hpcore.run.saved_parts import boot_files, need_running
from hpcore.session.elsewhere import Elsewhere, LoadedFiles
from hpcore.session.loads import Loads
from hpcore_kvm_qemu import build
from hpcore_kvm_qemu.kept import KeptKvmQemuSession
from hpcore_kvm_qemu.launch import LINK, MACHINE, Sockets, environment, image_arguments
from hpcore_kvm_qemu.machine import DEAF, KvmQemuMachine
from hpcore_kvm_qemu.policy import Policy
from hpcore_kvm_qemu.session import KvmQemuSession
from hpcore_kvm_qemu.under_a_door import DoorKvmQemuSession

NAME = "kvm-qemu"

MODELLED = {
    "cpu_model": probe.MODELLED["cpu_model"],
    "unwire": probe.MODELLED["unwire"],
    "stop": "the vCPU's QEMU thread lives on, stopped within KVM",
    "release": "QEMU keeps the vCPU, for it cannot be made anew",
}


class KvmQemuAccelerator:
    """Unpatched QEMU with KVM, and our interposer in it deciding which vCPU may run."""

    def probe(self) -> Capabilities:
        """What this machine's KVM can do, and whether QEMU and the interposer are here."""
        kvm = probe.probe()
        problems = [text for text in (kvm.unavailable, kvm.no_hotplug) if text is not None]
        versions = dict(kvm.versions)
        try:
            versions["qemu"] = find_qemu().version
        except QemuError as error:
            problems.append(str(error))
        missing = build.missing()
        if missing is None:
            versions["interposer"] = build.digest()
        else:
            problems.append(missing)
        return evolve(
            kvm, unavailable="; ".join(problems) or None, no_hotplug=None, modelled=MODELLED,
            versions=versions, no_migration=None, no_save=None, no_keep=None,
        )  # fmt: skip

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> KvmQemuSession:
        """A session for `machine`. Without a guest everything works but START.

        Builds the interposer where the cache has none yet, which takes seconds.
        """
        boot, qemu, interposer = await self._parts(machine, guest)
        return self._session(machine, boot, qemu, interposer, report)

    async def keep(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> KeptKvmQemuSession:
        """See `hpcore.run.accelerator.Keeper`."""
        boot, qemu, interposer = await self._parts(machine, guest)
        try:
            directory = runtime_directory()
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        return KeptKvmQemuSession.keeping(machine, boot, qemu, interposer, report, directory)

    async def attach(self, kept: Kept, report: Report) -> KeptKvmQemuSession:
        """See `hpcore.run.accelerator.Keeper`."""
        return await KeptKvmQemuSession.attach(kept, report)

    async def keep_restored(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> KeptKvmQemuSession:
        """See `hpcore.run.accelerator.Keeper`."""
        raise AcceleratorError(
            "a machine that is restored on kvm-qemu can't outlive hpcore yet: restore it without "
            "--keep"
        )

    async def restore(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> KvmQemuSession:
        """See `hpcore.run.accelerator.RestoringAccelerator`."""
        need_running(state)
        await self._admit(state.config)
        qemu = await self._qemu()
        interposer = await asyncio.to_thread(build.ensure_interposer)
        boot = await asyncio.to_thread(boot_files, belongings)
        session = self._session(state.config, boot, qemu, interposer, report)
        await session.load(state, belongings, stream)
        return session

    async def _parts(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None
    ) -> tuple[BootFiles | None, Qemu, Path]:
        images = admission.images_of(NAME, guest)
        await self._admit(machine)
        qemu = await self._qemu()
        boot = await admission.prepare(machine, self.board, images)
        return boot, qemu, await asyncio.to_thread(build.ensure_interposer)

    async def _qemu(self) -> Qemu:
        try:
            return await asyncio.to_thread(find_qemu)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error

    def _session(
        self,
        machine: MachineConfig,
        boot: BootFiles | None,
        qemu: Qemu,
        interposer: Path,
        report: Report,
    ) -> KvmQemuSession:
        start = partial(KvmQemuMachine.start, machine, boot, qemu, interposer)
        files = [] if boot is None else [boot.kernel, boot.initrd]
        try:
            loaded = LoadedFiles.of([qemu.path, interposer, *files])
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        elsewhere = Elsewhere(partial(start, DEAF, incoming=True), loaded, boot, live=True)
        return KvmQemuSession(
            machine, start, report, boots=boot is not None, elsewhere=elsewhere
        )

    # --------------------------------------------- under a VM that somebody else starts

    @property
    def board(self) -> Board:
        """See `hpcore.door.front.Fronted`."""
        return QEMU_KVM_VIRT

    async def prepare(
        self, config: MachineConfig, files: GuestFiles, directory: Path, caller: int
    ) -> KvmQemuPrepared:
        """See `hpcore.door.front.Fronted`. Builds the interposer where the cache has none yet."""
        await self._admit(config)
        interposer = await asyncio.to_thread(build.ensure_interposer)
        try:
            if isinstance(files, BootFiles):
                words = image_arguments(files, directory)
                from_disk = files.kernel.is_relative_to(directory)
                loads = Loads.of_boot(files, {}, [], from_disk=from_disk)
            else:
                words = fw_cfg_arguments(files.write(directory))
                loads = Loads.of(files.by_name())
            policy = Policy(config, directory / LINK)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        policy.expect(caller)
        part = Part(MACHINE, tuple(Options.of(words)), environment(interposer, directory))
        return KvmQemuPrepared(config, policy, part, loads)

    async def _admit(self, machine: MachineConfig) -> None:
        """Raises AcceleratorError where `machine` cannot run here."""
        admission.need_gicv3(NAME, machine)
        can = await asyncio.to_thread(self.probe)
        if can.unavailable is not None:
            raise AcceleratorError(can.unavailable)
        if machine.possible > can.max_vcpus:
            raise AcceleratorError(probe.too_many(machine.possible, can.max_vcpus))


@frozen
class KvmQemuPrepared:
    """See `hpcore.door.front.Prepared`."""

    config: MachineConfig
    policy: Policy
    part: Part
    loads: Loads
    moves: bool = True

    def attach(
        self,
        qemu: RunningQemu,
        qmp: Path,
        report: Report,
        before_start: BeforeStart | None = None,
    ) -> DoorKvmQemuSession:
        """See `hpcore.door.front.Prepared`."""
        start = partial(KvmQemuMachine.attach, qemu, self.policy, Sockets(qmp, None))
        return DoorKvmQemuSession(
            self.config, start, report, self.loads, before_start=before_start
        )

    def close(self) -> None:
        """See `hpcore.door.front.Prepared`."""
        self.policy.close()
