"""The GICR frames of QEMU's GICv3, one a possible vCPU.

Source: Arm IHI 0069 (GICv3 and GICv4), 12.10 and 12.11; hw/intc/arm_gicv3_redist.c.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpcore.model.topology import mp_affinity
from hpcore.platform import virt
from hpcore_qtest.qemu import lines
from hpcore_qtest.qemu.client import Qtest

SGI_BASE = 0x1_0000
TYPER, WAKER = 0x08, 0x14
IGROUPR0, ISENABLER0, ICENABLER0 = SGI_BASE + 0x80, SGI_BASE + 0x100, SGI_BASE + 0x180
ISPENDR0, ICPENDR0 = SGI_BASE + 0x200, SGI_BASE + 0x280
ISACTIVER0, ICACTIVER0 = SGI_BASE + 0x300, SGI_BASE + 0x380
IPRIORITYR, ICFGR1 = SGI_BASE + 0x400, SGI_BASE + 0xC04
PRIORITIES = tuple(IPRIORITYR + 4 * n for n in range(8))

ASLEEP = 0x6
"""WAKER at reset: ProcessorSleep and ChildrenAsleep."""
PROCESSOR_SLEEP = 0x2
LAST = 1 << 4

PPIS = (virt.PMU_GSI, virt.TIMER_HYP_GSI, virt.TIMER_VIRT_GSI, virt.TIMER_PHYS_GSI)
WIRED = 0xFFFF | sum(1 << ppi for ppi in PPIS)
"""ISENABLER0 of a wired vCPU: all SGIs, the timers and the PMU."""
PRIORITY = 0xA0A0A0A0
EVERY = 0xFFFF_FFFF

STATE = (WAKER, IGROUPR0, ISENABLER0, ISPENDR0, ISACTIVER0, *PRIORITIES, ICFGR1)
"""What a vCPU's redistributor has of its own, as registers of 4 bytes."""


class RedistributorError(Exception):
    """A frame is not what it should be. The text says which register reads what."""


class Redistributors:
    """The frames of a machine with `possible` vCPUs; vCPU N's is the Nth."""

    def __init__(self, qtest: Qtest, possible: int) -> None:
        self._qtest = qtest
        self.frames = tuple(virt.redistributor(index) for index in range(possible))

    async def check(self) -> None:
        """Hold every frame against what a possible vCPU must find at the machine's start.

        TYPER must have its affinity, its processor number, and Last where a region ends;
        it must be asleep with nothing enabled. Raises RedistributorError.
        """
        typers = await self._qtest.read_all((frame + TYPER for frame in self.frames), 8)
        last = len(self.frames) - 1
        for index, typer in enumerate(typers):
            ends = index in (virt.GICR_FIRST_REGION - 1, last)
            for what, found, wanted in (
                ("affinity", typer >> 32, mp_affinity(index)),
                ("processor number", typer >> 8 & 0xFFFF, index),
                ("Last", bool(typer & LAST), ends),
            ):
                if found != wanted:
                    raise RedistributorError(
                        f"GICR_TYPER of vCPU {index} is {typer:#x}: its {what} is {found}, "
                        f"not {wanted}"
                    )
        for register, name, wanted in (
            (WAKER, "WAKER", ASLEEP), (ISENABLER0, "ISENABLER0", 0), (ISPENDR0, "ISPENDR0", 0),
        ):  # fmt: skip
            found_all = await self._qtest.read_all((f + register for f in self.frames), 4)
            for index, found in enumerate(found_all):
                _hold(index, name, found, wanted)

    async def find(self, affinity: int) -> int | None:
        """The vCPU whose TYPER has `affinity`, looked for as a guest does; None if none has."""
        typers = await self._qtest.read_all((frame + TYPER for frame in self.frames), 8)
        return next((n for n, typer in enumerate(typers) if typer >> 32 == affinity), None)

    async def affinity(self, index: int) -> int:
        """What the TYPER of a frame says."""
        return await self._qtest.read(self.frames[index] + TYPER, 8) >> 32

    async def wake(self, index: int) -> None:
        """Wake the redistributor, and give its SGIs and PPIs to the vCPU: Group 1, enabled."""
        waker, enabled, groups = await self._run(
            index,
            ((WAKER, 0), (IGROUPR0, EVERY), *((p, PRIORITY) for p in PRIORITIES),
             (ISENABLER0, WIRED)),
            (WAKER, ISENABLER0, IGROUPR0),
        )  # fmt: skip
        _hold(index, "WAKER", waker, 0)
        _hold(index, "ISENABLER0", enabled, WIRED)
        _hold(index, "IGROUPR0", groups, EVERY)

    async def sleep(self, index: int) -> None:
        """Disable its SGIs and PPIs, drop what pends or is active, and put it to sleep."""
        waker, enabled, pending, active = await self._run(
            index,
            ((ICENABLER0, EVERY), (ICPENDR0, EVERY), (ICACTIVER0, EVERY),
             (WAKER, PROCESSOR_SLEEP)),
            (WAKER, ISENABLER0, ISPENDR0, ISACTIVER0),
        )  # fmt: skip
        _hold(index, "WAKER", waker, ASLEEP)
        _hold(index, "ISENABLER0", enabled, 0)
        _hold(index, "ISPENDR0", pending, 0)
        _hold(index, "ISACTIVER0", active, 0)

    async def clear(self, index: int) -> None:
        """Asleep, and as after a reset: nothing in it that its next vCPU could be born with.

        A guest can write to the frame of a parked vCPU, and may have.
        """
        await self.sleep(index)
        await self._run(
            index, ((IGROUPR0, 0), *((register, 0) for register in (*PRIORITIES, ICFGR1))), ()
        )
        await self.hold_clear(index)

    async def hold_clear(self, index: int) -> None:
        """Raise RedistributorError unless it is as `clear` leaves it."""
        for register, found in zip(STATE, await self.state(index), strict=True):
            _hold(index, f"+{register:#x}", found, ASLEEP if register == WAKER else 0)

    async def state(self, index: int) -> list[int]:
        """The registers in `STATE`."""
        return await self._run(index, (), STATE)

    async def _run(
        self, index: int, writes: Sequence[tuple[int, int]], reads: Sequence[int]
    ) -> list[int]:
        """Write some of the frame's registers, then read some, in one go."""
        frame = self.frames[index]
        sent = [lines.write(frame + register, 4, value) for register, value in writes]
        sent += [lines.read(frame + register, 4) for register in reads]
        answers = await self._qtest.send(sent)
        return [int(answer, 16) for answer in answers[len(writes) :]]


def _hold(index: int, name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise RedistributorError(f"GICR_{name} of vCPU {index} reads {found:#x}, not {wanted:#x}")
