"""What a machine's slots look like from outside, at one moment."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from hpcore.model.machines import SlotState
from hpcore.model.states import State
from hpcore.run.errors import RunError


@frozen
class SlotView:
    """One possible vCPU.

    `id` is the one that it was plugged under, or None while nobody is there. `driver` and
    `props` are what a `device_add` names the slot by. `enabled` is what `_STA` says,
    `powered` the accelerator's word, `registered` the guest's. A `cold` vCPU was there at
    boot and stays.
    """

    index: int
    id: str | None
    state: SlotState
    enabled: bool
    powered: bool
    registered: bool
    cold: bool
    driver: str
    props: Mapping[str, int]


def view(state: State) -> tuple[SlotView, ...]:
    """All slots of `state`, in the order of their indices."""
    config = state.config
    return tuple(
        SlotView(
            index=index,
            id=slot.id,
            state=slot.lifecycle,
            enabled=slot.enabled,
            powered=slot.powered,
            registered=slot.registered,
            cold=slot.cold,
            driver=config.driver,
            props=config.topology.props(index),
        )
        for index, slot in enumerate(state.slots)
    )


def view_of(state: State, cpu: int | str) -> SlotView:
    """The slot with that index, or the one plugged under that id. Raises RunError for none."""
    slots = view(state)
    if isinstance(cpu, str):
        found = next((slot for slot in slots if slot.id == cpu), None)
        if found is None:
            raise RunError(f"no vCPU is plugged under the id '{cpu}'")
        return found
    if not 0 <= cpu < len(slots):
        raise RunError(f"there is no vCPU {cpu}; the machine has 0 to {len(slots) - 1}")
    return slots[cpu]
