"""Slots, shared parts, states and stimuli as they come, whether or not any machine has them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from itertools import islice
from random import Random
from typing import Any, TypeVar, get_args, get_type_hints

import attrs

from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.effects import OTHERS_STEPS, MachineStep, Step
from hpcore.model.guards import SWITCHES
from hpcore.model.machines import GiccState, IllegalTransition, Phase, SlotState
from hpcore.model.rules import BUILD, RULES, TEARDOWN, Habit, Rules
from hpcore.model.states import Owed, Shared, Slot, State, initial
from hpcore.model.topology import mp_affinity

VALUES: dict[str, list[object]] = {
    "id": [None, "core0"], "affinity": [None, 0, 1], "gic_inits": [0, 1, 2],
}  # fmt: skip
OTHERS = frozenset({*OTHERS_STEPS, GiccState.SHUT, "finalized"})
"""What only other protocols than hpcore's own have."""
HINTS = {
    kind: {name: hint for name, hint in get_type_hints(kind).items() if name not in OTHERS}
    for kind in (Slot, Shared)
}
STATES = 500
CONFIG = MachineConfig.of(cpus=1, maxcpus=3)
WITHOUT_HOTPLUG = attrs.evolve(CONFIG, no_hotplug="it has none")
OTHER_RULES = [RULES.without(name) for name in (*SWITCHES, *Habit)]
STATUSES = (0x0, 0x1, 0x80, 0x84, 0x1234)

T = TypeVar("T", Slot, Shared)


def drawn(random: Random, kind: type[T]) -> T:
    """One of the class, each field one of what it can be."""
    values: dict[str, Any] = {}
    for name, hint in HINTS[kind].items():
        values[name] = random.choice(VALUES[name] if name in VALUES else of_type(hint))
    return kind(**values)


def of_type(hint: Any) -> list[Any]:
    """Every value of a truth value or an enumeration, or of one or None."""
    if hint is bool:
        return [False, True]
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    own = [value for value in kinds[0] if value not in OTHERS]
    return [*own, *([None] if get_args(hint) else [])]


def alike(random: Random, usual: T, kind: type[T], most: int) -> T:
    """One that differs from the `usual` one in a few fields, `most` at most."""
    other, names = drawn(random, kind), random.sample(list(HINTS[kind]), random.randint(0, most))
    return attrs.evolve(usual, **{name: getattr(other, name) for name in names})


def states(random: Random) -> Iterator[State]:
    """Machines of three slots, drawn at random; most are not far from one that runs."""
    new = initial(CONFIG)
    runs, ready = (attrs.evolve(new.shared, phase=p) for p in (Phase.RUNNING, Phase.READY))
    there = attrs.evolve(
        Slot(cold=False), lifecycle=SlotState.ENABLED, gicc=GiccState.WIRED, created=True,
        thread=True, space=True, enabled=True,
    )  # fmt: skip
    booting = attrs.evolve(
        there, cold=True, lifecycle=SlotState.REALIZED, enabled=False,
        command=Owed.COLD_BOOT, step=Step.ENABLE,
    )
    plugging = attrs.evolve(booting, cold=False, command=Owed.PLUG)
    leaving = attrs.evolve(
        there, lifecycle=SlotState.EJECTING, enabled=False, requested=True, command=Owed.UNPLUG
    )
    while True:
        taken = attrs.evolve(leaving, command=Owed.REVOKE, step=random.choice(TEARDOWN))
        going = attrs.evolve(leaving, step=random.choice([Step.PARK, *TEARDOWN]))
        coming = attrs.evolve(plugging, step=random.choice(BUILD))
        kinds = (there, there, booting, coming, going, taken)
        usual = [random.choice([slot, *kinds]) for slot in new.slots]
        slots = tuple(alike(random, slot, Slot, random.choice([3, 8, 12])) for slot in usual)
        named = tuple(
            attrs.evolve(slot, id=random.choice([None, f"core{n}", f"core{n}"]))
            for n, slot in enumerate(slots)
        )
        whole = random.choice([runs, runs, runs, ready])
        shared = alike(random, whole, Shared, random.choice([0, 2, 6]))
        config = random.choice([CONFIG, CONFIG, WITHOUT_HOTPLUG])
        yield attrs.evolve(new, config=config, slots=named, shared=shared)


def about(state: State, random: Random) -> list[st.Stimulus]:
    """One stimulus of each kind; an outcome is mostly of what is under way."""
    n = random.choice([n for n, slot in enumerate(state.slots) if slot.step] or [0, 1, 2])
    step, whole = random.choice(of_type(Step)), random.choice(list(MachineStep))
    if random.random() < 0.8:
        step, whole = state.slots[n].step or step, state.shared.step or whole
    affinity = random.choice([mp_affinity(n), mp_affinity(n), state.slots[n].affinity, 7])
    core = (("core-id", n),)
    return [
        st.Boot(), st.DeviceAdd("new", core), st.DeviceAdd(random.choice(["core0", "4"]), core),
        st.DeviceDel(f"core{n}"), st.DeviceDel(f"core{n}", force=True), st.Reset(), st.Pause(),
        st.Resume(), st.PowerDown(), st.Migrate(), st.Save("file"), st.ScanStarted(),
        st.ScanEnded(),
        st.InsertAcked(n), st.RemoveAcked(n), st.OstReported(n, 1, random.choice(STATUSES)),
        st.OstReported(n, random.choice([3, 0x103]), random.choice(STATUSES)), st.EjectCalled(n),
        st.CpuOnCalled(n), st.CpuOnCalled(n, 1, verdict=random.choice([False, True])),
        st.CpuOffSeen(n), st.ResetSeen(), st.PowerOffSeen(), st.Done(step, n, affinity),
        st.Failed(step, n, "as told"), st.MachineDone(whole), st.MachineFailed(whole, "as told"),
        st.Restored("file"), st.Lost("it is gone"), st.GuestSilent(n), st.Note("a word"),
    ]  # fmt: skip


def answer(state: State, stimulus: st.Stimulus, rules: Rules) -> str:
    """What is decided; a state that no machine has may have no way on."""
    try:
        made = decide(state, stimulus, rules)
    except (IllegalTransition, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{made.events!r} {made.effects!r} {made.state.slots!r} {made.state.shared!r}"


@cache
def cases() -> tuple[tuple[State, Rules, list[st.Stimulus]], ...]:
    """States with what befalls them; every other one by rules that lack one."""
    random, out = Random(0), []
    for n, state in enumerate(islice(states(random), STATES)):
        rules = random.choice(OTHER_RULES) if n % 2 else RULES
        out.append((state, rules, about(state, random)))
    return tuple(out)


def answers(kind: type[st.Stimulus]) -> str:
    """The digest of all that a kind of stimulus is answered with."""
    said = sha256()
    for state, rules, stimuli in cases():
        for stimulus in stimuli:
            if type(stimulus) is kind:
                said.update(f"{answer(state, stimulus, rules)}\n".encode())
    return said.hexdigest()[:16]
