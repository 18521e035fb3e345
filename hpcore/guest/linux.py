"""What hpcore asks of a Linux guest, in terms of its shell."""

from __future__ import annotations

import re

from hpcore.guest.cpulist import parse_cpu_list
from hpcore.guest.errors import GuestError
from hpcore.guest.protocol import Masks
from hpcore.guest.shell import Shell, ShellResult

CPU_DIRECTORY = "/sys/devices/system/cpu"

_WHO = re.compile(r"^(sh|/dev/\w+): ", re.MULTILINE)
"""How a shell's own words begin: with its name, or that of the console it reads lines from."""


class LinuxGuest:
    """The Linux behind a shell, as `hpcore.guest.protocol.Guest`.

    Every method raises GuestError, with the guest's own reason where it gives one.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    @property
    def times_ready(self) -> int:
        """See `Guest`."""
        return self._shell.times_ready

    async def wait_ready(self, within: float = 300.0, since: int | None = None) -> None:
        """See `Guest`: until hpcore's init has a shell."""
        await self._shell.wait_ready(within, since)

    async def masks(self) -> Masks:
        """See `Guest`. All masks are read in one go."""
        names = ("possible", "present", "enabled", "online", "offline")
        files = " ".join(names)
        result = await self._shell.run(
            f"for f in {files}; do [ -e {CPU_DIRECTORY}/$f ] && "
            f'echo "$f=$(cat {CPU_DIRECTORY}/$f)"; done; true'
        )
        found: dict[str, frozenset[int]] = {}
        for line in _checked(result, f"read {CPU_DIRECTORY}").splitlines():
            name, equals, text = line.partition("=")
            if equals and name in names:
                try:
                    found[name] = parse_cpu_list(text)
                except ValueError as error:
                    raise GuestError(
                        f"the guest's {CPU_DIRECTORY}/{name} is odd: {error}"
                    ) from error
        missing = [name for name in names if name not in found and name != "enabled"]
        if missing:
            raise GuestError(
                f"the guest has no {', '.join(missing)} in {CPU_DIRECTORY}; is /sys mounted?"
            )
        return Masks(
            possible=found["possible"],
            present=found["present"],
            enabled=found.get("enabled"),
            online=found["online"],
            offline=found["offline"],
        )

    async def online(self, cpu: int) -> None:
        """See `Guest`."""
        await self._write_online(cpu, 1)

    async def offline(self, cpu: int) -> None:
        """See `Guest`."""
        await self._write_online(cpu, 0)

    async def run(self, line: str) -> str:
        """See `Guest`."""
        result = await self._shell.run(line)
        printed = result.without_kernel_messages.strip()
        if result.status != 0:
            raise GuestError(f"`{line}` ended with status {result.status}: {printed}")
        return printed

    async def reboot(self, within: float = 300.0) -> None:
        """See `Guest`."""
        since = self.times_ready
        await self.begin_reboot()
        await self._shell.wait_ready(within, since)

    async def begin_reboot(self) -> None:
        """See `Guest`."""
        await self._shell.send("reboot -f")

    async def power_off(self) -> None:
        """See `Guest`."""
        await self._shell.send("poweroff -f")

    async def _write_online(self, cpu: int, value: int) -> None:
        path = f"{CPU_DIRECTORY}/cpu{cpu}/online"
        _checked(await self._shell.run(f"echo {value} > {path}"), f"write {value} to {path}")


def _checked(result: ShellResult, what: str) -> str:
    text = result.without_kernel_messages.strip()
    if result.status:
        text = _WHO.sub("", text)
        raise GuestError(
            f"the guest can't {what}: {text or 'no reason given'} (status {result.status})"
        )
    return text
