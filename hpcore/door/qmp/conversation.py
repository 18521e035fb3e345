"""One client of one monitor, and the monitor of the real QEMU that is behind it.

    client --> decoder --> one at a time --> hpcore's handler, or the real QEMU
    client <-- outbox  <-- answers and events, in their order

Bytes are passed on as they came; only what hpcore answers is made here. A client is read
from no faster than its commands are answered, and the real QEMU no faster than the client
reads.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Mapping

import structlog

from hpcore.door.qmp.answers import Answers, Handler, Passes, QmpError
from hpcore.door.qmp.json_form import to_json
from hpcore.door.qmp.lines import Kind, Lines, Said
from hpcore.door.qmp.named import NamedDescriptors
from hpcore.door.qmp.outbox import MAX_TOLD, Outbox
from hpcore.door.qmp.requests import ABSENT, Command, Decoder, Request
from hpcore.door.qmp.wire import Wire, close_all
from hpcore.errors import HpcoreError

MAX_REQUESTS = 8
"""Requests that are read before the first of them is answered, as in QEMU with `oob`
(monitor/monitor-internal.h, QMP_REQ_QUEUE_LEN_MAX)."""
MAX_WAITING = 1 << 20
"""And bytes of them; one request may be longer."""
AT_ONCE = 512
"""Bytes that are decoded in one turn of the event loop: at most a millisecond's worth."""
_IN_TURN_ID = f"hpcore-{uuid.uuid4()}"
"""Of what the door itself asks the real QEMU; no client can know it."""
_ASKS_NOTHING = {"execute": "query-name"}
LAST_WORDS_SECONDS = 1.0
"""For a client to read what QEMU said before it ended."""

_log = structlog.get_logger(__name__)


class _Ended(Exception):
    """The client is gone, or the real QEMU's monitor is."""


