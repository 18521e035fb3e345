"""Values to and from the fields of a JSON object, by functions made for each class.

The functions are generated from the attrs classes once, as attrs generates its own
`__init__`: straight code for a class's fields reads twice as fast as a loop over them.
They only find *that* something is wrong; a slow second look then says what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any, get_type_hints

import attrs

from hpcore.log.kinds import ValueKind, WrongValue, kind_of
from hpcore.log.versions import Fields

Decode = Callable[[Fields], Any]


class WrongFields(Exception):
    """An object's fields make no value. The text names the value, the field and the fault."""


class Form:
    """How the values of one class stand in a log, under `name`.

    `what` says in messages what the class is, such as "event". `own` are the object's other
    fields, each of which must be there; the class may have a field of none of these names,
    nor of those that are `reserved` for fields which are taken out before.

    Raises TypeError for a class or a field that a log cannot hold.
    """

    def __init__(
        self,
        what: str,
        name: str,
        cls: type,
        own: tuple[str, ...],
        reserved: tuple[str, ...] = (),
    ) -> None:
        if not attrs.has(cls):
            raise TypeError(f"{what} {name}: {cls!r} is no attrs class")
        self.what, self.name, self.cls, self.own = what, name, cls, own
        self.attributes: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
        hints = get_type_hints(cls)
        self.kinds: dict[str, ValueKind] = {}
        for attribute in self.attributes:
            if attribute.name in (*own, *reserved) or not attribute.init:
                raise TypeError(
                    f"{what} {name}: a field {attribute.name!r} cannot be logged; "
                    "it is the line's own name, or __init__ does not take it"
                )
            try:
                self.kinds[attribute.name] = kind_of(hints[attribute.name])
            except TypeError as error:
                raise TypeError(f"{what} {name}: field {attribute.name!r}: {error}") from None

    # ------------------------------------------------------------------ generated

    def encoder(self, arguments: tuple[str, ...], **own: str) -> Callable[..., Fields]:
        """A function from a value, and `arguments`, to fields; raises WrongValue.

        `own` has, for each of the object's other fields, the expression that it is.
        """
        scope: dict[str, Any] = {"WrongValue": WrongValue, "NoneType": NoneType}
        lines = [f"def encode({', '.join(('value', *arguments))}):"]
        pairs = [f"{field!r}: {expression}" for field, expression in own.items()]
        for i, (field, kind) in enumerate(self.kinds.items()):
            lines.append(f"    v{i} = value.{field}")
            lines += _convert(scope, f"v{i}", f"convert{i}", kind, kind.dump)
            pairs.append(f"{field!r}: v{i}")
        lines.append("    return {" + ", ".join(pairs) + "}")
        made: Callable[..., Fields] = _run(lines, scope, "encode")
        return made

    def decoder(self) -> Decode:
        """A function from an object's fields to a value; raises WrongFields."""
        scope: dict[str, Any] = {
            "WrongValue": WrongValue, "NoneType": NoneType, "cls": self.cls,
            "explain": self.explain,
        }  # fmt: skip
        lines = [
            "def decode(fields):",
            "  try:",
            f"    if len(fields) != {len(self.kinds) + len(self.own)}:",
            "        raise WrongValue",
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
        """`decoder` for objects of another minor version."""
        strict = self.decoder()
        known = {*self.own, *self.kinds}
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
        faults = "; ".join(self._faults(fields, error))
        return WrongFields(f"{self.what} {self.name}: {faults}")

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
            if field not in self.kinds and field not in self.own:
                any_fault = True
                yield f"field {field!r} is unknown"
        if not any_fault:
            yield str(error) or "its fields make no value"

    def why_not_encoded(self, value: object) -> str:
        """Which field of `value` a log cannot hold."""
        for field, kind in self.kinds.items():
            try:
                kind.dump(getattr(value, field))
            except WrongValue as wrong:
                return f"{self.what} {self.name}: field {field!r} {wrong}"
        raise AssertionError(f"{value!r} was refused and is in order")


def _convert(
    scope: dict[str, Any], value: str, function: str, kind: ValueKind, convert: Callable[[Any], Any]
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
