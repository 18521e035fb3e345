"""What an accelerator is to the core: capabilities, and a session that executes effects.

A distribution offers one by naming a class in the entry-point group
`hpcore.accelerators`. The class takes no arguments and has the shape of
`Accelerator`; nothing in hpcore imports it by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from attrs import field, frozen, mutable

from hpcore.errors import HpcoreError
from hpcore.guest.played.answers import Answers, said
from hpcore.guest.protocol import Guest
from hpcore.model.config import MachineConfig
from hpcore.model.effects import OTHERS_STEPS, Effect
from hpcore.model.rules import Rules, Trait
from hpcore.model.states import State
from hpcore.model.stimuli import Stimulus

Report = Callable[[Stimulus], None]
"""How a session tells the core what happened. Safe to call from any thread."""


class EffectError(HpcoreError):
    """An effect failed and left nothing behind. The text says what, where and what to do."""


class AcceleratorError(HpcoreError):
    """The accelerator cannot be used, or is gone. The text says why and what to do."""


class MachineGone(AcceleratorError):
    """A machine that was to outlive hpcore has ended while nobody had it."""


NO_GUEST = "there is no guest to start: the session was opened without one"
NEVER_WIRED = "vCPU {} is to be enabled and was never wired"
"""What every session says to a START or a RESTART that it cannot carry out."""

ENDS_WITH_HPCORE = "its machines end with hpcore"


NOT_SAVED = "it does not say how a machine of its is saved"
"""What an accelerator says of a save where it says nothing."""

_OWN_ALONE = "it was built for hpcore's own protocol, and does not know it"
OWN_PROTOCOL_ALONE: Mapping[str, str] = {
    str(name): _OWN_ALONE for name in (*sorted(OTHERS_STEPS), *Trait)
    if name not in (Trait.NO_FORCE, Trait.NO_DEADLINE)
}  # fmt: skip
"""What an accelerator lacks that says nothing of other protocols. Two traits are the core's."""


@frozen
class Capabilities:
    """What an accelerator can do on this machine.

    `unavailable` is None where it can run, or else the reason and the remedy. `no_hotplug`
    likewise gives the reason why possible vCPUs are capped to those present, `no_migration` and
    `no_save` why a machine is neither carried elsewhere nor saved and restored, and `no_keep` why
    none outlives hpcore: where that is None, the accelerator is a `Keeper`.

    `modelled` maps what the accelerator cannot do for real to the reason, and the protocol goes
    on without it. With `plays_guest` it runs no guest code: it takes a `GuestScript`, and its
    sessions have a `played` guest.

    `lacks` maps what it cannot do of other protocols than hpcore's own to the reason: a step
    (hpcore.model.effects.OTHERS_STEPS) or a trait (hpcore.model.rules.Trait) by its name. A
    run by a protocol that has one is refused before it starts.

    `differs` maps what its logs may say otherwise than those of other accelerators to the
    reason: an event of hpcore.model.events by its name in a log, or one of its fields, as
    in `cpu_on_granted` and `step_done.affinity`. `hpcore diff` does not compare these.
    It, `modelled` and `versions` go into the log's header.
    """

    unavailable: str | None = None
    no_hotplug: str | None = None
    no_migration: str | None = None
    no_save: str | None = NOT_SAVED
    no_keep: str | None = ENDS_WITH_HPCORE
    max_vcpus: int = 512
    plays_guest: bool = False
    modelled: Mapping[str, str] = field(factory=dict)
    differs: Mapping[str, str] = field(factory=dict)
    versions: Mapping[str, str] = field(factory=dict)
    lacks: Mapping[str, str] = field(factory=lambda: dict(OWN_PROTOCOL_ALONE))


@frozen
class GuestImages:
    """What boots: a kernel Image, an initramfs and the kernel's command line.

    Without `shell` nothing is asked of the guest but what its kernel does by itself: it has
    no shell on its console, or none that hpcore shall use.
    """

    kernel: Path
    initrd: Path
    append: str = ""
    shell: bool = True


@frozen
class GuestScript:
    """A guest that is played: how it behaves, and its kernel's command line.

    `kind` is a name of `hpcore.guest.played`; `append` is read for what a kernel would
    heed there, such as `maxcpus=`. `answers` are given to notifications in place of the
    kernel's own.
    """

    kind: str = "linux"
    append: str = ""
    answers: Answers = field(factory=dict)

    def __str__(self) -> str:
        chosen = f"; {said(self.answers)}" if self.answers else ""
        return f"{self.kind} (played{chosen})"


@frozen
class Stream:
    """A part of a file: the machine's memory and devices, in the accelerator's own form."""

    file: Path
    offset: int
    size: int


@frozen
class Belongings:
    """What a machine is beyond its log, as a session gives it to be saved.

    `facts` are the accelerator's own: versions, digests, numbers. `files` are small ones, by
    their names.
    """

    facts: Mapping[str, str]
    files: Mapping[str, bytes] = field(factory=dict)


class Writes(Protocol):
    """Where a machine's stream is appended; it may be used in any one thread."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Append all of `data`. Raises OSError where that cannot be."""


Keep = Callable[[Belongings], Awaitable[Writes]]
"""Awaited by a session that is being saved, once its machine stands still and all that this has
said is reported. Returns the file to which the machine's stream is appended."""


class Console(Protocol):
    """The guest's serial console, as bytes."""

    def write(self, data: bytes) -> None:
        """Send `data` to the guest; never blocks."""

    async def read(self) -> bytes:
        """What the guest has printed since the last call; b"" once the machine is gone."""


