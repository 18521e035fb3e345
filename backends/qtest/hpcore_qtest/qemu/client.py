"""A qtest connection: commands answered in the order in which they were sent, interrupts told.

Commands may be sent without waiting for the answers before; QEMU takes them one by one. An
answer that is none, or that does not come, ends the connection: what follows could not be
told from what came before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from attrs import define

from hpcore.qemu.errors import QemuError
from hpcore.qemu.process import QemuProcess
from hpcore_qtest.qemu import lines
from hpcore_qtest.qemu.lines import Line, Pin

ANSWER_SECONDS = 20.0
"""How long QEMU may take for one answer. It takes 20 microseconds on an idle machine."""

AT_ONCE = 512
"""Lines that are written together at most, of many that are asked for."""

LONGEST_ANSWER = 2 * lines.MOST_BULK + 64
QUOTED = 80
LAST_WORDS_SECONDS = 2.0

OnIrq = Callable[[int, bool], None]
"""Called with an input's number, and whether it was raised or lowered, in QEMU's order."""


class QtestError(QemuError):
    """The connection is of no use: QEMU is gone, silent, or talks nonsense."""


class QtestRefused(QemuError):
    """QEMU answered a command with FAIL. The connection goes on."""


@define(eq=False)
class _Asked:
    """Some lines sent together, and the answers that have come so far."""

    lines: Sequence[Line]
    future: asyncio.Future[list[str]]
    sent: float
    answers: list[str]


class Qtest:
    """A connection to the qtest socket of a QEMU process.

    `patience` is how many seconds QEMU may take for one answer.
    """

    def __init__(
        self, process: QemuProcess, on_irq: OnIrq, on_lost: Callable[[str], None]
    ) -> None:
        self._process, self._on_irq, self._on_lost = process, on_irq, on_lost
        self.patience = ANSWER_SECONDS
        self._loop = asyncio.get_running_loop()
        self._pending: deque[_Asked] = deque()
        self._received = ""
        self._gone: str | None = None
        self._closed = False
        self._watch: asyncio.TimerHandle | None = None
        self._farewell: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    @classmethod
    async def connect(
        cls,
        process: QemuProcess,
        path: Path,
        on_irq: OnIrq,
        on_lost: Callable[[str], None] = lambda _why: None,
    ) -> Qtest:
        """Connect to the socket `path` of `process`, and see that it answers.

        `on_lost` gets the reason, once, when the connection breaks. Raises QemuError where
        QEMU ends first, or does not answer in time.
        """
        qtest = cls(process, on_irq, on_lost)
        sock = await process.connect_socket(path)
        qtest._transport, _ = await qtest._loop.create_unix_connection(
            lambda: _Wire(qtest._receive, qtest._hung_up), sock=sock
        )
        try:
            await qtest.send([lines.parse("endianness")])
        except QemuError:
            await qtest.close()
            raise
        return qtest

    # ------------------------------------------------------------------ commands

    def send(self, what: Sequence[Line]) -> asyncio.Future[list[str]]:
        """Send lines at once; the future has what stands after `OK` in each answer.

        The future raises QtestRefused if one of them was refused, with the first refusal;
        QtestError if the connection breaks.
        """
        future: asyncio.Future[list[str]] = self._loop.create_future()
        if self._gone is not None:
            future.set_exception(QtestError(self._gone))
            future.exception()  # whoever sent it may never ask
        elif not what:
            future.set_result([])
        else:
            self._pending.append(_Asked(what, future, self._loop.time(), []))
            self._transport.write(("\n".join(what) + "\n").encode("ascii"))
            if self._watch is None:
                self._watch = self._loop.call_later(self.patience, self._look)
        return future

    async def read(self, address: int, size: int) -> int:
        """Read a register of `size` bytes: 1, 2, 4 or 8."""
        return self._number((await self.send([lines.read(address, size)]))[0])

    async def write(self, address: int, size: int, value: int) -> None:
        """Write a register of `size` bytes: 1, 2, 4 or 8."""
        await self.send([lines.write(address, size, value)])

    async def read_all(self, addresses: Iterable[int], size: int) -> list[int]:
        """Read many registers in one go."""
        rest = iter(addresses)
        sent = []
        while some := [lines.read(address, size) for address in islice(rest, AT_ONCE)]:
            sent.append(self.send(some))  # QEMU works on these while the next are made
        return [self._number(answer) for one in await asyncio.gather(*sent) for answer in one]

    async def write_all(self, values: Iterable[tuple[int, int]], size: int) -> None:
        """Write many registers, each an address and its value, in order and in one go."""
        await self.send([lines.write(address, size, value) for address, value in values])

    async def port_read(self, port: int, size: int) -> int:
        """Read an x86 I/O port of 1, 2 or 4 bytes."""
        return self._number((await self.send([lines.port_read(port, size)]))[0])

    async def port_write(self, port: int, size: int, value: int) -> None:
        """Write an x86 I/O port of 1, 2 or 4 bytes."""
        await self.send([lines.port_write(port, size, value)])

    async def read_bytes(self, address: int, count: int) -> bytes:
        """Read `count` bytes of memory, at most `lines.MOST_BULK`."""
        (answer,) = await self.send([lines.read_bytes(address, count)])
        with contextlib.suppress(ValueError):
            data = bytes.fromhex(answer.removeprefix("0x"))
            if len(data) == count:
                return data
        raise self._nonsense(answer, f"a read of {count} bytes")

    async def write_bytes(self, address: int, data: bytes) -> None:
        """Write `data`, at most `lines.MOST_BULK` bytes."""
        await self.send([lines.write_bytes(address, data)])

    async def intercept_in(self, path: str) -> None:
        """Have changes of the inputs of the device at the QOM path `path` told to `on_irq`."""
        await self.send([lines.intercept_in(path)])

    async def intercept_out(self, path: str, name: str | None = None) -> None:
        """Have changes of the outputs of the device at `path` told; they go nowhere else."""
        await self.send([lines.intercept_out(path, name)])

    async def set_irq_in(self, pin: Pin, level: int) -> None:
        """Set an input of a device to 0 or 1."""
        await self.send([lines.set_irq_in(pin, level)])

    async def close(self) -> None:
        """Leave the connection; commands under way fail. Idempotent."""
        self._closed = True
        self._end("the qtest connection was closed")
        self._transport.abort()
        if self._farewell is not None:
            self._farewell.cancel()
            await asyncio.gather(self._farewell, return_exceptions=True)

    # ------------------------------------------------------------------- answers

    def _receive(self, data: bytes) -> None:
        self._received += data.decode("ascii", "backslashreplace")
        *whole, self._received = self._received.split("\n")
        for line in whole:
            if self._gone is not None:
                return
            if self._pending and (line.startswith("OK ") or line == "OK"):  # nearly always
                self._answered(line)
            else:
                self._take(line)
        if len(self._received) > LONGEST_ANSWER:
            self._nonsense(self._received, self._asked())

    def _take(self, line: str) -> None:
        head, _, tail = line.partition(" ")
        if head == "IRQ":
            self._interrupt(line, tail)
        elif head in ("FAIL", "ERR") and self._pending:
            self._answered(line)
        else:
            self._nonsense(line, self._asked())

    def _answered(self, line: str) -> None:
        asked = self._pending[0]
        asked.answers.append(line)
        if len(asked.answers) == len(asked.lines):
            self._pending.popleft()
            self._settle(asked)

    def _interrupt(self, line: str, tail: str) -> None:
        what, _, number = tail.partition(" ")
        if what not in ("raise", "lower") or not number.isdecimal():
            self._nonsense(line, self._asked())
        else:
            self._on_irq(int(number), what == "raise")

    @staticmethod
    def _settle(asked: _Asked) -> None:
        if asked.future.done():  # whoever asked was cancelled
            return
        for line, answer in zip(asked.lines, asked.answers, strict=True):
            if not answer.startswith("OK"):
                asked.future.set_exception(
                    QtestRefused(f"QEMU refused qtest's '{_clip(line)}': {_clip(answer)}")
                )
                return
        asked.future.set_result([answer[3:] for answer in asked.answers])

    def _number(self, answer: str) -> int:
        try:
            return int(answer, 16)
        except ValueError:
            raise self._nonsense(answer, "a register's value") from None

    def _asked(self) -> str:
        if not self._pending:
            return "nothing that was asked"
        asked = self._pending[0]
        return f"'{_clip(asked.lines[len(asked.answers)])}'"

    # ----------------------------------------------------------------------- end

    def _nonsense(self, answer: str, question: str) -> QtestError:
        return self._end(
            f"QEMU's qtest socket answered {_clip(answer)!r} to {question}; "
            f"{self._process.last_words}"
        )

    def _look(self) -> None:
        """Whether the oldest question has waited too long."""
        self._watch = None
        if self._gone is not None or not self._pending:
            return
        left = self._pending[0].sent + self.patience - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self._end(
                f"QEMU did not answer qtest's {self._asked()} within {self.patience:g} s; "
                f"{self._process.last_words}"
            )

    def _hung_up(self) -> None:
        if self._gone is None:
            self._farewell = asyncio.create_task(self._explain(self._asked()))

    async def _explain(self, question: str) -> None:
        """The socket is closed: nearly always because QEMU ends, and then that is the reason."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), LAST_WORDS_SECONDS)
        during = f" before it answered qtest's {question}" if self._pending else ""
        if self._process.running:
            self._end(f"QEMU closed its qtest socket{during}, though it runs")
        else:
            self._end(f"QEMU was gone{during}: {self._process.last_words}")

    def _end(self, why: str) -> QtestError:
        if self._gone is None:
            self._gone = why
            if self._watch is not None:
                self._watch.cancel()
            while self._pending:
                future = self._pending.popleft().future
                if not future.done():
                    future.set_exception(QtestError(why))
                    future.exception()  # whoever sent it may never ask
            if not self._closed:
                self._on_lost(why)
        return QtestError(self._gone)


class _Wire(asyncio.Protocol):
    """What asyncio calls."""

    def __init__(self, receive: Callable[[bytes], None], hung_up: Callable[[], None]) -> None:
        self._receive, self._hung_up = receive, hung_up

    def data_received(self, data: bytes) -> None:
        self._receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hung_up()


def _clip(text: str) -> str:
    return text if len(text) <= QUOTED else text[:QUOTED] + " ..."
