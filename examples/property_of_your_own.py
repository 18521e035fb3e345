"""Ask the checker a question of your own, beside hpcore's.

    python examples/property_of_your_own.py
    hpcore check --slots 2 --property examples/property_of_your_own.py

The first property holds and is proven. The second does not; the checker prints the shortest
way to break it, and writes that down as a log which `hpcore replay` explains. The third asks
whether something can happen at all.
"""

from __future__ import annotations

from pathlib import Path

import hpcore
from hpcore.check import Counterexample, say
from hpcore.check.evidence import write_log

LOG = Path("counterexample.jsonl")

on_means_wired = hpcore.always(
    "on_means_wired",
    "A vCPU that is powered on has its interrupts wired.",
    lambda index, slot, shared: not slot.powered or slot.gicc == "wired",
)

known_means_enabled = hpcore.always(
    "known_means_enabled",
    "A vCPU that the guest has registered is enabled.",
    lambda index, slot, shared: not slot.registered or slot.enabled,
)

taken_while_on = hpcore.sometimes(
    "taken_while_on",
    "A vCPU is powered off by force.",
    lambda event: event == hpcore.events.StepBegun(1, hpcore.Step.POWER_OFF),
)


def print_way(found: Counterexample) -> None:
    """What has to happen, one thing after the other."""
    for number, stimulus in enumerate(found.stimuli, 1):
        print(f"  {number:2} {say(stimulus)}")


def main() -> None:
    """Check the three with a guest that means harm, and no faults."""
    environment = hpcore.Environment(slots=2, faults=0, reset=False, migration=False)
    for asked in (on_means_wired, known_means_enabled, taken_while_on):
        result = hpcore.prove(environment, properties=(*hpcore.PROPERTIES, asked))
        print(f"{asked.name}: {'proven' if result.proven else 'broken'}, {asked.says}")
        if result.counterexample is not None:
            print_way(result.counterexample)
            write_log(LOG, result.counterexample, hpcore.RULES, "hpcore", overwrite=True)
            print(f"  as a log: {LOG}")


if __name__ == "__main__":
    main()
