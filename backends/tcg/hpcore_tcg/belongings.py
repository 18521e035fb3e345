"""What a machine on tcg is beyond its log and QEMU's stream."""

from __future__ import annotations

from collections.abc import Mapping

from hpcore.guest.boot import BootFiles
from hpcore.run.accelerator import Belongings
from hpcore.run.saved_parts import number, with_images
from hpcore_tcg.build import Monitor

MONITOR, EPOCH = "monitor", "epoch"


def belongings(
    alike: Mapping[str, str], boot: BootFiles | None, monitor: Monitor, *, epoch: int
) -> Belongings:
    """What is saved of a machine, `alike` among it. Reads the kernel and the initrd.

    Raises EffectError.
    """
    return with_images({**alike, MONITOR: monitor.digest, EPOCH: str(epoch)}, boot)


def epoch_of(saved: Belongings) -> int:
    """The monitor's count of resets when it was saved. Raises AcceleratorError for none."""
    return number(saved, EPOCH)
