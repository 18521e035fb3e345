"""One boot of a played kernel: what it knows, and its threads. The kinds fill in what it does."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from hpcore.guest.played.aml import PlayedAml
from hpcore.guest.played.answers import LOST, AnswersOfABoot
from hpcore.guest.played.hardware import Hardware
from hpcore.guest.protocol import Masks
from hpcore.model.acpi import MadtFlag, Notification
from hpcore.model.config import MachineConfig
from hpcore.model.rules import RULES, Rules


class PlayedKernel(ABC):
    """From one entry of the kernel to the next reset. Its memory goes with it.

    It has the threads that Linux has: one takes the GED's interrupts and has AML scan the
    event bits (a threaded interrupt handler), another works off what AML notified of, one
    after the other (kacpi_hotplug_wq). `rules` are those of which its ACPI tables are made. What
    the user asks for excludes the latter
    (device_hotplug_lock).
    """

    def __init__(
        self, config: MachineConfig, append: str, hardware: Hardware, rules: Rules = RULES
    ) -> None:
        self.config, self.append, self.hardware, self.rules = config, append, hardware, rules
        self.firmware = PlayedAml(hardware, config.possible)
        self.online: set[int] = set()
        self.registered: set[int] = set()
        self.hotplug = asyncio.Lock()
        self._booted = False
        self._interrupted = asyncio.Event()
        self._scanning = self._working = False
        self._notified: asyncio.Queue[tuple[int, Notification]] = asyncio.Queue()
        self.tell: Callable[[], None] = lambda: None
        """Called whenever `booted` or `idle` may have become true."""
        self.answers = AnswersOfABoot({})
        """What it was told to answer; the kind's own `notified` answers the rest."""

    # ------------------------------------------------------------ a kind's own

    @property
    @abstractmethod
    def masks(self) -> Masks:
        """As sysfs would give them."""

    @abstractmethod
    async def boot(self) -> None:
        """From the kernel's entry to its shell."""

    @abstractmethod
    async def notified(self, cpu: int, notification: Notification) -> None:
        """AML has notified the kernel of something about vCPU `cpu`."""

    async def events(self) -> None:
        """The GED's interrupt: `_EVT`, and what it tells the kernel."""
        for told in await self.firmware.events():
            self._notified.put_nowait(told)

    def saved(self) -> dict[str, Any]:
        """What it knows, at rest, as JSON takes it."""
        return {
            "online": sorted(self.online), "registered": sorted(self.registered),
            "answered": self.answers.given,
        }  # fmt: skip

    def load(self, saved: Mapping[str, Any]) -> None:
        """Know what `saved` has, and have booted. Before `live`.

        Raises ValueError, KeyError or TypeError for what it isn't.
        """
        self.online = {int(cpu) for cpu in saved["online"]}
        self.registered = {int(cpu) for cpu in saved["registered"]}
        self.answers.given = saved["answered"]
        self._booted = True

    def madt_flags(self, cpu: int) -> MadtFlag:
        """What the MADT that it has read says of the vCPU."""
        return self.rules.madt_flags(cpu, cold=self.config.cold_booted(cpu))

    # --------------------------------------------------------------- its life

    @property
    def booted(self) -> bool:
        """Whether its shell is there."""
        return self._booted

    @property
    def idle(self) -> bool:
        """Whether it has booted, and done what was to be done."""
        busy = self._scanning or self._working or not self._notified.empty()
        return self._booted and not busy and not self._interrupted.is_set()

    def interrupt(self) -> None:
        """The GED's line; an edge that comes during a scan has another one follow."""
        self._interrupted.set()

    async def live(self) -> None:
        """Boot, where it has not, then serve interrupts, until cancelled."""
        if not self._booted:
            await self.boot()
            self._booted = True
        self.tell()
        async with asyncio.TaskGroup() as threads:
            threads.create_task(self._take_interrupts())
            threads.create_task(self._work())

    async def _take_interrupts(self) -> None:
        while True:
            await self._interrupted.wait()
            self._scanning = True
            self._interrupted.clear()
            await self.events()
            self._scanning = False
            self.tell()

    async def _work(self) -> None:
        while True:
            cpu, notification = await self._notified.get()
            self._working = True
            async with self.hotplug:
                await self._answer(cpu, notification)
            self._working = False
            self.tell()

    async def _answer(self, cpu: int, notification: Notification) -> None:
        if not self.answers.knows(notification):
            await self.notified(cpu, notification)
        elif (status := self.answers.take(notification)) is not LOST:
            await self.firmware.ost(cpu, notification, status)
