"""Any order of commands and guest's calls: the model and a real GICv3 agree after each step."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hpcore.guest.played import KINDS
from hpcore.guest.played.hostile import Move, moves
from hpcore.model.config import MachineConfig
from hpcore.scenario import values as sc
from tests.qemu.support import needs_qemu
from tests.qtest.rehearsal import Rehearsal

CONFIG = MachineConfig.of(cpus=2, maxcpus=4, memory=256)
SLOTS = some.sampled_from((2, 3, 2, 3, 1, 0))
"""Cold-booted ones less often: with them nearly everything is refused."""
ANSWERING = tuple(kind for kind in KINDS if kind != "silent")
"""The guests that end what they are asked for; with a silent one a machine does not settle."""
COMMANDS = ("plug", "plug", "plug", "plug under another id", "unplug", "unplug", "force")

pytestmark = needs_qemu


class AnyOrder(RuleBasedStateMachine):
    """Commands of the user, and what a guest does of its own accord."""

    taken: ClassVar[Counter[str]] = Counter()
    machines: ClassVar[type[Rehearsal]] = Rehearsal

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._rehearsal: Rehearsal | None = None

    @initialize(kind=some.sampled_from(ANSWERING))
    def boot(self, kind: str) -> None:
        self._rehearsal = self.machines(CONFIG, kind)
        self._run(self._rehearsal.start())

    @precondition(lambda self: self.runs)
    @rule(what=some.sampled_from(("online", "online", "offline")), slot=SLOTS)
    def power(self, what: str, slot: int) -> None:
        self._take(self._step(what, slot))

    @precondition(lambda self: self.runs)
    @rule(what=some.sampled_from(COMMANDS), slot=SLOTS)
    def vcpu(self, what: str, slot: int) -> None:
        self._take(self._step(what, slot))

    @precondition(lambda self: not self.runs)
    @rule(what=some.sampled_from(COMMANDS), slot=SLOTS)
    def vcpu_while_paused(self, what: str, slot: int) -> None:
        self._take(self._step(what, slot))

    @precondition(lambda self: self.runs)
    @rule(move=some.sampled_from(moves(CONFIG)))
    def call(self, move: Move) -> None:
        self._take(sc.CallStep(str(move.call), move.arguments))

    @precondition(lambda self: self.runs)
    @rule(slot=SLOTS, number=some.integers(0, 31))
    def pend(self, slot: int, number: int) -> None:
        self._run(self._machine.pend(slot, number))

    @precondition(lambda self: self.runs)
    @rule(what=some.sampled_from((sc.PauseStep(), sc.MigrateStep(), sc.ResumeStep())))
    def change_the_machine(self, what: sc.ScenarioStep) -> None:
        self._take(what)

    @precondition(lambda self: self.runs)
    @rule(what=some.sampled_from((sc.ResetStep(), sc.RebootStep())))
    def restart(self, what: sc.ScenarioStep) -> None:
        self._take(what)

    @precondition(lambda self: not self.runs)
    @rule(what=some.sampled_from((
        sc.ResumeStep(), sc.ResumeStep(), sc.MigrateStep(), sc.ResetStep(), sc.PauseStep(),
    )))  # fmt: skip
    def change_the_paused_machine(self, what: sc.ScenarioStep) -> None:
        self._take(what)

    def teardown(self) -> None:
        try:
            if self._rehearsal is not None:
                self._run(self._rehearsal.close())
                self.taken.update(self._rehearsal.taken)
        finally:
            self._runner.close()

    @property
    def runs(self) -> bool:
        """Whether the guest's time passes."""
        return self._rehearsal is not None and not self._machine.state.shared.paused

    @property
    def _machine(self) -> Rehearsal:
        assert self._rehearsal is not None
        return self._rehearsal

    def _step(self, what: str, slot: int) -> sc.ScenarioStep:
        id_ = self._machine.state.slots[slot].id or f"cpu{slot}"
        match what:
            case "plug":
                return sc.PlugStep(f"cpu{slot}", dict(CONFIG.topology.props(slot)))
            case "plug under another id":
                return sc.PlugStep("other", dict(CONFIG.topology.props(slot)))
            case "online":
                return sc.OnlineStep(slot)
            case "offline":
                return sc.OfflineStep(slot)
        return sc.UnplugStep(id_, force=what == "force")

    def _take(self, step: sc.ScenarioStep) -> None:
        self._run(self._machine.take(step))

    def _run(self, what: Coroutine[Any, Any, object]) -> None:
        self._runner.run(what)


def play(machine: type[AnyOrder], examples: int, steps: int, fewest: int) -> None:
    """Have hypothesis play `examples` of up to `steps` steps, and again below `fewest` in all.

    How long each example is, is hypothesis's choice.
    """
    machine.taken.clear()
    chosen = settings(max_examples=examples, stateful_step_count=steps)
    while (before := machine.taken.total()) < fewest:
        run_state_machine_as_test(machine, settings=chosen)
        assert machine.taken.total() > before, "no step was taken"


def test_the_model_and_qemu_agree_after_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    play(AnyOrder, examples=40, steps=50, fewest=1_000)
    with capsys.disabled():
        print(f"\n{AnyOrder.taken.total()} steps: {dict(AnyOrder.taken.most_common())}")
