"""A counterexample as a log: `hpcore replay` shows it, like that of any other machine."""

from __future__ import annotations

from pathlib import Path

import attrs

from hpcore.check.properties import PROPERTIES, Properties
from hpcore.check.result import CheckError, Counterexample
from hpcore.check.tabulated.start import Decided, Start, take
from hpcore.log import Header, LogWriter, Sync, read
from hpcore.log.fold import LoggedDecision, fold
from hpcore.log.fold import decisions as decisions_of
from hpcore.model.events import Noted
from hpcore.model.machines import Phase
from hpcore.model.properties import Invariants
from hpcore.model.revision import Revision
from hpcore.model.rules import Rules
from hpcore.model.states import State
from hpcore.model.stimuli import Note

ACCELERATOR = "check"
SECONDS_A_STIMULUS = 0.001
"""Time does not pass in a search; in the log each decision has one of its own."""


def decisions(
    found: Counterexample, rules: Rules, properties: Properties = PROPERTIES
) -> tuple[Decided, ...]:
    """What each stimulus made happen: first those before the start, then the way."""
    invariants = Invariants(properties)
    state = found.start.state
    out = list(found.start.decisions)
    for stimulus in found.stimuli:
        taken = take(state, stimulus, rules, invariants)
        out.append(Decided(stimulus, taken.events))
        state = taken.after
    return tuple(decided for decided in out if decided.events)


def write_log(
    path: Path,
    found: Counterexample,
    rules: Rules,
    name: str,
    *,
    overwrite: bool = False,
    properties: Properties = PROPERTIES,
    last_words: str | None = None,
    protocol: Revision | None = None,
) -> int:
    """Write `found` to `path` and return the number of events. `name` says under what rules.

    `properties` are those that were checked. `last_words` end the log; by themselves they say
    what is broken. `protocol` is what was checked, where it is another than hpcore's own; a
    replay is by that then. Raises LogError.
    """
    head = found.start.head
    header = Header(
        found.start.state.config, ACCELERATOR, versions={"rules": name}, segment=head,
        rules=protocol,
    )  # fmt: skip
    began = 0.0 if head is None else head.t
    # A decision counts as whole once another one follows it.
    words = last_words or (
        f"{found.invariant} is broken for vCPU {found.slot}: the search ends here"
    )
    end = Decided(Note(words), (Noted(words),))
    written = 0
    with LogWriter.create(path, header, sync=Sync.BUFFERED, overwrite=overwrite) as log:
        for n, decided in enumerate((*decisions(found, rules, properties), end)):
            log.append(decided.events, began + n * SECONDS_A_STIMULUS, decided.answers)
            written += len(decided.events)
    return written


def start_from(path: str, seq: int | None) -> Start:
    """The machine of the log at `path` after event `seq`, or at its end.

    The events of one decision are taken together: between them the machine is in no state
    that anything could come to. So the start may be some events after `seq`.

    Raises LogError for a log that cannot be read, and CheckError for a state that no
    search can start from: one that an invariant does not hold in, or a machine that has
    not started or has ended.
    """
    header, records = read(path)
    state, way, reached = header.state, list[Decided](), header.first - 1
    by = header.protocol
    with records:
        for decision in decisions_of(records):
            start = state
            for record, folded in fold(state, decision, by.invariants, by.rules):
                if folded.violation is not None:
                    raise CheckError(
                        f"{path}: event {record.seq} breaks "
                        f"{folded.violation.invariant}; see `hpcore replay`"
                    )
                state, reached = folded.after, record.seq
            if not decision.settled and _breaks(start, attrs.evolve(decision, settled=True), by):
                raise CheckError(
                    f"{path}: it breaks off in the middle of a decision; give "
                    f"@{decision.records[0].seq - 1}, the event before that"
                )
            events = tuple(record.event for record in decision.records)
            way.append(Decided(decision.records[0].answers, events))
            if seq is not None and reached >= seq:
                break
    if seq is not None and reached < seq:
        raise CheckError(f"{path}: there is no event {seq}")
    phase = state.shared.phase
    if state.shared.ended or (phase is not Phase.RUNNING and not state.shared.guest_runs):
        raise CheckError(
            f"{path}: the machine is {phase} there; give @SEQ, an event while the guest runs"
        )
    return Start(state, tuple(way), head=header.segment, protocol=by, wrapping=header.wrapping)


def _breaks(state: State, decision: LoggedDecision, by: Revision) -> bool:
    return any(folded.violation for _, folded in fold(state, decision, by.invariants, by.rules))
