"""What all commands print alike: tables, the closing JSON object, errors, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import click
import orjson

from hpcore.errors import printable

if TYPE_CHECKING:  # rich takes a while to load, and a verdict does without
    from rich.console import Console
    from rich.table import Table

FINE, WRONG, BAD_INPUT = 0, 1, 2
"""Exit codes: fine; the checked thing is wrong; bad input or environment."""

WIDE = 10_000
"""Characters: more than any table has, so that it can be measured."""


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

    @cached_property
    def people(self) -> Console:
        """Where tables and progress are printed for people."""
        from rich.console import Console  # noqa: PLC0415

        return Console(stderr=self.json, highlight=False, soft_wrap=False)

    def say(self, text: str, style: str | None = None) -> None:
        """A line for people; `style` is a colour, "bold" before it if need be."""
        text = printable(text)
        if style is not None and "NO_COLOR" not in os.environ:
            *bold, colour = style.split()
            text = click.style(text, fg=colour, bold=bool(bold) or None)
        with _taken():
            click.echo(text, err=self.json)  # without the style where that is no terminal

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """What is going on, on a terminal, until the end; call it to say something else."""
        if not (sys.stderr if self.json else sys.stdout).isatty():
            yield lambda _now: None
            return
        from rich.text import Text  # noqa: PLC0415 - rich takes [brackets] in a str for its own

        status = self.people.status(Text(text))
        with _taken():
            status.start()
        try:
            yield lambda now: status.update(Text(printable(now)))
        finally:
            with _taken():
                status.stop()

    def text(self, text: str) -> None:
        """Text to be kept as it is, so on standard output; with `json` it is in the object."""
        if not self.json:
            with _taken():
                click.echo(text, nl=False)

    def table(self, *columns: str) -> Table:
        """An empty table; fill it with texts, and print it with `show`."""
        from rich.table import Table  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        return table

    def show(self, table: Table) -> None:
        """Print a table; one value a line where the terminal is too narrow for its words."""
        from rich.measure import Measurement  # noqa: PLC0415

        people = self.people
        words = Measurement.get(people, people.options.update(width=WIDE), table).minimum
        if words <= people.width:
            with _taken():
                people.print(table, markup=False)
            return
        for n, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
            if n:
                self.say("")
            for column, cell in zip(table.columns, row, strict=True):
                if cell:
                    self.say(f"{column.header}: {cell}".removeprefix(": "))

    def close(self, ok: bool, **fields: Any) -> None:
        """The last line, for machines."""
        if self.json:
            line = orjson.dumps({"ok": ok, **fields}, default=str)
            with _taken():
                sys.stdout.write(line.decode() + "\n")
                sys.stdout.flush()

    def end(self, ok: bool, **fields: Any) -> NoReturn:
        """Print the closing object and exit, 0 if `ok`, else 1."""
        self.close(ok, **fields)
        raise click.exceptions.Exit(FINE if ok else WRONG)


def many(count: int) -> str:
    """A count that may be beyond what a float can hold."""
    digits = str(count)
    if len(digits) <= 12:
        return f"{count:,}"
    return f"{digits[0]}.{digits[1:4]}e{len(digits) - 1}"


def steps(count: int) -> str:
    """A number of steps, in words."""
    return f"{count} step{'s' * (count != 1)}"


@contextmanager
def _taken() -> Iterator[None]:
    """Say whose fault it is where an output takes nothing more, on a full disk for one."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Problem(f"the output cannot be written: {error.strerror or error}") from error


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object as the last line."
)
