"""One shell line at a time over the guest's console, with its output and exit status.

Every line runs between two markers that no other output contains. The kernel may print
in the middle of anything, a marker included, so markers are looked for with kernel
messages between any two of their characters.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex
import time
from typing import Protocol

from attrs import field, frozen

from hpcore.guest.errors import GuestError
from hpcore.guest.initramfs import READY_MARKER
from hpcore.guest.panics import KERNEL_MESSAGE, panic_in

BUFFER_LIMIT = 1 << 20
"""Bytes of console output kept; what is older is forgotten."""

LONGEST_LINE = 4000
"""Bytes: a tty in canonical mode takes 4095 with the newline (N_TTY_BUF_SIZE)."""

DEFAULT_TIMEOUT = 60.0

MEET_SECONDS = 5.0
"""For a shell to answer that may still boot: what it was typed then, it may never have read."""

_OVERLAP = 1 << 14
"""Bytes searched again after new output: a marker with kernel messages inside is shorter."""

_TAIL = 1000
"""Bytes of output quoted in an error."""

_INTERRUPT = b"\x03\n"  # ^C ends what runs; the newline ends what a pipe made of the ^C


class ByteConsole(Protocol):
    """What the shell needs of a console."""

    def write(self, data: bytes) -> None:
        """Send `data`; never blocks."""

    async def read(self) -> bytes:
        """What was printed since the last call; b"" once the machine is gone."""


class GuestTimeoutError(GuestError):
    """The guest did not answer in time. The console remains usable if the guest is."""


class GuestGoneError(GuestError):
    """The console ended: the machine is gone."""


class GuestRestartedError(GuestError):
    """The guest, or its shell, started anew while a line ran. It is ready again."""


@frozen
class ShellResult:
    """What a line printed, without carriage returns, and its exit status.

    `truncated` says that the output's beginning was more than the buffer holds.
    """

    output: str
    status: int
    truncated: bool = False

    @property
    def without_kernel_messages(self) -> str:
        """The output with whole kernel messages cut out, wherever they fell."""
        message = KERNEL_MESSAGE.decode()
        return re.sub(message, "", self.output)


@frozen
class _Wait:
    """What is waited for, for how many seconds, and until when."""

    what: str
    within: float
    deadline: float = field(init=False)

    @deadline.default
    def _from_now(self) -> float:
        return time.monotonic() + self.within


@frozen
class _Found:
    """What stood before a match, the match, and its groups."""

    before: bytes
    match: bytes
    groups: tuple[bytes | None, ...]


class Shell:
    """A client of the shell on the console: that of hpcore's init, or one that is like it.

    One line runs at a time; a second caller waits.
    """

    def __init__(self, console: ByteConsole) -> None:
        self._console = console
        self._buffer = bytearray()
        self._forgotten = 0  # bytes dropped from the front of the buffer
        self._lock = asyncio.Lock()
        self._nonce = secrets.token_hex(4)  # an earlier client's late output is not ours
        self._count = 0
        self.times_ready = 0
        """How often the guest's init has been heard to have started its shell."""

    async def wait_ready(self, within: float = 300.0, since: int | None = None) -> None:
        """Wait until the guest's init says that its shell is there.

        Where it has been heard to say so since `times_ready` was `since`, this returns at
        once: a line of another task may have met the new shell first. Raises
        GuestTimeoutError, or GuestGoneError if the machine ends first; both quote the
        console's last output.
        """
        since = self.times_ready if since is None else since
        async with self._lock:
            if self.times_ready > since:
                return
            await self._find(_ready_pattern(), _Wait(f"its shell to say {READY_MARKER}", within))
            self.times_ready += 1

    async def meet_again(self, within: float = 300.0) -> None:
        """Wait for a shell that may have been there long before, and may run somebody's line.

        What it runs is interrupted. Raises GuestTimeoutError, GuestGoneError.
        """
        deadline = time.monotonic() + within
        while True:
            self._console.write(_INTERRUPT)
            left = deadline - time.monotonic()
            try:
                await self.run(":", min(max(left, 0), MEET_SECONDS))
            except GuestRestartedError:
                continue  # it has half of a line that was typed as it booted: interrupt that, too
            except GuestTimeoutError:
                if left <= MEET_SECONDS:
                    raise
            else:
                self.times_ready = max(1, self.times_ready)
                return

    async def run(self, line: str, within: float = DEFAULT_TIMEOUT) -> ShellResult:
        """Run one line of sh and return when it has ended. Directory and variables stay.

        Raises GuestTimeoutError after `within` seconds, with the line interrupted, as it is
        where this is cancelled; GuestGoneError; GuestRestartedError where the line ended the
        shell or the guest.
        """
        async with self._lock:
            self._count += 1
            tag = f"{self._nonce}-{self._count}"
            self._send(line, tag)
            wait = _Wait(f"the end of `{_short(line)}`", within)
            try:
                ends = rb"(>)%b*\r?%b*\n" % (KERNEL_MESSAGE, KERNEL_MESSAGE)
                begin = _marker(f"<hp-begin-{tag}", ends)
                found = await self._find(_or_ready(begin), wait)
                start = self._forgotten
                if found.groups[0] is not None:
                    end = _marker(f"<hp-end-{tag}:", rb"((?:\d|" + KERNEL_MESSAGE + rb")+)>")
                    found = await self._find(_or_ready(end), wait)
            except (GuestTimeoutError, asyncio.CancelledError):
                self._console.write(_INTERRUPT)  # or the next line would wait for this one
                raise
            status = found.groups[0]
            if status is None:
                self.times_ready += 1
                panic = panic_in(found.before)
                why = "" if panic is None else f", after a panic ({panic})"
                raise GuestRestartedError(
                    f"the guest's shell started anew while `{_short(line)}` ran{why}; its last "
                    f"output: {_quote(found.before)}"
                )
            kept = len(found.before) + len(found.match)
            text = found.before.decode("utf-8", "replace").replace("\r", "")
            return ShellResult(text, _number(status), truncated=self._forgotten - start > kept)

    async def send(self, line: str) -> None:
        """Type one line and wait for nothing: for lines that end the guest."""
        async with self._lock:
            self._count += 1
            self._send(line, f"{self._nonce}-{self._count}")

    async def wait_gone(self, within: float = DEFAULT_TIMEOUT) -> None:
        """Wait until the console ends. Raises GuestTimeoutError where it does not."""
        async with self._lock:
            never = re.compile(rb"(?!)")
            try:
                await self._find(never, _Wait("it to end", within))
            except GuestGoneError:
                return

    def _send(self, line: str, tag: str) -> None:
        if any(ord(character) < 0x20 and character != "\t" for character in line):
            raise GuestError(f"`{_short(line)}` is not one line of text: give lines one by one")
        # quotes split the markers, so that an echo of this is none; `command eval` keeps
        # an error of syntax, or an open quote, within the line
        typed = (
            f"echo '<hp-begin''-{tag}>'; command eval {shlex.quote(line)}; "
            f"echo '<hp-end''-{tag}:'$?'>'\n"
        ).encode()
        if len(typed) > LONGEST_LINE:
            raise GuestError(
                f"`{_short(line)}` is too long: {len(typed)} bytes with its markers, and the "
                f"guest's tty takes {LONGEST_LINE}; split it"
            )
        self._console.write(typed)

    async def _find(self, pattern: re.Pattern[bytes], wait: _Wait) -> _Found:
        """Read until `pattern` matches; take the match and all before it off the buffer."""
        searched = 0
        while True:
            match = pattern.search(self._buffer, max(0, searched - _OVERLAP))
            if match is not None:
                # copies: the match looks into the buffer, which is about to move
                found = _Found(bytes(self._buffer[: match.start()]), match[0], match.groups())
                self._forget(match.end())
                return found
            searched = len(self._buffer)
            try:
                left = wait.deadline - time.monotonic()
                if left < 0:  # a console that never pauses never reaches the timeout below
                    raise TimeoutError
                async with asyncio.timeout(left):
                    data = await self._console.read()
            except TimeoutError:
                raise GuestTimeoutError(
                    f"the guest took over {wait.within:g} s for {wait.what}; its last output: "
                    f"{_quote(self._buffer)}"
                ) from None
            if not data:
                raise GuestGoneError(
                    f"the machine ended while waiting for {wait.what}; its last output: "
                    f"{_quote(self._buffer)}"
                )
            self._buffer += data
            surplus = len(self._buffer) - BUFFER_LIMIT
            if surplus > 0:
                self._forget(surplus)
                searched -= surplus

    def _forget(self, size: int) -> None:
        del self._buffer[:size]
        self._forgotten += size


def _marker(text: str, rest: bytes) -> re.Pattern[bytes]:
    """A pattern for `text` and then `rest`, kernel messages anywhere within `text`."""
    spaced = (KERNEL_MESSAGE + b"*").join(re.escape(bytes([byte])) for byte in text.encode())
    return re.compile(spaced + KERNEL_MESSAGE + b"*" + rest)


def _number(digits: bytes) -> int:
    return int(re.sub(KERNEL_MESSAGE, b"", digits))


def _ready_pattern() -> re.Pattern[bytes]:
    line = _marker(READY_MARKER, rb"[^\n]*\n")
    return re.compile(rb"^" + line.pattern, re.MULTILINE)


def _or_ready(marker: re.Pattern[bytes]) -> re.Pattern[bytes]:
    """`marker`, which has a group, or the word of a shell that started anew, without one."""
    return re.compile(marker.pattern + b"|" + _ready_pattern().pattern, re.MULTILINE)


def _short(line: str) -> str:
    return line if len(line) <= 60 else line[:57] + "..."


def _quote(data: bytes | bytearray) -> str:
    text = bytes(data[-_TAIL:]).decode("utf-8", "replace").replace("\r", "").strip()
    return text or "nothing"
