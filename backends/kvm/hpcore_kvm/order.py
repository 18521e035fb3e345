"""The second lock on the door: what each vCPU has, and which step may come next.

The core keeps the order. A step that is out of it is refused here as well, so that a
broken core, or a counterexample that is executed, meets a locked door rather than KVM.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from hpcore.model.effects import Step
from hpcore.model.machines import GiccState, SlotState
from hpcore.model.states import Slot
from hpcore.run.accelerator import EffectError


@define
class SlotParts:
    """What the vCPU of one slot has."""

    cold: bool = False
    realized: bool = False
    bound: bool = False
    wired: bool = False
    enabled: bool = False
    thread: bool = False
    mapped: bool = False

    @classmethod
    def of(cls, slot: Slot) -> SlotParts:
        """What the log of a machine that is taken up again says of a slot."""
        return cls(
            cold=slot.cold,
            realized=slot.lifecycle is not SlotState.PARKED,
            bound=slot.gicc is not GiccState.UNBOUND,
            wired=slot.gicc is GiccState.WIRED,
            enabled=slot.enabled,
            thread=slot.thread,
            mapped=slot.space,
        )


Rule = tuple[Callable[[SlotParts, bool], bool], str]
"""What must hold, given the slot and whether its vCPU is on; and what to say otherwise."""

_NOT_COLD: Rule = (
    lambda s, on: not s.cold, "the vCPU was cold-booted, and so stays for the machine's life"
)  # fmt: skip
_REALIZED: Rule = (
    lambda s, on: s.realized, "the vCPU is parked; it must be realized first"
)  # fmt: skip
_BOUND: Rule = (
    lambda s, on: s.bound, "the CPU interface is not bound; it must be bound first"
)  # fmt: skip
_WIRED: Rule = (
    lambda s, on: s.wired, "the CPU interface is not wired; it must be wired first"
)  # fmt: skip
_ENABLED: Rule = (
    lambda s, on: s.enabled, "the vCPU is not enabled; it must be enabled first"
)  # fmt: skip
_NOT_REALIZED: Rule = (lambda s, on: not s.realized, "the vCPU is realized already")
_NOT_BOUND: Rule = (lambda s, on: not s.bound, "the CPU interface is still bound")
_NOT_WIRED: Rule = (lambda s, on: not s.wired, "the CPU interface is still wired")
_NOT_ENABLED: Rule = (
    lambda s, on: not s.enabled, "the vCPU is still enabled; it must be disabled first"
)  # fmt: skip
_OFF: Rule = (lambda s, on: not on, "the vCPU is still powered on")
_THREAD: Rule = (lambda s, on: s.thread, "the vCPU has no thread any more")
_NO_THREAD: Rule = (lambda s, on: not s.thread, "the vCPU's thread is not stopped")
_NOT_MAPPED: Rule = (lambda s, on: not s.mapped, "the vCPU's address space is not released")

PRECONDITIONS: dict[Step, tuple[Rule, ...]] = {
    Step.REALIZE: (_NOT_REALIZED,),
    Step.BIND: (_REALIZED, _NOT_BOUND, _THREAD),
    Step.WIRE: (_BOUND, _NOT_WIRED),
    Step.ENABLE: (_WIRED, _NOT_ENABLED),
    Step.NOTIFY_INSERT: (_ENABLED,),
    Step.NOTIFY_REMOVE: (_NOT_COLD, _ENABLED),
    # also after an eject, which has taken the enabled bit already
    Step.DISABLE: (_NOT_COLD, _REALIZED),
    Step.POWER_OFF: (_NOT_COLD, _REALIZED, _NOT_ENABLED, _THREAD),
    Step.UNWIRE: (_WIRED, _NOT_ENABLED, _OFF),
    Step.UNBIND: (_BOUND, _NOT_WIRED),
    Step.STOP: (_THREAD, _NOT_ENABLED, _NOT_BOUND, _OFF),
    Step.RELEASE: (_REALIZED, _NOT_BOUND, _NO_THREAD),
    Step.PARK: (_NOT_COLD, _REALIZED, _NOT_BOUND, _NO_THREAD, _NOT_MAPPED),
}

_DEFERRED: dict[Step, tuple[Rule, ...]] = {**PRECONDITIONS, Step.BIND: (_REALIZED, _NOT_BOUND)}
"""The same where a vCPU's thread comes by its first CPU_ON."""

_BECOMES: dict[Step, dict[str, bool]] = {
    Step.REALIZE: {"realized": True, "thread": True, "mapped": True},
    Step.BIND: {"bound": True},
    Step.WIRE: {"wired": True},
    Step.ENABLE: {"enabled": True},
    Step.DISABLE: {"enabled": False},
    Step.UNWIRE: {"wired": False},
    Step.UNBIND: {"bound": False},
    Step.STOP: {"thread": False},
    Step.RELEASE: {"mapped": False},
    Step.PARK: {"realized": False},
}


@define
class Order:
    """The slots of one machine."""

    slots: list[SlotParts] = field(factory=list)
    deferred: bool = False
    """Whether a vCPU has no thread before its first CPU_ON."""

    def check(self, step: Step, slot: int, on: bool) -> None:
        """Raises EffectError where `step` may not come now; `on` is whether the vCPU is."""
        if not 0 <= slot < len(self.slots):
            raise EffectError(f"there is no vCPU {slot}; the machine has {len(self.slots)}")
        for holds, says in (_DEFERRED if self.deferred else PRECONDITIONS)[step]:
            if not holds(self.slots[slot], on):
                raise EffectError(f"{step.name} of vCPU {slot} is refused: {says}")

    def done(self, step: Step, slot: int) -> None:
        """`step` is done."""
        for name, value in _BECOMES.get(step, {}).items():
            setattr(self.slots[slot], name, value)
        if step is Step.REALIZE and self.deferred:
            self.slots[slot].thread = False

    def may_run(self, slot: int) -> bool:
        """Whether a CPU_ON of vCPU `slot` can be granted: it has a thread, or may get one now."""
        has = self.slots[slot]
        return has.thread or (self.deferred and has.wired)

    def runs(self, slot: int) -> None:
        """vCPU `slot` was powered on, and so has a thread."""
        self.slots[slot].thread = True
