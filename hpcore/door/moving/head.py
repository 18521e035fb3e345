"""What is sent before QEMU's stream: what the machine is beyond it, and its log."""

from __future__ import annotations

import json

from attrs import frozen

from hpcore.door.moving.frames import Frames, Kind, StreamError
from hpcore.model.effects import MachineStep
from hpcore.run.log_state import LogState, LogWrong
from hpcore.version import __version__

LONGEST_LOG = 256 << 20
"""Bytes of a log that are taken in. A door's own goes on in another file at 32 MiB."""


@frozen
class Head:
    """A machine that stands still. `facts` are the accelerator's, which the other side compares.

    `ran` says whether it ran before it was to move.
    """

    accelerator: str
    facts: dict[str, str]
    ran: bool
    log: bytes

    def write(self, frames: Frames) -> None:
        """Begin the stream with it. In a thread. Raises OSError."""
        about = {
            "hpcore": __version__, "accelerator": self.accelerator, "facts": self.facts,
            "ran": self.ran, "log": len(self.log),
        }  # fmt: skip
        frames.write_magic()
        frames.write(Kind.HEAD, json.dumps(about).encode())
        frames.write(Kind.LOG, self.log)

    @classmethod
    def read(cls, frames: Frames) -> Head:
        """What a stream begins with. In a thread. Raises StreamError, OSError."""
        frames.read_magic()
        frame = frames.read()
        if frame is None or frame.kind is not Kind.HEAD:
            raise StreamError("it was cut short")
        try:
            about = json.loads(bytes(frame.data))
            facts, size = dict(about["facts"]), int(about["log"])
            accelerator, ran = str(about["accelerator"]), bool(about["ran"])
            if not all(isinstance(v, str) for v in facts.values()) or size > LONGEST_LOG:
                raise ValueError
        except (ValueError, KeyError, TypeError) as error:
            raise StreamError("its head does not say what it has to") from error
        log = bytearray()
        while len(log) < size:
            frame = frames.read()
            if frame is None or frame.kind is not Kind.LOG:
                raise StreamError("it was cut short")
            log += frame.data
        return cls(accelerator, facts, ran, bytes(log))


def log_of(head: Head) -> LogState:
    """What its log has come to. Raises StreamError where it is of no machine on its way."""
    try:
        log = LogState.of(head.log)
    except LogWrong as error:
        raise StreamError(str(error)) from error
    if log.header.rules is not None or log.state.shared.step is not MachineStep.SAVE:
        raise StreamError("its log is not that of a machine on its way")
    return log
