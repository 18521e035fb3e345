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

    def given_by(self, command: Command | None, descriptors: Sequence[int]) -> int | None:
        """A copy of what a `getfd` brings: of several, the real QEMU takes the last one."""
        if command is None or command.name != "getfd" or not descriptors:
            return None
        return os.dup(descriptors[-1])

    def note(
        self, command: Command | None, given: int | None, answer: Mapping[str, object]
    ) -> None:
        """The real QEMU has answered: the copy stays for as long as it has what it is of."""
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
        for number in self._named.values():
            os.close(number)
        self._named.clear()
