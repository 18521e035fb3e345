"""The options of `hpcore check` that only a sequence has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from hpcore.check.result import CheckError
from hpcore.cli.output_file import OUTPUT_FILE

_F = TypeVar("_F", bound=Callable[..., Any])
_OF_SEQUENCES = {"race": "--race", "most": "--most"}


def sequence_options(command: _F) -> _F:
    """The scenario, and the options that only a sequence has."""
    for add in reversed((
        click.argument("scenario", required=False),
        click.option("--race", is_flag=True,
                     help="A sequence: give a command once the one before is accepted."),
        click.option("--scenario", "repeat_in", type=OUTPUT_FILE, metavar="FILE",
                     help="Write a scenario that repeats the finding."),
        click.option("--most", type=click.IntRange(1), default=1_000_000, show_default=True,
                     help="A sequence: states at most."),
    )):  # fmt: skip
        command = add(command)
    return command


def refuse_without_scenario(ctx: click.Context) -> None:
    """Raises CheckError for an option of sequences where there is none."""
    for name, flag in _OF_SEQUENCES.items():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise CheckError(f"{flag} is for a sequence; name a scenario: hpcore check mine.yaml")
