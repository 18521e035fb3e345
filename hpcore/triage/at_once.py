"""Replaying at once what was replayed before: the same decision, in the same state.

A machine's life repeats itself. Its vCPUs come and go, and so the same lines, but for their number
and their time, come again in the same state; what they lead to has been decided, folded and checked
already. All of that are pure functions of the state and of these bytes. So a decision is looked up
by them, and only one that is new is replayed plainly (`hpcore.triage.replay`), which stays the
reference: tests/triage/test_at_once.py holds the two against each other.

Of each line, the checksum, the number, the time and the batch are looked at every time. What is
not quite as this hpcore writes it is replayed plainly, and so is the last decision of a log.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import define, field

from hpcore.log import LogError, Record, Records
from hpcore.log.codec import ANSWERS, COUNTED, Codec, model_codec
from hpcore.log.fold import LoggedDecision
from hpcore.log.framing import SUM_KEY, TAIL
from hpcore.model.states import State

MOST_MOVES = 50_000
"""Decisions that are remembered; after that all are forgotten, so that memory has a bound."""

_SUM = len(SUM_KEY) + TAIL
"""Bytes of a line's checksum, which end it."""
_EVENT = b',"event":'
_HEAD = re.compile(
    rb'\{"seq":([1-9][0-9]*),"t":(?:0|[1-9][0-9]*)(?:\.[0-9]+)?' + _EVENT
).match
"""What begins a line, and is its own."""
_OWN = re.compile(
    rb'(?P<heard>,"heard":(?:0|[1-9][0-9]*))?(?:,"batch":(?P<batch>[1-9][0-9]*))?'
    rb'(?:,"group":[1-9][0-9]*)?$'
).search
"""What ends a line, before its checksum, and is its own: of a later one it will differ."""
_BATCH, _GROUP, _HEARD = b',"batch":', b',"group":', b',"heard":'
_LATER = re.compile(_BATCH + rb"([1-9][0-9]*)(?:" + _GROUP + rb"[1-9][0-9]*)?").fullmatch
_GROUPED = re.compile(_GROUP + rb"[1-9][0-9]*").fullmatch
"""`_OWN` of usual lines, from where it begins: to search for that is half of what a line takes."""
_BRACE = ord("}")

UNUSUAL = b""
"""The key of a decision of which a line is not quite as a log's writer makes it."""

@define(eq=False)
class Known:
    """A state, and where the decisions lead that were replayed in it."""

    state: State
    moves: dict[bytes, Move] = field(factory=dict)


@define(eq=False)
class Move:
    """A decision that was right: where it leads, and what there was of it."""

    to: Known
    events: int
    decided_again: bool


@define
class Counts:
    """What was replayed at once."""

    events: int = 0
    decided_again: int = 0


@define(eq=False)
class UnderWay:
    """A decision whose lines are being gathered. It began at event `first`, the one before at
    `before`.

    `key` is what repeats of its lines. `read` are the records of these, as far as they have been
    made; all of them, where it is UNUSUAL.
    """

    before: int
    first: int
    lines: list[bytes]
    key: bytes
    read: list[Record]


