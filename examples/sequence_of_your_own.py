"""Ask whether an order of your own holds in every run, and see the shortest one where it does not.

    python examples/sequence_of_your_own.py

The same as `hpcore check storm.yaml` asks. Two requests that come right after each other get
in each other's way; waited for, they do not. What is found is a log that `hpcore replay`
explains, and a scenario that `hpcore run again.yaml --accel qtest` repeats on a real QEMU.
"""

from __future__ import annotations

from pathlib import Path

from hpcore.scenario import dump, parse
from hpcore.sequence import Question, check
from hpcore.sequence.repeat import scenario_of
from hpcore.sequence.told import log_of
from hpcore.sequence.words import headline, way_of

STORM = """
machine: {cpus: 1, maxcpus: 2}
steps:
  - boot
  - plug: {id: a, core-id: 1}
  - unplug: a
    waits: false
  - plug: {id: b, core-id: 1}
  - expect: {slots: {b: enabled}}
"""


def main() -> None:
    """Check the storm, keep what is found, and check it again with every step waited for."""
    question = Question.of(parse(STORM, "storm"))
    answer = check(question)
    print(f"storm: {answer.states} states, {'holds' if answer.ok else 'fails'}")
    finding = answer.findings[0]
    print(headline(finding))
    for number, said in enumerate(way_of(finding), 1):
        print(f"  {number:2} {said}")
    log_of(Path("found.jsonl"), finding, question, "hpcore", overwrite=True)
    repeated = scenario_of(finding, question)
    Path("again.yaml").write_text(dump(repeated.scenario), encoding="utf-8")
    print(f"kept as found.jsonl, and as again.yaml; left to chance: {len(repeated.left_open)}")

    calm = check(Question.of(parse(STORM.replace("    waits: false\n", ""), "calm")))
    print(f"calm: {calm.states} states, {'holds' if calm.ok else 'fails'}")


if __name__ == "__main__":
    main()
