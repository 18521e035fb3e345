"""A CPU_ON that the accelerator granted by itself, where the core would not have."""

from __future__ import annotations

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from tests.model.test_decide import plugged, running
from tests.support.world import World

GRANTED = st.CpuOnCalled(2, 1, 0x40, 7, verdict=True)


def taken(*, on: bool, disabled: bool = False) -> World:
    """A machine whose vCPU 2, on or off, is being taken by force."""
    world = plugged()
    if on:
        world.feed(st.CpuOnCalled(2))
    world.feed(st.DeviceDel("core2", force=True))
    if disabled:
        world.finish_one()
    return world


def test_a_grant_to_a_vcpu_that_is_off_and_not_yet_disabled_is_legitimate() -> None:
    assert decide(taken(on=False).state, GRANTED).events == (
        ev.CpuOnGranted(2, 1, 0x40, 7, delegated=True),
    )


@pytest.mark.parametrize(
    ("world", "rule", "why"),
    [
        (taken(on=True), "cpu_on_enabled", "vCPU 2 is ejecting, not enabled"),
        (taken(on=False, disabled=True), "cpu_on_enabled", "vCPU 2 is ejecting, not enabled"),
        (running(), "cpu_on_enabled", "vCPU 2 is parked, not enabled"),
    ],
)
def test_any_other_grant_against_a_rule_is_the_machines_end(
    world: World, rule: str, why: str
) -> None:
    lost = decide(world.state, GRANTED).events[-1]
    assert lost == ev.MachineLost(
        f"the accelerator granted CPU_ON of vCPU 2 against the rule '{rule}': {why}"
    )


def test_a_grant_of_a_vcpu_that_is_on_is_the_machines_end() -> None:
    world = plugged()
    world.feed(st.CpuOnCalled(2))
    assert decide(world.state, GRANTED).events == (
        ev.MachineLost(
            "the accelerator granted CPU_ON of vCPU 2 against the rule 'cpu_on_while_off': "
            "vCPU 2 is on"
        ),
    )


@pytest.mark.parametrize("verdict", [True, None])
def test_what_the_core_grants_says_whether_the_accelerator_has_done_so(
    verdict: bool | None,
) -> None:
    (granted,) = decide(plugged().state, st.CpuOnCalled(2, 1, 0x40, 7, verdict)).events
    assert granted == ev.CpuOnGranted(2, 1, 0x40, 7, delegated=verdict is not None)


def test_what_the_accelerator_has_denied_is_denied() -> None:
    (denied,) = decide(plugged().state, st.CpuOnCalled(2, 1, verdict=False)).events
    assert denied == ev.CpuOnDenied(2, 1, -3, delegated=True)
