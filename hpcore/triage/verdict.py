"""The verdict on a log: what was asked, what happened, the first wrong step, how it ended.

It is drawn from the log alone. In an imported one the import has left marks; any other log is
replayed.
"""

from __future__ import annotations

import re
from os import PathLike
from typing import IO

from attrs import field, frozen, mutable

from hpcore.foreign import IMPORTED, Kind, Mark, read_mark
from hpcore.log import Header, LogError, Record, read
from hpcore.log.fold import LoggedDecision, decisions
from hpcore.model import events as ev
from hpcore.model.effects import MachineStep
from hpcore.model.evolve import NoSuchSlot, evolve
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Violation
from hpcore.model.rules import Rules
from hpcore.model.states import Owed, State
from hpcore.triage.decide_again import wrongly_answered
from hpcore.triage.known import CREATIONS, MIGRATION, KnownBug, by_words, looks_like
from hpcore.triage.words import say

MOST = 500
"""Lines of one kind that a verdict keeps; the others are counted."""

_TOLD = (
    ev.PlugCompleted, ev.PlugFailed, ev.UnplugCompleted, ev.UnplugFailed, ev.EjectRefused,
    ev.MachineWasReset, ev.MachinePoweredOff, ev.MachineLost, ev.Registered, ev.Refused,
)  # fmt: skip
"""The events that say what came of what was asked."""
_ASKED = (ev.PlugAccepted, ev.UnplugAccepted, ev.UnplugRepeated)

_OF_A_LINE = frozenset({Kind.GUEST, Kind.QEMU, Kind.FLAGS, Kind.STATE})
"""The marks that are about no decision, but about a line of a file."""


@frozen
class Happened:
    """Something that was asked, or that happened: the event's number, when, and in words."""

    seq: int
    t: float
    text: str


@frozen
class WrongStep:
    """A step that is wrong: what was done, what is wrong with it, and the state before it.

    `looks_like` is the known bug that it looks like.
    """

    seq: int
    t: float
    did: tuple[str, ...]
    marks: tuple[Mark, ...]
    before: State
    looks_like: KnownBug | None

    @property
    def place(self) -> str | None:
        """The line of the file that shows it."""
        return next((mark.place for mark in self.marks if mark.place is not None), None)


@mutable
class Verdict:
    """What is to be said of one log."""

    header: Header
    state: State
    at_end: State
    """The state before the machine was ended or given up for lost, with what was still owed."""
    asked: list[Happened] = field(factory=list)
    happened: list[Happened] = field(factory=list)
    wrong: list[WrongStep] = field(factory=list)
    wrong_in_all: int = 0
    remarks: list[Mark] = field(factory=list)
    """What is not wrong, and yet otherwise than the rules have it: habits, refusals."""
    open: list[str] = field(factory=list)
    threads: list[Mark] = field(factory=list)
    end: Mark | None = None
    summary: list[Mark] = field(factory=list)
    events: int = 0
    damage: LogError | None = None
    last: tuple[Happened, ...] = ()
    """The last two things that happened."""
    lost: str | None = None
    under_way: bool = False
    """Whether QEMU itself owed something at the end: an answer, or a step."""

    @property
    def imported(self) -> bool:
        """Whether the log was made of somebody else's files."""
        return self.header.accelerator == IMPORTED

    @property
    def died(self) -> bool:
        """Whether the machine's process is gone, or hangs, with something under way."""
        if self.end is not None and self.end.name in ("died", "hung"):
            return True
        return self.lost is not None and (self.under_way or not self.imported)

    @property
    def ok(self) -> bool:
        """Whether no step is wrong, and the machine did not die of what it was doing."""
        return not self.wrong and self.damage is None and not self.died

    @property
    def looks_like(self) -> KnownBug | None:
        """The known bug that the case looks like: that of the first wrong step that has one.

        Without a wrong step: that of a crash, or of a migration that has no end.
        """
        for step in self.wrong:
            if step.looks_like is not None:
                return step.looks_like
        return _of_the_end(self)


