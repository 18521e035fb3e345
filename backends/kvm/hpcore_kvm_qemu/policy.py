"""hpcore's side of the interposer in one QEMU: the policy page, the registers, the socket.

It hands on what the guest does, in the order in which the interposer has said it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
from collections.abc import Callable
from pathlib import Path

import structlog
from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.psci import PsciStatus
from hpcore.model.states import State
from hpcore.model.stimuli import CpuOffSeen, CpuOnCalled, EjectCalled, GuestCall
from hpcore.model.topology import index_of
from hpcore.platform import virt
from hpcore.platform.firmware import QEMU_KVM_REGISTERS
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore_kvm_qemu.again import Again
from hpcore_kvm_qemu.journal import MACHINE, Beginning, Journal
from hpcore_kvm_qemu.link import Listener, PolicyLink, Said
from hpcore_kvm_qemu.page import PolicyPage
from hpcore_kvm_qemu.wire import Message, Seen

log = structlog.get_logger(__name__)

FIRST_SPI = 32
"""The INTID of the first shared interrupt."""

_libc = ctypes.CDLL(None, use_errno=True)


@frozen
class Heard:
    """Who is told what the interposer says.

    `call` gets what the guest does. `reset` is called when the machine was reset, and is held.
    `ended` gets the reason, once, when the link is of no use any more.
    """

    call: Callable[[GuestCall], None]
    reset: Callable[[], None]
    ended: Callable[[str], None]


class Policy:
    """Made before its QEMU is, since the interposer greets it before QEMU's main() runs; or of
    a QEMU that was kept, by `again`.

    A vCPU is granted as long as its `_STA` says that it is enabled: `show` has the page follow.
    """

    def __init__(
        self,
        config: MachineConfig,
        socket: Path | None,
        *,
        kept: bool = False,
        again: Again | None = None,
    ) -> None:
        """Listens at `socket`. Raises QemuError where it cannot.

        With `kept` QEMU outlives hpcore, and the page has a journal. With `again` it is one that
        did, and there is nothing to listen for.
        """
        self._possible = config.possible
        self.hotplug = HotplugDevice(
            config, self._guest_call, self._raise_ged, base=QEMU_KVM_REGISTERS.base
        )
        spi = virt.ACPI_GED_GSI - FIRST_SPI
        listener = None if socket is None else Listener(socket)
        if again is None:
            self.page = PolicyPage.make(config.possible, spi, self.hotplug.regions, kept=kept)
        else:
            self.page = again.page
        self._journal = Journal(self.page) if kept else None
        self._catching_up = again is not None
        self.resets = 0
        """How often the started machine was reset, as far as that has been heard."""
        self.show(0)
        self._link = PolicyLink(listener, self.page.fd, self._said, self._link_ended)
        if again is not None:
            self._link.resume(again.sock, again.event)
        self._heard: Heard | None = None
        self._ended_before: str | None = None
        self._vms: dict[int, set[int]] = {}  # by descriptor: the vCPUs of each that has the filter
        self._started = again is not None
        self._news = asyncio.Event()

    @classmethod
    def again(cls, state: State, back: Again, begins: Beginning) -> Policy:
        """Of a machine that was kept, as `state` says, where `begins` is what it stands behind.

        Until `caught_up` nothing is granted that was not, and what was missed is taken in by
        `take_in`.
        """
        policy = cls(state.config, None, kept=True, again=back)
        policy._journal = Journal(policy.page, begins)
        policy.resets = begins.resets
        policy.hotplug.stand(state, begins.cursor)
        return policy

    def take_in(self, said: Said, *, answer: bool) -> None:
        """A message that was missed, as if it came now; `answer` it where that is waited for."""
        value = self._said(said)
        if answer:
            self._link.answer(said.kind, value)

    def caught_up(self) -> None:
        """Nothing is left of what was missed: grant by `_STA`, and take what comes by the link."""
        self._catching_up = False
        self.show_all()
        self._link.go()

    def did(self, step: Step | MachineStep, slot: int = MACHINE) -> None:
        """`step` is done from here on: for an hpcore that comes back, where one may."""
        if self._journal is not None:
            self._journal.step(step, slot)

    def let_run(self) -> None:
        """Let the machine run as it is since the reset that was heard of last."""
        self.page.let_run(self.resets)

    def hold(self) -> None:
        """Take that back of a machine that has yet to start: of one that was reset before."""
        self.page.hold()

    def take_after(self, here: Policy) -> None:
        """The machine of `here`, which stands still, is to come to this QEMU: what the guest meets
        of hpcore, and what is granted. QEMU's load of a vCPU that is on needs its grant."""
        self.hotplug.load(here.hotplug.saved())
        self.comes()

    def comes(self) -> None:
        """The registers are those of a machine that is to come to this QEMU: grant by them.

        The interrupt of an event that the guest has not taken is raised once more: the one that
        was raised before may not have been in the VGIC when the machine left. It waits in the
        eventfd until KVM is told of that.
        """
        self.show_all()
        if self.hotplug.ged_events:
            self._raise_ged()

    def expect(self, pid: int) -> None:
        """QEMU is, or will be, this process: no other is taken for it."""
        self._link.expect(pid)

    def hear(self, heard: Heard) -> None:
        """Have `heard` told from now on. Nothing of the guest has run yet."""
        self._heard = heard
        if self._ended_before is not None:
            heard.ended(self._ended_before)

    def drain(self) -> None:
        """Take all that the interposer has said so far."""
        self._link.drain()

    @property
    def enforced(self) -> bool:
        """Whether the interposer is in QEMU, and has all vCPUs of a VM with the filter."""
        return self._link.greeted and set(range(self._possible)) in self._vms.values()

    @property
    def started(self) -> bool:
        """Whether a vCPU has come to its first KVM_RUN, and the machine has hpcore's consent."""
        return self._started

    @property
    def has_run(self) -> bool:
        """Whether any vCPU was ever in KVM_RUN. The page must not be closed yet."""
        return not self.page.closed and any(
            self.seen(slot).runs for slot in range(self._possible)
        )

    @property
    def ready(self) -> bool:
        """Whether all vCPUs have come to their first KVM_RUN, where they are held."""
        return self._started and all(self.seen(n).tid for n in range(self._possible))

    def seen(self, slot: int) -> Seen:
        """What the interposer says of the vCPU, now."""
        return self.page.seen(slot)

    def show(self, slot: int) -> None:
        """Let CPU_ON follow what `_STA` of the vCPU says: one rule, for whoever changed it.

        vCPU 0 is granted always. QEMU makes it powered, before any step of it is taken, and what
        is not granted then is kept off; until the machine may run it is held like the others.
        """
        granted = slot == 0 or self.hotplug.enabled(slot)
        if not (granted and self._catching_up):  # what is not taken in yet may revoke it
            self.page.grant(slot, granted)

    def show_all(self) -> None:
        """As `show`, of every vCPU."""
        for slot in range(self._possible):
            self.show(slot)

    def kick(self, pid: int, slot: int) -> None:
        """Have the vCPU's thread in QEMU, process `pid`, look at the page.

        By QEMU's own signal, which takes it out of KVM_RUN.
        """
        tid = self.seen(slot).tid
        # What the page says comes from QEMU's process, which could name any thread of the host:
        # tgkill(2) signals those of that process alone.
        if tid:
            _libc.tgkill(pid, tid, signal.SIGUSR1)

    async def news(self, seconds: float) -> None:
        """Wait until the interposer has said something that is no call, but not longer."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    def wake(self) -> None:
        """Have whoever waits for news look again."""
        self._news.set()

    def close(self) -> None:
        """Leave the interposer alone: it grants nothing from then on. Idempotent."""
        self._link.close()
        self.page.close()

    # ------------------------------------------------------------- what the interposer says

    def _said(self, said: Said) -> int:
        if self._journal is None:
            return self._do(said)
        self._journal.next()
        value = self._do(said)
        self._journal.done(self.resets, self.hotplug.cursor)
        return value

    def _do(self, said: Said) -> int:
        match said.kind:
            case Message.READ:
                return self.hotplug.read(said.a, said.b)
            case Message.WRITE:
                self.hotplug.write(said.a, said.b, said.c)
            case Message.CPU_ON:
                self._cpu_on(said)
            case Message.CPU_OFF:
                self._tell(CpuOffSeen(said.vcpu))
            case Message.RESET:
                self.resets = said.a
                self._count()
                if self._heard is not None:
                    self._heard.reset()
            case Message.VM:
                self._vms[said.a] = set()  # the descriptor of a VM that is closed is used again
            case Message.VCPU:
                self._vms.get(said.a, set()).add(said.vcpu)
            case Message.START:
                self._started = said.c == self._possible and self._heard is not None
                self._news.set()
                return int(self._started)
            case _:
                log.debug("the interposer said", kind=said.kind.name, vcpu=said.vcpu, a=said.a)
                self._news.set()
        return 0

    def _cpu_on(self, said: Said) -> None:
        """What the page did not decide (a vCPU that is on, or that there is none) is no news."""
        slot = index_of(said.a, self._possible)
        status = ctypes.c_int64(said.d).value
        if slot is not None and status in (PsciStatus.SUCCESS, PsciStatus.DENIED):
            granted = status == PsciStatus.SUCCESS
            self._tell(CpuOnCalled(slot, said.vcpu, said.b, said.c, verdict=granted))

    def _guest_call(self, call: GuestCall) -> None:
        if isinstance(call, EjectCalled):
            self.show(call.slot)  # before the guest's store is answered
        self._tell(call)

    def _count(self) -> None:
        """A report comes of what is being heard."""
        if self._journal is not None:
            self._journal.reports += 1

    def _tell(self, call: GuestCall) -> None:
        self._count()
        if self._heard is not None:
            self._heard.call(call)

    def _raise_ged(self) -> None:
        self._link.raise_interrupt()

    def _link_ended(self, why: str) -> None:
        self._ended_before = why
        self._news.set()
        if self._heard is not None:
            self._heard.ended(why)
