"""Making the tables: `decide`, called on every local state under every word.

The local states and words to tabulate are found by letting every slot disturb every other
through the word alone. That takes in all pairs that a whole machine can reach, and a few
more, which cost a little time and change no result: an engine only takes a move, and only
reports a violation, in a state that it has reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache

from hpcore.check.tabulated.schema import Map, Role, Sight, SlotMove, Tables, WordMove, role_of
from hpcore.check.tabulated.small_machine import INDEX, OTHER, Others, Seen, SmallMachine
from hpcore.check.tabulated.start import Start, Word, booted, config_of, local, placed
from hpcore.check.world.conditions import ANYHOW, Needs
from hpcore.check.world.environment import Environment
from hpcore.check.world.offers import Offer
from hpcore.errors import HpcoreError
from hpcore.model.events import Refused
from hpcore.model.machines import Phase
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import Slot
from hpcore.model.stimuli import CpuOnCalled, Stimulus

Pair = tuple[Role, Slot, Word]
_Sight = tuple[str, Role, Slot, Word, Needs, bool, bool]
_Wide = tuple[Word, Word, Needs, Stimulus]


class NotTabulable(HpcoreError):
    """A decision about one slot does what the schema has no word for; the text says what."""


def tabulate(
    environment: Environment, rules: Rules = RULES, start: Start | None = None
) -> Tables:
    """The tables of `environment` under `rules`, from the booted machine or from `start`."""
    start = start or booted(config_of(environment), rules)
    return _Tabulation(environment, rules, start).run()


class _Tabulation:
    def __init__(self, environment: Environment, rules: Rules, start: Start) -> None:
        self.environment, self.rules, self.start = environment, rules, start
        self.machine = SmallMachine(environment, rules)
        self.placed = cache(placed)
        self.roles = tuple(role_of(environment, i) for i in range(environment.slots))
        self.word = Word(start.state.shared, environment.faults)
        self.pairs: dict[Pair, None] = {}
        self.queue: list[Pair] = []
        self.at_word: dict[Word, list[tuple[Role, Slot]]] = defaultdict(list)
        self.boot_at: dict[Word, Slot] = {}
        self.shifts: dict[Word, dict[Word, None]] = defaultdict(dict)
        self.slot_moves: dict[tuple[Role, Slot, Word, Slot, Word, Needs, str], None] = {}
        self.wide: dict[_Wide, dict[tuple[Role, Slot], Slot]] = defaultdict(dict)
        self.broken: dict[_Sight, None] = {}
        self.shown: dict[_Sight, None] = {}
        self.ends: dict[tuple[Role, Word], Slot] = {}

    def run(self) -> Tables:
        waiting: list[Pair] = []
        for i, slot in enumerate(self.start.state.slots):
            self.add(self.roles[i], local(self.environment, i, slot), self.word)
        while self.queue:
            pair = self.queue.pop()
            if pair[2] in self.boot_at:
                self.tabulate_pair(*pair)
            else:
                waiting.append(pair)  # the word's companion is still to come
            if not self.queue:
                # No boot vCPU can be there under what is left then: nor can the pair.
                self.queue = [p for p in waiting if p[2] in self.boot_at]
                waiting = [p for p in waiting if p[2] not in self.boot_at]
        self.check_ends()
        return _numbered(self)

    def add(self, role: Role, slot: Slot, word: Word) -> None:
        pair = (role, slot, word)
        if pair in self.pairs:
            return
        self.pairs[pair] = None
        self.queue.append(pair)
        self.at_word[word].append((role, slot))
        if role is Role.BOOT:
            self.boot_at.setdefault(word, slot)
        for after in self.shifts[word]:
            self.add(role, slot, after)

    def shift(self, word: Word, after: Word) -> None:
        """The word may change under whoever is there: another slot's doing, or nobody's."""
        if word == after or after in self.shifts[word]:
            return
        self.shifts[word][after] = None
        for role, slot in tuple(self.at_word[word]):
            self.add(role, slot, after)

    # -------------------------------------------------------------------- one pair

    def tabulate_pair(self, role: Role, slot: Slot, word: Word) -> None:
        for name in self.machine.sound(role, slot, word.shared):
            self.broken[name, role, slot, word, ANYHOW, False, False] = None
        index = INDEX[role]
        there = self.placed(index, slot)
        for offer in self.environment.about_slot(index, there, word.shared, word.faults):
            seen = self.machine.let(role, slot, word.shared, offer.stimulus)
            self.sighted(seen, role, slot, word, offer.needs)
            if seen.shared.ended:
                if not isinstance(offer.stimulus, CpuOnCalled):
                    raise NotTabulable(f"{offer.stimulus} of {role} {slot} ends the machine")
                self.ends.setdefault((role, word), slot)
            elif seen.broken is None and self.goes_on(seen, slot, word):
                self.slot_move(seen, role, slot, word, offer)
        boot = self.boot_at[word]
        others: Others = ((Role.BOOT, boot),) if role is not Role.BOOT else ()
        for offer in self.environment.about_machine(word.shared, word.faults):
            if any(n.most == 0 and n.condition.holds(slot) for n in offer.needs):
                continue
            if self.refused(boot, word, offer):
                continue
            seen = self.machine.let(
                role, slot, word.shared, offer.stimulus, offer.needs, others
            )
            self.sighted(seen, role, slot, word, offer.needs, whole=True)
            if seen.broken is None and not seen.shared.ended:
                self.word_move(seen, role, slot, word, offer)

    def refused(self, boot: Slot, word: Word, offer: Offer) -> bool:
        """Whether a stimulus about the machine is refused: no single slot has a say in that."""
        seen = self.machine.let(Role.BOOT, boot, word.shared, offer.stimulus, offer.needs)
        return seen.broken is None and all(isinstance(e, Refused) for e in seen.events)

    def check_ends(self) -> None:
        """Hold the invariants against every slot of a machine that another slot ends.

        Which of a role's local states it is makes no difference to the others; so one of
        each role and word is enough.
        """
        for (ending, word), ender in self.ends.items():
            stimulus = CpuOnCalled(OTHER[ending], verdict=True)
            for role, slot in self.at_word[word]:
                if role is ending is Role.BOOT:
                    continue  # there is no other
                others: Others = ((ending, ender),)
                seen = self.machine.let(role, slot, word.shared, stimulus, (), others)
                self.sighted(seen, role, slot, word, ANYHOW)

    def sighted(
        self, seen: Seen, role: Role, slot: Slot, word: Word, needs: Needs, *, whole: bool = False
    ) -> None:
        if seen.broken is not None:
            self.broken[seen.broken, role, slot, word, needs, True, whole] = None
        for name in seen.shown:
            self.shown[name, role, slot, word, needs, True, whole] = None

    def goes_on(self, seen: Seen, slot: Slot, word: Word) -> bool:
        """Whether the stimulus changes anything, and leaves a machine to look at."""
        changed = seen.slot != slot or seen.shared != word.shared or seen.others_changed
        return changed and not seen.shared.ended

    def slot_move(self, seen: Seen, role: Role, slot: Slot, word: Word, offer: Offer) -> None:
        if seen.others_changed or seen.words > 1:
            raise NotTabulable(f"{offer.stimulus} of {role} {slot} changes other slots")
        after = Word(seen.shared, word.faults - offer.fault)
        by = type(offer.stimulus).__name__
        self.slot_moves[role, slot, word, seen.slot, after, offer.needs, by] = None
        self.shift(word, after)
        self.add(role, seen.slot, after)

    def word_move(self, seen: Seen, role: Role, slot: Slot, word: Word, offer: Offer) -> None:
        after = Word(seen.shared, word.faults - offer.fault)
        key = (word, after, offer.needs, offer.stimulus)
        self.wide[key][role, slot] = seen.slot
        self.add(role, seen.slot, after)


# ------------------------------------------------------------------------- numbers


def _word_order(word: Word) -> tuple[object, ...]:
    s = word.shared
    mode = (list(Phase).index(s.phase), s.paused, s.migrating, str(s.step), s.gic_inits)
    return (*mode, word.faults, s.scanning, s.ged)


def _numbered(t: _Tabulation) -> Tables:
    words = sorted({w for _, _, w in t.pairs}, key=_word_order)
    word_at = {w: n for n, w in enumerate(words)}
    by_role: dict[Role, dict[Slot, int]] = {role: {} for role in t.roles}
    for role, slot, _ in t.pairs:
        by_role[role].setdefault(slot, len(by_role[role]))
    needs: dict[Needs, int] = {ANYHOW: 0}

    def need(n: Needs) -> int:
        return needs.setdefault(n, len(needs))

    def sights(of: dict[_Sight, None]) -> Iterator[Sight]:
        for what, role, slot, word, n, moving, whole in of:
            yield Sight(
                what, role, by_role[role][slot], word_at[word], need(n), moving, whole
            )

    slot_moves = tuple(
        SlotMove(r, by_role[r][a], word_at[w], by_role[r][b], word_at[v], need(n), by)
        for r, a, w, b, v, n, by in t.slot_moves
    )
    maps: dict[tuple[tuple[Role, tuple[int, ...]], ...], int] = {}
    word_moves = []
    for (w, v, n, stimulus), goes in t.wide.items():
        table = {role: [-1] * len(states) for role, states in by_role.items()}
        for (role, a), b in goes.items():
            table[role][by_role[role][a]] = by_role[role][b]
        still = all(b in (-1, a) for row in table.values() for a, b in enumerate(row))
        if still and w.shared == v.shared:
            continue  # it changes nothing, whoever is there
        key = tuple((role, tuple(row)) for role, row in table.items())
        number = -1 if still else maps.setdefault(key, len(maps))
        by = type(stimulus).__name__
        word_moves.append(WordMove(word_at[w], word_at[v], need(n), number, by))
    found_maps: tuple[Map, ...] = tuple(dict(key) for key in maps)
    broken, shown = tuple(sights(t.broken)), tuple(sights(t.shown))
    first = tuple(
        by_role[t.roles[i]][local(t.environment, i, s)] for i, s in enumerate(t.start.state.slots)
    )
    return Tables(
        environment=t.environment, rules=t.rules, start=t.start, roles=t.roles,
        words=tuple(words), locals={r: tuple(s) for r, s in by_role.items()},
        needs=tuple(needs), slot_moves=slot_moves, word_moves=tuple(word_moves),
        maps=found_maps, broken=broken, shown=shown, first=(*first, word_at[t.word]),
    )  # fmt: skip
