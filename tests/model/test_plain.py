"""Anybody's words and numbers, cut down to what a log can hold."""

from __future__ import annotations

import pytest

from hpcore.model.effects import Step
from hpcore.model.plain import (
    LARGEST_INTEGER,
    LONGEST_TEXT,
    MOST_PROPS,
    SMALLEST_INTEGER,
    plain,
    plain_props,
    plain_stimulus,
)
from hpcore.model.stimuli import DeviceAdd, DeviceDel, Failed, Note, Reset


def test_a_text_is_as_long_as_one_may_be_and_no_longer() -> None:
    assert (LONGEST_TEXT, MOST_PROPS) == (2000, 16)
    longest = "x" * LONGEST_TEXT
    assert plain(longest) == longest
    assert plain(longest + "y") == longest + " ..."
    assert plain("lone \udc80 surrogate") == "lone \\udc80 surrogate"


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -7, SMALLEST_INTEGER, LARGEST_INTEGER, "a text"]
)
def test_what_is_plain_stays_as_it_is(value: object) -> None:
    ((name, kept),) = plain_props([("core-id", value)])
    assert name == "core-id"
    assert kept == value
    assert type(kept) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (SMALLEST_INTEGER - 1, str(SMALLEST_INTEGER - 1)),
        (LARGEST_INTEGER + 1, str(LARGEST_INTEGER + 1)),
        (1.5, "1.5"),
        ([1, 2], "[1, 2]"),
        ("\udc80", "\\udc80"),
    ],
)
def test_what_no_log_can_hold_is_kept_as_a_text(value: object, text: str) -> None:
    assert plain_props([("\udc80", value)]) == (("\\udc80", text),)


def test_of_many_properties_the_first_are_kept() -> None:
    many = [(f"p{n}", n) for n in range(MOST_PROPS + 1)]
    assert plain_props(many) == tuple(many[:MOST_PROPS])


def test_every_text_of_a_stimulus_is_made_plain() -> None:
    assert plain_stimulus(Note("\udc80")) == Note("\\udc80")
    assert plain_stimulus(Failed(Step.BIND, 2, "\udc80")) == Failed(Step.BIND, 2, "\\udc80")
    assert plain_stimulus(DeviceDel("\udc80")) == DeviceDel("\\udc80")
    odd = DeviceAdd("\udc80", (("core-id", 1.5),), "\udc81")  # type: ignore[arg-type]
    assert plain_stimulus(odd) == DeviceAdd("\\udc80", (("core-id", "1.5"),), "\\udc81")
    nameless = DeviceAdd("", (), None)
    assert plain_stimulus(nameless) == nameless


def test_a_stimulus_without_texts_is_the_same_one() -> None:
    reset = Reset()
    assert plain_stimulus(reset) is reset
