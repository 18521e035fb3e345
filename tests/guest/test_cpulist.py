"""CPU lists, to and from text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcore.guest.cpulist import format_cpu_list, parse_cpu_list


@given(st.sets(st.integers(0, 600)))
def test_a_set_survives_the_round_trip(cpus: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(cpus)) == cpus


@pytest.mark.parametrize(
    ("cpus", "text"),
    [({0, 1, 2, 3, 5}, "0-3,5"), (set(), ""), ({7}, "7"), ({0, 1}, "0-1"), ({0, 2, 4}, "0,2,4")],
)
def test_the_text_is_the_kernels(cpus: set[int], text: str) -> None:
    assert format_cpu_list(cpus) == text
    assert parse_cpu_list(text + "\n") == cpus


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1,,2", "1 2", "0-3,", "²"])
def test_another_form_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="no CPU or range"):
        parse_cpu_list(text)