class Conversation:
    """A client that has been accepted. `run` ends with it, or with the real QEMU."""

    def __init__(self, front: Wire, back: Wire, answers: Answers, *, pretty: bool = False) -> None:
        self._front, self._back, self._answers, self._pretty = front, back, answers, pretty
        self._outbox = Outbox(front)
        self.negotiated = False
        """Whether the client is told events and may give commands."""
        self._oob = False
        self._requests: deque[tuple[Request, list[int]]] = deque()
        self._moved = asyncio.Event()  # a request was read or taken, or the client has ended
        self._read_all = False
        self._came: list[int] = []  # descriptors, with bytes that are no whole request yet
        self._unsent: list[int] = []  # and those for the request that is passed on next
        self._skips = False  # the real QEMU's lexer skips what comes, up to a line feed
        self._sending = asyncio.Lock()
        self._owed = 0  # answers of the real QEMU
        self._answered = asyncio.Event()
        self._last: Mapping[str, object] = {}
        self._heard_all = asyncio.Event()
        self._held: list[bytes] | None = None  # events that wait for an answer of hpcore's
        self._named = NamedDescriptors()

    async def run(self) -> None:
        """Talk until either side ends; close both. Cancelled, it does the same."""
        tasks = [
            asyncio.create_task(work)
            for work in (self._read(), self._serve(), self._listen(), self._outbox.broken.wait())
        ]
        try:
            await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks[:3]:
                if task.done() and (error := task.exception()) and not isinstance(error, _Ended):
                    _log.error("a QMP conversation failed", exc_info=error)
            await self._outbox.empty(LAST_WORDS_SECONDS)
        finally:
            self.negotiated = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._outbox.close()
            close_all((*self._came, *self._unsent))
            self._named.close()
            for _, descriptors in self._requests:
                close_all(descriptors)
            self._front.close()
            self._back.close()

    def tell(self, name: str, data: Mapping[str, object]) -> None:
        """Tell the client an event of hpcore's, if it has negotiated.

        It does not overtake the answer to a command of this client's that led to it.
        """
        if self.negotiated:
            event = self._form({"timestamp": _now(), "event": name, "data": data})
            if self._held is None:
                self._outbox.tell(event)
            elif len(self._held) < MAX_TOLD:
                self._held.append(event)

    # ------------------------------------------------------------ from the client

    async def _read(self) -> None:
        decoder = Decoder()
        while True:
            data, descriptors = await self._front.receive()
            if descriptors:  # they replace those that no command has taken, as in QEMU
                close_all(self._came)
                self._came = descriptors
            if not data:
                self._read_all = True
                self._moved.set()
                return
            for begin in range(0, len(data), AT_ONCE):
                for request in decoder.feed(data[begin : begin + AT_ONCE]):
                    await self._was_read(request)
                await asyncio.sleep(0)  # others have their turn, however much comes

    async def _was_read(self, request: Request) -> None:
        if self._oob and request.command is not None and request.command.oob:
            self._take(self._descriptors())
            await self._pass_on(request)
            return
        await self._has_room()
        self._requests.append((request, self._descriptors()))
        self._moved.set()

    def _descriptors(self) -> list[int]:
        """Those that have come with the request that was read last, if any."""
        taken, self._came = self._came, []
        return taken

    async def _has_room(self) -> None:
        def full() -> bool:
            waiting = sum(len(request.raw) for request, _ in self._requests)
            return len(self._requests) >= MAX_REQUESTS or waiting > MAX_WAITING

        while full():
            self._moved.clear()
            await self._moved.wait()

    async def _serve(self) -> None:
        while True:
            while not self._requests:
                if self._read_all:
                    return
                self._moved.clear()
                await self._moved.wait()
            await self._outbox.room()
            request, descriptors = self._requests[0]  # it counts until it is answered
            self._requests[0] = (request, [])
            self._take(descriptors)
            try:
                await self._answer(request)
            except _Ended:
                return
            self._requests.popleft()
            self._moved.set()

    async def _answer(self, request: Request) -> None:
        """Have one request answered, by whomever."""
        if request.too_long:
            self._say(_error(QmpError("JSON token size limit exceeded")), None)
            return
        command = request.command
        if self.negotiated and command is not None and not command.oob:
            handler = self._answers.handler(command.name, self)
            if handler is not None and await self._handled(handler, command):
                return
        self._named.passed_on(command, self._unsent)
        await self._pass_on(request)
        while self._owed:
            self._answered.clear()
            await self._answered.wait()
        if command is not None and command.name == "qmp_capabilities":
            self._note_negotiation(command)
        self._named.answered(command, self._last)

    async def _handled(self, handler: Handler, command: Command) -> bool:
        """Have hpcore answer. False where the command is passed on."""
        self._held = []
        try:
            value = await handler(command.arguments)
            if value is Passes.ON:
                return False
            if command.name in self._answers.after_events:
                await self._hear_all()
            self._say({"return": value}, command)
        except _Ended:
            raise
        except QmpError as error:
            self._say(_error(error), command)
        except HpcoreError as error:
            self._say(_error(QmpError(str(error))), command)
        except Exception as error:
            _log.exception("a QMP handler raised", command=command.name)
            self._say(_error(QmpError(f"hpcore failed: {type(error).__name__}")), command)
        finally:
            held, self._held = self._held, None
            for event in held or ():
                self._outbox.tell(event)
        return True

    def _note_negotiation(self, command: Command) -> None:
        if not self.negotiated and "return" in self._last:
            enabled = command.arguments.get("enable")
            self._oob = isinstance(enabled, list) and "oob" in enabled
            self.negotiated = True

    def _say(self, answer: dict[str, object], command: Command | None) -> None:
        if command is not None and command.id is not ABSENT:
            answer = {**answer, "id": command.id}
        self._outbox.put(self._form(answer))

    def _form(self, message: Mapping[str, object]) -> bytes:
        form = to_json(message, pretty=self._pretty) + b"\n"
        return form.replace(b"\n", b"\r\n")  # as monitor_puts does

    # ------------------------------------------------- descriptors that have a name

    async def take_descriptor(self, name: str) -> int | None:
        """See Client."""
        taken = self._named.take(name)
        if taken is not None:
            await self._hear_all({"execute": "closefd", "arguments": {"fdname": name}})
        return taken

    # ---------------------------------------------------------- the real QEMU's side

    def _take(self, descriptors: list[int]) -> None:
        """Keep descriptors for the next request that the real QEMU sees.

        It keeps those that no command takes, too, until others come.
        """
        if descriptors:
            close_all(self._unsent)
            self._unsent = descriptors

    async def _pass_on(self, request: Request) -> None:
        """Give a request to the real QEMU; its answer goes to the client by `_listen`.

        Raises _Ended where the real QEMU is gone.
        """
        async with self._sending:
            raw = b"\n" + request.raw if self._skips else request.raw
            self._skips = request.begins_anew
            self._owed += 1
            taken, self._unsent = self._unsent, []
            try:
                await self._back.send(raw, taken)
            except OSError:
                raise _Ended from None
            finally:
                close_all(taken)

    async def _hear_all(self, asks: Mapping[str, object] = _ASKS_NOTHING) -> None:
        """Wait until the client has been passed all that the real QEMU has said by now.

        The real QEMU does what `asks` says, and its answer is nobody's.
        """
        self._heard_all.clear()
        async with self._sending:
            skips, self._skips = self._skips, False
            try:
                asked = to_json({**asks, "id": _IN_TURN_ID})
                await self._back.send((b"\n" if skips else b"") + asked)
            except OSError:
                raise _Ended from None
        await self._heard_all.wait()

    async def _listen(self) -> None:
        lines = Lines()
        while True:
            await self._outbox.room()
            data, came = await self._back.receive()
            if not data:
                close_all(came)
                return
            for said in lines.feed(data, came):
                self._heard(said)

    def _heard(self, said: Said) -> None:
        if said.content.get("id") == _IN_TURN_ID:
            self._heard_all.set()
            return
        if said.kind is Kind.EVENT:
            data = said.content.get("data")
            given = data if isinstance(data, dict) else {}
            if not self._answers.passes(str(said.content["event"]), given):
                close_all(said.descriptors)
                return
        self._outbox.put(said.raw, said.descriptors)
        if said.kind is Kind.ANSWER:
            self._last = said.content
            self._owed = max(0, self._owed - 1)
            self._answered.set()


def _error(error: QmpError) -> dict[str, object]:
    return {"error": {"class": error.class_, "desc": str(error)}}


def _now() -> dict[str, int]:
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return {"seconds": seconds, "microseconds": microseconds}
