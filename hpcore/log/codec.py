"""Events to and from the fields of a line, by functions made for each event class.

The functions are generated from the attrs classes once, as attrs generates its own
`__init__`: straight code for a class's fields reads twice as fast as a loop over them.
They only find *that* something is wrong; a slow second look then says what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import NoneType
from typing import Any, get_type_hints

import attrs
import orjson

from hpcore.log.errors import EventRefused
from hpcore.log.kinds import Kind, WrongValue, kind_of
from hpcore.log.versions import Fields
from hpcore.model.events import EVENTS

ENVELOPE = ("seq", "t", "event", "sum")
"""Fields of every line; no event may have fields of these names, nor of BATCH."""

BATCH = "batch"
"""Field of the second and later lines of one append: the seq of its first line."""

Encode = Callable[[Any, int, float], Fields]
Decode = Callable[[Fields], Any]


class WrongFields(Exception):
    """A line's fields make no event. The text names the event, the field and the fault."""


class Codec:
    """Encodes and decodes the events of `registry`, which maps the log's names to classes.

    Raises TypeError for a class or a field that a log cannot hold.
    """

    def __init__(self, registry: Mapping[str, type]) -> None:
        self._classes = {name: _EventClass(name, cls) for name, cls in registry.items()}
        self._encoders: dict[type, Encode] = {
            each.cls: each.encoder() for each in self._classes.values()
        }

    def encode(self, event: object, seq: int, t: float) -> Fields:
        """A line's fields for `event`, without sum. Raises EventRefused."""
        try:
            return self._encoders[type(event)](event, seq, t)
        except KeyError:
            raise EventRefused(f"a log holds no {type(event).__name__}: {event!r}") from None
        except WrongValue:
            raise EventRefused(self._class_of(event).why_not_encoded(event)) from None

    def dump(self, fields: Fields) -> bytes:
        """`fields` as JSON. Raises EventRefused for what JSON cannot hold."""
        try:
            return orjson.dumps(fields)
        except TypeError:  # too long an integer or a lone surrogate
            for name, value in fields.items():
                try:
                    orjson.dumps(value)
                except TypeError as error:
                    raise EventRefused(
                        f"event {fields['event']}: {name} is {value!r}, which no log can "
                        f"hold: {error}"
                    ) from None
            raise

    def decoders(self, ignore_unknown: bool = False, fill: bool = False) -> dict[str, Decode]:
        """For each event's name, what makes an event of a whole line's fields.

        Those functions raise WrongFields. `ignore_unknown` lets them pass over fields that
        they do not know, and `fill` gives missing fields their class's default.
        """
        relaxed = ignore_unknown or fill
        return {
            name: each.relaxed(ignore_unknown, fill) if relaxed else each.decoder()
            for name, each in self._classes.items()
        }

    def _class_of(self, event: object) -> _EventClass:
        return next(each for each in self._classes.values() if each.cls is type(event))


