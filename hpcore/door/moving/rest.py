"""What is sent of a machine once it stands still, beside what its QEMU sends."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from hpcore.door.moving.frames import Frames, Kind


@frozen
class Rest:
    """`log` is what has come to its log since the head was taken, `sections` are the session's,
    by their files' names."""

    log: bytes
    sections: Mapping[str, bytes]

    def write(self, frames: Frames) -> None:
        """Write it, and that this is all. In a thread. Raises OSError."""
        frames.write(Kind.LOG, self.log)
        for name, data in self.sections.items():
            frames.write(Kind.SECTION, name.encode() + b"\n" + data)
        frames.write(Kind.STILL)


def section_of(data: bytes) -> dict[str, bytes]:
    """What a frame with a section has."""
    name, _, content = data.partition(b"\n")
    return {name.decode("utf-8", "replace"): content}
