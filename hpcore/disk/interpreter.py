"""Running GRUB's statements: variables, conditions, loops, functions.

A script may loop, call itself and double its variables: all of that is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpcore.disk.errors import DiskError
from hpcore.disk.script import Command, For, Function, If, Loop, Statement
from hpcore.disk.words import Piece, Word

MOST_STEPS = 100_000
DEEPEST_CALL = 40
"""Functions, files and entries that run within others."""
LONGEST_VALUE = 65_536


class Leave(Exception):
    """`return`, `break`, `exit`, and what else ends a script."""

    def __init__(self, what: str, status: bool = True) -> None:
        super().__init__(what)
        self.what, self.status = what, status


class Interpreter:
    """Runs statements. `commands` are by their names; what is not among them does nothing."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self.commands: dict[str, Callable[[list[str]], bool]] = {}
        self.file, self.line = "", 0
        self._functions: dict[str, tuple[Statement, ...]] = {}
        self._arguments: list[tuple[str, ...]] = [()]
        self._status = True
        self._steps = self._depth = 0

    @property
    def arguments(self) -> tuple[str, ...]:
        """What $1, $2 and so on are now."""
        return self._arguments[-1]

    def entry(self, submenu: bool, arguments: list[str], command: Command) -> bool:
        """`menuentry` and `submenu`, with their block."""
        raise NotImplementedError

    def call(self, body: Sequence[Statement], arguments: tuple[str, ...]) -> bool:
        """Run statements that have their own $1, $2 and so on."""
        self._depth += 1
        if self._depth > DEEPEST_CALL:
            raise self.wrong("it calls itself, or includes itself, without end")
        self._arguments.append(arguments)
        try:
            return self._body(body)
        finally:
            self._depth -= 1
            self._arguments.pop()

    def _body(self, body: Sequence[Statement]) -> bool:
        for statement in body:
            self._status = self._statement(statement)
        return self._status

    def _statement(self, statement: Statement) -> bool:
        self._step(statement.line)
        match statement:
            case If(branches=branches, otherwise=otherwise):
                for condition, body in branches:
                    if self._body(condition):
                        return self._body(body)
                return self._body(otherwise)
            case Loop(condition=condition, body=body, ends_on=ends_on):
                return self._loop(lambda: self._body(condition) != ends_on, body)
            case For(name=name, words=words, body=body):
                values = iter(self.words(words))

                def more() -> bool:
                    value = next(values, None)
                    self.variables[name] = self.variables.get(name, "") if value is None else value
                    return value is not None

                return self._loop(more, body)
            case Function(name=name, body=body):
                self._functions[name] = body
                return True
        return self._command(statement)

    def _loop(self, more: Callable[[], bool], body: Sequence[Statement]) -> bool:
        while more():
            self._step(self.line)
            try:
                self._body(body)
            except Leave as leave:
                if leave.what == "break":
                    break
                if leave.what != "continue":
                    raise
        return True

    def _command(self, command: Command) -> bool:
        words = self.words(command.words)
        if not words:
            return self._body(command.block or ())
        name, *arguments = words
        negated = name == "!" and bool(arguments)
        if negated:
            name, *arguments = arguments
        if command.block is not None and name in ("menuentry", "submenu"):
            return self.entry(name == "submenu", arguments, command)
        if (body := self._functions.get(name)) is not None:
            try:
                status = self.call(body, tuple(arguments))
            except Leave as leave:
                if leave.what != "return":
                    raise
                status = leave.status
        elif (run := self.commands.get(name)) is not None:
            status = run(arguments)
        elif "=" in name and name.partition("=")[0].isidentifier():
            name, _, value = name.partition("=")
            self.variables[name] = value
            status = True
        else:
            status = True
        return status != negated

    def words(self, words: Sequence[Word]) -> list[str]:
        """The arguments: a variable that is not quoted is split at its blanks."""
        out: list[str] = []
        length = 0
        for word in words:
            current: str | None = None
            for piece in word.pieces:
                text = self._value(piece)
                length += len(text) + 1
                if length > LONGEST_VALUE:
                    raise self.wrong(f"its arguments have more than {LONGEST_VALUE} characters")
                if piece.variable and not piece.quoted:
                    parts = text.split()
                    if text[:1].isspace() and current is not None:
                        out.append(current)
                        current = None
                    for part in parts[:-1]:
                        out.append((current or "") + part)
                        current = None
                    text = parts[-1] if parts else ""
                    if not text:
                        continue
                current = (current or "") + text
            if current is not None:
                out.append(current)
        return out

    def _value(self, piece: Piece) -> str:
        if not piece.variable:
            return piece.text
        arguments = self._arguments[-1]
        if piece.text.isdigit():
            number = int(piece.text[:6])
            return arguments[number - 1] if 0 < number <= len(arguments) else ""
        if piece.text in ("@", "*"):
            return " ".join(arguments)
        if piece.text == "#":
            return str(len(arguments))
        if piece.text == "?":
            return "0" if self._status else "1"
        return self.variables.get(piece.text, "")

    def _step(self, line: int) -> None:
        self.line = line
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise self.wrong(f"it runs for more than {MOST_STEPS} steps: it loops without end")

    def wrong(self, why: str) -> DiskError:
        """What to raise about the line that runs."""
        return DiskError(f"{self.where}: {why}; mend the file in the guest")

    @property
    def where(self) -> str:
        """The file and the line that runs."""
        return f"{self.file}, line {self.line}"
