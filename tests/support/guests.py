"""The guest that was fetched, as images that boot."""

from __future__ import annotations

import pytest

from hpcore.guest.errors import GuestError
from hpcore.guest.images import FetchedGuest, fetched_guest
from hpcore.run.accelerator import GuestImages


def fetched_images() -> GuestImages | None:
    """Its kernel and initramfs; None where none has been fetched."""
    try:
        guest = fetched_guest()
    except GuestError:
        return None
    return None if guest is None else GuestImages(guest.kernel, guest.initramfs())


def guest_or_skip() -> FetchedGuest:
    """The fetched guest; the test is skipped where there is none."""
    try:
        found = fetched_guest()
    except GuestError as error:
        pytest.skip(str(error))
    if found is None:
        pytest.skip("no guest has been fetched")
    return found
