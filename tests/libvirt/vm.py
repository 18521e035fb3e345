"""A domain under test: what virsh does with it, and what its guest says meanwhile."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, mutable

from hpcore.guest.linux import LinuxGuest
from hpcore.guest.shell import DEFAULT_TIMEOUT, Shell
from tests.libvirt.instance import Libvirt, VirshFailed
from tests.support.waits import poll

T = TypeVar("T")
BOOT = 400.0
"""Seconds for a guest to shut down and to have its shell anew, beside other tests."""


class SerialConsole:
    """The guest's serial line, at a socket on which QEMU listens."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.setblocking(False)

    def write(self, data: bytes) -> None:
        """Type `data`: one line, for which there is room."""
        assert self._socket.send(data) == len(data)

    async def read(self) -> bytes:
        """What was printed since; nothing once QEMU is gone."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        """Hang up, which QEMU and the guest do not mind."""
        self._socket.close()


@mutable
class Vm:
    """A domain that is defined. It runs from `start` until it is shut off."""

    libvirt: Libvirt
    name: str
    serial: Path
    _loop: asyncio.Runner = field(factory=asyncio.Runner, repr=False)
    _console: SerialConsole | None = None
    _shell: Shell | None = None

    def virsh(self, command: str, *arguments: str | Path) -> str:
        """What `virsh COMMAND DOMAIN ARGUMENTS` prints. Raises VirshFailed."""
        return self.libvirt.virsh(command, self.name, *arguments)

    def refused(self, command: str, *arguments: str | Path) -> str:
        """The words with which virsh refuses."""
        try:
            said = self.virsh(command, *arguments)
        except VirshFailed as error:
            return str(error)
        raise AssertionError(f"virsh {command} {arguments} was not refused: {said}")

    def start(self) -> None:
        """Start it, and wait for its guest's shell."""
        self.virsh("start")
        self.listen()
        self.wait_ready(since=0)

    def listen(self) -> None:
        """Take the serial line of a domain that has just started."""
        self.hang_up()
        self._console = SerialConsole(self.serial)
        self._shell = Shell(self._console)

    def hang_up(self) -> None:
        """Let go of the serial line."""
        if self._console is not None:
            self._console.close()
        self._console = self._shell = None

    @property
    def guest(self) -> LinuxGuest:
        """Its guest, behind the serial line."""
        assert self._shell is not None, f"{self.name} was not started"
        return LinuxGuest(self._shell)

    def wait_ready(self, since: int | None = None) -> None:
        """Until the guest has said anew that its shell is there."""
        self._do(self.guest.wait_ready(BOOT, since))

    def run(self, line: str, seconds: float = DEFAULT_TIMEOUT) -> str:
        """What a line of shell prints in the guest, where it ends well."""
        assert self._shell is not None, f"{self.name} was not started"
        result = self._do(self._shell.run(line, seconds))
        printed = result.without_kernel_messages.strip()
        assert result.status == 0, f"`{line}` ended with status {result.status}: {printed}"
        return printed

    @property
    def enabled(self) -> frozenset[int]:
        """The vCPUs that are enabled, as the guest has it."""
        return self._do(self.guest.masks()).enabled or frozenset()

    @property
    def online(self) -> frozenset[int]:
        """The vCPUs that the guest uses."""
        return self._do(self.guest.masks()).online

    def bring_online(self, cpu: int) -> None:
        """The guest takes `cpu` into use, as soon as it has it.

        Asked until it is: a kernel takes the directory of the vCPU before away only after
        that one's eject, when QEMU has long said that it is gone.
        """
        path = f"/sys/devices/system/cpu/cpu{cpu}/online"
        line = f"(echo 1 > {path}) 2> /dev/null; cat {path} 2> /dev/null; true"
        poll(lambda: self.run(line) == "1", f"the guest uses vCPU {cpu}", 60.0)

    def take_offline(self, cpu: int) -> None:
        """The guest gives up the use of `cpu`."""
        self._do(self.guest.offline(cpu))

    def begin_reboot(self) -> None:
        """The guest reboots by itself."""
        self._do(self.guest.begin_reboot())

    def power_off(self) -> None:
        """The guest powers off by itself."""
        self._do(self.guest.power_off())

    def enabled_is(self, *cpus: int) -> None:
        """Wait until these vCPUs, and no others, are enabled in the guest."""
        poll(lambda: self.enabled == frozenset(cpus), f"the guest has {cpus}", 60.0)

    @property
    def state(self) -> str:
        """`running`, `paused`, `shut off`, ..."""
        return self.virsh("domstate").strip()

    def wait_state(self, state: str, seconds: float = 60.0) -> None:
        """Until libvirt says that it is `state`."""
        poll(lambda: self.state == state, f"{self.name} is {state}", seconds)

    def vcpus(self) -> int:
        """How many vCPUs libvirt takes to be there now."""
        return int(self.virsh("vcpucount", "--live", "--active"))

    def vcpuinfo(self) -> dict[int, dict[str, str]]:
        """The fields of `virsh vcpuinfo`, by vCPU."""
        found = {}
        for paragraph in self.virsh("vcpuinfo").strip().split("\n\n"):
            fields = dict(re.findall(r"^(.+?):\s*(.*)$", paragraph, re.MULTILINE))
            found[int(fields["VCPU"])] = fields
        return found

    def shut_off(self) -> None:
        """End it, however it is, and leave it defined."""
        self.hang_up()
        if self.state != "shut off":
            self.virsh("destroy")

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)

    def close(self) -> None:
        """Forget it all."""
        self.shut_off()
        self.virsh("undefine")
        self._loop.close()


@contextmanager
def defined(libvirt: Libvirt, name: str, xml: str, serial: Path) -> Iterator[Vm]:
    """The domain `name` of this XML; shut off and undefined at the end."""
    file = libvirt.directory / f"{name}.xml"
    file.write_text(xml)
    libvirt.virsh("define", file)
    vm = Vm(libvirt, name, serial)
    try:
        yield vm
    finally:
        vm.close()
