"""QMP as people keep it: JSON lines, qmp-shell, libvirt's log, a chardev's logfile, HMP.

There is no standard for a transcript. What is common to all is one JSON object a message; what
stands around it is a time, an arrow, or a logger's own words. `message` knows an object by its
keys, whoever wrote it down.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from hpcore.foreign import seen as s

FORMAT = "a QMP transcript"

_LIBVIRT = re.compile(r"QEMU_MONITOR_(?:SEND_MSG|RECV_REPLY|RECV_EVENT)\b.*?(?:msg|reply|event)=")
_LIBVIRT_AGAIN = re.compile(
    r"QEMU_MONITOR_IO_|qemuMonitorJSONIOProcess\w+|qemuMonitorIO\w+:\d|virJSONValue\w+:\d"
)
"""What libvirt says a second time, of one and the same message."""
_ESCAPED = re.compile(r'\bmsg="(\{\\".*\})"')
"""A logfmt logger's way to write a message: JSON within a quoted text, such as Kata's."""
_FAILED = re.compile(r"QMP command failed: (?P<text>[^\"]+)")
"""A client's own word of an error that it was answered, such as Kata's."""
_SHELL = re.compile(r"^\(QEMU\) +(?P<name>[a-z][\w-]*)(?P<rest>(?: .*)?)$")
_HMP = re.compile(
    r"^\(qemu\) +(?P<name>device_add|device_del|system_reset|stop|cont|c|quit|q)\b ?(?P<rest>.*)$"
)
_HMP_ERROR = re.compile(r"^Error: (?P<text>.+)$")
_HMP_NAMES = {"c": "cont", "q": "quit"}
_EPOCH = re.compile(r"^\W{0,2}(\d{9,11}\.\d+)\b")
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?"
)
MOST_LINES, MOST_CHARACTERS = 20_000, 4 << 20
"""Of one message that is printed over several lines; a longer one is none."""


def message(value: object, monitor: str = "") -> s.Seen | None:
    """What a JSON object says, if it is a message of QMP, or holds one."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("execute") or value.get("exec-oob"), str):
        name = str(value.get("execute") or value.get("exec-oob"))
        return s.Asked(name, _mapping(value.get("arguments")), value.get("id"), monitor)
    if "return" in value:
        return s.Answered(None, value["return"], value.get("id"), monitor)
    if isinstance(value.get("error"), dict):
        said = value["error"].get("desc") or value["error"].get("class") or "an error"
        return s.Answered(str(said), None, value.get("id"), monitor)
    if isinstance(value.get("event"), str):
        return s.Told(value["event"], _mapping(value.get("data")), _stamp(value.get("timestamp")))
    if isinstance(value.get("QMP"), dict):
        return s.Greeting(version(value["QMP"].get("version")))
    for field in value.values():  # a logger's object with the message in one of its fields
        inner = _object(field) if isinstance(field, str) and field.startswith("{") else field
        if isinstance(inner, dict) and (found := message(inner, monitor)) is not None:
            return found
    return None


def version(value: object) -> str:
    """QEMU's version as query-version or the greeting has it; nothing where it is another shape."""
    numbers = value.get("qemu") if isinstance(value, dict) else None
    if not isinstance(numbers, dict):
        return ""
    return ".".join(str(numbers.get(part, "?")) for part in ("major", "minor", "micro"))


def time_in(text: str) -> float | None:
    """The time that a line begins with, since 1970: seconds, or a date, UTC if it has no zone."""
    epoch = _EPOCH.match(text)
    if epoch is not None:
        return float(epoch[1])
    found = _ISO.search(text[:120])
    if found is None:
        return None
    try:
        whole = datetime.fromisoformat(f"{found[1]}T{found[2]}{found[4] or 'Z'}")
        return whole.timestamp() + float(f"0.{found[3] or 0}")
    except (ValueError, OverflowError):
        return None


