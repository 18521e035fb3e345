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
from hpcore.model.machine import MachineConfig
from hpcore.model.topology import Topology
from hpcore.run import scenario as sc
from tests.qemu.support import needs_qemu
from tests.qtest.rehearsal import Rehearsal

CONFIG = MachineConfig(Topology.resolve(cpus=2, maxcpus=4), memory=256)
SLOTS = some.integers(0, CONFIG.possible - 1)
FEWEST_STEPS = 1_000

pytestmark = needs_qemu


class AnyOrder(RuleBasedStateMachine):
    """Commands of the user, and what a guest does of its own accord."""

    taken: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._rehearsal: Rehearsal | None = None

    @initialize(kind=some.sampled_from(KINDS))
    def boot(self, kind: str) -> None:
        self._rehearsal = Rehearsal(CONFIG, kind)
        self._run(self._rehearsal.start())

    @rule(slot=SLOTS)
    def plug(self, slot: int) -> None:
        self._take(sc.Plug(f"cpu{slot}", dict(CONFIG.topology.props(slot))))

    @rule(slot=SLOTS)
    def plug_under_another_id(self, slot: int) -> None:
        self._take(sc.Plug("other", dict(CONFIG.topology.props(slot))))

    @rule(slot=SLOTS, force=some.booleans())
    def unplug(self, slot: int, force: bool) -> None:
        id_ = self._machine.state.slots[slot].id or f"cpu{slot}"
        self._take(sc.Unplug(id_, force))

    @precondition(lambda self: self.runs)
    @rule(slot=SLOTS)
    def online(self, slot: int) -> None:
        self._take(sc.Online(slot))

    @precondition(lambda self: self.runs)
    @rule(slot=SLOTS)
    def offline(self, slot: int) -> None:
        self._take(sc.Offline(slot))

    @precondition(lambda self: self.runs)
    @rule(move=some.sampled_from(moves(CONFIG)))
    def call(self, move: Move) -> None:
        self._take(sc.Call(str(move.call), move.arguments))

    @precondition(lambda self: self.runs)
    @rule(slot=SLOTS, number=some.integers(0, 31))
    def pend(self, slot: int, number: int) -> None:
        self._run(self._machine.pend(slot, number))

    @precondition(lambda self: self.runs)
    @rule()
    def reboot(self) -> None:
        self._take(sc.Reboot())

    @rule()
    def reset(self) -> None:
        self._take(sc.Reset())

    @rule()
    def pause(self) -> None:
        self._take(sc.Pause())

    @rule()
    def resume(self) -> None:
        self._take(sc.Resume())

    @rule(dice=some.integers(0, 2))
    def migrate(self, dice: int) -> None:
        if dice == 0:  # it takes a hundred times as long as any other
            self._take(sc.Migrate())

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

    def _take(self, step: sc.Step) -> None:
        self._run(self._machine.take(step))

    def _run(self, what: Coroutine[Any, Any, object]) -> None:
        self._runner.run(what)


def test_the_model_and_qemu_agree_after_every_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcore.run.play.END_SECONDS", 20.0)
    AnyOrder.taken.clear()
    run_state_machine_as_test(
        AnyOrder, settings=settings(max_examples=30, stateful_step_count=50, deadline=None)
    )
    steps = AnyOrder.taken.total()
    with capsys.disabled():
        print(f"\n{steps} steps: {dict(AnyOrder.taken.most_common())}")
    assert steps >= FEWEST_STEPS
