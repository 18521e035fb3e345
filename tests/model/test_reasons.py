"""Every refusal is given for a reason with a name, a text and what QMP makes of it."""

from __future__ import annotations

from random import Random

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.guards import GUARDS, REASONS, QmpErrorClass
from hpcore.model.invariants import BY_NAME
from hpcore.model.states import initial
from tests.support.world import World


def refusals_of(decisions: list[tuple[ev.Event, ...]]) -> list[ev.Refused | ev.EjectRefused]:
    return [
        event for events in decisions for event in events
        if isinstance(event, ev.Refused | ev.EjectRefused)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_refused_has_a_named_reason(seed: int) -> None:
    world, random = World(), Random(seed)
    for _ in range(300):
        world.random_move(random)
    state, decisions = initial(world.config), []
    for stimulus in world.log:
        decision = decide(state, stimulus)  # type: ignore[arg-type]
        decisions.append(decision.events)
        state = decision.state
    refusals = refusals_of(decisions)
    assert refusals
    for refusal in refusals:
        assert refusal.guard in REASONS
        assert "{" not in refusal.message


BOOTED = World().boot().state
BEING_MADE = decide(initial(World().config), st.Boot()).state
COMMANDS_ON_THE_MACHINE = (st.Boot(), st.Resume(), st.Reset(), st.Pause(), st.Migrate())


@pytest.mark.parametrize("command", COMMANDS_ON_THE_MACHINE, ids=lambda c: type(c).__name__)
def test_a_refused_command_on_the_machine_names_no_vcpu(command: st.Stimulus) -> None:
    before_boot = initial(World().config)
    state = before_boot if isinstance(command, st.Resume) else BEING_MADE
    (refused,) = decide(state, command).events
    assert isinstance(refused, ev.Refused)
    assert refused.slot is None


def test_a_guest_that_is_not_there_names_no_vcpu_unless_it_means_one() -> None:
    before_boot = initial(World().config)
    (scan,) = decide(before_boot, st.ScanStarted()).events
    (ost,) = decide(before_boot, st.OstReported(2, 1, 0)).events
    assert isinstance(scan, ev.Refused) and scan.slot is None
    assert isinstance(ost, ev.Refused) and ost.slot == 2


def test_a_refused_plug_names_the_vcpu_that_it_is_about() -> None:
    (refused,) = decide(BOOTED, st.DeviceAdd("again", (("core-id", 1),))).events
    assert isinstance(refused, ev.Refused)
    assert (refused.guard, refused.slot) == ("slot_vacant", 1)


def test_qmp_is_told_that_a_device_is_not_there_and_that_all_else_is_generic() -> None:
    not_generic = {r.name for r in REASONS.values() if r.qmp_class is not QmpErrorClass.GENERIC}
    assert not_generic == {"device_exists"}
    (refused,) = decide(BOOTED, st.DeviceDel("nobody")).events
    assert isinstance(refused, ev.Refused)
    assert REASONS[refused.guard].qmp_class == "DeviceNotFound"


def test_a_guard_keeps_an_invariant_that_there_is() -> None:
    for reason in REASONS.values():
        assert reason.keeps is None or reason.keeps in BY_NAME, reason.name
    assert all(guard.keeps is not None for guard in GUARDS.values())
