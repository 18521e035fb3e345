"""-uuid and -smbios: who the guest is told that it is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from hpcore.door import keyval
from hpcore.door.options import ArgumentRefused, Options
from hpcore.platform.smbios import Identity

_TEXTS = ("manufacturer", "product", "version", "serial", "sku", "family")


def identity(options: Options) -> Identity | None:
    """Who the machine is; None where its caller says nothing of it. Raises ArgumentRefused."""
    given = options.last("uuid")
    texts: dict[str, str] = {}
    oem_strings: list[str] = []
    for text in options.all("smbios"):
        said, values = f"-smbios {text}", keyval.parse(text)
        match values.get("type"):
            case "1":  # the system
                given = values.get("uuid", given)
                texts |= _system(said, values)
            case "11":  # OEM strings
                oem_strings += [v for name, v in keyval.pairs(text) if name == "value"]
            case other:
                raise ArgumentRefused(
                    said, f"of SMBIOS there are type=1 and type=11 here, not {other}; leave it out"
                )
    if given is None and not texts and not oem_strings:
        return None
    try:
        number = uuid.UUID(given) if given is not None else uuid.UUID(int=0)
    except ValueError:
        raise ArgumentRefused(f"-uuid {given}", "is no UUID") from None
    return Identity(number, **texts, oem_strings=tuple(oem_strings))


def _system(said: str, values: Mapping[str, str]) -> dict[str, str]:
    for name in values:
        if name not in (*_TEXTS, "type", "uuid"):
            raise ArgumentRefused(said, f"the guest would not see '{name}'; leave it out")
    return {name: values[name] for name in _TEXTS if name in values}
