"""The descriptors that a client has given the real QEMU by `getfd`, under their names.

The real QEMU has them, since it may be the one to use them. What hpcore uses itself it has a
copy of. A copy of what the real QEMU uses is let go: the client waits for the end of the dump, say,
that it reads at the other end, and that comes once nobody has the descriptor any more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set

from hpcore.door.qmp.requests import Command

_KEEPS = ("getfd", "closefd")
"""The commands that keep descriptors. Any other that has the name of one in it uses it up."""
_BETWEEN = re.compile(r"[\s:;,=]+")
"""What stands between names: `fd:dump`, `fds=a:b`."""


class NamedDescriptors:
    """Copies of them, of one client's monitor."""

    def __init__(self) -> None:
        self._named: dict[str, int] = {}
        self._given: int | None = None  # with the command that the real QEMU has not answered yet

    def passed_on(self, command: Command | None, descriptors: Sequence[int]) -> None:
        """The real QEMU is given a command with these. Of several, `getfd` takes the last one."""
        if command is None:
            return
        if command.name not in _KEEPS:
            self._let_go(set(_words(command.arguments)))
        elif command.name == "getfd" and descriptors and _is_named(command):
            self._given = os.dup(descriptors[-1])

    def answered(self, command: Command | None, answer: Mapping[str, object]) -> None:
        """It has answered: the copy stays for as long as it has what the copy is of."""
        given, self._given = self._given, None
        if command is not None and command.name in _KEEPS and "return" in answer:
            name = str(command.arguments.get("fdname"))
            if (old := self.take(name)) is not None:
                os.close(old)
            if given is not None:
                self._named[name], given = given, None
        if given is not None:
            os.close(given)

    def take(self, name: str) -> int | None:
        """The copy, which is the caller's from here on."""
        return self._named.pop(name, None)

    def _let_go(self, words: Set[str]) -> None:
        for name in self._named.keys() & words:
            os.close(self._named.pop(name))

    def close(self) -> None:
        """Let go of all."""
        given = [] if self._given is None else [self._given]
        for number in (*self._named.values(), *given):
            os.close(number)
        self._named.clear()
        self._given = None


def _is_named(command: Command) -> bool:
    return isinstance(command.arguments.get("fdname"), str)


def _words(value: object) -> Iterator[str]:
    """All words of all strings in it."""
    match value:
        case str():
            yield from _BETWEEN.split(value)
        case Mapping():
            for one in value.values():
                yield from _words(one)
        case list():
            for one in value:
                yield from _words(one)
