"""Making the tables: `decide`, called on every local state under every common part.

A pair is a local state of a role under a common part (the shared part of the machine, and
the faults left). That each pair that a reachable machine shows is tabulated is shown by
induction on the number of stimuli:

- The pairs of the start are added by `run`.
- A stimulus about a slot takes that slot's pair (a, c) to a pair (b, d), which `slot_move`
  adds. It leaves the other slots as they are (NotTabulable is raised where it does not);
  their pairs (x, c) become (x, d), which `shift` adds, now or when (x, c) is found later.
- A stimulus about the machine takes each slot's pair on, by what it does to that slot and
  to the common part. What other slots may have a say in is a count, which the offer's
  needs ask for; and each pair is tried beside a boot vCPU, which every machine has.

Some pairs more are tabulated: those of slots that meet nowhere. They cost a little time
and change no result: an engine takes a move, and reports a violation, only in a state
that it has reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import attrs

from hpcore.check.memory import available, human
from hpcore.check.properties import PROPERTIES, SHIPPED, Properties
from hpcore.check.result import CheckError
from hpcore.check.tabulated.alike import Alike
from hpcore.check.tabulated.numbered import Numbered
from hpcore.check.tabulated.schema import (
    MachineMove,
    Map,
    NotTabulable,
    Role,
    Sight,
    SlotMove,
    Tables,
    role_of,
)
from hpcore.check.tabulated.small_machine import Seen, SmallMachine
from hpcore.check.tabulated.start import Common, Start, booted, config_of, local
from hpcore.check.tabulated.trials import Trials
from hpcore.check.world.conditions import ANYHOW, Needs, Offer
from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import attentive
from hpcore.model.machines import Phase
from hpcore.model.properties import Invariants
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import Shared, Slot
from hpcore.model.stimuli import CpuOnCalled, Stimulus

A_FAULT = 10 << 20
"""Bytes that the tables take for each fault, and what a search keeps of them: 4 MiB measured of
a hostile guest at 50 and at 1,000 faults, 10 MiB of one that may be paused, too."""

TOLD_EVERY = 256
"""Pairs that are tabulated between two words on how far it is."""

_Common = tuple[int, int]
"""The number of a shared part, and the faults left."""
_Sight = tuple[str, Role, int, _Common, int, bool, bool]
_SlotMove = tuple[Role, int, _Common, int, _Common, int, type[Stimulus]]
"""A local state and what it goes to, each with the common part; a need; by which stimulus."""
_Wide = tuple[_Common, _Common, int, Stimulus]
"""What a stimulus about the machine does to the common part, and the need."""


def tabulate(
    environment: Environment,
    rules: Rules = RULES,
    start: Start | None = None,
    properties: Properties = PROPERTIES,
    tell: Callable[[int], None] = lambda _pairs: None,
    starts: Sequence[tuple[Start, int]] = (),
) -> Tables:
    """The tables of `environment` under `rules`, from the booted machine or from `start`.

    `starts` are machines to start from instead, each with the faults left. `tell` is told now and
    then how many pairs are found. Raises NotTabulable, and CheckError where there is not the
    memory for so many faults.
    """
    needed = A_FAULT * environment.faults
    if needed > available():
        raise CheckError(
            f"the tables of {environment.faults} faults need about {human(needed)}, and "
            f"{human(available())} are free. Use fewer faults"
        )
    if not starts:
        start = start or booted(
            config_of(environment), rules, Invariants(properties), environment.plugged
        )
        starts = ((start, environment.faults),)
    alike = Alike(environment, properties)
    if any(p not in SHIPPED for p in properties) or rules.needed != RULES.needed:
        # What is a user's may read what hpcore's own does not.
        environment = attrs.evolve(environment, guest=attentive(environment.guest))
    machine = SmallMachine(environment, rules, properties, alike)
    tabulation = _Tabulation(environment, starts, machine)
    tabulation.run(tell)
    return _numbered(tabulation, rules, properties)


class _Tabulation:
    """Finds all pairs and what becomes of them. Needs are numbers, as the trials' states are."""

    def __init__(
        self, environment: Environment, starts: Sequence[tuple[Start, int]], machine: SmallMachine
    ) -> None:
        self.environment, self.starts = environment, starts
        self.roles = tuple(role_of(environment, i) for i in range(environment.slots))
        self.trials = Trials(environment, machine, self.roles)
        self.locals, self.shared = self.trials.locals, self.trials.shared
        self.needs: Numbered[Needs] = Numbered(ANYHOW)
        self.pairs: dict[tuple[Role, int, _Common], None] = {}
        self.queue: list[tuple[Role, int, _Common]] = []
        self.at_common: dict[_Common, list[tuple[Role, int]]] = defaultdict(list)
        self.boot_at: dict[_Common, int] = {}
        self.shifts: dict[_Common, dict[_Common, None]] = defaultdict(dict)
        self.slot_moves: dict[_SlotMove, None] = {}
        self.wide: dict[_Wide, dict[tuple[Role, int], int]] = defaultdict(dict)
        self.broken: dict[_Sight, None] = {}
        self.shown: dict[_Sight, None] = {}
        self.ends: dict[tuple[Role, _Common], int] = {}

    def run(self, tell: Callable[[int], None]) -> None:
        waiting: list[tuple[Role, int, _Common]] = []
        taken = 0
        for start, faults in self.starts:
            *slots, common = self.numbers_of(start, faults)
            for role, a in zip(self.roles, slots, strict=True):
                self.add(role, a, common)
        while self.queue:
            pair = self.queue.pop()
            taken += 1
            if taken % TOLD_EVERY == 0:
                tell(len(self.pairs))
            if pair[2] in self.boot_at:
                self.tabulate_pair(*pair)
            else:
                # A stimulus about the machine is tried with a boot vCPU in it, and none is
                # known yet that goes with this pair's common part.
                waiting.append(pair)
            if not self.queue:
                # Every pair of a boot vCPU has been found now. A machine always has one; so
                # a common part without one is that of no machine, and its pairs are dropped.
                self.queue = [p for p in waiting if p[2] in self.boot_at]
                waiting = [p for p in waiting if p[2] not in self.boot_at]
        self.check_ends()

    def numbers_of(self, start: Start, faults: int) -> tuple[*tuple[int, ...], _Common]:
        """The local states of a start's slots, then its common part."""
        slots = (
            self.locals[role].number(local(self.environment, i, slot))
            for i, (role, slot) in enumerate(zip(self.roles, start.state.slots, strict=True))
        )
        return (*slots, (self.shared.number(start.state.shared), faults))

    def add(self, role: Role, a: int, common: _Common) -> None:
        """Note a local state under a common part, and under all that it may shift to."""
        commons = [common]
        while commons:  # a chain of shifts has as many links as there are faults, and more
            common = commons.pop()
            pair = (role, a, common)
            if pair in self.pairs:
                continue
            self.pairs[pair] = None
            self.queue.append(pair)
            self.at_common[common].append((role, a))
            if role is Role.BOOT:
                self.boot_at.setdefault(common, a)
            commons += reversed(self.shifts[common])

    def shift(self, common: _Common, after: _Common) -> None:
        """The common part may change under whoever is there: another slot's doing, or nobody's."""
        if common == after or after in self.shifts[common]:
            return
        self.shifts[common][after] = None
        for role, a in tuple(self.at_common[common]):
            self.add(role, a, after)

    # -------------------------------------------------------------------- one pair

    def tabulate_pair(self, role: Role, a: int, common: _Common) -> None:
        m, faults = common
        slot, shared = self.locals[role].values[a], self.shared.values[m]
        for name in self.trials.unsound(role, a, m):
            self.broken[name, role, a, common, 0, False, False] = None
        for offer, seen in self.trials.about_slot(role, a, m):
            if offer.fault > faults:
                continue
            self.sighted(seen, role, a, common, offer.needs)
            if self.over(seen):
                if not isinstance(offer.stimulus, CpuOnCalled):
                    raise NotTabulable(f"{offer.stimulus} of {role} {slot} ends the machine")
                self.ends.setdefault((role, common), a)
            elif seen.broken is None and self.goes_on(seen, slot, shared):
                self.slot_move(seen, role, a, common, offer)
        for offer, seen in self.trials.about_machine(role, a, m, self.boot_at[common]):
            if offer.fault > faults:
                continue
            self.sighted(seen, role, a, common, offer.needs, whole=True)
            if seen.broken is None and not self.over(seen):
                self.machine_move(seen, role, a, common, offer)

    def check_ends(self) -> None:
        """Hold the invariants against every slot of a machine that another slot ends.

        What the other slots see of it is the common part alone, whichever local state the
        slot was in; so one local state of each role under each common part is enough.
        """
        for (ending, common), ender in self.ends.items():
            for role, a in self.at_common[common]:
                if role is ending is Role.BOOT:
                    continue  # there is no other
                seen = self.trials.by_an_end(role, a, common[0], ending, ender)
                self.sighted(seen, role, a, common, ANYHOW)

    def sighted(
        self, seen: Seen, role: Role, a: int, common: _Common, needs: Needs, *, whole: bool = False
    ) -> None:
        if seen.broken is not None:
            self.broken[seen.broken, role, a, common, self.needs.number(needs), True, whole] = None
        for name in seen.shown:
            self.shown[name, role, a, common, self.needs.number(needs), True, whole] = None

    def over(self, seen: Seen) -> bool:
        """Whether the stimulus was the machine's end."""
        return seen.shared is not None and self.environment.over(seen.shared)

    def goes_on(self, seen: Seen, slot: Slot, shared: Shared) -> bool:
        """Whether the stimulus changes anything."""
        return (
            seen.slot != slot
            or seen.others_changed
            or (seen.shared is not None and seen.shared != shared)
        )

    def common_after(self, seen: Seen, common: _Common, offer: Offer) -> _Common:
        m = common[0] if seen.shared is None else self.shared.number(seen.shared)
        return m, common[1] - offer.fault

    def slot_move(self, seen: Seen, role: Role, a: int, common: _Common, offer: Offer) -> None:
        if seen.others_changed or seen.shared_changes > 1:
            slot = self.locals[role].values[a]
            raise NotTabulable(f"{offer.stimulus} of {role} {slot} changes other slots")
        after = self.common_after(seen, common, offer)
        b = self.locals[role].number(seen.slot)
        by = type(offer.stimulus)
        self.slot_moves[role, a, common, b, after, self.needs.number(offer.needs), by] = None
        self.shift(common, after)
        self.add(role, b, after)

    def machine_move(self, seen: Seen, role: Role, a: int, common: _Common, offer: Offer) -> None:
        after = self.common_after(seen, common, offer)
        b = self.locals[role].number(seen.slot)
        key = (common, after, self.needs.number(offer.needs), offer.stimulus)
        self.wide[key][role, a] = b
        self.add(role, b, after)


