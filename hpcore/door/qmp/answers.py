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

class Client(Protocol):
    """Who has given a command, for one that needs to know."""

    async def take_descriptor(self, name: str) -> int | None:
        """The descriptor that it has given by `getfd` under this name, taken from the real QEMU.

        None where there is none. It is the caller's to close.
        """


ClientHandler = Callable[[Mapping[str, object], Client], Awaitable[object]]
"""A handler of a command that takes something of its client's beside the arguments."""

OnEvent = Callable[[str, Mapping[str, object]], bool]
"""Whether an event of the real QEMU, with its data, goes on to the clients."""


def all_pass(_name: str, _data: Mapping[str, object]) -> bool:
    """Let every event of the real QEMU go on."""
    return True


class Awaited(Protocol):
    """A machine that is waited for, to come from elsewhere."""

    async def settled(self) -> None:
        """Wait for the end of what is on its way."""

    async def whole_machine(self, goes_on: bool | None) -> bool:
        """A command on the whole machine is given: whether that is all there is to it.

        `goes_on` is what `cont` and `stop` say; None for a reset, which raises QmpError while
        there is no machine.
        """


@frozen
class Answers:
    """The commands that hpcore answers, by name, and which events of the real QEMU go on.

    Those of `of_client` are told who has given them. `after_events` are those of the commands
    that make the real QEMU tell events: the answer comes after them, as it does where QEMU gives
    both.
    """

    handlers: Mapping[str, Handler] = field(factory=dict)
    passes: OnEvent = all_pass
    after_events: frozenset[str] = frozenset()
    of_client: Mapping[str, ClientHandler] = field(factory=dict)

    def handler(self, command: str, client: Client) -> Handler | None:
        """What answers a command of this client; None where the real QEMU does."""
        if (of_client := self.of_client.get(command)) is not None:
            return lambda arguments: of_client(arguments, client)
        return self.handlers.get(command)


class RealMonitor(Protocol):
    """A monitor of the real QEMU that is hpcore's own (`hpcore.qemu.Qmp` is one)."""

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """What the real QEMU returns. Raises QmpRefused where it answers with an error."""
