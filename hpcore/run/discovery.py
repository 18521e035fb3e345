"""Which accelerators are installed, found by the entry-point group `hpcore.accelerators`."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from attrs import frozen

from hpcore.model.rules import Rules
from hpcore.run.accelerator import (
    Accelerator,
    AcceleratorError,
    Capabilities,
    Keeper,
    RuledAccelerator,
)

GROUP = "hpcore.accelerators"


@frozen
class Found:
    """An installed accelerator and what it can do here; `accelerator` is None if it can't load."""

    name: str
    distribution: str
    accelerator: Accelerator | None
    capabilities: Capabilities


def installed() -> dict[str, EntryPoint]:
    """The entry points of the group, by name."""
    return {e.name: e for e in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def probe_all() -> list[Found]:
    """Every installed accelerator, probed."""
    return [_probe(entry) for entry in installed().values()]


def look_up(name: str) -> Found:
    """The accelerator `name`, probed. Raises AcceleratorError if none has that name."""
    known = installed()
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]}?" if close else "."
        have = ", ".join(known) or "none; install hpcore-tcg"
        raise AcceleratorError(f"there is no accelerator '{name}'{hint} Installed: {have}")
    return _probe(known[name])


def find(name: str) -> Found:
    """The accelerator `name`, probed. Raises AcceleratorError if it cannot run here."""
    found = look_up(name)
    usable(found)
    return found


def usable(found: Found) -> Accelerator:
    """The accelerator itself. Raises AcceleratorError, with the reason, if it cannot run here."""
    why = found.capabilities.unavailable
    if found.accelerator is None or why is not None:
        raise AcceleratorError(f"the accelerator '{found.name}' cannot run here: {why}")
    return found.accelerator


def usable_by(found: Found, rules: Rules) -> Accelerator:
    """As `usable`, for machines that are run by `rules`."""
    accelerator = usable(found)
    return accelerator.by(rules) if isinstance(accelerator, RuledAccelerator) else accelerator


def keeper(found: Found) -> Keeper:
    """The accelerator itself, whose machines can outlive hpcore. Raises AcceleratorError."""
    accelerator = usable(found)
    if found.capabilities.no_keep is not None:
        raise AcceleratorError(
            f"no machine of '{found.name}' outlives hpcore: {found.capabilities.no_keep}"
        )
    return cast(Keeper, accelerator)


def _probe(entry: EntryPoint) -> Found:
    distribution = entry.dist.name if entry.dist else "?"
    try:
        accelerator: Accelerator = entry.load()()
        return Found(entry.name, distribution, accelerator, accelerator.probe())
    except Exception as error:  # a third party's code: whatever it does, the others go on
        why = f"it could not be loaded from {entry.value}: {type(error).__name__}: {error}"
        return Found(entry.name, distribution, None, Capabilities(unavailable=why))
