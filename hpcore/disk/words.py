"""The words of GRUB's script language: quotes, variables, and the lines they are on."""

from __future__ import annotations

from attrs import field, frozen

from hpcore.disk.errors import DiskError


@frozen
class Piece:
    """A part of a word: text, or the name of a variable. What is quoted is never split."""

    text: str
    variable: bool
    quoted: bool


@frozen
class Word:
    """What stands between blanks. `bare` is its text where nothing in it is quoted."""

    pieces: tuple[Piece, ...]

    @property
    def bare(self) -> str | None:
        """The text, where it may be a word of the language."""
        if len(self.pieces) == 1 and not (self.pieces[0].variable or self.pieces[0].quoted):
            return self.pieces[0].text
        return None


@frozen
class Token:
    """A word; or one of `\\n`, `{`, `}` in `sign`."""

    line: int
    sign: str = ""
    word: Word = field(default=Word(()))

    @property
    def bare(self) -> str | None:
        """The text of a word that may be one of the language."""
        return None if self.sign else self.word.bare


def tokens(text: str, name: str) -> list[Token]:
    """The words and signs of a script; the last is the end of a line.

    `name` is what messages call its file. Raises DiskError where a quote does not end.
    """
    return _Lexer(text, name).tokens()


class _Lexer:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name, self.at, self.line = text, name, 0, 1
        self.pieces: list[Piece] = []

    def tokens(self) -> list[Token]:
        """All of them; the last is the end of a line."""
        out: list[Token] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\r":
                self.at += 1
            elif self.text.startswith(("\\\n", "\\\r\n"), self.at):
                self.at = self.text.index("\n", self.at) + 1
                self.line += 1
            elif char in "\n;":
                out.append(Token(self.line, "\n"))
                self.at += 1
                self.line += char == "\n"
            elif char in "{}":
                out.append(Token(self.line, char))
                self.at += 1
            elif char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                line = self.line
                out.append(Token(line, word=self._word()))
        out.append(Token(self.line, "\n"))
        return out

    def _word(self) -> Word:
        self.pieces = []
        plain = ""
        while self.at < len(self.text) and (char := self.text[self.at]) not in " \t\r\n;{}":
            if char == "\\":
                self.at += 1
                escaped = self.text[self.at : self.at + 1]
                self.at += 1
                if escaped == "\n":
                    self.line += 1
                else:
                    self._add(plain)
                    plain = ""
                    self._add(escaped, quoted=True)
                continue
            if char in "'\"$":
                self._add(plain)
                plain = ""
                {"'": self._single, '"': self._double, "$": self._variable}[char]()
                continue
            plain += char
            self.at += 1
        self._add(plain)
        return Word(tuple(self.pieces))

    def _add(self, text: str, *, quoted: bool = False, variable: bool = False) -> None:
        if text or quoted:
            self.pieces.append(Piece(text, variable, quoted))

    def _single(self) -> None:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise self._unended("'")
        text = self.text[self.at + 1 : end]
        self._add(text, quoted=True)
        self.line += text.count("\n")
        self.at = end + 1

    def _double(self) -> None:
        start = self.line
        self.at += 1
        plain = ""
        self._add("", quoted=True)  # "" is a word, too
        while (char := self.text[self.at : self.at + 1]) != '"':
            if not char:
                self.line = start
                raise self._unended('"')
            following = self.text[self.at + 1 : self.at + 2]
            if char == "\\" and following in ("$", '"', "\\", "\n"):
                plain += following.replace("\n", "")
                self.line += following == "\n"
                self.at += 2
            elif char == "$":
                self._add(plain, quoted=bool(plain))
                plain = ""
                self._variable(quoted=True)
            else:
                plain += char
                self.line += char == "\n"
                self.at += 1
        self._add(plain, quoted=bool(plain))
        self.at += 1

    def _variable(self, *, quoted: bool = False) -> None:
        start = self.at + 1
        if self.text[start : start + 1] == "{":
            end = self.text.find("}", start)
            if end < 0:
                raise self._unended("${")
            self._add(self.text[start + 1 : end], quoted=quoted, variable=True)
            self.at = end + 1
            return
        end = start
        if self.text[start : start + 1] in tuple("@*#?") or self.text[start : start + 1].isdigit():
            end += 1
        else:
            while (c := self.text[end : end + 1]) == "_" or (c.isalnum() and c.isascii()):
                end += 1
        if end == start:
            self._add("$", quoted=quoted)
        else:
            self._add(self.text[start:end], quoted=quoted, variable=True)
        self.at = end

    def _unended(self, sign: str) -> DiskError:
        return DiskError(f"{self.name}, line {self.line}: {sign} begins and does not end")
