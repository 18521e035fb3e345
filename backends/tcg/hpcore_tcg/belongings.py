"""What a machine on tcg is beyond its log and QEMU's stream."""

from __future__ import annotations

from hpcore.guest.boot import BootFiles
from hpcore.run.accelerator import Belongings
from hpcore.run.saved_parts import number, with_images
from hpcore_tcg.build import Monitor

QEMU, MACHINE_TYPE, MONITOR, EPOCH = "qemu", "machine-type", "monitor", "epoch"


def belongings(
    boot: BootFiles | None, monitor: Monitor, *, qemu: str, machine_type: str, epoch: int
) -> Belongings:
    """What is saved of a machine. Reads the kernel and the initrd. Raises EffectError."""
    facts = {
        QEMU: qemu, MACHINE_TYPE: machine_type, MONITOR: monitor.digest, EPOCH: str(epoch),
    }  # fmt: skip
    return with_images(facts, boot)


def epoch_of(saved: Belongings) -> int:
    """The monitor's count of resets when it was saved. Raises AcceleratorError for none."""
    return number(saved, EPOCH)
