"""The policy page: what hpcore grants, and what the interposer sees. See wire.h."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable

from hpcore.qemu.errors import QemuError
from hpcore_kvm_qemu import wire

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class PolicyPage:
    """A memory file that is shared with the interposer in QEMU.

    A word of 32 bits is written by one store, so that the interposer never reads half of it.
    """

    def __init__(self, fd: int) -> None:
        """Maps `fd`, a page that `make` or `again` has found right; it is the page's own now."""
        self.fd = fd
        self._page = mmap.mmap(fd, wire.PAGE_SIZE)
        self._bytes = memoryview(self._page)
        self._words, self._counts = self._bytes.cast("I"), self._bytes.cast("Q")

    @classmethod
    def make(
        cls, possible: int, spi: int, regions: Iterable[tuple[int, int]], *, kept: bool = False
    ) -> PolicyPage:
        """For `possible` vCPUs; `spi` is the event device's interrupt, its INTID less 32, and
        `regions` are address and size of the MMIO that is hpcore's. With `kept` QEMU outlives
        hpcore, and the interposer looks for one that comes back."""
        fd = os.memfd_create("hpcore-policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, wire.PAGE_SIZE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        made = cls(fd)
        wire.HEAD.pack_into(
            made._page, wire.HEAD_AT, wire.MAGIC, wire.VERSION, possible, spi, kept
        )
        for number, (base, size) in enumerate(regions):
            at = wire.REGION_AT + number * wire.REGION.size
            wire.REGION.pack_into(made._page, at, base, size)
        return made

    @classmethod
    def again(cls, fd: int, possible: int) -> PolicyPage:
        """The page of a machine of `possible` vCPUs that an hpcore before this one has made.

        It comes from QEMU's process, so it is looked at before it is mapped. Raises QemuError
        for another's, or one of another kind; `fd` is closed then.
        """
        try:
            _check(fd, possible)
            return cls(fd)
        except OSError as error:
            os.close(fd)
            raise QemuError(f"what QEMU gives for the policy page: {error.strerror}") from error
        except QemuError:
            os.close(fd)
            raise

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

    def let_run(self, resets: int) -> None:
        """Let the machine run that was reset `resets` times, until the next reset of it."""
        self._words[wire.ALLOWED_AT // 4] = (resets + 1) & 0xFFFF_FFFF

    def hold(self) -> None:
        """Let nothing run: as before the first `let_run`."""
        self._words[wire.ALLOWED_AT // 4] = 0

    @property
    def closed(self) -> bool:
        """Whether it is unmapped here."""
        return self.fd < 0

    @property
    def has_let_run(self) -> bool:
        """Whether the machine was ever let run."""
        return self._words[wire.ALLOWED_AT // 4] != 0

    def revoke_of_those_off(self, possible: int) -> None:
        """Grant nothing but vCPU 0 and what is on: QEMU puts the state of these at any time."""
        for slot in range(1, possible):
            if not self.seen(slot).powered:
                self.grant(slot, False)

    @property
    def resets(self) -> int:
        """How often the started machine was reset."""
        return self._words[wire.RESETS_AT // 4]

    def seen(self, slot: int) -> wire.Seen:
        """What the interposer says of the vCPU, now."""
        at = wire.SEEN_AT + slot * wire.SEEN.size
        return wire.Seen(*wire.SEEN.unpack_from(self._page, at))

    # ------------------------------------------------------- for an hpcore that comes back

    @property
    def told(self) -> int:
        """How many messages the interposer has counted."""
        return self._counts[wire.TOLD_AT // 8]

    def message(self, number: int) -> tuple[int, ...]:
        """The message of that number, as in `wire.MESSAGE`; one of the last `wire.TOLD`."""
        at = wire.LAST_AT + number % wire.TOLD * wire.MESSAGE.size
        return wire.MESSAGE.unpack_from(self._page, at)

    def write_note(self, note: wire.Note) -> None:
        """Note of a message that was done, its number last: a note that is cut short is none."""
        at = wire.NOTE_AT + note.number % wire.TOLD * wire.NOTE.size
        wire.NOTE.pack_into(self._page, at, *note._replace(number=0))
        self._counts[at // 8] = note.number

    def note(self, number: int) -> wire.Note | None:
        """What was noted of the message; None where it was not done, or is forgotten."""
        at = wire.NOTE_AT + number % wire.TOLD * wire.NOTE.size
        found = wire.Note(*wire.NOTE.unpack_from(self._page, at))
        return found if found.number == number else None

    def write_did(self, slot: int, word: int) -> None:
        """The last step of the vCPU, or of the machine: slot `wire.VCPUS`."""
        self._counts[wire.DID_AT // 8 + slot] = word

    def did(self, slot: int) -> int:
        """What `write_did` was given last; 0 before that."""
        return self._counts[wire.DID_AT // 8 + slot]

    def close(self) -> None:
        """Unmap it here. Idempotent."""
        self._counts.release()
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


def _check(fd: int, possible: int) -> None:
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_size != wire.PAGE_SIZE:
        raise QemuError("what QEMU gives for the policy page is none of this user's hpcore")
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS != SEALS:
        raise QemuError("the policy page is not sealed against shrinking: it is not hpcore's")
    magic, version, vcpus, _, kept = wire.HEAD.unpack(os.pread(fd, wire.HEAD.size, wire.HEAD_AT))
    if magic != wire.MAGIC or version != wire.VERSION:
        raise QemuError(
            f"the policy page is of version {version} of the link, and this hpcore speaks "
            f"{wire.VERSION}: attach with the hpcore that has started the machine"
        )
    if vcpus != possible or not kept:
        raise QemuError(f"the policy page is of another machine, of {vcpus} vCPUs")
