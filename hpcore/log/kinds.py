"""The kinds of value that an event's field may have, and how each stands in JSON.

| in Python | in JSON |
| --- | --- |
| int, of 64 bits at most | number |
| str, without lone surrogates | string |
| bool, None | true, false, null |
| an enum of strings | its value |
| tuple of any of these | array |
| X or Y | as X or Y, where JSON tells them apart |

Types are exact, both ways: True is no integer and "3" is none either.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from attrs import frozen

Convert = Callable[[Any], Any]


class WrongValue(Exception):
    """A value is not of its field's kind."""


@frozen
class ValueKind:
    """One kind of value.

    `says` is its name in messages. `load` makes a value of what JSON gave, `dump` the
    reverse; both raise WrongValue. `json` are the JSON types it can stand for, and
    `exact` the one Python type that is the same in JSON, where that is all there is to it.
    """

    says: str
    load: Convert
    dump: Convert
    json: frozenset[type]
    exact: type | None = None
    nullable: bool = False


def kind_of(hint: Any) -> ValueKind:
    """The kind of the type `hint`. Raises TypeError where a log cannot hold it."""
    if hint is None or hint is NoneType:
        return _exact(NoneType, "null")
    if hint in _SCALARS:
        return _exact(hint, _SCALARS[hint])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if get_origin(hint) in (Union, UnionType):
        return _union([kind_of(part) for part in get_args(hint)])
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint))
    raise TypeError(f"a log holds no {hint}; it holds int, str, bool, None, enums and tuples")


_SCALARS: dict[Any, str] = {int: "an integer", str: "a string", bool: "true or false"}


def _exact(wanted: type, says: str) -> ValueKind:
    def check(value: Any) -> Any:
        if type(value) is not wanted:
            raise WrongValue(f"is {value!r}; it must be {says}")
        return value

    return ValueKind(says, check, check, frozenset({wanted}), exact=wanted)


def _enum(enum: type[Enum]) -> ValueKind:
    members = {member.value: member for member in enum}
    if not all(type(value) is str for value in members):
        raise TypeError(f"a log holds only enums of strings, and {enum.__name__} is not one")
    says = "one of " + ", ".join(members)

    def load(value: Any) -> Any:
        if type(value) is not str or value not in members:
            raise WrongValue(f"is {value!r}; it must be {says}")
        return members[value]

    def dump(value: Any) -> Any:
        if type(value) is not enum:
            raise WrongValue(f"is {value!r}; it must be a {enum.__name__}")
        return value.value

    return ValueKind(says, load, dump, frozenset({str}))


def _union(parts: list[ValueKind]) -> ValueKind:
    together = frozenset().union(*(part.json for part in parts))
    if len(together) != sum(len(part.json) for part in parts):
        raise TypeError("a log cannot tell apart: " + " and ".join(part.says for part in parts))
    says = " or ".join(part.says for part in parts)

    def either(way: str) -> Convert:
        converts: list[Convert] = [getattr(part, way) for part in parts]

        def convert(value: Any) -> Any:
            for one in converts:
                try:
                    return one(value)
                except WrongValue:
                    continue
            raise WrongValue(f"is {value!r}; it must be {says}")

        return convert

    rest = [part for part in parts if part.exact is not NoneType]
    return ValueKind(
        says,
        either("load"),
        either("dump"),
        together,
        exact=rest[0].exact if len(rest) == 1 else None,
        nullable=len(rest) < len(parts),
    )


def _tuple(hints: tuple[Any, ...]) -> ValueKind:
    endless = len(hints) == 2 and hints[1] is Ellipsis
    kinds = [kind_of(hint) for hint in (hints[:1] if endless else hints)]
    each = ", ".join(kind.says for kind in kinds)
    says = f"a list, each of it {each}" if endless else f"a list of {len(kinds)}: {each}"

    def items(wanted: Any, way: str) -> Convert:
        def convert(value: Any) -> Any:
            if type(value) is not wanted or not (endless or len(value) == len(kinds)):
                raise WrongValue(f"is {value!r}; it must be {says}")
            of = kinds * len(value) if endless else kinds
            try:
                made = [getattr(kind, way)(v) for kind, v in zip(of, value, strict=True)]
            except WrongValue as wrong:
                raise WrongValue(f"holds a value that {wrong}") from None
            return made if way == "dump" else tuple(made)

        return convert

    return ValueKind(says, items(list, "load"), items(tuple, "dump"), frozenset({list}))
