"""The values of QEMU's options: `name=value,name=value`, where `,,` is a comma; or JSON.

Source: util/qemu-option.c, opts_parse; QEMU takes JSON for -device, -object, -blockdev and
-netdev.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from hpcore.door.options import ArgumentRefused

_PART = re.compile(r"((?:[^,]|,,)*)(?:,|$)")


def parse(text: str, first: str | None = None) -> dict[str, str]:
    """The names in `text` and what they are given; the last one counts, as in QEMU."""
    return dict(pairs(text, first))


def pairs(text: str, first: str | None = None) -> list[tuple[str, str]]:
    """Each name in `text` and what it is given, in their order.

    The first value may stand without its name, which is `first` then. A name without a
    value is on; `noNAME` is off.
    """
    found: list[tuple[str, str]] = []
    for n, part in enumerate(_parts(text)):
        name, given, value = part.partition("=")
        if given:
            found.append((name, value))
        elif n == 0 and first is not None:
            found.append((first, name))
        elif name.startswith("no"):
            found.append((name.removeprefix("no"), "off"))
        elif name:
            found.append((name, "on"))
    return found


def form(values: Mapping[str, str], first: str | None = None) -> str:
    """`values` as an option has them; that of `first` stands at the beginning, without a name."""
    head = [_escape(values[first])] if first is not None and first in values else []
    rest = [f"{name}={_escape(value)}" for name, value in values.items() if name != first]
    return ",".join([*head, *rest])


def parse_object(option: str, text: str, first: str) -> dict[str, object]:
    """What an option is given that takes JSON as well. Raises ArgumentRefused for a wrong one."""
    if not text.startswith("{"):
        return dict(parse(text, first))
    try:
        found = orjson.loads(text)
    except ValueError as error:
        raise ArgumentRefused(f"{option} {text}", f"is no JSON: {error}") from None
    assert isinstance(found, dict), "it begins with a brace"
    return found


def is_on(value: object) -> bool:
    """Whether a switch is on, as QEMU spells that in either form."""
    return value is True or value in {"on", "yes", "true", "y"}


def _parts(text: str) -> list[str]:
    parts, at = [], 0
    while at < len(text):
        found = _PART.match(text, at)
        assert found is not None, "the pattern takes anything"
        parts.append(found[1].replace(",,", ","))
        at = found.end()
    return parts


def _escape(value: str) -> str:
    return value.replace(",", ",,")
