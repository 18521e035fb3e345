"""*Sometimes* and *eventually*: a check that explores nothing fails, and commands end."""

from __future__ import annotations

import inspect
import sys

import attrs
import pytest

from hpcore.check.graphs import liveness
from hpcore.check.graphs.graph import explore
from hpcore.check.proof import prove
from hpcore.check.result import CheckError
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.check.world.environment import Environment, EnvironmentRefused
from hpcore.check.world.guests import GUESTS, GuestModel
from hpcore.model.stimuli import GuestSilent

ALONE = Environment(slots=2, faults=0, reset=False, migration=False, power_off=False)


@pytest.mark.parametrize("engine", ["symbolic", "explicit"])
def test_a_check_that_plugs_nothing_fails(engine: str) -> None:
    result = prove(Environment(slots=2, commands=0), engine=engine)
    assert not result.proven
    assert result.violations == ()
    assert {"a_plug_completes", "an_eject_completes"} <= set(result.missing)


def test_what_the_options_leave_out_is_not_missed() -> None:
    assert prove(ALONE).missing == ()


@pytest.mark.parametrize("guest", GUESTS.values(), ids=GUESTS)
def test_every_command_ends_under_a_fair_guest(guest: GuestModel) -> None:
    environment = Environment(slots=2, guest=guest, migration=False)
    result = prove(environment, engine="explicit")
    assert result.endless == ()


def test_without_deadlines_a_guest_may_leave_a_command_without_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(liveness.FAIR, GuestSilent)
    tables = tabulate(ALONE)
    graph = explore(tables, 10_000)
    # an unplug waits for the guest's answer, a plug for its word on the eject before
    assert liveness.endless(tables, graph) == ("plug of vCPU 1", "unplug of vCPU 1")


def test_an_accelerator_that_never_answers_leaves_commands_without_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(liveness, "FAIR", {GuestSilent: "deadline"})
    tables = tabulate(ALONE)
    graph = explore(tables, 10_000)
    assert {"plug of vCPU 1", "revoke of vCPU 1"} <= set(liveness.endless(tables, graph))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"slots": 0}, "0 slots make no machine"),
        ({"slots": 1000}, "1 to 512"),
        ({"slots": 2, "boot": 3}, "3 of 2 vCPUs cannot boot"),
        ({"slots": 2, "boot": 0}, "0 of 2"),
        ({"faults": -1}, "-1 faults"),
        ({"commands": -1}, "-1 commands"),
    ],
)
def test_an_environment_that_cannot_be_is_refused(options: dict[str, int], says: str) -> None:
    with pytest.raises(EnvironmentRefused, match=says):
        Environment(**options)  # type: ignore[arg-type]


def test_too_little_memory_is_said_before_it_starts_with_what_would_do() -> None:
    with pytest.raises(CheckError, match=r"needs about .* for 7 slots.*--engine symbolic"):
        prove(Environment(slots=7), engine="explicit")


def test_many_faults_are_tabulated_without_a_deep_stack() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        tables = tabulate(attrs.evolve(ALONE, faults=120))
    finally:
        sys.setrecursionlimit(before)
    assert {common.faults for common in tables.commons} == set(range(121))


def test_more_faults_than_there_is_memory_for_are_refused_before_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpcore.check.tabulated.tabulate.available", lambda: 2 << 30)
    with pytest.raises(CheckError, match=r"1000 faults need about 9\.8 GiB, and 2\.0 GiB are free"):
        prove(Environment(slots=2, faults=1000))


def test_without_numpy_the_explicit_engine_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [m for m in sys.modules if m.startswith("hpcore.check.explicit")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(CheckError, match=r"needs NumPy; install it with: pip install numpy, or"):
        prove(ALONE, engine="explicit")
    assert prove(ALONE, engine="symbolic").proven


def test_states_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CheckError, match="Use --engine symbolic"):
        prove(Environment(slots=40), engine="explicit")
