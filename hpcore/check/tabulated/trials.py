"""What each stimulus does to each local state under each shared part, found out once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from hpcore.check.tabulated.numbered import Numbered
from hpcore.check.tabulated.schema import Role
from hpcore.check.tabulated.small_machine import OTHER, Others, Seen, SmallMachine
from hpcore.check.tabulated.watched import SlotStudy
from hpcore.check.world.conditions import ANYHOW, Offer
from hpcore.check.world.environment import Environment
from hpcore.model.states import Shared, Slot
from hpcore.model.stimuli import CpuOnCalled

Tried = tuple[tuple[Offer, Seen], ...]
"""What was offered, and what it did."""


class Trials:
    """Tries stimuli on a small machine, with all the faults allowed.

    A local state of a role and a shared part are numbers here, in the order of discovery.
    How many faults are left says which of the stimuli are offered, and nothing else.
    """

    def __init__(
        self, environment: Environment, machine: SmallMachine, roles: Iterable[Role]
    ) -> None:
        self._environment, self._machine = environment, machine
        self.locals: dict[Role, Numbered[Slot]] = {role: Numbered() for role in roles}
        self.shared: Numbered[Shared] = Numbered()
        self.unsound = cache(self._unsound)
        self.about_slot = cache(self._about_slot)
        self.about_machine = cache(self._about_machine)
        self.by_an_end = cache(self._by_an_end)
        self._study = cache(self._make_study)
        self._accepted = cache(self._find_accepted)

    def _unsound(self, role: Role, a: int, m: int) -> tuple[str, ...]:
        """The invariants that a slot breaks by being as it is."""
        slot, shared = self.locals[role].values[a], self.shared.values[m]
        return tuple(self._machine.unsound(role, slot, shared))

    def _about_slot(self, role: Role, a: int, m: int) -> Tried:
        """Every stimulus about the slot that may come."""
        return self._study(role, a).try_all(self.shared.values[m])

    def _make_study(self, role: Role, a: int) -> SlotStudy:
        slot = self.locals[role].values[a]
        return SlotStudy(self._environment, self._machine, role, slot)

    def _about_machine(self, role: Role, a: int, m: int, boot: int) -> Tried:
        """Every stimulus about the machine that may come, with the slot in it."""
        slot, shared = self.locals[role].values[a], self.shared.values[m]
        companion = self.locals[Role.BOOT].values[boot]
        others: Others = ((Role.BOOT, companion),) if role is not Role.BOOT else ()
        nothing_asked = self._machine.state(role, slot, shared, ANYHOW, others)
        tried = []
        for offer in self._accepted(m, boot):
            if any(n.most == 0 and n.condition.holds(slot) for n in offer.needs):
                continue
            state = nothing_asked
            if offer.needs:
                state = self._machine.state(role, slot, shared, offer.needs, others)
            tried.append((offer, self._machine.let(role, slot, state, offer.stimulus)))
        return tuple(tried)

    def _find_accepted(self, m: int, boot: int) -> tuple[Offer, ...]:
        """Stimuli about the machine that are not refused: no single slot has a say in that.

        And those that may not be refused, so that it is seen.
        """
        shared, slot = self.shared.values[m], self.locals[Role.BOOT].values[boot]
        accepted = []
        for offer in self._environment.about_machine(shared, self._environment.faults):
            state = self._machine.state(Role.BOOT, slot, shared, offer.needs)
            seen = self._machine.let(Role.BOOT, slot, state, offer.stimulus)
            if seen.broken is not None or not seen.refused:
                accepted.append(offer)
        return tuple(accepted)

    def _by_an_end(self, role: Role, a: int, m: int, ending: Role, ender: int) -> Seen:
        """What a slot sees of it that another one, `ender` of role `ending`, ends the machine."""
        slot, shared = self.locals[role].values[a], self.shared.values[m]
        others: Others = ((ending, self.locals[ending].values[ender]),)
        state = self._machine.state(role, slot, shared, others=others)
        return self._machine.let(role, slot, state, CpuOnCalled(OTHER[ending], verdict=True))