class Reader:
    """Takes a transcript line by line; a message may be printed over several of them."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._depth = 0
        self._in_text = False
        self._typed: str | None = None
        self._hmp = False
        self.given_up: int = 0
        """How many messages began and never came to an end."""

    @property
    def inside(self) -> bool:
        """Whether a message has begun and not ended yet."""
        return bool(self._parts)

    def line(self, text: str) -> tuple[s.Seen | None, float | None] | None:
        """What the line says, and when; None if it is no line of a transcript.

        The first is None for a line that only carries a message on, or repeats one.
        """
        if self._parts:
            return self._more(text)
        if "(QEMU)" in text or "(qemu)" in text:
            return self._prompt(text)
        if self._hmp and (error := _HMP_ERROR.match(text)) is not None:
            self._hmp = False
            return s.Answered(error["text"]), None
        if (failed := _FAILED.search(text)) is not None:
            return s.Answered(failed["text"].strip()), time_in(text)
        if "{" not in text:
            return None
        escaped = _ESCAPED.search(text) if '\\"' in text else None
        if escaped is not None:
            text = f"{text[: escaped.start()]} {_unescaped(escaped[1])}"
        libvirt = _LIBVIRT.search(text)
        if libvirt is None and _LIBVIRT_AGAIN.search(text) is not None:
            return None, time_in(text)
        begin = text.find("{", 0 if libvirt is None else libvirt.end())
        found = _object(text[begin:])
        if found is not None:
            what = message(found)
            return None if what is None else (self._once(what), time_in(text))
        if text.lstrip(" <->").startswith("{"):
            self._depth, self._in_text = 0, False
            return self._more(text[text.find("{") :])
        return None

    def _prompt(self, text: str) -> tuple[s.Seen | None, float | None] | None:
        shell = _SHELL.match(text)
        if shell is not None:
            self._typed = shell["name"]
            return s.Asked(shell["name"], _words(shell["rest"])), None
        hmp = _HMP.match(text)
        if hmp is None:
            return None
        self._hmp = True
        name = _HMP_NAMES.get(hmp["name"], hmp["name"])
        return s.Asked(name, _hmp_words(name, hmp["rest"])), None

    def _more(self, text: str) -> tuple[s.Seen | None, float | None] | None:
        self._parts.append(text)
        self._size += len(text)
        self._count(text)
        if self._depth > 0 and len(self._parts) < MOST_LINES and self._size < MOST_CHARACTERS:
            return None, None
        whole = "\n".join(self._parts)
        lines = len(self._parts)
        self._parts, self._size = [], 0
        found = _object(whole)
        what = None if found is None else message(found)
        if what is None:
            if found is None and lines > 1:
                self.given_up += 1
            return None
        return self._once(what), None

    def _count(self, text: str) -> None:
        escaped = False
        for c in text:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = self._in_text
            elif c == '"':
                self._in_text = not self._in_text
            elif not self._in_text:
                self._depth += (c == "{") - (c == "}")

    def _once(self, what: s.Seen) -> s.Seen | None:
        """`what`, unless it was typed at a prompt just now: qmp-shell prints that again."""
        typed, self._typed = self._typed, None
        if typed is not None and isinstance(what, s.Asked) and what.name == typed:
            return None
        return what


def _object(text: str) -> object | None:
    """The JSON object that `text` begins with, whatever follows it on the line."""
    text = text.strip()
    end = len(text)
    for _ in range(4):  # what follows may have braces of its own
        end = text.rfind("}", 0, end)
        if end < 0:
            return None
        try:
            return orjson.loads(text[: end + 1])  # type: ignore[no-any-return]
        except orjson.JSONDecodeError:
            continue
    return None


def _unescaped(text: str) -> str:
    return text.replace('\\"', '"').replace("\\\\", "\\")


def _words(text: str) -> dict[str, Any]:
    """Arguments as qmp-shell takes them: name=value, a number where it is one."""
    out: dict[str, Any] = {}
    for word in _split(text):
        name, equals, value = word.partition("=")
        if equals:
            out[name] = int(value) if value.isdecimal() and len(value) < 10 else value
    return out


def _hmp_words(name: str, text: str) -> dict[str, Any]:
    first, *rest = text.strip().split(",")
    if name == "device_del":
        return {"id": first.strip()}
    return {"driver": first.strip(), **_words(" ".join(rest))} if name == "device_add" else {}


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _stamp(value: object) -> float | None:
    if not isinstance(value, dict):
        return None
    seconds, micro = value.get("seconds"), value.get("microseconds", 0)
    if not isinstance(seconds, int) or not isinstance(micro, int) or seconds <= 0:
        return None
    stamp = seconds + micro / 1e6
    return stamp if stamp < datetime(2200, 1, 1, tzinfo=UTC).timestamp() else None
