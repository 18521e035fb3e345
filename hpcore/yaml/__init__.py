"""YAML of a size and a depth that can be read: no cycles, no aliases that blow it up.

A few lines of YAML can stand for a tree without end, or for one larger than any memory: by
an alias within what it names, or by aliases of aliases. Each is refused at its line, before
anything of it is built.

Scenarios and sweeps are read through `read_yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    ScalarEvent,
)
from ruamel.yaml.parser import RoundTripParser

from hpcore.errors import HpcoreError

LARGEST = 1 << 20
"""Bytes of a file at most, and characters that its aliases stand for."""

DEEPEST = 64
"""Lists and mappings within each other: those of some twenty repeats."""


class YamlUnreadable(HpcoreError, ValueError):
    """A text that cannot be read. The message names the file, the line if any, and says why."""


class YamlRefused(MarkedYAMLError):
    """YAML, but too deep, without end, or too large."""


def read_yaml(path: Path) -> Any:
    """What the file says, as `load_yaml` does. Raises YamlUnreadable."""
    try:
        if path.stat().st_size > LARGEST:
            raise YamlUnreadable(f"{path}: larger than {LARGEST} bytes, which nobody wrote")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise YamlUnreadable(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise YamlUnreadable(f"{path}: not UTF-8 text (byte {error.start})") from error
    return load_yaml(text, str(path))


def load_yaml(text: str, name: str, first: int = 1) -> Any:
    """What `text` says, with the lines of it. Raises YamlUnreadable.

    `name` is for messages, and `first` the number in it of the text's first line.
    """
    yaml = YAML(typ="rt")
    yaml.Parser = _BoundedParser
    try:
        return yaml.load(text)
    except YamlRefused as error:
        at = first + error.problem_mark.line
        raise YamlUnreadable(f"{name}:{at}: {error.problem}") from error
    except MarkedYAMLError as error:
        at = first + (error.problem_mark.line if error.problem_mark else 0)
        raise YamlUnreadable(f"{name}:{at}: not YAML: {error.problem}") from error
    except (YAMLError, ValueError) as error:
        raise YamlUnreadable(f"{name}: not YAML: {error}") from error


class _BoundedParser(RoundTripParser):
    """Hands on the events of a text, and looks at each: what is open, and how much it holds."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self._open: list[tuple[str | None, int]] = []  # anchors, and `_size` at their beginning
        self._sizes: dict[str, int] = {}  # of what has an anchor and has ended
        self._size = self._by_aliases = 0

    def get_event(self) -> Any:
        event = super().get_event()
        match event:
            case CollectionStartEvent():
                self._open.append((event.anchor, self._size))
                self._size += 1
                if len(self._open) > DEEPEST:
                    raise _refused(event, f"nested more than {DEEPEST} levels deep")
            case CollectionEndEvent():
                self._ended(*self._open.pop())
            case ScalarEvent():
                before = self._size
                self._size += 1 + len(event.value)
                self._ended(event.anchor, before)
            case AliasEvent():
                self._aliased(event)
        return event

    def _ended(self, anchor: str | None, before: int) -> None:
        if anchor is not None:
            self._sizes[anchor] = self._size - before

    def _aliased(self, event: AliasEvent) -> None:
        if any(anchor == event.anchor for anchor, _ in self._open):
            raise _refused(event, f"*{event.anchor} stands within what it names, so without end")
        size = self._sizes.get(event.anchor, 0)  # 0: there is none; the reader says so
        self._size += size
        self._by_aliases += size
        if self._by_aliases > LARGEST:
            raise _refused(event, f"its aliases stand for more than {LARGEST} characters")


def _refused(event: Any, why: str) -> YamlRefused:
    return YamlRefused(problem=why, problem_mark=event.start_mark)
