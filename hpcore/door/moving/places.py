"""Where a client has its machine sent, or taken from: `fd:`, `unix:`, `tcp:` and `exec:`.

As in QEMU's own migration/, but opened by the door. What a `migrate` names is there at once or
refused; what a `migrate-incoming` names listens, and is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Collection
from pathlib import Path

from hpcore.door import keyval
from hpcore.door.moving.channel import Channel
from hpcore.door.qmp.answers import Client, QmpError

_UNKNOWN = "Parameter 'uri' expects a valid migration protocol"
DIAL_SECONDS = 30.0
SHELL_SECONDS = 60.0
"""For the program of an `exec:` to end, once it has been given all."""


class Shell:
    """The program of an `exec:`, which reads or writes the machine."""

    def __init__(self, line: str, *, reads: bool) -> None:
        readable, writable = os.pipe()
        ours, its = (writable, readable) if reads else (readable, writable)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", line],
                stdin=its if reads else subprocess.DEVNULL, stdout=None if reads else its,
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(its)
        self.descriptor = ours

    def status(self) -> int:
        """Its exit status, once it has ended. In a thread."""
        try:
            return self._process.wait(SHELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Place:
    """A place that has been opened. `channel` is there once `connected` has returned."""

    def __init__(
        self, uri: str, descriptor: int, *, listens: bool = False, shell: Shell | None = None
    ) -> None:
        self.uri = uri
        self._listener = socket.socket(fileno=descriptor) if listens else None
        self._channel = None if listens else Channel(descriptor)
        self.shell = shell

    async def connected(self) -> Channel:
        """The channel, once somebody has come where the place listens. Raises OSError."""
        if self._channel is None:
            assert self._listener is not None, "it has the one or the other"
            self._listener.setblocking(False)
            sock, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            self._listener.close()
            self._channel = Channel(sock.detach())
        return self._channel

    def close(self) -> None:
        """Let go of it. Idempotent."""
        for part in (self._listener, self._channel):
            if part is not None:
                part.close()


async def place_away(uri: str, client: Client) -> Place:
    """Where the machine is sent. Raises QmpError where that cannot be had."""
    kind, _, rest = uri.partition(":")
    try:
        match kind:
            case "fd":
                return Place(uri, await _named(rest, client))
            case "unix" | "tcp":
                return Place(uri, await asyncio.to_thread(_dial, kind, rest))
            case "exec":
                shell = Shell(rest, reads=True)
                return Place(uri, shell.descriptor, shell=shell)
    except OSError as error:
        raise QmpError(f"Failed to connect to '{rest}': {error.strerror or error}") from error
    raise QmpError(_UNKNOWN)


async def place_here(uri: str, client: Client | None, inherited: Collection[int]) -> Place:
    """Where the machine comes from; `inherited` are the descriptors that the caller had open.

    Without a `client` the command line asks. Raises QmpError where that cannot be had.
    """
    kind, _, rest = uri.partition(":")
    try:
        match kind:
            case "fd" if rest.isdecimal():
                if int(rest) not in inherited:
                    raise QmpError(f"File descriptor number {rest} is not open")
                return Place(uri, os.dup(int(rest)))
            case "fd" if client is not None:
                return Place(uri, await _named(rest, client))
            case "unix" | "tcp":
                return Place(uri, _listen(kind, rest), listens=True)
            case "exec":
                shell = Shell(rest, reads=False)
                return Place(uri, shell.descriptor, shell=shell)
    except OSError as error:
        raise QmpError(f"Failed to listen at '{rest}': {error.strerror or error}") from error
    raise QmpError(_UNKNOWN)


async def _named(name: str, client: Client) -> int:
    descriptor = await client.take_descriptor(name)
    if descriptor is None:
        raise QmpError(f"File descriptor named '{name}' has not been found")
    return descriptor


def _address(kind: str, text: str) -> str | tuple[str, int]:
    if kind == "unix":
        return keyval.parse(text, "path").get("path", text)
    host, _, port = keyval.parse(text, "address").get("address", text).rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise QmpError(f"'{text}' is no address of the form HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _dial(kind: str, text: str) -> int:
    address = _address(kind, text)
    if isinstance(address, tuple):
        return socket.create_connection(address, DIAL_SECONDS).detach()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        return sock.detach()


def _listen(kind: str, text: str) -> int:
    address = _address(kind, text)
    if isinstance(address, tuple):
        host, port = address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        both = family is socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        made = socket.create_server((host, port), family=family, backlog=1, dualstack_ipv6=both)
        return made.detach()
    with contextlib.suppress(FileNotFoundError):
        Path(address).unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address)
        sock.listen(1)
        return sock.detach()
