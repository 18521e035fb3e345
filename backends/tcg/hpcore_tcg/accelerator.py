"""The entry point: what can run here, and a session of it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from attrs import frozen

from hpcore.door.front import BeforeStart, GuestFiles, Part
from hpcore.door.options import Options
from hpcore.fetch.zig import NO_COMPILER, zig_version
from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.states import State
from hpcore.model.topology import MAX_POSSIBLE
from hpcore.platform.firmware import QEMU_VIRT, Board
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu, find_qemu
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.running import RunningQemu
from hpcore.qemu.runtime_directory import runtime_directory
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
from hpcore.run.saved_parts import boot_files, need_running, refuse_unlike
from hpcore.session.elsewhere import Elsewhere, LoadedFiles
from hpcore.session.loads import Loads
from hpcore_tcg import build
from hpcore_tcg.belongings import MONITOR
from hpcore_tcg.elsewhere import live_on
from hpcore_tcg.kept import KeptTcgSession
from hpcore_tcg.launch import LINK, LINK_KEPT, Sockets, image_arguments, link_arguments
from hpcore_tcg.machine import DEAF, TcgMachine
from hpcore_tcg.session import TcgSession
from hpcore_tcg.under_a_door import DoorTcgSession

MODELLED = {
    "stop": "the vCPU's QEMU thread lives on, in the EL3 monitor's park loop",
    "release": "QEMU keeps the vCPU's address space, for it cannot be made anew",
}


class TcgAccelerator:
    """Unpatched QEMU with TCG, and our monitor at EL3 deciding which vCPU may run."""

    def probe(self) -> Capabilities:
        """Whether QEMU and the monitor's compiler are here. Starts no machine."""
        versions: dict[str, str] = {}
        problems: list[str] = []
        try:
            versions["qemu"] = find_qemu().version
        except QemuError as error:
            problems.append(str(error))
        if zig_version() is None and not build.cached():
            problems.append(NO_COMPILER.format(build.WHAT))
        else:
            versions["monitor"] = build.digest()
        return Capabilities(
            unavailable="; ".join(problems) or None,
            no_save=None,
            max_vcpus=MAX_POSSIBLE,
            no_keep=None,
            modelled=MODELLED,
            versions=versions,
        )

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> TcgSession:
        """A session for `machine`. Without a guest everything works but START.

        Builds the monitor where the cache has none yet, which takes a second.
        """
        boot, qemu, monitor = await self._parts(machine, guest)
        return self._session(machine, boot, qemu, monitor, report)

    async def keep(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> KeptTcgSession:
        """See `hpcore.run.accelerator.Keeper`."""
        boot, qemu, monitor = await self._parts(machine, guest)
        try:
            directory = runtime_directory()
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        return KeptTcgSession.keeping(machine, boot, qemu, monitor, report, directory)

    async def attach(self, kept: Kept, report: Report) -> KeptTcgSession:
        """See `hpcore.run.accelerator.Keeper`."""
        return await KeptTcgSession.attach(kept, report)

    async def _parts(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None
    ) -> tuple[BootFiles | None, Qemu, build.Monitor]:
        images = admission.images_of("tcg", guest)
        admission.need_gicv3("tcg", machine)
        qemu = await self._qemu()
        boot = await admission.prepare(machine, self.board, images)
        return boot, qemu, await asyncio.to_thread(build.ensure_monitor)

    async def restore(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> TcgSession:
        """See `hpcore.run.accelerator.RestoringAccelerator`."""
        boot, qemu, monitor = await self._saved_parts(state, belongings)
        session = self._session(state.config, boot, qemu, monitor, report)
        await session.load(state, belongings, stream)
        return session

    async def keep_restored(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> KeptTcgSession:
        """See `hpcore.run.accelerator.Keeper`."""
        boot, qemu, monitor = await self._saved_parts(state, belongings)
        try:
            directory = runtime_directory()
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        session = KeptTcgSession.keeping(state.config, boot, qemu, monitor, report, directory)
        session.expect_saved(state, belongings, stream)
        return session

    async def _saved_parts(
        self, state: State, belongings: Belongings
    ) -> tuple[BootFiles | None, Qemu, build.Monitor]:
        """What a saved machine is made of, as far as it is here. Raises AcceleratorError."""
        need_running(state)
        qemu = await self._qemu()
        monitor = await asyncio.to_thread(build.ensure_monitor)
        refuse_unlike(belongings, MONITOR, monitor.digest, "restore it with the hpcore-tcg of then")
        return await asyncio.to_thread(boot_files, belongings), qemu, monitor

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
        monitor: build.Monitor,
        report: Report,
    ) -> TcgSession:
        start = partial(TcgMachine.start, machine, boot, qemu, monitor)
        files = [] if boot is None else [boot.kernel, boot.initrd]
        try:
            loaded = LoadedFiles.of([qemu.path, monitor.path, *files])
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        other = partial(start, DEAF, incoming=True)
        elsewhere = Elsewhere(other, loaded, boot, live=live_on(qemu.version))
        return TcgSession(
            machine, start, report, boots=boot is not None, elsewhere=elsewhere, monitor=monitor
        )

    # --------------------------------------------- under a VM that somebody else starts

    @property
    def board(self) -> Board:
        """See `hpcore.door.front.Fronted`."""
        return QEMU_VIRT

    async def prepare(
        self, config: MachineConfig, files: GuestFiles, directory: Path, caller: int
    ) -> TcgPrepared:
        """See `hpcore.door.front.Fronted`. Builds the monitor where the cache has none yet."""
        return await self._prepare(config, files, directory)

    async def prepare_kept(
        self, config: MachineConfig, files: GuestFiles, directory: Path, caller: int
    ) -> TcgKeptPrepared:
        """See `hpcore.door.keeping.KeepingFronted`."""
        prepared = await self._prepare(config, files, directory, kept=True)
        return TcgKeptPrepared(config, prepared.part)

    async def attach_kept(
        self,
        kept: Kept,
        qemu: KeptQemu,
        qmp: Path,
        report: Report,
        before_start: BeforeStart | None = None,
    ) -> KeptTcgSession:
        """See `hpcore.door.keeping.KeepingFronted`."""
        return await KeptTcgSession.attach_under_a_door(
            kept, qemu, _sockets(qemu, qmp), report, before_start
        )

    async def _prepare(
        self, config: MachineConfig, files: GuestFiles, directory: Path, *, kept: bool = False
    ) -> TcgPrepared:
        admission.need_gicv3("tcg", config)
        if not isinstance(files, BootFiles):
            raise AcceleratorError("tcg runs no firmware: the EL3 monitor is where it would be")
        monitor = await asyncio.to_thread(build.ensure_monitor)
        words = [
            "-bios", str(monitor.path),
            *link_arguments(directory / LINK, directory / LINK_KEPT if kept else None),
            *image_arguments(files, directory),
        ]  # fmt: skip
        part = Part({"gic-version": "3", "secure": "on"}, tuple(Options.of(words)))
        try:
            loads = Loads.of_boot(
                files, {MONITOR: monitor.digest}, [monitor.path],
                from_disk=files.kernel.is_relative_to(directory),
            )  # fmt: skip
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        return TcgPrepared(config, part, loads)


@frozen
class TcgPrepared:
    """See `hpcore.door.front.Prepared`."""

    config: MachineConfig
    part: Part
    loads: Loads
    moves: bool = True

    def attach(
        self,
        qemu: RunningQemu,
        qmp: Path,
        report: Report,
        before_start: BeforeStart | None = None,
    ) -> DoorTcgSession:
        """See `hpcore.door.front.Prepared`."""
        start = partial(TcgMachine.attach, qemu, _sockets(qemu, qmp))
        return DoorTcgSession(
            self.config, start, report, self.loads, before_start=before_start
        )

    def close(self) -> None:
        """See `hpcore.door.front.Prepared`: nothing but QEMU's directory was taken."""


@frozen
class TcgKeptPrepared:
    """See `hpcore.door.keeping.KeptPrepared`."""

    config: MachineConfig
    part: Part
    keeps: bool = True

    def attach(
        self,
        qemu: RunningQemu,
        qmp: Path,
        report: Report,
        before_start: BeforeStart | None = None,
    ) -> KeptTcgSession:
        """See `hpcore.door.keeping.KeptPrepared`."""
        assert isinstance(qemu, KeptQemu), "that is what is to outlive its door"
        sockets = _sockets(qemu, qmp)
        return KeptTcgSession.under_a_door(self.config, qemu, sockets, report, before_start)

    def close(self) -> None:
        """See `hpcore.door.front.Prepared`: nothing but QEMU's directory was taken."""


def _sockets(qemu: RunningQemu, qmp: Path) -> Sockets:
    """Those of a VM with a door, whose console is its user's."""
    return Sockets(qmp, None, qemu.directory / LINK)
