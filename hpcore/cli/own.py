"""What a check is given in files of the user's own: a guest, properties."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from typing import Any

import click

from hpcore.check.properties import PROPERTIES, Properties
from hpcore.check.result import CheckError
from hpcore.check.world.guests import GUESTS, GuestModel
from hpcore.errors import printable


class GuestType(click.ParamType):  # type: ignore[type-arg]
    """A guest that hpcore has, by name, or a class in a file: `mine.py:MyGuest`."""

    name = "guest"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """How it is written in the help."""
        return f"[{'|'.join(GUESTS)}|FILE.py:CLASS]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> GuestModel:
        """The guest of that name, or of that class."""
        if not isinstance(value, str):
            guest: GuestModel = value
            return guest
        if value in GUESTS:
            return GUESTS[value]
        from hpcore.check.own import guest_in  # noqa: PLC0415 - runs a user's file

        _watch_own_calls()
        try:
            return guest_in(value)
        except CheckError as error:
            self.fail(str(error), param, ctx)


def properties_of(files: tuple[Path, ...]) -> Properties:
    """hpcore's own, and beside them those in `files`. Raises CheckError."""
    if not files:
        return PROPERTIES
    from hpcore.check.own import properties_in  # noqa: PLC0415 - runs a user's file

    _watch_own_calls()
    return (*PROPERTIES, *(p for file in files for p in properties_in(file)))


@cache
def _watch_own_calls() -> None:
    """From now on say, once, where a call of the user's code is that does not come back."""
    from hpcore.check.own_calls import CALLS  # noqa: PLC0415 - as above

    def tell(words: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more
            click.echo(f"hpcore: {printable(words)}; Ctrl-C ends the check", err=True)

    CALLS.watch(tell)


property_option = click.option(
    "--property", "property_files", type=click.Path(path_type=Path), multiple=True,
    metavar="FILE.py", help="Ask the properties of this file as well.",
)  # fmt: skip
