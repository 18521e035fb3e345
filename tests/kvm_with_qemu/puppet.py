"""A machine on an accelerator, under a core, whose guest is the puppet: it does as it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hpcore.guest.initramfs import cpio
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.events import Event, MachineStepFailed, MachineWasReset
from hpcore.model.machines import Phase
from hpcore.model.states import State, initial
from hpcore.run.accelerator import (
    Belongings,
    Console,
    GuestImages,
    RestoringAccelerator,
    SavableSession,
    Session,
    Writes,
)
from hpcore.run.controller import Controller, OpenSession
from hpcore.run.deadlines import Patience
from hpcore.run.discovery import find, usable
from hpcore.run.view import view
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.strings import Strings
from tests.support.logs import ListLog
from tests.support.saved import Kept
from tests.support.waits import SECONDS, until

MEMORY = 256


def images(directory: Path) -> GuestImages:
    """The puppet, and an initrd that it has no use for."""
    kernel, initrd = directory / "puppet", directory / "initrd"
    kernel.write_bytes(programs.kernel())
    initrd.write_bytes(cpio([]))
    return GuestImages(kernel, initrd, shell=False)


class Puppet(Strings):
    """The machine, and the strings of its guest."""

    def __init__(self, state: State, open_session: OpenSession) -> None:
        super().__init__(self._of_the_session)
        self.log = ListLog()
        patience = Patience(boot=SECONDS, end=SECONDS)
        self.core = Controller(
            state, lambda: self.log, open_session, patience, saver=self._saves
        )
        self._kept: Kept | None = None
        self._saved: State | None = None

    @property
    def state(self) -> State:
        return self.core.state

    @property
    def events(self) -> list[Event]:
        return self.log.events

    async def boot(self) -> None:
        """Start the guest, which then waits for orders."""
        await self.core.submit(stimuli.Boot())
        await self._runs()
        await self.echo()

    async def plug(self, slot: int) -> None:
        """Plug the vCPU; this guest never says that it has seen it."""
        await self.core.submit(stimuli.DeviceAdd(f"cpu{slot}", (("core-id", slot),)))
        await self.until(lambda s: view(s)[slot].enabled and s.slots[slot].step is None)

    async def revoke(self, slot: int) -> None:
        """Take the vCPU by force."""
        await self.core.submit(stimuli.DeviceDel(f"cpu{slot}", force=True))
        await self.until(lambda s: s.slots[slot].id is None)

    async def pause(self) -> None:
        await self.core.submit(stimuli.Pause())
        await self.until(lambda s: s.shared.paused and s.shared.step is None)

    async def resume(self) -> None:
        await self.core.submit(stimuli.Resume())
        await self.until(lambda s: not s.shared.paused and s.shared.step is None)

    async def save(self, kept: Kept) -> State:
        """Have it saved in `kept`; what its log had come to by then."""
        self._kept, self._saved = kept, None
        await self.core.submit(stimuli.Save(str(kept.file)))
        await self.until(lambda s: not s.shared.migrating and s.shared.step is None)
        assert self._saved is not None
        return self._saved

    async def _saves(
        self, session: Session, _file: str, decided: Callable[[], Awaitable[None]]
    ) -> None:
        kept = self._kept
        assert kept is not None and isinstance(session, SavableSession)

        async def keep(belongings: Belongings) -> Writes:
            await decided()
            self._saved = self.state
            return await kept.keep(belongings)

        await session.save(keep)

    async def migrate(self) -> None:
        """Have it carried to another QEMU."""
        await self.core.submit(stimuli.Migrate())
        await self.until(lambda s: not s.shared.migrating and s.shared.step is None)
        assert not [e for e in self.events if isinstance(e, MachineStepFailed)]

    async def until(self, holds: Callable[[State], bool]) -> None:
        await self.core.until(holds, SECONDS, "what the test waits for")

    async def reset_is_over(self, times: int) -> None:
        """Wait until the machine was reset so often, and its guest obeys again."""
        await until(lambda: sum(isinstance(e, MachineWasReset) for e in self.events) >= times)
        await self._runs()
        await self.echo()
        for cpu in range(1, self.state.config.possible):
            await self.forget(cpu)

    async def _runs(self) -> None:
        await self.until(lambda s: s.shared.phase is Phase.RUNNING and s.shared.step is None)

    def _of_the_session(self) -> Console:
        console = self.core.session.console
        assert console is not None, "the machine has booted"
        return console


@asynccontextmanager
async def puppet(
    directory: Path, cpus: int, maxcpus: int, accelerator: str = "kvm-qemu"
) -> AsyncIterator[Puppet]:
    """A machine whose guest is the puppet, not booted yet."""
    config = MachineConfig.of(cpus=cpus, maxcpus=maxcpus, memory=MEMORY)
    guest, found = images(directory), usable(find(accelerator))
    rig = Puppet(initial(config), lambda report: found.open(config, guest, report))
    async with rig.core:
        yield rig


@asynccontextmanager
async def restored(state: State, kept: Kept) -> AsyncIterator[Puppet]:
    """A machine that was saved in `kept` with its log in `state`; it runs."""
    found = usable(find("kvm-qemu"))
    assert isinstance(found, RestoringAccelerator)
    rig = Puppet(
        state, lambda report: found.restore(state, kept.belongings, kept.stream, report)
    )
    async with rig.core:
        await rig.core.submit(stimuli.Restored(str(kept.file)))
        await rig.resume()
        yield rig
