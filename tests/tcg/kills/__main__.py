r"""`python -m tests.tcg.kills`: many kills, and the figures.

    python -m tests.nested --qemu 7.2 --seconds 3000 -- \
        python3 -m tests.tcg.kills --accel kvm-qemu --kills 10 --boots 0 --slower 5 --folder /out
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.tcg.kills.driver import Kills, Tally
from tests.tcg.kills.witness import MODULES

BOOTS = 0.15
"""The part of the kills that comes while a machine is made and boots."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tcg.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accel", default="tcg", choices=MODULES, help="what keeps the machine")
    parser.add_argument("--boots", type=int, help="kills while a machine boots; default: 15 %%")
    parser.add_argument("--slower", type=float, default=1.0, help="so much longer all may take")
    parser.add_argument("--folder", type=Path, help="for the logs; a temporary one otherwise")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="hpcore-kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    kills = Kills(
        folder, given.seed, lambda text: print(text, flush=True),
        accelerator=given.accel, slower=given.slower,
    )  # fmt: skip
    began = time.monotonic()
    boots = round(given.kills * BOOTS) if given.boots is None else given.boots
    kills.boots(boots)
    kills.works(given.kills - boots)
    report(kills.tally, time.monotonic() - began)
    print(f"the logs are in {folder}")
    return 1 if kills.tally.wrong else 0


def report(tally: Tally, seconds: float) -> None:
    print(
        f"{tally.kills} kills, {tally.during_attach} of them amid an attachment and "
        f"{tally.too_early} before there was a QEMU; {seconds:.0f} s"
    )
    for moment, count in tally.moments.most_common():
        print(f"  {count:>4}  {moment}")
    attached = len(tally.attach_ms)
    print(f"{attached} attachments; model and witness agree in {tally.agreed}")
    if attached:
        ms = tally.attach_ms
        print(f"  ms: median {statistics.median(ms):.0f}, {min(ms)} to {max(ms)}")
    for name, counts in (
        ("events missed", tally.missed_events),
        ("answers missed", tally.missed_answers),
        ("requests that never arrived", tally.repeated),
    ):
        times = sum(count > 0 for count in counts)
        print(f"  {name}: {sum(counts)} in all, in {times} of {attached} attachments")
    print(f"{tally.logs} logs, {tally.events} events; {tally.told} told to a user, all in the logs")
    print(f"  {tally.moves} moves that were done, and {tally.saves} saves, whose files are whole")
    for wrong in tally.wrong:
        print(f"WRONG: {wrong}")


if __name__ == "__main__":
    sys.exit(main())
