"""The other half of the model: what may reach the core, and when.

An environment offers stimuli to a machine in a state: the user's commands, the guest's
calls, the outcomes of the effects under way, the clock, and the accelerator's faults. The
guests are in `guests`.

Abstracted, with the reason why nothing is lost:

* A user gives every device an id that is not in use. An id only finds its slot; that no
  two devices share one is `id_unused`, which has no effect on anything but names.
* `_OST` is evaluated with (1, 0), "I know it", (3, 0), "I have ejected it", and (3, 0x80),
  a refusal. Other refusals, and the source 0x103, do what these do; all other codes are
  logged and change nothing.
* Notes, and stimuli refused for their own content (a missing id, a wrong driver, a vCPU
  that does not exist) change nothing. That the latter are refused is asked in `check.strays`.
* CPU_ON answered by the accelerator follows what ENABLE and DISABLE told it, which is
  what the slot says: outcomes are posted before what the guest does next.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from attrs import frozen

from hpcore.check.world.conditions import ANYHOW, OWED, Need, Needs, Offer, offered
from hpcore.check.world.guests import HOSTILE, GuestModel
from hpcore.errors import HpcoreError
from hpcore.model import stimuli as st
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase
from hpcore.model.states import Shared, Slot
from hpcore.model.topology import MAX_POSSIBLE, mp_affinity

WRONG_AFFINITY = 0xBAD00
"""What GICR_TYPER says of a redistributor that is nobody's: an Aff2 that no vCPU has."""

MOST_FAULTS = 1000
"""The tables grow with each, and no order of events needs as many to show."""


class EnvironmentRefused(HpcoreError, ValueError):
    """Options that make no environment; the text says which and why."""


