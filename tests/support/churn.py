"""Long logs of machines that are used at random, by the real rules or by wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import cast

from hpcore.log import Header, LogWriter, Sync
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.events import Event, Noted
from hpcore.model.fold import steps
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Violation
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import Owed, State, initial
from hpcore.model.topology import mp_affinity

Decided = tuple[st.Stimulus, tuple[Event, ...]]
SECONDS = 0.001
"""Between two decisions of a written log."""
AFTER = 5
"""Decisions that follow the one that broke something, as in the log of a run that goes on."""


class Churn:
    """A machine whose user plugs and unplugs all the time. `broken` is what broke by the fold.

    The accelerator does what it is told, but for a few failures; the guest does what Linux
    does, most of the time.
    """

    def __init__(
        self, seed: int, rules: Rules = RULES, cpus: int = 2, maxcpus: int = 6,
        faults: float = 0.002, odd: float = 0.03,
    ) -> None:  # fmt: skip
        self.random = Random(seed)
        self.rules, self.faults, self.odd = rules, faults, odd
        self.config = MachineConfig.of(cpus=cpus, maxcpus=maxcpus)
        self.state: State = initial(self.config)
        self.folded = self.state
        """By the real rules; wrong ones may have led elsewhere."""
        self._seen = False  # whether the accelerator has yet to say that it has reset the machine
        self.effects: list[RunStep | RunMachineStep] = []
        self.broken: Violation | None = None

    def decided(self) -> Iterator[Decided]:
        """Decisions without end, unless the machine ends or something has been broken."""
        first: st.Stimulus = st.Boot()
        while not self.state.shared.ended and self.broken is None:
            try:
                decision = decide(self.state, first, self.rules)
            except IllegalTransition as error:  # what wrong rules come to
                yield first, self._folded(cast("tuple[Event, ...]", error.events))
                return
            if decision.events:
                yield first, self._folded(decision.events)
            self.state = decision.state
            for effect in decision.effects:
                if isinstance(effect, RunStep | RunMachineStep):
                    self.effects.append(effect)
            first = self._next()

    def _folded(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """`events`, once they are held against the invariants, as a replay of the log will."""
        for folded in steps(self.folded, events):
            self.folded, self.broken = folded.after, folded.violation
        return events

    def _next(self) -> st.Stimulus:
        if self._seen:
            self._seen = False
            return st.ResetSeen()
        if self.state.shared.paused and self.random.random() < 0.3:
            return st.Resume()
        if self.effects and self.random.random() < 0.7:
            return self._outcome(self.effects.pop(0))
        if self.random.random() < self.odd:
            return self.random.choice(tuple(self._odd()))
        for _ in range(10):
            usual = self._usual(self.random.randrange(self.config.possible))
            if usual is not None:
                return usual
        return self._outcome(self.effects.pop(0)) if self.effects else st.Note("nothing to do")

    def _outcome(self, effect: RunStep | RunMachineStep) -> st.Stimulus:
        if isinstance(effect, RunMachineStep):
            if effect.step is MachineStep.RESET:
                self._seen = True
            return st.MachineDone(effect.step)
        cold = self.state.slots[effect.slot].cold  # whose failure is the machine's end
        if not cold and self.random.random() < self.faults:
            return st.Failed(effect.step, effect.slot, "injected")
        affinity = mp_affinity(effect.slot) if effect.step is Step.BIND else None
        return st.Done(effect.step, effect.slot, affinity)

    def _usual(self, i: int) -> st.Stimulus | None:
        """What user and guest do next about vCPU `i`, as its state has it."""
        slot, shared = self.state.slots[i], self.state.shared
        if shared.scanning:
            if slot.insert:
                return st.InsertAcked(i)
            return st.RemoveAcked(i) if slot.remove else st.ScanEnded()
        if shared.ged and self.random.random() < 0.5:
            return st.ScanStarted()
        if slot.unconfirmed:
            return st.OstReported(i, 3, 0)
        if slot.requested and not slot.remove:
            return st.CpuOffSeen(i) if slot.powered else st.EjectCalled(i)
        if slot.enabled and not slot.registered and not slot.insert:
            return st.OstReported(i, 1, 0)
        if slot.enabled and not slot.powered:
            return st.CpuOnCalled(i, caller=0) if shared.guest_runs and not shared.paused else None
        if slot.cold or slot.command is not Owed.NONE:
            return None
        if slot.id is None:
            return st.DeviceAdd(f"core{i}", (("core-id", i),))
        return st.DeviceDel(slot.id)

    def _odd(self) -> Iterator[st.Stimulus]:
        """What does not come in the usual course of things."""
        i = self.random.randrange(self.config.possible)
        slot = self.state.slots[i]
        yield st.DeviceAdd(f"other{i}", (("core-id", i),))
        yield st.DeviceDel(slot.id or "nobody", force=self.random.random() < 0.3)
        yield st.EjectCalled(i)
        yield st.CpuOffSeen(i) if i else st.Note("the boot vCPU stays on")
        yield st.CpuOnCalled(i, caller=0)
        yield st.OstReported(i, 3, 0x80)
        yield st.GuestSilent(i)
        yield st.ScanStarted()
        yield st.InsertAcked(i)
        yield st.RemoveAcked(i)
        yield st.Pause()
        yield st.Resume()
        yield st.Reset()
        yield st.Migrate()


def churned(path: Path, churn: Churn, events: int, rules: str = "hpcore's") -> int:
    """Write what `churn` does until it has `events` events, or has broken something.

    Returns how many events were written.
    """
    header = Header(churn.config, "paper", versions={"rules": rules})
    written = n = 0
    with LogWriter.create(path, header, sync=Sync.BUFFERED, overwrite=True) as log:
        for n, (stimulus, told) in enumerate(churn.decided()):
            log.append(told, n * SECONDS, stimulus)
            written += len(told)
            if written >= events:
                break
        if churn.broken is not None:
            for _ in range(AFTER):  # a decision counts as whole once another one follows it
                log.append((Noted("later"),), n * SECONDS, st.Note("later"))
    return written
