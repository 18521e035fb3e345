"""The append-only event log: write it, recover it, read it.

    with LogWriter.create("run.log", Header(machine, "tcg")) as log:
        log.append([StepBegun(1, Step.REALIZE)], t=0.5)

    header, records = read("run.log")
    for record in records:
        print(record.seq, record.t, record.event)
    if records.torn:
        print(f"the log ends in a torn line: {records.torn}")

Format 1.3 is JSON Lines. The first line is the header; each later one is an event,

    {"seq":1,"t":0.5,"event":"step_begun","slot":1,"step":"realize","sum":"..."}

with its number, the seconds since the log was opened, its name and its fields. All but
the first event of one decision also have "batch", the seq of that first one; the first has
"answers", the stimulus that led to the decision, so that a log can be decided again, and
may have "heard", how far the accelerator had been heard, a number that means something to
the accelerator alone. `sum` chains a line to the one before (framing). What a crash may
leave at the end is cut and reported; anything else that differs from what was written is
an error with the line's number (tail). A log may be in several segments, each with the state
at its head, of which old ones may be removed (segments). What an event survives once it is
appended is the log's policy (Sync). Other versions of the format: versions. Every error is a
LogError, whose text is made to be shown.

Integers have up to 64 bits: jq and JavaScript round those beyond 2**53, such as a guest
address in `entry`.
"""

from hpcore.log.codec import Codec, model_codec
from hpcore.log.errors import (
    EventRefused,
    LogDamaged,
    LogEmpty,
    LogError,
    LogExists,
    LogGap,
    LogLocked,
    LogTooNew,
    LogTooOld,
    LogUnreadable,
    LogWriteError,
    NotALog,
)
from hpcore.log.header import Header, Sync
from hpcore.log.reader import Record, Records, is_log, read, why_no_text
from hpcore.log.recovery import Recovered
from hpcore.log.segments import Head, Rotation, is_written
from hpcore.log.tail import Torn
from hpcore.log.versions import FORMATS, Formats, FormatVersion, Upgrade
from hpcore.log.writer import Entry, LogWriter

__all__ = [
    "FORMATS",
    "Codec",
    "Entry",
    "EventRefused",
    "FormatVersion",
    "Formats",
    "Head",
    "Header",
    "LogDamaged",
    "LogEmpty",
    "LogError",
    "LogExists",
    "LogGap",
    "LogLocked",
    "LogTooNew",
    "LogTooOld",
    "LogUnreadable",
    "LogWriteError",
    "LogWriter",
    "NotALog",
    "Record",
    "Records",
    "Recovered",
    "Rotation",
    "Sync",
    "Torn",
    "Upgrade",
    "is_log",
    "is_written",
    "model_codec",
    "read",
    "why_no_text",
]
