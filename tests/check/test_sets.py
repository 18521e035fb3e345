"""Sets of states, as diagrams and as tables, against Python's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from hpcore.check.explicit.hashset import StateSet
from hpcore.check.symbolic.diagram import EMPTY, Diagrams
from hpcore.check.tabulated.transforms import Transforms

WIDTHS = (2, 3, 3)
states = some.tuples(*(some.integers(0, w - 1) for w in WIDTHS), some.integers(0, 5))
sets = some.sets(states, max_size=12)


def diagram_of(diagrams: Diagrams, of: set[tuple[int, ...]]) -> int:
    root = EMPTY
    for state in of:
        root = diagrams.union(root, diagrams.single(state))
    return root


@given(sets, sets)
def test_a_diagram_is_a_set(a: set[tuple[int, ...]], b: set[tuple[int, ...]]) -> None:
    diagrams = Diagrams(WIDTHS)
    one, other = diagram_of(diagrams, a), diagram_of(diagrams, b)
    both = diagrams.union(one, other)
    assert diagrams.count(both) == len(a | b)
    assert both == diagram_of(diagrams, a | b), "equal sets are one node"
    assert all(diagrams.has(both, state) for state in a | b)
    assert not any(diagrams.has(one, state) for state in b - a)


@given(sets, states)
def test_a_diagram_knows_what_is_under_which_words(
    a: set[tuple[int, ...]], at: tuple[int, ...]
) -> None:
    diagrams = Diagrams(WIDTHS)
    root = diagram_of(diagrams, a)
    commons = diagrams.commons_of(root)
    for level in range(len(WIDTHS)):
        wanted = {state[-1] for state in a if state[level] == at[level]}
        mask = commons[level][at[level]]
        assert {w for w in range(6) if mask >> w & 1} == wanted


@given(sets, some.integers(0, 3), some.integers(0, 3))
def test_a_diagram_finds_a_state_with_a_count(
    a: set[tuple[int, ...]], least: int, more: int
) -> None:
    diagrams = Diagrams(WIDTHS)
    most = least + more
    fits = [s for s in a if least <= sum(here == 1 for here in s[:-1]) <= most and s[-1] != 0]
    found = diagrams.find(
        diagram_of(diagrams, a), lambda level, here: True, 0b111110,
        lambda level, here: int(here == 1), least, most,
    )  # fmt: skip
    assert (found in fits) if fits else found is None


@given(some.lists(some.lists(some.integers(0, 2**63 - 2), max_size=40), max_size=12))
def test_a_hash_set_gives_back_what_is_new(batches: list[list[int]]) -> None:
    table, known = StateSet(bits=2), set[int]()
    for batch in batches:
        new = table.add(np.array(batch, np.uint64))
        assert sorted(int(x) for x in new) == sorted(set(batch) - known)
        known |= set(batch)
        assert table.size == len(known)


common = some.integers(0, 9)


@given(some.sets(some.tuples(common, common)), some.sets(common))
def test_a_transform_moves_each_word(pairs: set[tuple[int, int]], commons: set[int]) -> None:
    transforms = Transforms()
    number = transforms.number(pairs)
    after = transforms.apply(number, sum(1 << w for w in commons))
    assert {v for v in range(10) if after >> v & 1} == {v for w, v in pairs if w in commons}
