"""Each rule that can be switched off is asked: without it, something is decided otherwise."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from hpcore.model.guards import SWITCHES
from hpcore.model.rules import RULES, Habit
from tests.model.drawn import about, answer, states

MOST = 3000


@pytest.mark.parametrize("name", [*SWITCHES, *map(str, Habit)])
def test_without_a_rule_something_is_decided_otherwise(name: str) -> None:
    random, without = Random(0), RULES.without(name)
    assert any(
        answer(state, stimulus, RULES) != answer(state, stimulus, without)
        for state in islice(states(random), MOST)
        for stimulus in about(state, random)
    )