class Session(Protocol):
    """One machine of an accelerator, from creation to its end."""

    @property
    def console(self) -> Console | None:
        """The guest's console, once CREATE_VCPUS is done; None where no guest code runs."""

    @property
    def played(self) -> Guest | None:
        """The guest that the session plays, once CREATE_VCPUS is done; None where one runs."""

    @property
    def process_id(self) -> int | None:
        """The process that runs the guest, for measurements; None where there is none."""

    async def execute(self, effect: Effect) -> int | None:
        """Carry `effect` out, and return when it is done.

        Returns GICR_TYPER's affinity for Step.BIND, otherwise None. Raises EffectError
        when the effect failed and left nothing behind, AcceleratorError when the machine
        is lost. Effects on different slots may be under way together. After a reset the
        session answers the notifications that were under way as done, without repeating
        them, and repeats every other unanswered step once RESTART has run.

        RESET is taken in a pause, too, and once the guest has powered the machine off, which
        is no loss. The reset is reported at once then; RESTART comes after RESUME.
        """

    async def close(self) -> None:
        """End the machine and everything started for it. May be called more than once."""


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@mutable
class TakenUp:
    """What was found as a machine was taken up again.

    `events` of the guest and `answers` to effects came while nobody heard them; `repeated` are
    the requests that had never arrived.
    """

    events: int = 0
    answers: int = 0
    repeated: int = 0

    def __str__(self) -> str:
        return (
            f"{_many(self.events, 'event')} and {_many(self.answers, 'answer')} were missed, "
            f"{_many(self.repeated, 'request')} sent again"
        )


@frozen
class Kept:
    """A machine that outlived the hpcore that had it, as its log leaves it.

    `place` is the directory where it lives, and `heard` how far it had been heard, a number of
    the accelerator's own.
    """

    place: Path
    state: State
    heard: int


class KeptSession(Session, Protocol):
    """A session whose machine may outlive hpcore, even by a `kill -9`.

    The death of hpcore loses nothing: what the machine says is kept until somebody attaches.
    """

    @property
    def place(self) -> Path:
        """Where the machine lives: a directory of its own, by which it is found again."""

    @property
    def heard(self) -> int:
        """How far the machine has been heard.

        Each report has this number move on in the same turn of the event loop, and so has the
        end of each `execute` that would be heard again otherwise. A decision is logged with the
        number that its stimulus was posted at.
        """

    def logged(self, heard: int) -> None:
        """All that was heard up to `heard` is in the log: nobody will ask for it again."""

    @property
    def printed_before(self) -> bytes:
        """The end of what the guest had printed when this session was attached; else nothing."""

    async def take_up(self) -> None:
        """Let the attached machine go on, and report what was missed, in order.

        Called once, when every effect that the log has as under way has been begun again by
        `execute`: its answer may be in what was missed. What never arrived is done now.
        """

    async def taken_up(self) -> TakenUp:
        """Wait until nothing is left of what was missed; in a pause, until that is all told."""

    async def arrive(self) -> None:
        """Have the machine come that was saved, of a session of `Keeper.keep_restored`.

        It stands still then. Raises AcceleratorError where something does not fit; the session is
        to be closed then.
        """

    async def leave(self) -> None:
        """Let go of the machine, which goes on. `close` ends it."""


class Accelerator(Protocol):
    """A way to run a machine."""

    def probe(self) -> Capabilities:
        """What can run here, and why not. Starts nothing and takes under a second."""

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> Session:
        """A session for `machine`, nothing started yet: CREATE_VCPUS does that.

        Raises AcceleratorError where the machine or the guest cannot run here, before
        anything is created.
        """


@runtime_checkable
class SavableSession(Session, Protocol):
    """A session whose machine can be saved: of an accelerator without `no_save`."""

    async def save(self, keep: Keep) -> None:
        """SAVE: write the machine's state, and return when it goes on as it went before.

        The machine stands still meanwhile; see `Keep`. Nothing is pending by then: what waited
        for an answer has it. Raises EffectError where that failed, and the machine goes on, or
        where it cannot be saved; AcceleratorError when the machine is lost.
        """


@runtime_checkable
class RestoringAccelerator(Accelerator, Protocol):
    """An accelerator without `no_save`: it takes up again what its sessions have saved."""

    async def restore(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> Session:
        """A session of the machine that a session of this accelerator has saved.

        The machine stands still: RESUME lets it go on. `state` is what its log had come to by
        then: slots, ids, what is cold-booted or plugged, what is owed. Several may be restored
        from one stream. Raises AcceleratorError where something does not fit, and leaves
        nothing behind.
        """


@runtime_checkable
class RuledAccelerator(Accelerator, Protocol):
    """An accelerator that itself does otherwise by a trait of other protocols.

    Its `lacks` leaves that trait out. So it has to know the rules: which vCPU a guest's tables have
    as one that can go, what is realized when, when a vCPU has a thread.
    """

    def by(self, rules: Rules) -> Accelerator:
        """This accelerator, for machines that are run by `rules`."""


class Keeper(Accelerator, Protocol):
    """An accelerator whose machines may outlive hpcore: its `no_keep` is None."""

    async def keep(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> KeptSession:
        """As `open`, and the machine may outlive hpcore."""

    async def attach(self, kept: Kept, report: Report) -> KeptSession:
        """The session of a machine that was kept; nothing is reported before its `take_up`.

        Raises MachineGone where it has ended, AcceleratorError where it can't be reached.
        """

    async def keep_restored(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> KeptSession:
        """As `RestoringAccelerator.restore`, and the machine may outlive hpcore.

        Nothing is started before `KeptSession.arrive`: the machine's log says by then where it
        will be found. Raises AcceleratorError, also where a kept machine can't be restored.
        """
