"""Change the protocol, and see what the change breaks.

    python examples/changed_protocol.py

The protocol is data: orders, habits and guards, in a `Rules`. The first change tells the
guest of a vCPU before `_STA` says that it is enabled. The second lets a removal be told
while the insertion has not been read, which a guest's AML answers with the insertion alone.
The third parks a vCPU without releasing its address space. Which of them are caught, and by
which property?
"""

from __future__ import annotations

import attrs

import hpcore
from hpcore.check import say
from hpcore.model.effects import Step
from hpcore.model.rules import Habit

told_too_early = attrs.evolve(
    hpcore.RULES, build=(Step.REALIZE, Step.BIND, Step.WIRE, Step.NOTIFY_INSERT, Step.ENABLE)
)
both_bits = hpcore.RULES.without(Habit.REMOVE_WAITS_FOR_INSERT)
space_leaks = attrs.evolve(
    hpcore.RULES, teardown=tuple(s for s in hpcore.RULES.teardown if s is not Step.RELEASE)
)

CHANGES = {
    "the guest is told before _STA says enabled": told_too_early,
    "a removal does not wait for the insertion": both_bits,
    "the address space is not released": space_leaks,
}


def main() -> None:
    """Check each change, and the protocol as it is."""
    environment = hpcore.Environment(slots=2, faults=0, reset=False, migration=False)
    print(f"as it is: {'proven' if hpcore.prove(environment).proven else 'broken'}")
    for change, rules in CHANGES.items():
        result = hpcore.prove(environment, rules)
        found = result.counterexample
        if found is None:
            print(f"{change}: proven all the same")
            continue
        print(f"{change}: breaks {found.invariant} after {found.length} steps, the last being")
        print(f"  {say(found.stimuli[-1])}")


if __name__ == "__main__":
    main()
