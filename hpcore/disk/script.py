"""GRUB's script language: statements and their lines.

Source: the chapter "Shell-like scripting" of GRUB's manual. What a grub.cfg of a distribution
has is here: quotes, variables, if, while, until, for, functions, blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from hpcore.disk.errors import DiskError
from hpcore.disk.words import Token, Word, tokens

DEEPEST = 50
"""Blocks within blocks."""


@frozen
class Command:
    """A command and its arguments; `block` is what follows between braces."""

    line: int
    words: tuple[Word, ...]
    block: tuple[Statement, ...] | None = None


@frozen
class If:
    """Conditions with what is done for each, and what else is done."""

    line: int
    branches: tuple[tuple[tuple[Statement, ...], tuple[Statement, ...]], ...]
    otherwise: tuple[Statement, ...] = ()


@frozen
class Loop:
    """`while`, or `until` where `ends_on` is True."""

    line: int
    condition: tuple[Statement, ...]
    body: tuple[Statement, ...]
    ends_on: bool


@frozen
class For:
    """`for NAME in WORDS`."""

    line: int
    name: str
    words: tuple[Word, ...]
    body: tuple[Statement, ...]


@frozen
class Function:
    """A function, to be called by its name."""

    line: int
    name: str
    body: tuple[Statement, ...]


Statement = Command | If | Loop | For | Function


def parse(text: str, name: str) -> tuple[Statement, ...]:
    """The statements of a script. `name` is what messages call its file.

    Raises DiskError that names the line where the text is no script.
    """
    return _Parser(tokens(text, name), name).script()


ENDS = ("then", "elif", "else", "fi", "do", "done")


class _Parser:
    def __init__(self, tokens: Sequence[Token], name: str) -> None:
        self.tokens, self.name, self.at, self.depth = tokens, name, 0, 0

    def script(self) -> tuple[Statement, ...]:
        """The whole of it."""
        out = self._statements(())
        if self.at < len(self.tokens):
            token = self.tokens[self.at]
            raise self._wrong(token, f"{token.sign or token.bare} has no beginning")
        return out

    def _statements(self, ends: tuple[str, ...]) -> tuple[Statement, ...]:
        """Statements up to one of `ends`, or to the end or a word that ends something else."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._wrong(self.tokens[self.at], f"more than {DEEPEST} blocks in each other")
        out: list[Statement] = []
        while (token := self._peek()) is not None:
            if token.sign == "\n":
                self.at += 1
            elif token.sign == "}" or token.bare in ENDS:
                break
            else:
                out.append(self._statement(token))
        if ends and (token is None or (token.sign or token.bare) not in ends):
            last = token or self.tokens[-1]
            raise self._wrong(last, f"{' or '.join(ends)} is missing")
        self.depth -= 1
        return tuple(out)

    def _statement(self, token: Token) -> Statement:
        match token.bare:
            case "if":
                return self._if(token)
            case "while" | "until":
                self.at += 1
                condition = self._statements(("do",))
                return Loop(token.line, condition, self._body(), token.bare == "until")
            case "for":
                return self._for(token)
            case "function":
                self.at += 1
                name = self._next("a name").bare or ""
                return Function(token.line, name, self._braces())
        return self._command(token)

    def _command(self, first: Token) -> Command:
        words: list[Word] = []
        while (token := self._peek()) is not None and token.sign != "\n":
            if token.sign == "{":
                return Command(first.line, tuple(words), self._braces())
            if token.sign == "}":
                break
            words.append(token.word)
            self.at += 1
        return Command(first.line, tuple(words))

    def _if(self, token: Token) -> If:
        branches = []
        while True:
            self.at += 1
            condition = self._statements(("then",))
            self.at += 1
            branches.append((condition, self._statements(("elif", "else", "fi"))))
            if self.tokens[self.at].bare != "elif":
                break
        otherwise: tuple[Statement, ...] = ()
        if self.tokens[self.at].bare == "else":
            self.at += 1
            otherwise = self._statements(("fi",))
        self.at += 1
        return If(token.line, tuple(branches), otherwise)

    def _for(self, token: Token) -> For:
        self.at += 1
        name = self._next("a name").bare or ""
        if self._next("in").bare != "in":
            raise self._wrong(token, "`for` without `in`")
        words = []
        while (one := self._peek()) is not None and not one.sign:
            words.append(one.word)
            self.at += 1
        self._statements(("do",))
        return For(token.line, name, tuple(words), self._body())

    def _body(self) -> tuple[Statement, ...]:
        self.at += 1
        body = self._statements(("done",))
        self.at += 1
        return body

    def _braces(self) -> tuple[Statement, ...]:
        token = self._next("{")
        if token.sign != "{":
            raise self._wrong(token, "{ is missing")
        body = self._statements(("}",))
        self.at += 1
        return body

    def _peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _next(self, wanted: str) -> Token:
        token = self._peek()
        if token is None:
            raise self._wrong(self.tokens[-1], f"{wanted} is missing")
        self.at += 1
        return token

    def _wrong(self, token: Token, why: str) -> DiskError:
        return DiskError(f"{self.name}, line {token.line}: {why}; mend the file in the guest")