class AtOnce:
    """Replays the lines of `records`, from `state` on.

    `plainly` replays one decision in a state, and gives the state after it, or None where it is
    wrong; it counts by itself. `after` is called with the state after a decision and the number of
    its last event, where a segment's head may have come next.
    """

    def __init__(
        self,
        records: Records,
        state: State,
        plainly: Callable[[State, LoggedDecision], State | None],
        after: Callable[[State, int], None],
        codec: Codec | None = None,
    ) -> None:
        self.counts = Counts()
        self._records, self._plainly, self._after = records, plainly, after
        self._codec = codec or model_codec()
        self._here = Known(state)
        self._states = {state: self._here}
        self._moves = 0
        self._under_way: UnderWay | None = None
        self._new_head = False
        self._wrong = False

    @property
    def state(self) -> State:
        """The state after the last decision that was right."""
        return self._here.state

    def run(self) -> None:
        """Replay to the end, or to the first decision that is wrong. Raises as Records does."""
        head = self._records.head
        try:
            for lines in self._records.lines():
                self._new_head |= self._records.head is not head
                head = self._records.head
                self._take(lines)
                if self._wrong:
                    return
        except LogError:
            self._break_off()
            raise
        self._new_head = True
        self._break_off()

    def _take(self, lines: list[bytes]) -> None:
        """Take whole lines. The decision that the last of them is of is left under way."""
        moves, left = self._here.moves, self._under_way
        begun = left or UnderWay(0, 0, [], UNUSUAL, [])
        before, first, key = begun.before, begun.first, begun.key
        since = 0  # of `lines`, those from here on are of the decision under way
        seq = self._records.next_seq - 1 + len(begun.lines) - len(begun.read)
        now: UnderWay | None = begun
        events = again = 0
        try:
            for at, line in enumerate(lines):
                seq += 1
                head = _HEAD(line)
                if head is None or int(head[1]) != seq:
                    batch = -1
                elif line[-_SUM - 1] == _BRACE:  # the stimulus, which a decision begins with
                    own, batch = line[head.end() : -_SUM], 0
                else:
                    own, batch = repeats(line[head.end() : -_SUM])
                if batch == first and batch:
                    if key:
                        key += b"\n" + own
                    continue
                move = moves.get(key) if batch == 0 else None
                if move is not None and not self._new_head:  # known, and over
                    self._here, moves = move.to, move.to.moves
                    events += move.events
                    again += move.decided_again
                    before, first, key, since, now = first, seq, own, at, None
                    continue
                now = now or UnderWay(before, first, [], key, [])
                now.key = key
                now.lines += lines[since:at]
                record = self._read_on(now, line)
                if record.batch is not None:
                    key, since = UNUSUAL, at
                    continue
                if first:
                    self._settle(now)
                    if self._wrong:
                        return
                moves = self._here.moves
                before, first, key, since = first, seq, own if batch == 0 else UNUSUAL, at
                now = UnderWay(before, first, [], key, [record])
        finally:
            self.counts.events += events
            self.counts.decided_again += again
        now = now or UnderWay(before, first, [], key, [])
        now.key = key
        now.lines += lines[since:]
        self._under_way = now if first else None
        self._at(now)

    def _at(self, here: UnderWay) -> None:
        """Have the records go on after those that `here` has read."""
        began = here.first if here.read else here.before
        self._records.skip(here.first + len(here.read) - self._records.next_seq, began)

    def _read_on(self, here: UnderWay, line: bytes) -> Record:
        """The record of `line`, once those of `here`, which is right before it, have theirs."""
        if here.first:
            self._under_way = here
            self._at(here)
            self._read_all(here)
        return self._records.record(line)

    def _read_all(self, here: UnderWay) -> None:
        """Make the records of all lines of `here`; of one that has none, and later ones, none."""
        try:
            for line in here.lines[len(here.read) :]:
                here.read.append(self._records.record(line))
        finally:
            del here.lines[len(here.read) :]

    def _settle(self, here: UnderWay) -> None:
        """Replay plainly the decision under way, which another one follows."""
        came_from = self._here
        decision = LoggedDecision(tuple(here.read), settled=True)
        if self._replay(decision) and here.key != UNUSUAL and self._is_as_written(here):
            move = Move(self._here, len(here.read), here.read[0].answers is not None)
            came_from.moves[here.key] = move
        self._under_way = None
        if self._new_head and not self._wrong:
            self._new_head = False
            self._after(self.state, here.read[-1].seq)

    def _break_off(self) -> None:
        """Replay plainly what there is of the decision under way, which nothing follows."""
        here, self._under_way = self._under_way, None
        if here is not None:
            try:
                self._read_all(here)
            finally:
                if here.read:
                    self._replay(LoggedDecision(tuple(here.read), settled=False))
        if self._new_head and not self._wrong:
            self._after(self.state, self._records.next_seq - 1)

    def _replay(self, decision: LoggedDecision) -> bool:
        """Replay a decision plainly; whether it is right."""
        state = self._plainly(self.state, decision)
        if state is None:
            self._wrong = True
            return False
        self._moves += 1
        if self._moves > MOST_MOVES:
            self._moves = 0
            self._states.clear()
        known = self._states.get(state)
        if known is None:
            known = self._states[state] = Known(state)
        self._here = known
        return True

    def _is_as_written(self, here: UnderWay) -> bool:
        """Whether a writer makes these very lines of their records, so that they may be known by
        their bytes."""
        return here.key == b"\n".join(map(self._written, here.read))

    def _written(self, record: Record) -> bytes:
        fields = self._codec.encode(record.event, record.seq, record.t)
        if record.answers is not None:
            fields[ANSWERS] = self._codec.encode_stimulus(record.answers)
        if record.counted != 1:
            fields[COUNTED] = record.counted
        return self._codec.dump(fields).partition(_EVENT)[2][:-1]


def repeats(rest: bytes) -> tuple[bytes, int]:
    """Of a line without its beginning and its end what repeats, and the batch that it names.

    That is 0 where it names none, and -1 where the line is unusual.
    """
    if _HEARD not in rest:
        at = rest.rfind(_BATCH)
        if at >= 0 and (later := _LATER(rest, at)) is not None:
            return rest[:at], int(later[1])
        at = rest.rfind(_GROUP)
        if at >= 0 and _GROUPED(rest, at) is not None and _BATCH not in rest:
            return rest[:at], 0
    return by_search(rest)


def by_search(rest: bytes) -> tuple[bytes, int]:
    """The same for any line, slower."""
    own = _OWN(rest)
    assert own is not None  # it matches nothing, at the end
    batch = own["batch"]
    if batch is None:
        return rest[: own.start()], 0
    return rest[: own.start()], -1 if own["heard"] is not None else int(batch)
