"""Protocols other than hpcore's own, as files: those that come with hpcore, and a user's.

    name: mine
    plug: [realize, bind, wire, enable, notify_insert]
    without: [remove_waits_for_insert]

Which steps, guards, habits, traits and promises there are: docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from hpcore.errors import HpcoreError
from hpcore.model.revision import HPCORE, Revision, RevisionError, revision_of
from hpcore.yaml import YamlUnreadable, load_yaml, read_yaml

__all__ = ["ProtocolError", "bundled", "load", "parse"]


class ProtocolError(HpcoreError, ValueError):
    """A protocol that cannot be read. The text names the file, the line and the remedy."""


def bundled() -> Mapping[str, Path]:
    """The protocols that come with hpcore, by name."""
    folder = Path(str(files("hpcore") / "protocols"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(name: str) -> Revision:
    """The protocol in the file `name`, or the one of that name that comes with hpcore.

    Raises ProtocolError.
    """
    path = Path(name)
    if not path.is_file():
        if name == HPCORE.name:
            return HPCORE
        known = bundled()
        if name not in known and path.is_dir():
            raise ProtocolError(
                f"{name}: it is a directory, and a protocol is a file; name one in it"
            )
        if name not in known:
            close = get_close_matches(name, (HPCORE.name, *known), 1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ProtocolError(
                f"{name}: no such file, and no protocol of that name comes with hpcore{hint} "
                f"Those that do: {', '.join((HPCORE.name, *known))}"
            )
        path = known[name]
    try:
        return _made(read_yaml(path), str(path), path.stem)
    except YamlUnreadable as error:
        raise ProtocolError(str(error)) from error


def parse(text: str, name: str = "protocol") -> Revision:
    """The protocol in `text`; `name` is for messages. Raises ProtocolError."""
    try:
        return _made(load_yaml(text, name), name, name)
    except YamlUnreadable as error:
        raise ProtocolError(str(error)) from error


def _made(data: Any, where: str, name: str) -> Revision:
    try:
        return revision_of(data, name)
    except RevisionError as error:
        line = _line(data, error.path)
        at = "" if line is None else f":{line + 1}"
        raise ProtocolError(f"{where}{at}: {error.why}") from error


def _line(data: Any, path: tuple[str | int, ...]) -> int | None:
    """The line at which what `path` leads to stands, counted from 0; or of what holds it."""
    line: int | None = None
    for step in path:
        try:
            if isinstance(data, CommentedMap):
                line = int(data.lc.key(step)[0])
            elif isinstance(data, CommentedSeq):
                line = int(data.lc.item(step)[0])
            data = data[step]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line
