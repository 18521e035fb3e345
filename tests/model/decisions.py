"""What this hpcore decides and holds to be right, as digests; `python -m` writes them down.

    python -m tests.model.decisions

Decisions are made on some long walks. They are made, and each invariant is asked, about slots and
events drawn at random as well, which no walk leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random

import orjson

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep, Step
from hpcore.model.evolve import NoSuchSlot, evolve
from hpcore.model.invariants import INVARIANTS
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Change
from hpcore.model.states import Shared, Slot
from hpcore.version import __version__
from tests.model.drawn import alike, answers, cases, drawn, of_type
from tests.support.world import World

WRITTEN_DOWN = Path(__file__).with_name("decisions.json")
WALKS, MOVES = 24, 250
ENDS = (
    st.Lost("the accelerator is gone"), st.PowerOffSeen(), st.PowerDown(),
    st.MachineFailed(MachineStep.RESTART, "as told"),
)  # fmt: skip
AFTER_THE_END = (st.Reset(), st.DeviceDel("core2"), st.Note("a last word"))


CHANGES = 8000
EVENTS: list[ev.Event] = [
    *(kind(0, step) for kind in (ev.StepBegun, ev.StepDone) for step in of_type(Step)),
    *(ev.StepFailed(0, step, "x") for step in of_type(Step)),
    *(ev.MachineStepBegun(step, enabled) for step in MachineStep for enabled in ((), (0,))),
    *(ev.MachineStepDone(step) for step in MachineStep),
    *(ev.MachineStepFailed(step, "x") for step in MachineStep),
    ev.MachineWasReset(()), ev.MachineWasReset((0,)), ev.MachinePoweredOff("user"),
    ev.Restored("x"), ev.MachineLost("x"), ev.ColdBootBegun(0), ev.ColdBootDone(0),
    ev.PlugAccepted(0, "a"),
    ev.PlugCompleted(0, "a"), ev.PlugFailed(0, "a", "x"), ev.UnplugAccepted(0, "a"),
    ev.UnplugAccepted(0, "a", forced=True), ev.UnplugRepeated(0, "a"), ev.UnplugCompleted(0, "a"),
    ev.UnplugFailed(0, "a", "x"), ev.TakenByForce(0), ev.EjectAccepted(0), ev.CpuOnGranted(0, 0),
    ev.CpuWentOff(0), ev.Noted("x"),
]  # fmt: skip


OTHER_EVENTS: list[ev.Event] = [
    ev.Refused("Boot", "machine_new", "x", None), ev.Refused("InsertAcked", "slot_exists", "x", 9),
    ev.ScanBegun(), ev.ScanFinished(), ev.GedRaised(), ev.InsertCleared(0), ev.RemoveCleared(0),
    ev.OstReceived(0, 1, 0), ev.OstReceived(0, 1, 1), ev.OstReceived(0, 3, 0x84),
    ev.OstReceived(0, 3, 0), ev.Registered(0), ev.EjectUnconfirmed(0),
    ev.EjectRefused(0, "eject_was_requested", "x"), ev.CpuOnDenied(0, 0, -3),
    ev.Registered(-1), ev.Registered(3), ev.StepDone(0, Step.BIND, 0x101),
]  # fmt: skip
LEADING_ON = 150
"""States from which every event is let lead on."""


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


def changes(random: Random) -> Iterator[Change]:
    """Slots, shared parts and events as they come, whether or not any machine has them.

    Most of what an invariant asks is of slots that are alike, and of a machine that runs.
    """
    known = [state for state, _, _ in cases()]
    while True:
        before, after = drawn(random, Slot), drawn(random, Slot)
        shared_before, shared = drawn(random, Shared), drawn(random, Shared)
        if random.random() < 0.75:
            state = random.choice(known)
            before, shared = random.choice(state.slots), state.shared
            after = alike(random, before, Slot, 2)
            shared_before = alike(random, shared, Shared, 2)
        yield Change(0, before, shared_before, random.choice(EVENTS), after, shared)


@cache
def asked() -> tuple[Change, ...]:
    """What every invariant is asked about."""
    return tuple(islice(changes(Random(0)), CHANGES))


def verdicts(name: str) -> str:
    """The digest of all that an invariant says, and of what it says of itself."""
    invariant = next(i for i in INVARIANTS if i.name == name)
    said = bytearray()
    for change in asked():
        if invariant.on_state is not None:
            said.append(invariant.on_state(0, change.after, change.shared))
        if invariant.on_event is not None:
            said.append(bool(invariant.on_event(change)))
    about = invariant.says, invariant.number, invariant.at_rest, invariant.since
    return sha256(said + repr(about).encode()).hexdigest()[:16]


def leads_to(name: str) -> str:
    """The digest of the states that a kind of event leads to; not all have a way on."""
    said = sha256()
    events = [e for e in (*EVENTS, *OTHER_EVENTS) if type(e) is ev.EVENTS[name]]
    for state, rules, _ in cases()[:LEADING_ON]:
        for event in events:
            try:
                after = repr(evolve(state, event, rules))
            except (IllegalTransition, NoSuchSlot) as error:
                after = str(error)
            said.update(f"{after} {ev.effects_of(event)!r}\n".encode())
    return said.hexdigest()[:16]


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "walks": {f"walk {n}": partial(walk, n) for n in range(WALKS)},
    "answers": {name: partial(answers, kind) for name, kind in st.STIMULI.items()},
    "events": {name: partial(leads_to, name) for name in ev.EVENTS},
    "invariants": {i.name: partial(verdicts, i.name) for i in INVARIANTS},
}
"""What is written down: the digest of each thing, by part and name."""


def decisions() -> dict[str, object]:
    """The version, and all digests."""
    parts = {part: {name: make() for name, make in each.items()} for part, each in PARTS.items()}
    return {"version": __version__, **parts}


if __name__ == "__main__":
    WRITTEN_DOWN.write_bytes(orjson.dumps(decisions(), option=orjson.OPT_INDENT_2) + b"\n")
