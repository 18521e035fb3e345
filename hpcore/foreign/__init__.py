"""Logs of somebody else's: QEMU's traces, QMP transcripts, consoles; made into hpcore's own.

    done = import_files(["qemu.trace", "console.txt"], "run.jsonl")
    print(done.flags_read, done.flags_differ, done.wrong)

Each line is recognised by what it holds (trace, qmp, console, process; simple_trace for the binary
backend), each file has its clock (streams), and all become sightings (seen) in one order. A first
look (look) finds out whose machine it is (survey). What the sightings mean for a machine is in
follow and what it calls (commands, registers, notices, acts); how it is judged in machine and
ways; what is found stands as marks in the log (marks).
"""

from hpcore.foreign.importing import Imported, NothingToImport, import_files
from hpcore.foreign.marks import Kind, Mark, read_mark
from hpcore.foreign.source import SourceError
from hpcore.foreign.ways import IMPORTED, STOCK, followed

__all__ = [
    "IMPORTED",
    "STOCK",
    "Imported",
    "Kind",
    "Mark",
    "NothingToImport",
    "SourceError",
    "followed",
    "import_files",
    "read_mark",
]
