"""A guest that answered with success, and does not know the vCPU: what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import attrs
import pytest

from hpcore.guest.protocol import Guest, Masks
from hpcore.guest.shell import GuestRestartedError
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase
from hpcore.model.states import initial
from hpcore.run import Controller, LiveMachine, NeverRegistered

FOUR = frozenset(range(4))
NONE: frozenset[int] = frozenset()


class StandIn:
    """Of a controller, what is asked about a guest's masks: that the machine does not end."""

    def __init__(self) -> None:
        new = initial(MachineConfig.of(cpus=2, maxcpus=4))
        self.state = attrs.evolve(new, shared=attrs.evolve(new.shared, phase=Phase.RUNNING))
        self.watchers: list[object] = []

    async def ended(self) -> None:
        await asyncio.Event().wait()


class Shows:
    """Of a guest, its masks; it is found to have restarted first, as often as said."""

    def __init__(self, masks: Masks, restarts: int = 0) -> None:
        self._masks, self._restarts = masks, restarts

    async def masks(self) -> Masks:
        if self._restarts:
            self._restarts -= 1
            raise GuestRestartedError("it has restarted")
        return self._masks


def machine(guest: Shows | None) -> LiveMachine:
    made = LiveMachine(cast(Controller, StandIn()))
    made._guest.met = cast(Guest | None, guest)
    return made


def unknown(guest: Shows | None, cpus: Iterable[int]) -> dict[int, str]:
    made: Any = machine(guest).unknown_to_guest(cpus)
    found: dict[int, str] = asyncio.run(asyncio.wait_for(made, 30))
    return found


def says(cpu: int, possible: str, usable: str) -> str:
    return (
        f"vCPU {cpu} is plugged, and the guest answered with success, but does not know it: its "
        f"kernel has place for CPUs {possible} and shows {usable} as usable; look at nr_cpus=, "
        "nosmp and its version"
    )


@pytest.mark.parametrize("restarts", [0, 2])
def test_what_the_guest_shows_as_enabled_is_what_it_knows(restarts: int) -> None:
    masks = Masks(frozenset({0, 1, 2}), FOUR, frozenset({0, 2}), FOUR, NONE)
    assert unknown(Shows(masks, restarts), [2, 1, 3]) == {
        1: says(1, "0-2", "0,2"), 3: says(3, "0-2", "0,2"),
    }  # fmt: skip


def test_of_a_guest_that_shows_nothing_as_enabled_the_present_are_what_it_knows() -> None:
    masks = Masks(FOUR, frozenset({0, 1}), None, FOUR, NONE)
    assert unknown(Shows(masks), [1, 2]) == {2: says(2, "0-3", "0-1")}


def test_without_a_guest_to_look_at_nothing_is_unknown_to_it() -> None:
    assert unknown(None, [2]) == {}


def test_a_vcpu_that_the_guest_does_not_know_was_never_registered() -> None:
    async def main(guest: Shows) -> None:
        await machine(guest).require_known(3)

    knows = Masks(FOUR, FOUR, FOUR, FOUR, NONE)
    asyncio.run(asyncio.wait_for(main(Shows(knows)), 30))
    knows_not = attrs.evolve(knows, enabled=frozenset({0}))
    with pytest.raises(NeverRegistered) as error:
        asyncio.run(asyncio.wait_for(main(Shows(knows_not)), 30))
    assert str(error.value) == says(3, "0-3", "0")
