"""A machine that lives: what a scenario, a test, or any other front drives.

    async with open_machine(find("tcg"), MachineConfig.of(2, 4), guest, log="run.jsonl") as m:
        await m.boot()
        await m.plug("core2", core_id=2)
        await m.guest.online(2)
        await m.unplug("core2")

Several commands may be under way at once, on different slots, from one task or many; the
core refuses those that exclude each other. All is for one event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from os import PathLike, fspath
from typing import TypeVar, overload

from hpcore.guest.protocol import Guest
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.plain import plain_props
from hpcore.model.states import State
from hpcore.run.commands import (
    Accepted,
    Asked,
    Ends,
    MachineCommand,
    NeverRegistered,
    Plug,
    Unplug,
    begun_by,
)
from hpcore.run.console import ConsoleWatch, Printed
from hpcore.run.controller import Controller, Watcher
from hpcore.run.courses import OnTheMachine
from hpcore.run.deadlines import Patience
from hpcore.run.guest import MetGuest
from hpcore.run.kept_controller import KeptController
from hpcore.run.rest import at_rest, takes_commands
from hpcore.run.scale import Scaler
from hpcore.run.scale_plan import Scaled
from hpcore.run.view import SlotView, view, view_of
from hpcore.run.waiting import unless_ended
from hpcore.run.watchers import Watchers

T = TypeVar("T")


class LiveMachine:
    """One machine, driven through its controller, which is entered and left elsewhere.

    `open_machine` makes one that is ready to boot. A command raises CommandRefused where it
    is refused, CommandFailed where it was accepted and fails, and RunError where the machine
    has ended or nothing is heard within the `patience`.
    """

    def __init__(
        self,
        controller: Controller,
        printed: Printed = lambda _data: None,
        *,
        shell: bool = True,
        last_seq: int = 0,
    ) -> None:
        self.last_seq = last_seq
        """The number that the last event has in the log."""
        self._c, self._watch = controller, ConsoleWatch(controller, printed)
        self._guest = MetGuest(controller, self._watch, shell=shell)
        self._ends = Ends()
        self._scaler = Scaler(self)
        self._watchers = Watchers()
        controller.watchers.append(self._follow)

    # --------------------------------------------------------------- what it is

    @property
    def state(self) -> State:
        """The model's state, as the fold of all events."""
        return self._c.state

    @property
    def config(self) -> MachineConfig:
        """The machine as it runs, which may be capped to what the accelerator can do."""
        return self.state.config

    @property
    def slots(self) -> tuple[SlotView, ...]:
        """Every possible vCPU, as it is now."""
        return view(self.state)

    def slot(self, cpu: int | str) -> SlotView:
        """The vCPU with that index, or plugged under that id. Raises RunError for none."""
        return view_of(self.state, cpu)

    @property
    def guest(self) -> Guest:
        """The guest, once `boot` or `guest_ready` has met it. Raises RunError before."""
        return self._guest.there

    @property
    def at_rest(self) -> bool:
        """Whether nothing is owed nor under way, and a played guest has nothing to do.

        In a pause: whether all has been decided that was told. What is owed waits then.
        What a hostile guest owes is not waited for, since it may never give it.
        """
        return at_rest(self._c, self._guest.met)

    @property
    def failure(self) -> BaseException | None:
        """What ended the run where that was no event: a full disk, or a fault of hpcore."""
        return self._c.failure

    @property
    def patience(self) -> Patience:
        """How long it waits for whom."""
        return self._c.patience

    @property
    def is_kept(self) -> bool:
        """Whether the machine goes on when it is left now."""
        return isinstance(self._c, KeptController) and self._c.is_kept

    def end_when_left(self) -> None:
        """End the machine when it is left, though it may outlive hpcore."""
        if isinstance(self._c, KeptController):
            self._c.ends = True

    def why_ended(self) -> str:
        """Why the machine has ended."""
        return self._c.why_ended()

    async def over(self) -> None:
        """Wait until nothing can come of it any more. One that is off can be started anew."""
        await self._c.over()

    # ------------------------------------------------------------- what happens

    def subscribe(self, watcher: Watcher) -> Callable[[], None]:
        """Have `watcher` called with every event and the state after it, from here on.

        Returns what ends that. The watcher is called in the event loop, in the order of the
        log, once the event is in it; it must not block. One that raises is told nothing
        more, and the machine goes on.
        """
        return self._watchers.add(watcher)

    def give_up(self, why: str) -> None:
        """End the machine, for a reason that whoever waits for it is told."""
        self._c.give_up(why)

    def note(self, text: str) -> None:
        """Write words into the log that change nothing."""
        self._c.post(stimuli.Note(text))

    async def until(
        self, holds: Callable[[State], bool], waiting_for: str, seconds: float | None = None
    ) -> None:
        """Wait until the state is as `holds` wants it, as long as a command's end may take.

        Raises RunError when that takes longer, or the machine ends first.
        """
        limit = self.patience.end if seconds is None else seconds
        await self._c.until(holds, limit, waiting_for)

    async def ended(self) -> str:
        """Wait until the machine has ended, or is off, by whomever; returns why."""
        await self._c.ended()
        return self.why_ended()

    async def unless_ended(self, work: Awaitable[T]) -> T:
        """Do `work`, and return what it gives, but wait for no guest beyond the machine's end.

        Raises RunError, with why the machine has ended, where `work` does not end by itself.
        """
        return await unless_ended(self._c, work)

    # ----------------------------------------------------------------- commands

    @overload
    async def begin(self, command: stimuli.DeviceAdd) -> Plug: ...
    @overload
    async def begin(self, command: stimuli.DeviceDel) -> Unplug: ...
    @overload
    async def begin(self, command: OnTheMachine) -> MachineCommand: ...

    async def begin(
        self, command: stimuli.DeviceAdd | stimuli.DeviceDel | OnTheMachine
    ) -> Accepted:
        """Give a command and return once it is accepted; what this gives can be awaited.

        For whoever answers at acceptance, and tells the end as an event. Those who subscribe
        may be told of later events before this returns. A command on the whole machine that is
        given during its boot, a reset, or while it is paused or resumed is put to the machine
        once that has ended. Raises CommandRefused.
        """
        if isinstance(command, OnTheMachine) and not takes_commands(self.state):
            await self._c.until(takes_commands, self.patience.machine, "the end of the reset")
        boots = isinstance(command, stimuli.Boot)
        asked = Asked(self._c, self.patience.boot if boots else self.patience.end)
        begun: list[Accepted] = []

        def accepted(events: tuple[ev.Event, ...]) -> None:
            begun.append(begun_by(asked, command, events))
            self._ends.add(begun[0])

        await self._c.submit(command, accepted)
        return begun[0]

    async def start(self) -> None:
        """Create the machine and start it; returns once vCPU 0 runs."""
        await (await self.begin(stimuli.Boot())).ended()

    async def boot(self) -> None:
        """Create the machine, start it, and wait until its guest has booted.

        A guest without a shell is not waited for: vCPU 0 runs, and that is all that is known.
        """
        await self.start()
        await self.guest_ready()

    async def guest_ready(self) -> None:
        """Wait until the guest has booted, where there is one; from then on it is `guest`.

        A guest that is no played one has hpcore's init, or one that does what that does; if
        it has been opened without a shell, this returns at once.
        """
        await self._guest.ready()

    async def plug(
        self,
        id_: str,
        /,
        props: Mapping[str, object] | None = None,
        *,
        driver: str | None = None,
        **ids: int,
    ) -> Plug:
        """Plug the vCPU that the props name, and wait until the guest has registered it.

        The props are those of `device_add`, such as `{"core-id": 2}`, or `core_id=2`. In a
        pause it waits no longer than until the command is accepted. Raises NeverRegistered
        where the vCPU is plugged, but the guest can't use it; see `require_known`.
        """
        given = {**(props or {}), **{name.replace("_", "-"): n for name, n in ids.items()}}
        plug = await self.begin(stimuli.DeviceAdd(id_, plain_props(given.items()), driver))
        if await plug.registered():
            await self.require_known(plug.slot)
        return plug

    async def require_known(self, cpu: int) -> None:
        """Raise NeverRegistered where the guest said that it knows vCPU `cpu`, and does not.

        Linux answers a device check with success although its kernel has no place for the
        vCPU (`nr_cpus=`, `nosmp`), or is older than 6.11 and knows no hotplug of vCPUs. What
        the guest shows of its CPUs tells; where it has no shell, nothing does.
        """
        for why in (await self.unknown_to_guest([cpu])).values():
            raise NeverRegistered(why)

    async def unknown_to_guest(self, cpus: Iterable[int]) -> dict[int, str]:
        """Those of `cpus` that the guest said it knows, and does not, each with the reason."""
        return await self._guest.unknown(cpus)

    async def unplug(self, id_: str, *, force: bool = False) -> Unplug:
        """Have the vCPU `id_` given back, or take it by `force`; wait until it is parked.

        In a pause it waits no longer than until the command is accepted.
        """
        unplug = await self.begin(stimuli.DeviceDel(id_, force))
        await unplug.ended()
        return unplug

    async def scale(self, to: int, *, undo: bool = False, waits: bool = True) -> Scaled:
        """Have `to` vCPUs enabled, by plugs or unplugs, and wait for their ends.

        Plugs the lowest free slots, under the ids that `free_id` gives, and unplugs the
        highest plugged ones, never a cold-booted one. Returns what was done. What others
        have begun counts as done, and of several targets the last one asked for is reached.
        In a pause, and without `waits`, it waits until all that it asks for is accepted.

        Raises ScaleRefused, before anything is done, for a target that the machine can't
        have; ScaleFailed where it was not reached. With `undo` what was done by then is
        taken back.
        """
        return await self._scaler.scale(to, undo=undo, waits=waits)

    async def reset(self) -> None:
        """Reset the machine, and wait until its guest has booted again, as `boot` does.

        In a pause, and of a machine that is off: its guest boots once it is resumed.
        """
        since = self._guest.times_ready
        await (await self.begin(stimuli.Reset())).ended()
        if not self.state.shared.paused:
            await self._guest.ready_again(since)

    async def pause(self) -> None:
        """Stop the machine's time."""
        await (await self.begin(stimuli.Pause())).ended()

    async def resume(self) -> None:
        """Let the machine go on."""
        await (await self.begin(stimuli.Resume())).ended()

    async def migrate(self) -> None:
        """Carry the machine elsewhere."""
        await (await self.begin(stimuli.Migrate())).ended()

    async def save(self, file: str | PathLike[str]) -> None:
        """Write the machine's state to `file`, and its log with it; it goes on here afterwards.

        The guest stands still meanwhile. Nothing is left in `file`'s place where that fails, and
        the machine goes on, too. `hpcore.run.saving.restore_machine` takes it up again.
        """
        await (await self.begin(stimuli.Save(fspath(file)))).ended()

    def meet_again(self) -> None:
        """Have the `guest` of a machine that was restored, without waiting for its boot."""
        self._watch.begin()  # one that is kept came after its log said `restored`
        self._guest.again()

    async def power_off(self) -> None:
        """Have the guest power the machine off, and wait for the machine's end."""
        await self.guest.power_off()
        await self.until(lambda s: s.shared.halted, "the machine's end")

    async def power_down(self) -> None:
        """End the machine from outside, whatever its guest does, and wait for its end."""
        await self._c.submit(stimuli.PowerDown())
        await self.until(lambda s: s.shared.ended, "the machine's end")

    async def console_read(self) -> None:
        """Wait until all that the guest printed has been read, once the machine has ended."""
        await self._watch.ended()

    def attached(self, printed_before: bytes) -> None:
        """The machine was taken up again, and its guest had printed that already."""
        self._watch.attached(printed_before)
        self._guest.attached = True

    def _follow(self, event: ev.Event, state: State) -> None:
        self.last_seq += 1
        self._watch.follow(event, state)
        self._ends.follow(event)
        self._watchers.tell(event, state)
