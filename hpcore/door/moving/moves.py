"""What goes away from a VM's door, and what comes there, put together for one VM."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs

from hpcore.door.asked import Asked
from hpcore.door.front import MovingSession
from hpcore.door.log import VmLog
from hpcore.door.moving.arrival import Arrival
from hpcore.door.moving.sending import Sending
from hpcore.door.moving.taking import DEFER, Inherited, Taking
from hpcore.door.moving.word import Word
from hpcore.door.qmp.answers import Answers, Client, QmpError, RealMonitor
from hpcore.door.qmp.vcpu_events import Tell
from hpcore.door.qmp.vcpus import CANNOT_MIGRATE, VcpuCommands
from hpcore.errors import HpcoreError
from hpcore.qemu.running import RunningQemu
from hpcore.run.accelerator import EffectError, Session
from hpcore.run.controller import Controller
from hpcore.run.machine import LiveMachine

CANNOT_SNAPSHOT = (
    "no snapshot of QEMU's has what hpcore knows of the vCPUs, and no line sends a machine; save "
    "it by migrate on a QMP monitor, as virsh save does"
)
NOT_AWAITED = "'-incoming' was not specified on the command line"


class Moves:
    """Of one VM. `of` says which machine it is, `commands` who is told of it."""

    def __init__(self, asked: Asked, log: VmLog) -> None:
        self._asked, self._log = asked, log
        self._sending: Sending | None = None
        self._taking: Taking | None = None
        self._word: Word | None = None
        self._inherited: Inherited | None = None

    def of(self, controller: Controller, machine: LiveMachine) -> None:
        """It is this machine's."""
        self._controller, self.machine = controller, machine

    async def save(
        self, session: Session, file: str, decided: Callable[[], Awaitable[None]]
    ) -> None:
        """See hpcore.run.controller.Saver."""
        if self._sending is None:
            raise EffectError(CANNOT_MIGRATE)
        await self._sending.save(session, file, decided)

    def commands(
        self, real: RealMonitor, tell: Tell, qemu: RunningQemu, inherited: Inherited | None
    ) -> VcpuCommands:
        """The commands about vCPUs, of the machine that is here or comes."""
        machine, session, asked = self.machine, self._controller.session, self._asked
        self._inherited = inherited
        if not isinstance(session, MovingSession):
            return VcpuCommands(machine, real)
        self._word = Word(real, tell)
        self._sending = Sending(
            machine, session, self._word, asked.accelerator, lambda: self._log.so_far
        )
        if inherited is not None:
            self._taking = Taking(
                Arrival(asked.accelerator, lambda: machine.state, session),
                self._controller, machine, self._log, self._word, real, qemu, inherited,
                runs=not asked.paused,
            )  # fmt: skip
        return VcpuCommands(machine, real, cannot_migrate=CANNOT_SNAPSHOT, awaited=self._taking)

    def answers(self, commands: VcpuCommands) -> Answers:
        """All that is answered, for the monitors to serve."""
        answers = commands.answers()
        if self._word is None or self._sending is None:
            return answers
        return attrs.evolve(
            answers,
            handlers={**answers.handlers, **self._word.handlers()},
            passes=self._word.passes,
            after_events=answers.after_events | {"migrate", "migrate-incoming"},
            of_client={"migrate": self._sending.migrate, "migrate-incoming": self._incoming},
        )

    async def begin(self) -> None:
        """Wait for a machine where the command line says where it comes from."""
        uri = self._asked.incoming
        if self._taking is None or uri in (None, DEFER):
            return
        try:
            await self._taking.begin(str(uri))
        except HpcoreError as error:  # the caller is told, as QEMU does it
            assert self._inherited is not None, "it was started with -incoming"
            self._inherited.say(f"-incoming {uri}: {error}")
            await self._taking.give_up()

    async def close(self) -> None:
        """Leave off."""
        for part in (self._sending, self._taking):
            if part is not None:
                await part.close()

    async def _incoming(self, arguments: Mapping[str, object], client: Client) -> object:
        if self._taking is None:
            raise QmpError(NOT_AWAITED)
        return await self._taking.migrate_incoming(arguments, client)
