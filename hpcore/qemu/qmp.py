"""QMP, QEMU's control socket: commands with a deadline, and events to a callback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError

from hpcore.errors import printable
from hpcore.qemu.errors import QemuError
from hpcore.qemu.running import LISTEN_SECONDS, RunningQemu

log = structlog.get_logger(__name__)

COMMAND_SECONDS = 60.0
GREETINGS = 3
"""How often QEMU may say something else first. Its monitor runs in a thread of its own, so an
event of the machine can come before the greeting of a client that was early; a new connection
has its own greeting."""

OnEvent = Callable[[str, Mapping[str, object]], None]
"""Called with an event's name and its data, in the order in which QEMU sent them."""


class QmpRefused(QemuError):
    """QEMU answered a command with an error; `error_class` is QMP's word for it."""

    def __init__(self, command: str, error_class: str, description: str) -> None:
        super().__init__(f"QEMU refused {command}: {description}")
        self.error_class = error_class
        self.description = description


class Qmp:
    """A connection to the QMP socket of a QEMU process."""

    def __init__(self, client: QMPClient, process: RunningQemu, on_event: OnEvent) -> None:
        self._client = client
        self._process = process
        self._on_event = on_event
        self._events = EventListener()
        client.register_listener(self._events)
        self._pump = asyncio.create_task(self._deliver())

    @classmethod
    async def connect(
        cls, process: RunningQemu, path: Path, on_event: OnEvent, seconds: float = LISTEN_SECONDS
    ) -> Qmp:
        """Connect to the socket `path` of `process` and negotiate.

        Raises QemuError where QEMU ends first or does not answer within `seconds`.
        """
        left = GREETINGS
        while True:
            left -= 1
            sock = await process.connect_socket(path, seconds)
            client = _Client("hpcore")
            client.logger.setLevel(logging.CRITICAL)  # what matters is raised, not logged
            try:
                await asyncio.wait_for(client.connect(sock), seconds)
                return cls(client, process, on_event)
            except (QMPError, TimeoutError, OSError) as error:
                if not (client.first and left):
                    raise QemuError(
                        f"QEMU's QMP socket {path} does not answer: "
                        f"{printable(str(error)) or 'no greeting in time'}{client.said}; "
                        f"{process.last_words}"
                    ) from error
                log.warning("QEMU did not greet", error=str(error), said=client.first)

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> object:
        """Run `command` and return what QEMU returns.

        Raises QmpRefused for an error answer, QemuError with QEMU's last words when it
        dies, and QemuError when no answer comes within `seconds`.
        """
        call = self._client.execute(command, dict(arguments) if arguments else None)
        try:
            return await asyncio.wait_for(call, seconds)
        except ExecuteError as error:
            raise QmpRefused(command, error.error_class, printable(str(error))) from error
        except TimeoutError as error:
            raise QemuError(
                f"QEMU did not answer {command} within {seconds:g} s; {self._process.last_words}"
            ) from error
        except (QMPError, OSError, EOFError) as error:
            with contextlib.suppress(TimeoutError):  # it is ending: let its last words come
                await asyncio.wait_for(self._process.wait(), 1.0)
            raise QemuError(
                f"QEMU was gone before it answered {command}: {self._process.last_words}"
            ) from error

    async def caught_up(self) -> None:
        """Wait until every event that came before the last answer has been handed on."""
        while not self._events.empty() and not self._pump.done():  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Leave the connection. QEMU goes on. Idempotent."""
        self._pump.cancel()
        with contextlib.suppress(Exception):
            await self._client.disconnect()

    async def _deliver(self) -> None:
        async for message in self._events:
            data = message.get("data", {})
            try:
                self._on_event(str(message["event"]), data if isinstance(data, dict) else {})
            except Exception:
                log.exception("a QMP event's handler failed", qmp_event=message.get("event"))


class _Client(QMPClient):
    """Keeps what QEMU said first, for whoever wonders why it was no greeting."""

    first: str = ""

    def _cb_inbound(self, msg: Message) -> Message:
        self.first = self.first or printable(" ".join(str(msg).split()))
        return super()._cb_inbound(msg)

    @property
    def said(self) -> str:
        """The end of a sentence about it; empty where nothing was said."""
        return f", having said {self.first}" if self.first else ""
