"""Target counts as values: the changes that lead to one, and what was done for it.

What is owed counts as done: a slot that is being plugged is there, one that is being
unplugged is not.
"""

from __future__ import annotations

from attrs import frozen

from hpcore.model.machines import Phase, SlotState
from hpcore.model.states import Owed, Slot, State


@frozen
class Change:
    """A vCPU that is plugged, or else unplugged."""

    slot: int
    id: str
    plugs: bool

    @property
    def reverse(self) -> Change:
        """What takes it back."""
        return Change(self.slot, self.id, not self.plugs)

    def __str__(self) -> str:
        return f"{'plug' if self.plugs else 'unplug'} {self.id}"


@frozen
class Scaled:
    """What was done for a target count, in the order in which it was begun.

    `done` has ended. `pending` is accepted, and ends when the machine runs again, or was not
    to be waited for. The others are for a target that was not reached: what failed, with
    the reason, what was not begun, and with `undo` what was taken back and what was not.
    """

    to: int
    enabled: int
    done: tuple[Change, ...] = ()
    pending: tuple[Change, ...] = ()
    why: str | None = None
    """Why the target was not reached; None where it was, or will be."""
    failed: tuple[tuple[Change, str], ...] = ()
    not_begun: tuple[Change, ...] = ()
    undone: tuple[Change, ...] = ()
    not_undone: tuple[tuple[Change, str], ...] = ()

    @property
    def plugged(self) -> tuple[str, ...]:
        """The ids of what was plugged, from the lowest slot up."""
        done = sorted(self.done, key=lambda change: change.slot)
        return tuple(change.id for change in done if change.plugs)

    @property
    def unplugged(self) -> tuple[str, ...]:
        """The ids of what was unplugged, from the highest slot down."""
        done = sorted(self.done, key=lambda change: -change.slot)
        return tuple(change.id for change in done if not change.plugs)

    def __str__(self) -> str:
        return self._reached() if self.why is None else self._not_reached(self.why)

    def _reached(self) -> str:
        if parts := self._parts():
            return "; ".join(parts)
        if self.enabled == self.to:
            return f"{_vcpus(self.to)} enabled already"
        return f"nothing more to begin; {_vcpus(self.enabled)} enabled now"

    def _not_reached(self, why: str) -> str:
        sentences = [f"{why}. Done: {'; '.join(self._parts()) or 'nothing'}"]
        for word, changes in (
            ("Failed", [change for change, _ in self.failed]),
            ("Not begun", self.not_begun),
            ("Taken back", self.undone),
            ("Not taken back", [change for change, _ in self.not_undone]),
        ):
            if changes:
                sentences.append(f"{word}: {', '.join(map(str, changes))}")
        if reasons := dict.fromkeys(why for _, why in self.not_undone):
            sentences[-1] += f" ({'; '.join(reasons)})"
        return f"scale to {self.to}: {'. '.join(sentences)}. {_vcpus(self.enabled)} enabled now"

    def _parts(self) -> list[str]:
        words = (
            ("plugged", self.plugged), ("unplugged", self.unplugged),
            ("accepted:", tuple(map(str, self.pending))),
        )  # fmt: skip
        return [f"{word} {', '.join(named)}" for word, named in words if named]


def will_be_enabled(slot: Slot) -> bool:
    """Whether the slot is enabled, once all that it owes is done."""
    if slot.command in (Owed.PLUG, Owed.COLD_BOOT):
        return True
    if slot.command in (Owed.UNPLUG, Owed.REVOKE):
        return False
    return slot.lifecycle in (SlotState.ENABLED, SlotState.ONLINE)


def will_be_free(slot: Slot) -> bool:
    """Whether a vCPU can be plugged there, once all that the slot owes is done.

    It cannot where an eject came to a halt by a failed step; `device_del` retries that.
    """
    halted = slot.lifecycle is not SlotState.PARKED and idle(slot)
    return not will_be_enabled(slot) and not halted


def count(state: State) -> int:
    """How many vCPUs are enabled, once all that is owed is done."""
    return sum(map(will_be_enabled, state.slots))


def not_to_be_had(state: State, to: int) -> str | None:
    """Why a machine that has not ended cannot have the count `to`; None where it can."""
    if state.shared.phase not in (Phase.RUNNING, Phase.RESETTING):
        return f"scale to {to}: the machine is {state.shared.phase}; boot it first"
    cold, possible = state.config.topology.cpus, state.config.possible
    if not cold <= to <= possible:
        return (
            f"scale to {to}: this machine can have {cold} to {possible} vCPUs enabled: "
            f"{cold} are cold-booted and stay, {possible} are possible"
        )
    return None


def plan(state: State, to: int) -> tuple[Change, ...]:
    """What brings the count to `to`: plugs of the lowest slots, or unplugs of the highest.

    Which slots these are does not depend on how far anything is that is under way.
    """
    return tuple(_change(state, index) for index in _slots_to_change(state, to))


def next_change(state: State, to: int) -> Change | None:
    """The first change of the plan whose slot owes nothing, so that it can be begun now."""
    ready = (index for index in _slots_to_change(state, to) if idle(state.slots[index]))
    index = next(ready, None)
    return None if index is None else _change(state, index)


def _slots_to_change(state: State, to: int) -> list[int]:
    surplus = count(state) - to
    if surplus <= 0:
        return [i for i, slot in enumerate(state.slots) if will_be_free(slot)][:-surplus]
    plugged = [i for i, s in enumerate(state.slots) if will_be_enabled(s) and not s.cold]
    return plugged[: -surplus - 1 : -1]


def _change(state: State, index: int) -> Change:
    slot = state.slots[index]
    if will_be_enabled(slot):
        return Change(index, slot.id or "", False)
    return Change(index, free_id(state, index), True)


def free_id(state: State, index: int) -> str:
    """An id for the vCPU `index` that no other has: `cpuN`, or `cpuN-2`, `cpuN-3`, ..."""
    used = {slot.id for i, slot in enumerate(state.slots) if i != index}
    id_, n = f"cpu{index}", 1
    while id_ in used:
        n += 1
        id_ = f"cpu{index}-{n}"
    return id_


def idle(slot: Slot) -> bool:
    """Whether the slot owes no command an end, nor a step its outcome."""
    return slot.command is Owed.NONE and slot.step is None


def _vcpus(many: int) -> str:
    return f"{many} vCPU is" if many == 1 else f"{many} vCPUs are"