@frozen
class Environment:
    """What the protocol is checked against.

    `slots` possible vCPUs, `boot` of them cold-booted. `guest` runs in the machine: one of
    `guests.GUESTS`, or one of your own. `faults` is how many effects may fail, at most; a
    fault is also an outcome that nobody waits for, a GICC that is another's, and the loss
    of the accelerator. `commands` is how many commands the user has in flight at most,
    None for any number. `pause` and `power_off` let the user, and for the latter the guest,
    do so. With `power_on` the guest may as well, and the user start the machine anew after
    that, which is an end without it. With `save` the user may save the machine, and have it
    restored. `plugged` vCPUs were plugged before the boot. With `before_boot` all that may come
    before the boot comes in every order; without it a machine is booted along one way.
    """

    slots: int = 4
    boot: int = 1
    guest: GuestModel = HOSTILE
    faults: int = 1
    reset: bool = True
    migration: bool = True
    pause: bool = False
    power_off: bool = True
    power_on: bool = False
    save: bool = False
    plugged: int = 0
    before_boot: bool = False
    commands: int | None = None

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.slots <= MAX_POSSIBLE:
            raise EnvironmentRefused(
                f"{self.slots} slots make no machine; give 1 to {MAX_POSSIBLE}"
            )
        if not 1 <= self.boot <= self.slots:
            raise EnvironmentRefused(
                f"{self.boot} of {self.slots} vCPUs cannot boot; give --boot 1 to {self.slots}"
            )
        if not 0 <= self.plugged <= self.slots - self.boot:
            raise EnvironmentRefused(
                f"{self.plugged} vCPUs cannot be plugged before the boot; give --plugged 0 to "
                f"{self.slots - self.boot}"
            )
        if self.plugged and self.before_boot:
            raise EnvironmentRefused(
                "what is plugged before the boot is any number of vCPUs with before_boot; give one "
                "of the two"
            )
        if not 0 <= self.faults <= MOST_FAULTS:
            raise EnvironmentRefused(f"{self.faults} faults; give 0 to {MOST_FAULTS}")
        if self.commands is not None and self.commands < 0:
            raise EnvironmentRefused(
                f"{self.commands} commands cannot be in flight; give 0 or more"
            )

    @property
    def plain(self) -> dict[str, object]:
        """The options by name, the guest by its own."""
        return {**attrs.asdict(self, recurse=False), "guest": self.guest.name}

    # ------------------------------------------------------------- what may come

    def about_slot(
        self, index: int, slot: Slot, shared: Shared, faults: int
    ) -> Iterator[Offer]:
        """The stimuli about one slot that may come, with `faults` left."""
        yield from self._user(index, slot)
        yield from self._calls(index, slot, shared)
        yield Offer(st.GuestSilent(index))
        if slot.step is not None:
            affinity = mp_affinity(index) if slot.step is Step.BIND else None
            yield Offer(st.Done(slot.step, index, affinity))
        if faults:
            yield from self._faults(index, slot)

    def about_machine(self, shared: Shared, faults: int) -> Iterator[Offer]:
        """The stimuli about no slot that may come, with `faults` left."""
        yield Offer(st.Boot())
        if self.reset:
            yield Offer(st.Reset())
            yield Offer(st.ResetSeen())
        yield from self._carriers(shared)
        if self.pause:
            yield Offer(st.Pause())
        if self.pause or self.power_on:
            yield Offer(st.Resume())
        if self.power_on and not self.reset:
            yield from self._resets_of_what_is_off(shared)
        if self.power_off:
            yield Offer(st.PowerDown())
        if self.power_off or self.power_on:
            yield Offer(st.PowerOffSeen())
        for call in self.guest.machine_calls(shared):
            if hasattr(call, "slot"):
                raise EnvironmentRefused(f"{self.guest.name}: {call} belongs in `calls`")
            yield from offered(call)
        if shared.step is not None and shared.step is not MachineStep.RESET:
            yield from offered(st.MachineDone(shared.step))
        if faults:
            yield Offer(st.Lost("the accelerator is gone"), fault=1)
            if shared.step is not None:
                yield Offer(st.MachineFailed(shared.step), fault=1)

    def _carriers(self, shared: Shared) -> Iterator[Offer]:
        if self.migration:
            yield from offered(st.Migrate())
        if self.save:
            yield from offered(st.Save())
            if shared.step is MachineStep.SAVE:
                yield Offer(st.Restored())

    def _resets_of_what_is_off(self, shared: Shared) -> Iterator[Offer]:
        if shared.phase is Phase.OFF:
            yield Offer(st.Reset())
            if shared.step is MachineStep.RESET:
                yield Offer(st.ResetSeen())

    def over(self, shared: Shared) -> bool:
        """Whether nothing can happen to the machine any more."""
        return shared.ended or (shared.phase is Phase.OFF and not self.power_on)

    def _calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[Offer]:
        if slot.registered and not self.guest.reads_registered:
            slot = attrs.evolve(slot, registered=False)
        for call in self.guest.calls(index, slot, shared):
            if getattr(call, "slot", None) != index:
                raise EnvironmentRefused(f"{self.guest.name}: {call} is no call for vCPU {index}")
            yield Offer(call)

    def _user(self, index: int, slot: Slot) -> Iterator[Offer]:
        needs: Needs = ANYHOW
        if self.commands is not None and self.commands < self.slots:
            if self.commands == 0:
                return
            needs = (Need(OWED, most=self.commands - 1),)
        unused = f"cpu{index}" if slot.id != f"cpu{index}" else f"cpu{index}b"
        yield Offer(st.DeviceAdd(unused, (("core-id", index),)), needs)
        if slot.id is not None:
            yield Offer(st.DeviceDel(slot.id), needs)
            yield Offer(st.DeviceDel(slot.id, force=True), needs)

    def _faults(self, index: int, slot: Slot) -> Iterator[Offer]:
        if slot.step is not None:
            yield Offer(st.Failed(slot.step, index), fault=1)
        if slot.step is Step.BIND:
            yield Offer(st.Done(Step.BIND, index, WRONG_AFFINITY), fault=1)
        for stray in (Step.ENABLE, Step.PARK):
            if slot.step is not stray:
                yield Offer(st.Done(stray, index), fault=1)
