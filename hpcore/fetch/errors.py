"""What can go wrong before something fetched is in the cache."""

from __future__ import annotations

from hpcore.errors import HpcoreError


class FetchError(HpcoreError):
    """Something could not be fetched or kept. The text says what, where, and what to do."""
