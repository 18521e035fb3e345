"""A trace of 1 GB: how long its import takes, and in how much memory.

python -m tests.foreign.big [MEGABYTES]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from hpcore.foreign import import_files
from tests.foreign.cases import Trace

NOISE = (
    "100@1700000000.5:gicv3_redist_read GICv3 redistributor 0x3 read: offset 0x8 "
    "data 0x301000301 size 8 secure 0\n"
)


def main() -> None:
    """Write the trace, import it, say what it took."""
    size = int(sys.argv[1] if sys.argv[1:] and sys.argv[1].isdecimal() else 1000) << 20
    if "--help" in sys.argv:
        print(__doc__)
        return
    trace = Trace()
    for _ in range(20):
        trace.whole()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "qemu.trace"
        with path.open("w") as file:
            written = 0
            while written < size:
                block = NOISE * 20_000
                file.write(block)
                written += len(block)
            file.write(trace.text)
        begun = time.process_time()
        done = import_files([str(path)], Path(directory) / "log")
        took = time.process_time() - begun
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{written >> 20} MB, {done.files[0].lines:,} lines: {took:.1f} s of CPU, {most} MB")


if __name__ == "__main__":
    main()
