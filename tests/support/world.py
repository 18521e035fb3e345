"""Everything outside the core, as unkind as it gets: a hostile guest, a faulty accelerator.

A `World` holds a machine under some rules and knows what may reach it next. Hypothesis
draws from `moves`, a mutation test walks them at random; both check every invariant
after every event.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import Decision, decide
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.fold import steps
from hpcore.model.invariants import HELD
from hpcore.model.machines import IllegalTransition, Phase
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State, initial
from hpcore.model.topology import mp_affinity

RARE = (st.Boot, st.Note, st.PowerOffSeen)
"""What comes seldom on a walk: it would end, or change nothing, too often."""
OST_STATUSES = (0x0, 0x80, 0x82, 0x84, 0x7FFF)


class InvariantBroken(AssertionError):
    """The protocol let something through."""


class World:
    """A machine of 2 boot vCPUs and 4 possible ones, and all that can befall it."""

    def __init__(self, rules: Rules = RULES, cpus: int = 2, maxcpus: int = 4) -> None:
        self.rules = rules
        self.config = MachineConfig.of(cpus=cpus, maxcpus=maxcpus)
        self.state: State = initial(self.config)
        self.steps: list[RunStep] = []
        self.machine_steps: list[RunMachineStep] = []
        self.policy: set[int] = set()  # what the accelerator was told to grant
        self.log: list[object] = []

    def feed(self, stimulus: st.Stimulus) -> None:
        """Let `stimulus` reach the core; check whatever it does."""
        self.log.append(stimulus)
        before = self.state
        try:
            decision = decide(before, stimulus, self.rules)
        except IllegalTransition as error:
            raise InvariantBroken(f"transition: {error}") from error
        for folded in steps(before, decision.events, self.rules):
            if (found := folded.violation) is not None:
                raise InvariantBroken(f"{found.invariant} of slot {found.slot}")
            before = folded.after
        assert before == decision.state, "the state is not the fold of the events"
        if (found := HELD.of_decision(
            self.state, stimulus, decision.events, decision.effects, decision.state
        )) is not None:  # fmt: skip
            raise InvariantBroken(f"{found.invariant} of slot {found.slot}")
        self.go_on(decision)

    def go_on(self, decision: Decision) -> None:
        """Be where `decision` leads to, with its effects under way."""
        self.state = decision.state
        for effect in decision.effects:
            if isinstance(effect, RunStep):
                self.steps.append(effect)
            elif isinstance(effect, RunMachineStep):
                self.machine_steps.append(effect)

    def boot(self) -> World:
        """Start the machine with an accelerator that does what it is told."""
        self.feed(st.Boot())
        while self.steps or self.machine_steps:
            self.finish_one()
        return self

    def finish_one(self) -> None:
        """Let the oldest effect under way succeed."""
        if self.steps:
            self.outcome(self.steps[0], ok=True)
        else:
            self.machine_outcome(self.machine_steps[0], ok=True)

    def outcome(self, effect: RunStep, *, ok: bool, affinity: int | None = None) -> None:
        """A slot's step under way ends."""
        self.steps.remove(effect)
        if not ok:
            self.feed(st.Failed(effect.step, effect.slot, "injected"))
            return
        if effect.step is Step.ENABLE:
            self.policy.add(effect.slot)
        if effect.step is Step.DISABLE:
            self.policy.discard(effect.slot)
        if effect.step is Step.BIND and affinity is None:
            affinity = mp_affinity(effect.slot)
        self.feed(st.Done(effect.step, effect.slot, affinity))

    def machine_outcome(self, effect: RunMachineStep, *, ok: bool) -> None:
        """A step of the machine under way ends."""
        self.machine_steps.remove(effect)
        self.feed(st.MachineDone(effect.step) if ok else st.MachineFailed(effect.step, "injected"))
        if ok and effect.step is MachineStep.RESET:
            self.feed(st.ResetSeen())

    def random_move(self, random: Random) -> None:
        """Make one move: half of them let effects succeed, or nothing would ever get far.

        Of the rest every kind is as likely as any other. A machine that waits for its user
        finds one who has it go on.
        """
        shared = self.state.shared
        if (shared.paused or shared.phase is Phase.DEFINED) and random.random() < 0.1:
            self.feed(random.choice((st.Boot(), st.Reset(), st.Resume(), st.Resume())))
            return
        under_way = self.steps or self.machine_steps
        if under_way and random.random() < 0.5:
            self.finish_one()
            return
        kinds: dict[object, list[tuple[str, tuple[object, ...]]]] = {}
        for name, args in self.moves():
            kind: object = (name, type(args[0])) if name == "feed" else name
            if name == "feed" and isinstance(args[0], RARE):
                kind = RARE
            kinds.setdefault(kind, []).append((name, args))
        name, args = random.choice(random.choice(list(kinds.values())))
        self.call(name, *args)

    def call(self, name: str, *args: object) -> None:
        """A move by name: how the tests write down what to do."""
        getattr(self, name)(*args)

    def moves(self) -> Sequence[tuple[str, tuple[object, ...]]]:
        """What may happen next, as (method, arguments)."""
        out: list[tuple[str, tuple[object, ...]]] = []
        for effect in self.steps:
            out += [("succeed", (effect,))] * 3 + [("fail", (effect,))]
            if effect.step is Step.BIND:
                out.append(("misbind", (effect,)))
        for whole in self.machine_steps:
            out += [("machine_succeed", (whole,))] * 3
            if whole.step in (MachineStep.PAUSE, MachineStep.RESUME, MachineStep.MIGRATE):
                out.append(("machine_fail", (whole,)))
        n = self.config.possible
        for i in range(n):
            out += [("feed", (s,)) for s in self._about(i)]
            out.append(("cpu_on_by_policy", (i,)))
        for s in (
            st.ScanStarted(), st.ScanEnded(), st.ResetSeen(), st.Reset(), st.Pause(),
            st.Resume(), st.Migrate(), st.Boot(), st.Note("x"), st.EjectCalled(n + 3),
            st.CpuOnCalled(-1), st.OstReported(9999, 3, 0x82), st.PowerOffSeen(),
            st.DeviceAdd("", ()), st.DeviceAdd("z", (("core-id", n),)), st.DeviceDel("nope"),
        ):  # fmt: skip
            out.append(("feed", (s,)))
        return out

    def _about(self, i: int) -> Sequence[st.Stimulus]:
        id_ = self.state.slots[i].id or f"core{i}"
        return (
            st.DeviceAdd(id_, (("core-id", i),)), st.DeviceAdd("shared", (("core-id", i),)),
            st.DeviceDel(id_), st.DeviceDel(id_), st.DeviceDel(id_, force=True),
            st.InsertAcked(i), st.RemoveAcked(i), st.RemoveAcked(i),
            st.EjectCalled(i), st.EjectCalled(i), st.CpuOnCalled(i), st.CpuOffSeen(i),
            st.CpuOffSeen(i), st.GuestSilent(i), st.OstReported(i, 1, 0),
            *(st.OstReported(i, 3, status) for status in OST_STATUSES),
            st.Done(Step.ENABLE, i), st.Done(Step.PARK, i), st.Failed(Step.STOP, i),
        )  # fmt: skip

    def succeed(self, effect: RunStep) -> None:
        self.outcome(effect, ok=True)

    def fail(self, effect: RunStep) -> None:
        self.outcome(effect, ok=False)

    def misbind(self, effect: RunStep) -> None:
        self.outcome(effect, ok=True, affinity=0xBAD)

    def machine_succeed(self, effect: RunMachineStep) -> None:
        self.machine_outcome(effect, ok=True)

    def machine_fail(self, effect: RunMachineStep) -> None:
        self.machine_outcome(effect, ok=False)

    def cpu_on_by_policy(self, slot: int) -> None:
        """A CPU_ON that the accelerator answers itself, as it was told to, if a guest runs."""
        shared, on = self.state.shared, self.state.slots[slot].powered
        if not on and shared.guest_runs:
            self.feed(st.CpuOnCalled(slot, verdict=slot in self.policy))