class _EventClass:
    """One event class: its fields, and the functions generated for it."""

    def __init__(self, name: str, cls: type) -> None:
        if not attrs.has(cls):
            raise TypeError(f"event {name}: {cls!r} is no attrs class")
        self.name, self.cls = name, cls
        self.attributes: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
        hints = get_type_hints(cls)
        self.kinds: dict[str, Kind] = {}
        for attribute in self.attributes:
            if attribute.name in (*ENVELOPE, BATCH) or not attribute.init:
                raise TypeError(
                    f"event {name}: a field {attribute.name!r} cannot be logged; "
                    "it is the line's own name, or __init__ does not take it"
                )
            try:
                self.kinds[attribute.name] = kind_of(hints[attribute.name])
            except TypeError as error:
                raise TypeError(f"event {name}: field {attribute.name!r}: {error}") from None

    # ------------------------------------------------------------------ generated

    def encoder(self) -> Encode:
        """A function from (event, seq, t) to a line's fields; raises WrongValue."""
        scope: dict[str, Any] = {"WrongValue": WrongValue, "NoneType": NoneType}
        lines = ["def encode(event, seq, t):"]
        pairs = [f"'seq': seq, 't': t, 'event': {self.name!r}"]
        for i, (field, kind) in enumerate(self.kinds.items()):
            lines.append(f"    v{i} = event.{field}")
            lines += _convert(scope, f"v{i}", f"convert{i}", kind, kind.dump)
            pairs.append(f"{field!r}: v{i}")
        lines.append("    return {" + ", ".join(pairs) + "}")
        made: Encode = _run(lines, scope, "encode")
        return made

    def decoder(self) -> Decode:
        """A function from a line's fields to an event; raises WrongFields."""
        size = len(self.kinds) + len(ENVELOPE)
        scope: dict[str, Any] = {
            "WrongValue": WrongValue, "NoneType": NoneType, "cls": self.cls,
            "explain": self.explain,
        }  # fmt: skip
        lines = [
            "def decode(fields):",
            "  try:",
            f"    if len(fields) != {size}:",
            f"        if len(fields) != {size + 1} or {BATCH!r} not in fields:",
            "            raise WrongValue",
        ]
        arguments = []
        for i, (attribute, kind) in enumerate(
            zip(self.attributes, self.kinds.values(), strict=True)
        ):
            lines.append(f"    v{i} = fields[{attribute.name!r}]")
            lines += _convert(scope, f"v{i}", f"convert{i}", kind, kind.load)
            arguments.append(f"{attribute.alias}=v{i}" if attribute.kw_only else f"v{i}")
        lines += [
            f"    return cls({', '.join(arguments)})",
            "  except Exception as error:",  # validators may raise anything
            "    raise explain(fields, error) from None",
        ]
        made: Decode = _run(lines, scope, "decode")
        return made

    def relaxed(self, ignore_unknown: bool, fill: bool) -> Decode:
        """`decoder` for lines of another minor version."""
        strict = self.decoder()
        known = {*ENVELOPE, BATCH, *self.kinds}
        defaults = {
            a.name: self.kinds[a.name].dump(a.default)
            for a in self.attributes
            if a.default is not attrs.NOTHING and not hasattr(a.default, "takes_self")
        }

        def decode(fields: Fields) -> Any:
            if ignore_unknown:
                fields = {k: v for k, v in fields.items() if k in known}
            if fill:
                fields = defaults | fields
            return strict(fields)

        return decode

    # ----------------------------------------------------------------- second looks

    def explain(self, fields: Fields, error: Exception) -> WrongFields:
        """What is wrong with `fields`, of which decoding raised `error`."""
        return WrongFields(f"event {self.name}: " + "; ".join(self._faults(fields, error)))

    def _faults(self, fields: Fields, error: Exception) -> Iterator[str]:
        any_fault = False
        for field, kind in self.kinds.items():
            if field not in fields:
                any_fault = True
                yield f"field {field!r} is missing"
                continue
            try:
                kind.load(fields[field])
            except WrongValue as wrong:
                any_fault = True
                yield f"field {field!r} {wrong}"
        for field in fields:
            if field not in self.kinds and field not in (*ENVELOPE, BATCH):
                any_fault = True
                yield f"field {field!r} is unknown"
        if not any_fault:
            yield str(error) or "its fields make no event"

    def why_not_encoded(self, event: object) -> str:
        """Which field of `event` a log cannot hold."""
        for field, kind in self.kinds.items():
            try:
                kind.dump(getattr(event, field))
            except WrongValue as wrong:
                return f"event {self.name}: field {field!r} {wrong}"
        raise AssertionError(f"{event!r} was refused and is in order")


def _convert(
    scope: dict[str, Any], value: str, function: str, kind: Kind, convert: Callable[[Any], Any]
) -> list[str]:
    """Lines that check the variable `value` and turn it into its other form."""
    if kind.exact is not None:
        unless = f"{value} is not None and " if kind.nullable else ""
        return [
            f"    if {unless}type({value}) is not {kind.exact.__name__}:",
            "        raise WrongValue",
        ]
    scope[function] = convert
    return [f"    {value} = {function}({value})"]


def _run(lines: list[str], scope: dict[str, Any], name: str) -> Any:
    exec("\n".join(lines), scope)
    return scope[name]


@cache
def model_codec() -> Codec:
    """The codec of hpcore's own events."""
    return Codec(EVENTS)