def judge(source: str | PathLike[str] | IO[bytes]) -> Verdict:
    """The verdict on the log at `source`. Raises LogError where its header cannot be read."""
    header, records = read(source)
    verdict = Verdict(header, header.state, header.state)
    reader = _Reader(verdict)
    with records:
        try:
            for decision in decisions(records):
                if not reader.take(decision):
                    break
        except LogError as error:
            verdict.damage = error
    reader.close()
    return verdict


class _Reader:
    """Folds a log on, past what is wrong in an imported one."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.rules: Rules = verdict.header.protocol.rules
        self._invariants = verdict.header.invariants
        self._before = self._after = verdict.state
        self._records: tuple[Record, ...] = ()
        self._marks: list[Mark] = []
        self._last: list[Happened] = []
        self._at_end: State | None = None
        self._losing = False

    def take(self, decision: LoggedDecision) -> bool:
        """One decision; False where the log cannot be followed any more."""
        first = decision.records[0]
        self.verdict.events += len(decision.records)
        if isinstance(first.event, ev.Noted):
            mark = read_mark(first.event.text) if self.verdict.imported else None
            self._note(first, mark)
            return True
        self._settle()
        self._records, self._before = decision.records, self._after
        self._losing = any(isinstance(each.event, ev.MachineLost) for each in decision.records)
        followed = all(self._event(record, decision) for record in decision.records)
        return followed and self._is_answer(decision)

    def close(self) -> None:
        """The log has ended."""
        self._settle()
        verdict = self.verdict
        verdict.state = self._after
        verdict.at_end = self._at_end or self._after
        verdict.open += _owed(verdict.at_end)
        slots, shared = verdict.at_end.slots, verdict.at_end.shared
        verdict.under_way |= shared.step is not None or any(s.step is not None for s in slots)
        verdict.last = tuple(self._last[-2:])

    def _event(self, record: Record, decision: LoggedDecision) -> bool:
        event, verdict = record.event, self.verdict
        if isinstance(event, ev.MachineLost) and verdict.lost is None:
            verdict.lost = event.error
        if _ends(event) and self._at_end is None:
            self._at_end = self._before
        try:
            after = evolve(self._after, event, self.rules)
        except (IllegalTransition, NoSuchSlot) as error:
            self._marks.append(Mark(Kind.STATE, "transition", str(error), ev.slot_of(event)))
            self._settle()
            return False
        if not verdict.imported:
            rest = decision.settled and record is decision.records[-1]
            broken = self._invariants.first_broken(self._after, event, after, rest=rest)
            if broken is not None:
                self._break((record,), self._after, broken)
                return False
        self._after = after
        self._remember(record)
        return True

    def _is_answer(self, decision: LoggedDecision) -> bool:
        """Whether the decision as a whole is a right answer to its stimulus.

        An imported log has no stimuli, and its machine was not hpcore's.
        """
        if self.verdict.imported:
            return True
        broken = wrongly_answered(self._before, decision, self._after, self._invariants)
        if broken is None:
            return True
        self._after = self._before
        self._break(decision.records, self._before, broken)
        return False

    def _break(self, records: tuple[Record, ...], before: State, broken: Violation) -> None:
        """`records`, which met the state `before`, are wrong by an invariant."""
        self._marks.append(Mark(Kind.INVARIANT, broken.invariant, broken.says, broken.slot))
        self._records, self._before = records, before
        self._settle()

    def _remember(self, record: Record) -> None:
        if self._losing and not isinstance(record.event, ev.MachineLost):
            return  # commands that end because the machine is given up for lost
        here = Happened(record.seq, record.t, say(record.event))
        if not self._losing:
            self._last = [*self._last[-1:], here]
        if isinstance(record.event, _TOLD):
            _keep(self.verdict.happened, here)
        elif isinstance(record.event, _ASKED) and not self.verdict.imported:
            _keep(self.verdict.asked, here)

    def _note(self, record: Record, mark: Mark | None) -> None:
        verdict = self.verdict
        if mark is None:
            return
        if mark.wrong or mark.kind is Kind.HABIT:
            if mark.kind in _OF_A_LINE:
                self._settle()
                self._records, self._before = (record,), self._after
            self._marks.append(mark)
        elif mark.kind is Kind.ASKED:
            at = f" ({mark.place})" if mark.place else ""
            _keep(verdict.asked, Happened(record.seq, record.t, f"{mark.text}{at}"))
        elif mark.kind is Kind.OPEN:
            verdict.open.append(f"{mark.text} ({mark.place})")
            verdict.under_way = True
        elif mark.kind is Kind.THREAD:
            verdict.threads.append(mark)
        elif mark.kind is Kind.END:
            verdict.end = mark
        elif mark.kind is Kind.SUMMARY:
            verdict.summary.append(mark)
        elif len(verdict.remarks) < MOST:
            verdict.remarks.append(mark)

    def _settle(self) -> None:
        marks, self._marks = self._marks, []
        if not marks:
            return
        if not any(mark.wrong for mark in marks):
            self.verdict.remarks += marks[: MOST - len(self.verdict.remarks)]
            return
        self.verdict.wrong_in_all += 1
        if len(self.verdict.wrong) >= MOST or not self._records:
            return
        first = self._records[0]
        did = tuple(say(record.event) for record in self._records)
        if isinstance(first.event, ev.Noted):  # a line of its own, and no decision
            did = tuple(mark.text for mark in marks)
        step = WrongStep(first.seq, first.t, did, tuple(marks), self._before, looks_like(marks))
        self.verdict.wrong.append(step)


def _ends(event: ev.Event) -> bool:
    """Whether it is the beginning of the machine's end."""
    by_user = isinstance(event, ev.MachineStepBegun) and event.step is MachineStep.POWER_DOWN
    return by_user or isinstance(event, ev.MachineLost)


