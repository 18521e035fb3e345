"""The policy page: what hpcore grants, and what the interposer sees. See wire.h."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable

from hpcore_kvm_qemu import wire


class PolicyPage:
    """A memory file that is shared with the interposer in QEMU.

    A word of 32 bits is written by one store, so that the interposer never reads half of it.
    """

    def __init__(
        self, possible: int, spi: int, regions: Iterable[tuple[int, int]], *, kept: bool = False
    ) -> None:
        """For `possible` vCPUs; `spi` is the event device's interrupt, its INTID less 32, and
        `regions` are address and size of the MMIO that is hpcore's. With `kept` QEMU outlives
        hpcore, and the interposer looks for one that comes back."""
        self.fd = os.memfd_create("hpcore-policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, wire.PAGE_SIZE)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)
        self._page = mmap.mmap(self.fd, wire.PAGE_SIZE)
        self._bytes = memoryview(self._page)
        self._words = self._bytes.cast("I")
        wire.HEAD.pack_into(
            self._page, wire.HEAD_AT, wire.MAGIC, wire.VERSION, possible, spi, kept
        )
        for number, (base, size) in enumerate(regions):
            at = wire.REGION_AT + number * wire.REGION.size
            wire.REGION.pack_into(self._page, at, base, size)

    def grant(self, slot: int, yes: bool) -> None:
        """Whether a CPU_ON of the vCPU may succeed from now on."""
        self._bytes[wire.GRANTED_AT + slot] = int(yes)

    def granted(self, slot: int) -> bool:
        """What `grant` said last."""
        return bool(self._bytes[wire.GRANTED_AT + slot])

    def want_off(self, slot: int) -> int:
        """The vCPU is to be off at once; `Seen.forced` says this number once it is."""
        return self._count(wire.FORCE_AT, slot)

    def want_interface_reset(self, slot: int) -> int:
        """Its CPU interface is to be in reset state; `Seen.gic` says this number then."""
        return self._count(wire.GIC_AT, slot)

    def let_run(self) -> None:
        """Let the machine run until the next time that it is reset."""
        self._words[wire.ALLOWED_AT // 4] = self.resets + 1

    @property
    def resets(self) -> int:
        """How often the started machine was reset."""
        return self._words[wire.RESETS_AT // 4]

    def seen(self, slot: int) -> wire.Seen:
        """What the interposer says of the vCPU, now."""
        at = wire.SEEN_AT + slot * wire.SEEN.size
        return wire.Seen(*wire.SEEN.unpack_from(self._page, at))

    def close(self) -> None:
        """Unmap it here. Idempotent."""
        self._words.release()
        self._bytes.release()
        self._page.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _count(self, array: int, slot: int) -> int:
        at = array // 4 + slot
        self._words[at] = number = (self._words[at] + 1) & 0xFFFF_FFFF
        return number
