"""A counterexample as a log: `hpcore replay` shows it, like that of any other machine."""

from __future__ import annotations

from pathlib import Path

from hpcore.check.result import CheckError, Counterexample
from hpcore.check.start import Start, take
from hpcore.log import Header, LogWriter, Sync, read
from hpcore.model.events import Event, Noted
from hpcore.model.evolve import NoSuchSlot, evolve
from hpcore.model.invariants import check_event
from hpcore.model.machines import IllegalTransition, Phase
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import initial

ACCELERATOR = "check"
SECONDS_A_STIMULUS = 0.001
"""Time does not pass in a search; in the log each decision has one of its own."""


def decisions(found: Counterexample, rules: Rules) -> tuple[tuple[Event, ...], ...]:
    """What each stimulus made happen: first those before the start, then the way."""
    state = found.start.state
    out = list(found.start.decisions)
    for stimulus in found.stimuli:
        taken = take(state, stimulus, rules)
        out.append(taken.events)
        state = taken.after
    return tuple(events for events in out if events)


def write_log(
    path: Path, found: Counterexample, rules: Rules, name: str, *, overwrite: bool = False
) -> int:
    """Write `found` to `path` and return the number of events. `name` says under what rules.

    Raises LogError.
    """
    header = Header(found.start.state.config, ACCELERATOR, versions={"rules": name})
    # A decision counts as whole once another one follows it.
    end = (Noted(f"{found.invariant} is broken for vCPU {found.slot}: the search ends here"),)
    written = 0
    with LogWriter.create(path, header, sync=Sync.BUFFERED, overwrite=overwrite) as log:
        for n, events in enumerate((*decisions(found, rules), end)):
            log.append(events, n * SECONDS_A_STIMULUS)
            written += len(events)
    return written


def start_from(path: str, seq: int | None) -> Start:
    """The machine of the log at `path` after event `seq`, or at its end.

    Raises LogError for a log that cannot be read, and CheckError for a state that no
    search can start from: one that an invariant does not hold in, or a machine that has
    not started or has ended.
    """
    header, records = read(path)
    state, batches, last, reached = initial(header.machine), list[list[Event]](), -1.0, 0
    with records:
        for record in records:
            if seq is not None and record.seq > seq:
                break
            try:
                after = evolve(state, record.event, RULES)
            except (IllegalTransition, NoSuchSlot) as error:
                raise CheckError(
                    f"{path}: event {record.seq}: {error}; see `hpcore replay`"
                ) from None
            for violation in check_event(state, record.event, after):
                raise CheckError(
                    f"{path}: event {record.seq} breaks {violation.invariant}; see `hpcore replay`"
                )
            state = after
            if record.t != last:
                batches.append([])
            batches[-1].append(record.event)
            last = record.t
            reached = record.seq
        else:
            if seq is not None and reached < seq:
                raise CheckError(f"{path}: there is no event {seq}")
    phase = state.shared.phase
    if state.shared.ended or (phase is not Phase.RUNNING and not state.shared.guest_runs):
        raise CheckError(
            f"{path}: the machine is {phase} there; give @SEQ, an event while the guest runs"
        )
    return Start(state, (), None, tuple(tuple(batch) for batch in batches))

