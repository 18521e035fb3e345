"""What all commands print alike: tables, the closing JSON object, errors, exit codes."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click
import orjson
from rich.console import Console
from rich.table import Table

FINE, WRONG, BAD_INPUT = 0, 1, 2
"""Exit codes: fine; the checked thing is wrong; bad input or environment."""


class Problem(click.ClickException):
    """A clear message and an exit code; with --json also an object with ok false."""

    def __init__(self, message: str, code: int = BAD_INPUT, **fields: object) -> None:
        super().__init__(message)
        self.code = code
        self.fields = fields


class Output:
    """Where a command prints. With `json`, standard output gets the closing object alone."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.people = Console(stderr=json, highlight=False, soft_wrap=False)

    def say(self, text: str, style: str | None = None) -> None:
        """A line for people."""
        self.people.print(text, style=style, markup=False, soft_wrap=True)

    def text(self, text: str) -> None:
        """Text to be kept as it is, so on standard output; with `json` it is in the object."""
        if not self.json:
            click.echo(text, nl=False)

    def table(self, title: str | None, *columns: str) -> Table:
        """An empty table that fits a terminal; print it with `show`."""
        table = Table(title=title, box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        return table

    def show(self, table: Table) -> None:
        self.people.print(table, markup=False)

    def close(self, ok: bool, **fields: Any) -> None:
        """The last line, for machines."""
        if self.json:
            line = orjson.dumps({"ok": ok, **fields}, default=str)
            sys.stdout.write(line.decode() + "\n")
            sys.stdout.flush()

    def end(self, ok: bool, **fields: Any) -> NoReturn:
        """Print the closing object and exit, 0 if `ok`, else 1."""
        self.close(ok, **fields)
        raise click.exceptions.Exit(FINE if ok else WRONG)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object as the last line."
)
