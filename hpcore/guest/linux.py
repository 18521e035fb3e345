"""What hpcore asks of a Linux guest, in terms of its shell."""

from __future__ import annotations

from hpcore.guest.cpulist import parse_cpu_list
from hpcore.guest.errors import GuestError
from hpcore.guest.protocol import Masks
from hpcore.guest.shell import Result, Shell

CPU_DIRECTORY = "/sys/devices/system/cpu"


class LinuxGuest:
    """The Linux behind a shell, as `hpcore.guest.protocol.Guest`."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def wait_ready(self, within: float) -> None:
        await self._shell.wait_ready(within)

    async def masks(self) -> Masks:
        return await masks(self._shell)

    async def online(self, cpu: int) -> None:
        await online(self._shell, cpu)

    async def offline(self, cpu: int) -> None:
        await offline(self._shell, cpu)

    async def run(self, line: str) -> str | None:
        result = await self._shell.run(line)
        printed = result.without_kernel_messages.strip()
        if result.status != 0:
            raise GuestError(f"`{line}` ended with status {result.status}: {printed}")
        return printed

    async def reboot(self, within: float) -> None:
        await reboot(self._shell, within)

    async def power_off(self) -> None:
        await self._shell.send("poweroff -f")


async def masks(shell: Shell) -> Masks:
    """Read all masks in one go. Raises GuestError where the guest gives them otherwise."""
    names = ("possible", "present", "enabled", "online", "offline")
    files = " ".join(names)
    result = await shell.run(
        f'for f in {files}; do [ -e {CPU_DIRECTORY}/$f ] && echo "$f=$(cat {CPU_DIRECTORY}/$f)"; '
        "done; true"
    )
    found: dict[str, frozenset[int]] = {}
    for line in _checked(result, f"read {CPU_DIRECTORY}").splitlines():
        name, equals, text = line.partition("=")
        if equals and name in names:
            try:
                found[name] = parse_cpu_list(text)
            except ValueError as error:
                raise GuestError(f"the guest's {CPU_DIRECTORY}/{name} is odd: {error}") from error
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


async def online(shell: Shell, cpu: int, within: float = 60.0) -> None:
    """Have the guest bring `cpu` up. Raises GuestError with the guest's reason if it won't."""
    await _set_online(shell, cpu, 1, within)


async def offline(shell: Shell, cpu: int, within: float = 60.0) -> None:
    """Have the guest take `cpu` down. Raises GuestError with the guest's reason if it won't."""
    await _set_online(shell, cpu, 0, within)


async def reboot(shell: Shell, within: float = 300.0) -> None:
    """Reboot the guest, and return when its shell is ready again."""
    await shell.send("reboot -f")
    await shell.wait_ready(within)


async def poweroff(shell: Shell, within: float = 60.0) -> None:
    """Power the guest off, and return when its console has ended."""
    await shell.send("poweroff -f")
    await shell.wait_gone(within)


async def _set_online(shell: Shell, cpu: int, value: int, within: float) -> None:
    path = f"{CPU_DIRECTORY}/cpu{cpu}/online"
    _checked(await shell.run(f"echo {value} > {path}", within), f"write {value} to {path}")


def _checked(result: Result, what: str) -> str:
    text = result.without_kernel_messages.strip()
    if result.status:
        raise GuestError(
            f"the guest can't {what}: {text or 'no reason given'} (status {result.status})"
        )
    return text
