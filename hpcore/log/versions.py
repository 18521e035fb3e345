"""Format versions: which logs this hpcore reads, and how older ones are brought up to date.

- A *major* version changes what lines mean. A newer one is refused. An older one is
  upgraded as it is read, by a chain of pure functions, one for each major version.
- A *minor* version only adds: events, and fields that have a default. A newer minor is
  read; fields that this hpcore does not know are ignored, for they may not change what
  the known ones mean, but an event that it does not know is refused, for a state without
  it would be wrong. In an older minor, a field that was not there yet has its default.
- Only a log of exactly the current version is appended to.

The framing (MAGIC, one JSON object a line, the chained sum that ends it) is no part of
this: it stays for all versions, so that any hpcore can tell which one wrote a log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Self

from attrs import field, frozen

from hpcore.log.errors import LogTooNew, LogTooOld
from hpcore.version import __version__

Fields = dict[str, Any]
"""A line of the log, as JSON has it."""


@frozen(order=True)
class FormatVersion:
    """The log format's version, written as `major.minor`."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """The version that `text` names, or None where it names none."""
        if not isinstance(text, str):
            return None
        found = re.fullmatch(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})", text, re.ASCII)
        return cls(int(found[1]), int(found[2])) if found else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@frozen
class Upgrade:
    """From one major version to the next: pure functions from fields to fields.

    `header` gets the header's fields and `event` those of every later line, in both
    cases without the sum. They return new fields, or the same ones changed.
    """

    header: Callable[[Fields], Fields]
    event: Callable[[Fields], Fields]


@frozen
class Formats:
    """The version that is written, and the upgrades from older majors to it."""

    current: FormatVersion
    upgrades: Mapping[int, Upgrade] = field(factory=dict)

    def admit(self, name: str, version: FormatVersion, wrote: str) -> None:
        """Refuse a log of a newer major version, or one that no upgrade leads from.

        `wrote` is the version of the hpcore that wrote the log called `name`.
        """
        mine = self.current
        if version.major > mine.major:
            raise LogTooNew(
                f"{name}: the log's format is {version}, written by hpcore {wrote}; this "
                f"hpcore, {__version__}, reads formats up to {mine.major}.x. "
                f"Install hpcore {wrote} or later"
            )
        missing = [m for m in range(version.major, mine.major) if m not in self.upgrades]
        if missing:
            raise LogTooOld(
                f"{name}: the log's format is {version}, written by hpcore {wrote}; this "
                f"hpcore, {__version__}, cannot upgrade format {missing[0]}.x. "
                f"Read it with hpcore {wrote}"
            )

    def upgrade_header(self, version: FormatVersion, fields: Fields) -> Fields:
        """The header's fields in the current major version."""
        for major in range(version.major, self.current.major):
            fields = self.upgrades[major].header(fields)
        return fields

    def event_upgrade(self, version: FormatVersion) -> Callable[[Fields], Fields] | None:
        """What brings an event's fields up to the current major; None for nothing to do."""
        chain = [self.upgrades[m].event for m in range(version.major, self.current.major)]
        if not chain:
            return None

        def upgrade(fields: Fields) -> Fields:
            for step in chain:
                fields = step(fields)
            return fields

        return upgrade


FORMATS = Formats(current=FormatVersion(1, 3))
"""What this hpcore writes and reads. 1.1 added `modelled` and `differs` to the header; 1.2
added `answers` and `heard` to the first line of a decision; 1.3 added `segment`, `rules` and
`kept` to the header, `counted` to the first line of a decision and `group` to any line."""