def _keep(where: list[Happened], what: Happened) -> None:
    if len(where) < MOST:
        where.append(what)


def _owed(state: State) -> list[str]:
    """What the slots and the machine still owe, in words."""
    if state.shared.ended:
        return []
    out = [] if state.shared.step is None else [f"{state.shared.step} of the machine"]
    for index, slot in enumerate(state.slots):
        if slot.step is not None:
            out.append(f"{slot.step} of vCPU {index} ({slot.id}): begun, and not answered")
        elif slot.command in (Owed.UNPLUG, Owed.REVOKE):
            asked = "the guest was asked" if slot.requested else "the guest was not asked yet"
            out.append(f"the unplug of vCPU {index} ({slot.id}): {asked}")
        elif slot.command is Owed.PLUG:
            out.append(f"the plug of vCPU {index} ({slot.id})")
    return out


def _of_the_end(verdict: Verdict) -> KnownBug | None:
    if not verdict.imported:
        return None
    adding = any("device_add" in text for text in verdict.open)
    numbers = _machine_numbers(verdict)
    if adding and verdict.died and numbers and 0 < numbers[0] <= numbers[1]:
        return CREATIONS
    unplugged = any("DEVICE_DELETED" in each.text for each in verdict.happened)
    if verdict.at_end.shared.step is MachineStep.MIGRATE and unplugged:
        return MIGRATION
    return by_words(verdict.remarks)


def _machine_numbers(verdict: Verdict) -> tuple[int, int] | None:
    """maxcpus and how many vCPUs were created in all, as the import has counted."""
    for mark in verdict.summary:
        found = re.search(r"maxcpus=(\d+) created=(\d+)", mark.text)
        if mark.name == "machine" and found is not None:
            return int(found[1]), int(found[2])
    return None


