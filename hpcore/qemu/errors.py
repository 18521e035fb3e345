"""What goes wrong with a QEMU process, in words for the person who started it."""

from __future__ import annotations

from hpcore.errors import HpcoreError


class QemuError(HpcoreError):
    """QEMU is missing, did not start, refused, or is gone. The text says what to do."""