# ------------------------------------------------------------------------- numbers


def _common_order(common: Common) -> tuple[object, ...]:
    s = common.shared
    mode = (list(Phase).index(s.phase), s.paused, s.migrating, str(s.step), s.gic_inits)
    return (*mode, common.faults, s.scanning, s.ged)


def _numbered(t: _Tabulation, rules: Rules, properties: Properties) -> Tables:
    commons = {(m, f): Common(t.shared.values[m], f) for _, _, (m, f) in t.pairs}
    order = sorted(commons, key=lambda common: _common_order(commons[common]))
    number = {common: n for n, common in enumerate(order)}

    def sights(of: dict[_Sight, None]) -> Iterator[Sight]:
        for what, role, a, common, need, moving, whole in of:
            yield Sight(what, role, a, number[common], need, moving, whole)

    slot_moves = tuple(
        SlotMove(role, a, number[c], b, number[d], need, by)
        for role, a, c, b, d, need, by in t.slot_moves
    )
    maps: dict[tuple[tuple[Role, tuple[int, ...]], ...], int] = {}
    machine_moves = []
    for (c, d, need, stimulus), goes in t.wide.items():
        table = {role: [-1] * len(found.values) for role, found in t.locals.items()}
        for (role, a), b in goes.items():
            table[role][a] = b
        still = all(b in (-1, a) for row in table.values() for a, b in enumerate(row))
        if still and c[0] == d[0]:
            continue  # it changes nothing, whoever is there
        key = tuple((role, tuple(row)) for role, row in table.items())
        which = -1 if still else maps.setdefault(key, len(maps))
        machine_moves.append(MachineMove(number[c], number[d], need, which, type(stimulus)))
    found_maps: tuple[Map, ...] = tuple(dict(key) for key in maps)
    firsts: dict[tuple[int, ...], Start] = {}
    for start, faults in t.starts:
        *slots, common = t.numbers_of(start, faults)
        firsts.setdefault((*slots, number[common]), start)
    first, *others = firsts
    return Tables(
        environment=t.environment, rules=rules, properties=properties, start=firsts[first],
        roles=t.roles,
        commons=tuple(commons[common] for common in order),
        locals={role: tuple(found.values) for role, found in t.locals.items()},
        needs=tuple(t.needs.values), slot_moves=slot_moves, machine_moves=tuple(machine_moves),
        maps=found_maps, broken=tuple(sights(t.broken)), shown=tuple(sights(t.shown)),
        first=first, others={numbers: firsts[numbers] for numbers in others},
    )  # fmt: skip
