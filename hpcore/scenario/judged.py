"""Whether a step went as its line says: what a player and a checker of scenarios agree on."""

from __future__ import annotations

from hpcore.guest.cpulist import format_cpu_list
from hpcore.guest.protocol import Masks
from hpcore.model.states import State
from hpcore.run.view import view_of
from hpcore.scenario import values as sc


def judged(line: sc.Line, failure: str | None) -> str | None:
    """What is wrong with a step that failed with `failure`, or with none; None if nothing is."""
    if line.fails is None:
        return failure
    if failure is None:
        return f"it should have failed with '{line.fails}', and did not"
    if line.fails not in failure:
        return f"it failed as it should, but not with '{line.fails}': {failure}"
    return None


def differences(step: sc.ExpectStep, state: State, masks: Masks | None) -> list[str]:
    """In what a machine in `state`, whose guest shows `masks`, is not as `step` expects.

    Raises RunError for a vCPU that is not there.
    """
    out = []
    for cpu, wanted in step.slots.items():
        actual = view_of(state, cpu).state
        if actual != wanted:
            out.append(f"slot {cpu} is {actual}, not {wanted}")
    for name, expected in step.masks.items() if masks is not None else ():
        found = getattr(masks, name)
        if found is None:
            out.append(f"the guest has no mask '{name}': its kernel is older than 6.11")
        elif found != expected:
            out.append(
                f"{name} is {format_cpu_list(found) or 'empty'}, "
                f"not {format_cpu_list(expected) or 'empty'}"
            )
    return out
