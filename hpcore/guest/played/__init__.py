"""Guests that are played: no code of theirs runs, and the machine can't tell.

A played guest drives its machine through a `Hardware`, in the same registers and with the
same PSCI calls that a kernel would use, in the order in which it would.

    guest = make_guest("linux", config, "maxcpus=2", hardware)
    guest.start()                 # vCPU 0 enters the kernel
    await guest.wait_ready(10)
    guest.ged_interrupt()         # the GED's line was raised
    await guest.idle()            # all that the guest does about it is done

What it answers to a notification can be chosen, or that the notification is lost: answers.
"""

from __future__ import annotations

from random import Random

from hpcore.guest.played.answers import LOST, SILENT, Answers
from hpcore.guest.played.guest import PlayedGuest
from hpcore.guest.played.hardware import Hardware
from hpcore.guest.played.hostile import HostileKernel
from hpcore.guest.played.legacy import LegacyKernel
from hpcore.guest.played.linux import LinuxKernel
from hpcore.model.config import MachineConfig
from hpcore.model.rules import RULES, Rules

__all__ = ["KINDS", "LOST", "Answers", "Hardware", "PlayedGuest", "make_guest"]

KINDS = ("linux", "legacy", "hostile", "silent")
"""Linux since 6.11; a kernel that knows no online-capable vCPUs; a hostile one; a Linux on
which every eject request is lost."""


def make_guest(
    kind: str,
    config: MachineConfig,
    append: str,
    hardware: Hardware,
    random: Random | None = None,
    answers: Answers | None = None,
    rules: Rules = RULES,
) -> PlayedGuest:
    """A guest of the kind `kind` for the machine `config`, not started yet.

    `append` is the kernel's command line. `random` is what a hostile guest draws from; by
    itself it does the same in every run. `answers` are given in place of the kernel's own.
    `rules` are those of which its ACPI tables are made: they say which vCPU has an `_EJ0`.
    Raises ValueError for a kind that is none.
    """
    told = answers or {}
    match kind:
        case "linux":
            return PlayedGuest(lambda: LinuxKernel(config, append, hardware, rules), hardware, told)
        case "legacy":
            return PlayedGuest(
                lambda: LegacyKernel(config, append, hardware, rules), hardware, told
            )
        case "hostile":
            source = random or Random(0)
            return PlayedGuest(
                lambda: HostileKernel(config, append, hardware, source, rules), hardware, told
            )
        case "silent":
            return PlayedGuest(
                lambda: LinuxKernel(config, append, hardware, rules), hardware, {**SILENT, **told}
            )
    raise ValueError(f"'{kind}' is no guest that is played; there are {', '.join(KINDS)}")
