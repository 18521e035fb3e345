"""What can go wrong with the bench itself, as opposed to what is tested on it."""

from __future__ import annotations

from hpcore.errors import HpcoreError


class NestedError(HpcoreError):
    """L1 was not built, did not boot, or did not answer. The text says what, and what to do."""
