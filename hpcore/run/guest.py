"""The guest of a live machine: how it is met, and what it knows of its vCPUs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from hpcore.guest.cpulist import format_cpu_list
from hpcore.guest.linux import LinuxGuest
from hpcore.guest.protocol import Guest, Masks
from hpcore.guest.shell import GuestRestartedError, Shell
from hpcore.guest.watch import WatchedConsole
from hpcore.model.machines import Phase
from hpcore.run.console import ConsoleWatch
from hpcore.run.controller import Controller
from hpcore.run.errors import RunError
from hpcore.run.waiting import unless_ended


class MetGuest:
    """The guest of one machine, from when it is met; `met` is None until then.

    One that is no played guest is talked to by its shell, on the console that `watch` has.
    """

    def __init__(self, controller: Controller, watch: ConsoleWatch, *, shell: bool) -> None:
        self.met: Guest | None = None
        self.attached = False
        """Whether it may have booted long ago, and somebody may have talked to it before."""
        self._c, self._watch, self._shell = controller, watch, shell

    @property
    def there(self) -> Guest:
        """The guest that was met. Raises RunError where none was, with why."""
        if self._c.state.shared.phase is Phase.DEFINED:
            raise RunError("there is no guest yet; boot the machine first")
        if self.met is None:
            raise RunError(
                "this accelerator has no guest that could do that" if self._shell else
                "the guest runs without a shell, and only by a shell could it do that"
            )  # fmt: skip
        return self.met

    @property
    def times_ready(self) -> int:
        """How often it has booted; 0 where it was not met."""
        return 0 if self.met is None else self.met.times_ready

    async def ready(self) -> None:
        """Wait until it has booted, where there is one to meet."""
        if self.attached and self.met is None and (console := self._watch.console) is not None:
            if self._shell:
                await self._meet_again(console)
            return
        if self.met is None:
            console = self._watch.console
            if console is None:
                self.met = self._c.session.played
            elif self._shell:
                self.met = LinuxGuest(Shell(console))
                self._watch.shell_awaited = True
        if self.met is not None:
            await unless_ended(self._c, self.met.wait_ready(self._c.patience.boot))

    async def _meet_again(self, console: WatchedConsole) -> None:
        """Wait for its shell, which may do still what the last one asked of it."""
        shell = Shell(console)
        self.met = LinuxGuest(shell)
        self._watch.shell_awaited = True
        await unless_ended(self._c, shell.meet_again(self._c.patience.boot))

    def again(self) -> None:
        """Meet the guest of a machine that was restored: it has booted long ago."""
        if self.met is not None:
            return
        if (console := self._watch.console) is None:
            self.met = self._c.session.played
        elif self._shell:
            self.met = LinuxGuest(Shell(console))

    async def ready_again(self, since: int) -> None:
        """Wait until it has booted once more than `since` times, where it was met."""
        if self.met is not None:
            await unless_ended(self._c, self.met.wait_ready(self._c.patience.boot, since))

    async def unknown(self, cpus: Iterable[int]) -> dict[int, str]:
        """Those of `cpus` that it said it knows, and does not, each with the reason."""
        if self.met is None:
            return {}
        masks = await unless_ended(self._c, _masks(self.met))
        return {cpu: why for cpu in cpus if (why := not_known(cpu, masks)) is not None}


def not_known(cpu: int, masks: Masks) -> str | None:
    """Why a guest that shows `masks` does not know the plugged vCPU `cpu`; None if it does."""
    known = masks.present if masks.enabled is None else masks.enabled
    if cpu in known:
        return None
    return (
        f"vCPU {cpu} is plugged, and the guest answered with success, but does not know "
        f"it: its kernel has place for CPUs {format_cpu_list(masks.possible)} and shows "
        f"{format_cpu_list(known)} as usable; look at nr_cpus=, nosmp and its version"
    )


async def _masks(guest: Guest) -> Masks:
    """The guest's masks; of one that just boots, once it has."""
    while True:
        with suppress(GuestRestartedError):
            return await guest.masks()
