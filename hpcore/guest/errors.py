"""What can go wrong with a guest before or while it runs."""

from __future__ import annotations

from hpcore.errors import HpcoreError


class GuestError(HpcoreError):
    """No usable guest, or the guest did not do as told.

    The text says what was wrong, where, and what to do about it.
    """
