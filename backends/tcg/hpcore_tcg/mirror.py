"""What each slot was given and still has, so that it can be given again after a reset."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hpcore.model.effects import Step
from hpcore.model.machines import GiccState
from hpcore.model.states import State

KEPT = (Step.REALIZE, Step.BIND, Step.WIRE)
"""What stays with a slot, in order. Whether it is enabled is the core's to say anew."""

UNDOES = {Step.PARK: Step.REALIZE, Step.UNBIND: Step.BIND, Step.UNWIRE: Step.WIRE}


class SlotMirror:
    """For each slot, those steps of `KEPT` that are done and not undone."""

    def __init__(self) -> None:
        self._has: dict[int, set[Step]] = {}

    @classmethod
    def of(cls, state: State) -> SlotMirror:
        """What each slot has, as the log of a machine says that is taken up again."""
        mirror = cls()
        for index, slot in enumerate(state.slots):
            has = (slot.thread, slot.gicc is not GiccState.UNBOUND, slot.gicc is GiccState.WIRED)
            for step in (step for step, given in zip(KEPT, has, strict=True) if given):
                mirror.done(step, index)
        return mirror

    def done(self, step: Step, slot: int) -> None:
        """The monitor has answered that `step` on `slot` is done."""
        if step in KEPT:
            self._has.setdefault(slot, set()).add(step)
        elif step in UNDOES:
            self._has.setdefault(slot, set()).discard(UNDOES[step])

    def wired(self, slot: int) -> bool:
        """Whether the slot could be enabled."""
        return Step.WIRE in self._has.get(slot, ())

    def replay(self, enabled: Collection[int]) -> Iterator[tuple[Step, int]]:
        """The steps that bring every slot to where it was, those in `enabled` enabled."""
        for slot, has in sorted(self._has.items()):
            yield from ((step, slot) for step in KEPT if step in has)
            if slot in enabled:
                yield (Step.ENABLE, slot)
