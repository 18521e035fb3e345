"""What this hpcore decides on some long walks, as a digest for each; `python -m` writes it down.

    python -m tests.model.decisions
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from random import Random

import orjson

from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep
from hpcore.version import __version__
from tests.support.world import World

WRITTEN_DOWN = Path(__file__).with_name("decisions.json")
WALKS, MOVES = 24, 250
ENDS = (
    st.Lost("the accelerator is gone"), st.PowerOffSeen(), st.PowerDown(),
    st.MachineFailed(MachineStep.RESTART, "as told"),
)  # fmt: skip
AFTER_THE_END = (st.Reset(), st.DeviceDel("core2"), st.Note("a last word"))


class Remembering(World):
    """A world that keeps all that was asked and decided in it, and holds no invariant."""

    def __init__(self, cpus: int) -> None:
        super().__init__(cpus=cpus)
        self.said = sha256()

    def feed(self, stimulus: st.Stimulus) -> None:
        decision = decide(self.state, stimulus)
        self.said.update(f"{stimulus!r} {decision.events!r} {decision.effects!r}\n".encode())
        self.go_on(decision)


def walk(seed: int) -> str:
    """The digest of all that was asked and decided on one walk, and of where it led to."""
    world, random = Remembering(cpus=1 + seed % 3), Random(seed)
    if seed % 4 == 3:  # some begin while the machine is still being made, or before
        world.feed(st.Boot())
    elif seed % 8 != 2:
        world.boot()
    for _ in range(MOVES):
        world.random_move(random)
    for stimulus in (ENDS[seed % len(ENDS)], *AFTER_THE_END):
        world.feed(stimulus)
    world.said.update(repr(world.state).encode())
    return world.said.hexdigest()[:16]


def decisions() -> dict[str, object]:
    """The version, and the digest of each walk."""
    return {"version": __version__, "walks": {f"walk {n}": walk(n) for n in range(WALKS)}}


if __name__ == "__main__":
    WRITTEN_DOWN.write_bytes(orjson.dumps(decisions(), option=orjson.OPT_INDENT_2) + b"\n")
