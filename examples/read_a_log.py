"""Read a log with plain Python: no hpcore is needed, a log is JSON Lines.

    python examples/read_a_log.py machine.jsonl

Prints how long each plug took from its acceptance to the guest's word, what the guest did
in between, and whether each line follows from the one before by its checksum.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def lines_of(path: Path) -> tuple[Line, list[Line]]:
    """The header, and the events."""
    header, *events = (json.loads(line) for line in path.read_text().splitlines())
    return header, events


def decisions(events: list[Line]) -> Iterator[list[Line]]:
    """Events by decision: all but the first of one have its number as `batch`."""
    decision: list[Line] = []
    for event in events:
        if "batch" not in event and decision:
            yield decision
            decision = []
        decision.append(event)
    if decision:
        yield decision


def plugs(events: list[Line]) -> Iterator[tuple[str, float, int]]:
    """Each plug that the guest took: its id, its seconds, and the events in between."""
    begun: dict[int, Line] = {}
    for event in events:
        if event["event"] == "plug_accepted":
            begun[event["slot"]] = event
        elif event["event"] == "registered" and event["slot"] in begun:
            first = begun.pop(event["slot"])
            yield first["id"], event["t"] - first["t"], event["seq"] - first["seq"]


def chain_holds(path: Path) -> bool:
    """Whether every line ends in the checksum of its own bytes and the line before.

    The last 18 bytes of a line are the 16 digits of its sum, a quote and a brace.
    """
    before = b""
    for line in path.read_bytes().splitlines():
        made = blake2b(before + line[:-18], digest_size=8).hexdigest().encode()
        if line[-18:] != made + b'"}':
            return False
        before = made
    return True


def main(name: str) -> None:
    """Print what is in the log called `name`."""
    path = Path(name)
    header, events = lines_of(path)
    by_decision = list(decisions(events))
    print(f"{header['accelerator']}, format {header['version']}: {len(events)} events")
    answered = [d[0]["answers"]["stimulus"] for d in by_decision if "answers" in d[0]]
    print(f"{len(by_decision)} decisions, of which {answered.count('device_add')} on device_add")
    for id_, seconds, between in plugs(events):
        print(f"{id_}: registered after {seconds * 1000:.1f} ms and {between} events")
    print("the chain of checksums holds" if chain_holds(path) else "a line was changed")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "machine.jsonl")
