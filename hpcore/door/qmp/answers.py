"""What hpcore answers in place of the real QEMU, as far as a conversation needs to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Protocol

from attrs import field, frozen

from hpcore.errors import HpcoreError
from hpcore.model.guards import QmpErrorClass


class QmpError(HpcoreError):
    """A command is answered with an error; the text is what the client reads."""

    def __init__(self, description: str, class_: str = QmpErrorClass.GENERIC) -> None:
        super().__init__(description)
        self.class_ = str(class_)


class Passes(Enum):
    """What a handler returns where the command is none of hpcore's after all."""

    ON = auto()  # the real QEMU is given the request as it came, and answers


Handler = Callable[[Mapping[str, object]], Awaitable[object]]
"""Takes a command's arguments and gives what is returned, or `Passes.ON`.

Raises QmpError, or any HpcoreError, whose text is then a GenericError. Arguments of a wrong
shape are passed on: the real QEMU refuses them in its own words.
"""

OnEvent = Callable[[str, Mapping[str, object]], bool]
"""Whether an event of the real QEMU, with its data, goes on to the clients."""


def all_pass(_name: str, _data: Mapping[str, object]) -> bool:
    """Let every event of the real QEMU go on."""
    return True


@frozen
class Answers:
    """The commands that hpcore answers, by name, and which events of the real QEMU go on.

    `after_events` are those of the commands that make the real QEMU tell events: the answer
    comes after them, as it does where QEMU gives both.
    """

    handlers: Mapping[str, Handler] = field(factory=dict)
    passes: OnEvent = all_pass
    after_events: frozenset[str] = frozenset()


class RealMonitor(Protocol):
    """A monitor of the real QEMU that is hpcore's own (`hpcore.qemu.Qmp` is one)."""

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """What the real QEMU returns. Raises QmpRefused where it answers with an error."""
