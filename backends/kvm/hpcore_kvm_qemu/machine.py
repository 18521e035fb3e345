"""One QEMU with the interposer in it: how it is started, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.stimuli import GuestCall
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.running import RunningQemu
from hpcore.qemu.runtime_directory import directory_of_a_start
from hpcore_kvm_qemu import launch
from hpcore_kvm_qemu.policy import Heard, Policy
from hpcore_kvm_qemu.wire import Seen

log = structlog.get_logger(__name__)

NOT_ENFORCED = (
    "QEMU runs without the interposer, so nobody would keep its vCPUs off; nothing of the guest "
    "has run. The loader drops LD_PRELOAD for a program that is set-uid or has file capabilities, "
    "and goes on without an object that a security module does not let it map; "
    "a static program has no loader, and a script that starts QEMU passes it to its shell alone: "
    "have HPCORE_QEMU name the program itself. QEMU: {}"
)


@frozen
class Told:
    """Who is told what becomes of a machine: see hpcore.qemu.machine.Told.

    `call` gets what the guest does. `reset` is called when the machine was reset, and is held.
    """

    call: Callable[[GuestCall], None]
    reset: Callable[[], None]
    lost: Callable[[str], None]
    shut_down: Callable[[str], None]
    reset_still: Callable[[], None] = lambda: None
    """QEMU's word for a reset. The interposer tells of each, but of those of a machine that has
    come from elsewhere and has yet to run here."""


def _drop(call: GuestCall) -> None:
    log.warning("a QEMU that waits for its machine has told of a call; dropped", call=call)


def _ignore(_why: str = "") -> None:
    """Whoever carries a machine there looks for himself what becomes of that QEMU."""


DEAF = Told(_drop, _ignore, _ignore, _ignore)
"""Of a machine that is not the session's: not yet, or not any more."""


class KvmQemuMachine(QemuMachine):
    """Made by `start` or `attach`; nothing of the guest runs before the policy lets it."""

    _ran = False

    def __init__(self, process: RunningQemu, policy: Policy, told: Told) -> None:
        super().__init__(process, told)
        self.policy = policy
        self.tell(told)

    @classmethod
    async def start(
        cls,
        config: MachineConfig,
        boot: BootFiles | None,
        qemu: Qemu,
        interposer: Path,
        told: Told,
        *,
        incoming: bool = False,
    ) -> KvmQemuMachine:
        """Start QEMU, stopped before its first instruction, and connect to it.

        With `incoming` it has no machine of its own: one is carried to it. Its directory stays
        until then. Raises QemuError and leaves nothing behind.
        """
        with directory_of_a_start() as directory:
            sockets = launch.Sockets.below(directory, incoming=incoming)
            policy = Policy(config, directory / launch.LINK)
            try:
                argv = launch.command_line(config, boot, qemu, directory, sockets)
                environment = launch.environment(interposer, directory)
                process = await QemuProcess.start(argv, directory, sockets.all(), environment)
            except BaseException:
                policy.close()
                raise
            policy.expect(process.pid)
        machine = await cls.attach(process, policy, sockets, told)
        machine.incoming = sockets.incoming
        if not incoming:
            process.remove_directory()
        return machine

    @classmethod
    async def attach(
        cls, process: RunningQemu, policy: Policy, sockets: launch.Sockets, told: Told
    ) -> KvmQemuMachine:
        """Connect to a QEMU that was started with `-S` and with the policy's environment.

        Raises QemuError where the policy is not enforced in it, and leaves nothing behind.
        """
        machine = cls(process, policy, told)
        await machine.require_enforced(sockets)
        return machine

    async def require_enforced(self, sockets: launch.Sockets) -> None:
        """Connect to QEMU. Raises QemuError as `attach`, and ends QEMU then."""
        try:
            await self.connect(sockets.qmp, sockets.console)
            self.policy.drain()
            if not self.policy.enforced:
                raise QemuError(NOT_ENFORCED.format(self.process.last_words))
        except BaseException:
            await self.close()
            raise

    @property
    def rests(self) -> bool:
        """Whether it is one that came from elsewhere, and no vCPU has come to KVM_RUN here."""
        return self.incoming is not None and not self.policy.started

    @property
    def silent(self) -> bool:
        """See QemuMachine. Here it is known: none of its vCPUs has been in KVM_RUN."""
        return not (self._ran or self.policy.has_run)

    def tell(self, told: Told) -> None:
        """Tell `told` from now on, also what the interposer says."""
        self.listen(told)
        self.policy.hear(Heard(told.call, told.reset, self._link_ended))

    def seen(self, slot: int) -> Seen:
        """What the interposer says of the vCPU, now."""
        return self.policy.seen(slot)

    def kick(self, slot: int) -> None:
        """Have the vCPU's thread look at the policy page."""
        self.policy.kick(self.process.pid, slot)

    async def close(self) -> None:
        """See QemuMachine."""
        await super().close()
        self._ran = not self.silent
        self.policy.close()

    def _qmp_event(self, name: str, data: Mapping[str, object]) -> None:
        super()._qmp_event(name, data)
        if name == "POWERDOWN":  # QEMU's own power button is in none of our tables
            self.policy.hotplug.press_power_button()

    def _link_ended(self, why: str) -> None:
        self.ended("the link to the interposer", why)
