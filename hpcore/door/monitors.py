"""The monitors that a command line asks for, taken out of it, and their sockets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from hpcore.door import keyval
from hpcore.door.options import ArgumentRefused, Option, Options

QUEUE = 1
"""Clients that wait while another one is served, as in QEMU (chardev/char-socket.c)."""


@frozen
class MonitorAsked:
    """One monitor: the option that asks for it, and its character device as `-chardev` has it.

    It speaks QMP, or else has a prompt for people.
    """

    said: str
    device: Mapping[str, str] = field(factory=dict)
    pretty: bool = False
    has_prompt: bool = False

    @property
    def is_on_a_socket(self) -> bool:
        """Whether clients can come to it by a socket."""
        named = self.device.keys() & {"path", "port", "fd"}
        return self.device.get("backend") == "socket" and bool(named)

    @property
    def telnet(self) -> bool:
        """Whether its clients are telnet programs."""
        return keyval.is_on(self.device.get("telnet", "off"))

    @property
    def serves(self) -> bool:
        """Whether clients come to it; else it goes to its client."""
        return keyval.is_on(self.device.get("server", "off"))

    @property
    def waits(self) -> bool:
        """Whether the machine is not to start before the first client is there."""
        return self.serves and keyval.is_on(self.device.get("wait", "on"))

    @property
    def reconnect(self) -> float | None:
        """Seconds after which a client that is gone is gone to again."""
        seconds = float(self.device.get("reconnect", "0"))
        return seconds or float(self.device.get("reconnect-ms", "0")) / 1000 or None


def take_monitors(
    options: Options, *, prompts: bool = True
) -> tuple[tuple[MonitorAsked, ...], Options]:
    """The monitors, and the command line without them and their character devices.

    A monitor with a prompt stays the real QEMU's where it is on no socket, such as one in
    QEMU's window, and all of them do without `prompts`. Raises ArgumentRefused for one with
    QMP that is on no socket.
    """
    devices = {}
    for text in options.all("chardev"):
        values = keyval.parse(text, "backend")
        devices[values.get("id", "")] = values
    found: list[MonitorAsked] = []
    taken: set[str] = set()
    rest: list[Option] = []
    for option in options:
        monitor = _asked(option, devices)
        if monitor is None or (monitor.has_prompt and not (prompts and monitor.is_on_a_socket)):
            rest.append(option)
            continue
        _check(monitor)
        found.append(monitor)
        taken.add(monitor.device.get("id", ""))
    taken.discard("")
    return tuple(found), Options(_without_devices(rest, taken))


def descriptors(monitors: Iterable[MonitorAsked]) -> list[int]:
    """Those that the caller has opened for its monitors."""
    return [int(monitor.device["fd"]) for monitor in monitors if "fd" in monitor.device]


def _without_devices(options: list[Option], taken: set[str]) -> Iterator[Option]:
    for option in options:
        if option.name == "chardev" and keyval.parse(option.text, "backend").get("id") in taken:
            continue
        yield option


def _asked(option: Option, devices: Mapping[str, Mapping[str, str]]) -> MonitorAsked | None:
    if option.name in ("qmp", "qmp-pretty"):
        pretty = option.name == "qmp-pretty"
        kind, _, name = option.text.partition(":")
        device = _named(option, name, devices) if kind == "chardev" else short_form(option.text)
        return MonitorAsked(str(option), device, pretty)
    if option.name == "monitor":
        return MonitorAsked(str(option), short_form(option.text), has_prompt=True)
    if option.name != "mon":
        return None
    values = keyval.parse(option.text, "chardev")
    device = _named(option, values.get("chardev", ""), devices)
    if values.get("mode", "readline") != "control":
        return MonitorAsked(str(option), device, has_prompt=True)
    return MonitorAsked(str(option), device, keyval.is_on(values.get("pretty", "off")))


def _named(
    option: Option, name: str, devices: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    if name not in devices:
        raise ArgumentRefused(str(option), f"there is no -chardev with id={name}")
    return devices[name]


def short_form(text: str) -> dict[str, str]:
    """A character device in the short form of -serial and -qmp (qemu_chr_parse_compat)."""
    kind, _, rest = text.partition(":")
    if kind == "unix":
        return {"backend": "socket", **keyval.parse(rest, "path")}
    if kind in ("tcp", "telnet"):
        values = keyval.parse(rest, "address")
        host, _, port = values.pop("address", "").rpartition(":")
        telnet = {"telnet": "on"} if kind == "telnet" else {}
        return {"backend": "socket", "host": host, "port": port, **telnet, **values}
    return {"backend": kind}


def _check(monitor: MonitorAsked) -> None:
    device = monitor.device
    if not monitor.is_on_a_socket:
        raise ArgumentRefused(
            monitor.said, "QMP is served on sockets; use unix:PATH,server=on,wait=off or tcp:"
        )
    for name in ("tls-creds", "telnet", "tn3270", "websocket"):
        had = name == "telnet" and monitor.has_prompt
        if device.get(name, "off") != "off" and not had:
            raise ArgumentRefused(monitor.said, f"{name} cannot be had here; leave it out")
    for name in ("fd", "port"):
        if name in device and not device[name].isdigit():
            raise ArgumentRefused(monitor.said, f"{name}={device[name]} is no number")


def listen(monitor: MonitorAsked) -> socket.socket:
    """The socket at which the clients of `monitor` come, bound and listening.

    Raises ArgumentRefused where it cannot be had.
    """
    device = monitor.device
    try:
        if "fd" in device:
            return socket.socket(fileno=int(device["fd"]))
        if "path" in device:
            return _listen_at(_address(device))
        return socket.create_server((device.get("host", ""), int(device["port"])), backlog=QUEUE)
    except OSError as error:
        raise ArgumentRefused(monitor.said, f"cannot be listened at: {error.strerror}") from error


def dial(monitor: MonitorAsked) -> socket.socket:
    """A connection to the client of `monitor`. Raises OSError."""
    device = monitor.device
    if "fd" in device:
        return socket.socket(fileno=int(device["fd"]))
    if "port" in device:
        return socket.create_connection((device.get("host", ""), int(device["port"])))
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(_address(device))
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_at(address: str) -> socket.socket:
    if not address.startswith("\0"):
        with contextlib.suppress(FileNotFoundError):
            Path(address).unlink()  # as QEMU does: util/qemu-sockets.c, unix_listen_saddr
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(address)
        sock.listen(QUEUE)
    except BaseException:
        sock.close()
        raise
    return sock


def _address(device: Mapping[str, str]) -> str:
    """A unix socket's; an abstract one begins with a zero byte, and has no more by itself."""
    path = device["path"]
    return f"\0{path}" if keyval.is_on(device.get("abstract", "off")) else path
