"""A sequence: a scenario's steps in every order that the world around them allows.

    >>> from hpcore.scenario import parse
    >>> from hpcore.sequence import Question, check
    >>> steps = "[boot, {plug: 1, waits: false}, {unplug: cpu1}]"
    >>> answer = check(Question.of(parse(f"machine: {{cpus: 1, maxcpus: 2}}\\nsteps: {steps}")))
    >>> answer.ok
    False
    >>> print(answer.findings[0].why)
    Device 'cpu1' is still being plugged; try again when that has ended

The scenario is the one that `hpcore run` takes; what its steps wait for is what they wait for
there. In between come the guest, the outcomes of what is under way, faults and deadlines, in
every order.

    values   what is asked, and what was found
    lines    the steps, repeats written out
    guests   who may do what next
    steps    how a step begins; waits: what it waits for then
    world    all that may come next
    search   every run, breadth first
    words    a finding as people read it
    told     a finding as a log, and as a scenario that repeats it
"""

from hpcore.sequence.guests import Anyhow, PlayedLinux, SequenceGuest
from hpcore.sequence.search import check
from hpcore.sequence.values import (
    Answer,
    Finding,
    FindingKind,
    Happening,
    Question,
    SequenceRefused,
    guest_of,
)

__all__ = [
    "Answer",
    "Anyhow",
    "Finding",
    "FindingKind",
    "Happening",
    "PlayedLinux",
    "Question",
    "SequenceGuest",
    "SequenceRefused",
    "check",
    "guest_of",
]
