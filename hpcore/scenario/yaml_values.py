"""The values of a scenario's YAML, each with the line where it stands.

Whatever is not as it should be is refused there, by its name and with a remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from hpcore.errors import HpcoreError
from hpcore.guest.cpulist import parse_cpu_list


class ScenarioError(HpcoreError, ValueError):
    """A scenario that cannot be read. The text names the file, the line and the remedy."""


class YamlValues:
    """Takes YAML's values for what they should be; knows the file's name for messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first = 1
        """The number of the text's first line."""

    def fail(self, line: int | None, why: str) -> ScenarioError:
        """What to raise for what stands at `line`, counted from 0."""
        at = f":{line + self.first}" if line is not None else ""
        return ScenarioError(f"{self.name}{at}: {why}")

    def mapping(
        self, value: Any, line: int | None, what: str, keys: Iterable[str] | None
    ) -> CommentedMap:
        """A mapping, with none but `keys` where these are given."""
        if not isinstance(value, CommentedMap):
            raise self.fail(line, f"{what} must be a mapping (key: value), not {kind_of(value)}")
        if keys is not None:
            for key in value:
                self.known(key, tuple(keys), line_of(value, key), f"key of {what}")
        return value

    def known(self, word: Any, words: Iterable[str], line: int | None, what: str) -> None:
        """Refuse a word that is none of `words`."""
        words = tuple(words)
        if word not in words:
            close = difflib.get_close_matches(str(word), words, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(words)}"
            raise self.fail(line, f"'{word}' is no {what}; {hint}")

    def integer(self, value: Any, line: int | None, what: str) -> int:
        """A whole number."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(line, f"{what} is {value!r}; it must be a whole number")
        return int(value)

    def truth(self, value: Any, line: int | None, what: str) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise self.fail(line, f"{what} is {value!r}; it must be true or false")
        return value

    def text(self, value: Any, line: int | None, what: str) -> str:
        """Text."""
        if not isinstance(value, str):
            raise self.fail(line, f"{what} must be text, not {kind_of(value)}")
        return str(value)

    def cpu_list(self, value: Any, line: int | None, what: str) -> frozenset[int]:
        """A set of CPUs, such as 0-3,7."""
        try:
            return parse_cpu_list(str(value) if value is not None else "")
        except ValueError as error:
            raise self.fail(line, f"{what}: {error}") from error


def said(value: Any) -> str:
    """A value as a person would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, CommentedMap):
        return "(" + ", ".join(f"{k} {said(v)}" for k, v in value.items()) + ")"
    return str(value)


def kind_of(value: Any) -> str:
    """What a value is, for a message that something else is wanted."""
    if value is None:
        return "nothing"
    if isinstance(value, CommentedSeq):
        return "a list"
    return f"'{value}'" if isinstance(value, str | int | float) else "a mapping"


def line_of(mapping: CommentedMap, key: Any) -> int | None:
    """The line at which a key stands, counted from 0, where that is known."""
    try:
        return int(mapping.lc.key(key)[0])
    except (KeyError, TypeError, AttributeError):
        return None


def item_line(sequence: CommentedSeq, index: int) -> int | None:
    """The line at which an item stands, counted from 0, where that is known."""
    try:
        return int(sequence.lc.item(index)[0])
    except (KeyError, TypeError, AttributeError):
        return None
