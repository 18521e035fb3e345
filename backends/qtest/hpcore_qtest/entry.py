"""What the entry points have in common: what they take as a guest, and how they probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hpcore.guest.played import KINDS
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.run.accelerator import AcceleratorError, Capabilities, GuestImages, GuestScript
from hpcore_qtest.qemu import launch


def script_of(guest: GuestImages | GuestScript | None) -> GuestScript | None:
    """`guest`, which must be one that is played. Raises AcceleratorError."""
    if isinstance(guest, GuestImages):
        raise AcceleratorError("qtest runs no guest code: give it a guest to play, no kernel")
    if guest is not None and guest.kind not in KINDS:
        raise AcceleratorError(
            f"there is no guest '{guest.kind}' to play; there are {', '.join(KINDS)}"
        )
    return guest


def capabilities(find: Callable[[], Qemu], most: int, modelled: Mapping[str, str]) -> Capabilities:
    """What an accelerator with such sessions can do here, on the QEMU that `find` finds."""
    versions: dict[str, str] = {}
    unavailable = None
    try:
        qemu = find()
        versions["qemu"] = qemu.version
        versions["qemu accelerator"] = launch.accelerator(qemu.path)[-1]
    except QemuError as error:
        unavailable = str(error)
    return Capabilities(
        unavailable=unavailable,
        max_vcpus=most,
        plays_guest=True,
        modelled=modelled,
        versions=versions,
    )
