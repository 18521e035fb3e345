"""The descriptors that a client has given the real QEMU by `getfd`, under their names.

The real QEMU has them, since it may be the one to use them. What hpcore uses itself it has a
copy of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from hpcore.door.qmp.requests import Command


class NamedDescriptors:
    """Copies of them, of one client's monitor."""

    def __init__(self) -> None:
        self._named: dict[str, int] = {}
        self._given: int | None = None  # with the command that the real QEMU has not answered yet

    def passed_on(self, command: Command | None, descriptors: Sequence[int]) -> None:
        """The real QEMU is given a command with these. Of several, `getfd` takes the last one."""
        named = command is not None and isinstance(command.arguments.get("fdname"), str)
        if named and command is not None and command.name == "getfd" and descriptors:
            self._given = os.dup(descriptors[-1])

    def answered(self, command: Command | None, answer: Mapping[str, object]) -> None:
        """It has answered: the copy stays for as long as it has what the copy is of."""
        given, self._given = self._given, None
        if command is not None and command.name in ("getfd", "closefd") and "return" in answer:
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

    def close(self) -> None:
        """Let go of all."""
        given = [] if self._given is None else [self._given]
        for number in (*self._named.values(), *given):
            os.close(number)
        self._named.clear()
        self._given = None
