"""How a machine may be carried elsewhere: see hpcore.session.elsewhere."""

from __future__ import annotations

LIVE_FROM = (9, 0)
"""The first QEMU whose TCG tells migration of every page that the guest writes. One before
lets a busy guest arrive with pages of which an older content was sent last, and break: 3 of 79
live migrations of 7.2 did, and 2 of 2 machines that hpcore had no part in. Fits the fix
03bfc2188f. A guest that stands still meanwhile writes nothing: 220 of 220 good."""


def live_on(version: str) -> bool:
    """Whether a QEMU of that version may carry a guest while it runs."""
    return tuple(int(part) for part in version.split(".")[:2]) >= LIVE_FROM
