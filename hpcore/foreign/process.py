"""The last words of a QEMU: its standard error, a shell's, libvirt's log of the domain."""

from __future__ import annotations

import re

from hpcore.foreign import seen as s

FORMAT = "QEMU's own words"

_DIED = re.compile(
    r"(?:^|[\s:])(?:Assertion [`'].*failed|(?:ERROR:)?\S+\.[ch]:\d+:.*assertion failed|"
    r"Segmentation fault|Aborted\b|\(core dumped\)|Bail out!|"
    r"terminating on signal \d+|KVM internal error|shutting down, reason=crashed|"
    r"SIG(?:ABRT|SEGV|BUS|KILL)\b)"
)
_SAYS = re.compile(r"^(?:qemu-system-\S+|qemu-kvm|kvm)(?:\[\d+\])?: (?P<text>.+)$")
_POLITE = re.compile(r"terminating on signal (?:2|15)\b")
"""A signal that asks QEMU to end; it has told of SHUTDOWN then, and is no crash."""


def line(text: str) -> s.Seen | None:
    """What a line of QEMU's own says, or None."""
    if _DIED.search(text) is not None:
        return s.QemuSays(text.strip()[:300], died=_POLITE.search(text) is None)
    said = _SAYS.match(text)
    return None if said is None else s.QemuSays(said["text"].strip()[:300])
