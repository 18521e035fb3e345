"""What a log can hold of what anybody says: whole characters, and not too many of them.

A stimulus is made plain before it is decided, so that the stimulus in the log is the very
one that was decided, whatever a user, a guest or an accelerator has sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, get_args, get_type_hints

import attrs

from hpcore.model.stimuli import STIMULI, DeviceAdd, Props, PropValue, Stimulus

LONGEST_TEXT = 2000
"""Characters of anybody's words that go into one event."""
MOST_PROPS = 16
"""Properties of a device_add that are looked at: no vCPU has as many."""
SMALLEST_INTEGER, LARGEST_INTEGER = -(1 << 63), (1 << 64) - 1


def plain(text: str) -> str:
    """`text` as a log can hold it. What is plain stays as it is."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return whole if len(whole) <= LONGEST_TEXT else whole[:LONGEST_TEXT] + " ..."


def plain_stimulus(stimulus: Stimulus) -> Stimulus:
    """`stimulus` as a log can hold it: its texts plain, its properties few."""
    changed: dict[str, Any] = {
        name: plain(text)
        for name in _TEXTS[type(stimulus)]
        if (text := getattr(stimulus, name)) is not None
    }
    if isinstance(stimulus, DeviceAdd):
        changed["props"] = plain_props(stimulus.props)
    return attrs.evolve(stimulus, **changed) if changed else stimulus


def plain_props(props: Iterable[tuple[str, object]]) -> Props:
    """`props` as a log can hold them: the first few, numbers that have 64 bits, and texts."""
    return tuple((plain(name), _plain_value(value)) for name, value in islice(props, MOST_PROPS))


def _plain_value(value: object) -> PropValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        return int(value)  # a reader's own kind of number, 0x2 say, is none of the log's
    return plain(str(value))


def _text_fields(cls: type) -> tuple[str, ...]:
    return tuple(
        name for name, hint in get_type_hints(cls).items() if str in (hint, *get_args(hint))
    )


_TEXTS: dict[type, tuple[str, ...]] = {cls: _text_fields(cls) for cls in STIMULI.values()}
"""The fields of each class of stimuli that hold a text."""
