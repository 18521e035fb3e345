"""What connects the door with the process that becomes QEMU, and with the watchdog."""

from __future__ import annotations

import os
from collections.abc import Mapping

import orjson

from hpcore.door.descriptors import leave_standard_streams
from hpcore.door.watchdog import LET_BE


class Line:
    """The door's end. One answer is given: what QEMU's command line is, or why there is none."""

    def __init__(
        self, answer: int, watchdog: int, caller: int, inherited: tuple[int, ...] | None = None
    ) -> None:
        """`answer` and `watchdog` are pipes to these; `caller` is the process id.

        `inherited` are the caller's descriptors that the door has kept, and the last one is a
        copy of its standard error; None where it has kept none.
        """
        self._answer: int | None = answer
        self._watchdog, self.caller, self.inherited = watchdog, caller, inherited
        self._let_be = False

    def go(self, words: list[str], environment: Mapping[str, str] | None = None) -> None:
        """Have the caller become the real QEMU, with `words` as its command line.

        `environment` is added to the caller's.
        """
        self.tell_watchdog(self.caller)
        self._say({"words": words, "environment": dict(environment or {})})

    def refuse(self, why: str) -> None:
        """Have the caller end with the reason. Once it has become QEMU it hears nothing."""
        self._say({"refused": why})

    def tell_watchdog(self, pid: int) -> None:
        """QEMU is this process."""
        os.write(self._watchdog, b"%d\n" % pid)

    def let_be(self) -> None:
        """QEMU is not to end with the door any more. Idempotent."""
        if not self._let_be:
            self._let_be = True
            self.tell_watchdog(LET_BE)

    def _say(self, what: dict[str, object]) -> None:
        if self._answer is None:
            return
        answer, self._answer = self._answer, None
        with os.fdopen(answer, "wb") as pipe:
            pipe.write(orjson.dumps(what))
        leave_standard_streams()
