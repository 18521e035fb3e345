"""The guest that was fetched, as images that boot."""

from __future__ import annotations

from hpcore.guest.errors import GuestError
from hpcore.guest.images import fetched_guest
from hpcore.run.accelerator import GuestImages


def fetched_images() -> GuestImages | None:
    """Its kernel and initramfs; None where none has been fetched."""
    try:
        guest = fetched_guest()
    except GuestError:
        return None
    return None if guest is None else GuestImages(guest.kernel, guest.initramfs())
