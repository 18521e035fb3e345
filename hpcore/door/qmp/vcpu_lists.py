"""The lists of vCPUs that QMP gives: the slots of hpcore's machine, on the real QEMU's vCPUs.

The real QEMU has every possible vCPU from the start, at a path of its own, and numbers them
as the slots are numbered. Callers are shown those that are there: cold-booted ones at the
path that they really have, plugged ones at the path that a `device_add` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from hpcore.door.qmp.answers import QmpError, RealMonitor
from hpcore.model.guards import HOTPLUG_SUPPORTED
from hpcore.model.machines import SlotState
from hpcore.qemu.qmp import QmpRefused
from hpcore.run.machine import LiveMachine
from hpcore.run.view import SlotView

PERIPHERAL = "/machine/peripheral"
"""Where QEMU keeps the devices that have an id, in its object tree."""


async def ask(
    real: RealMonitor, command: str, arguments: Mapping[str, object] | None = None
) -> Any:
    """What the real QEMU returns. Raises QmpError in its words where it refuses."""
    try:
        return await real.execute(command, arguments)
    except QmpRefused as refused:
        raise QmpError(refused.description, refused.error_class) from refused


@frozen
class Place:
    """A possible vCPU of the real QEMU: its path, and what names it in a `device_add`."""

    path: str
    props: Mapping[str, object]


class VcpuLists:
    """What is there, of one machine, in the forms of QMP."""

    def __init__(self, machine: LiveMachine, real: RealMonitor) -> None:
        self._machine, self._real = machine, real
        self._places: tuple[Place, ...] | None = None

    async def places(self) -> tuple[Place, ...]:
        """Every possible vCPU's place, by its index. They never change."""
        if self._places is None:
            cpus = await ask(self._real, "query-cpus-fast")
            ordered = sorted(cpus, key=lambda cpu: int(cpu["cpu-index"]))
            self._places = tuple(Place(cpu["qom-path"], cpu.get("props", {})) for cpu in ordered)
        return self._places

    @property
    def plugged(self) -> dict[str, SlotView]:
        """The slots whose vCPU has an id of a user's, by that id."""
        return {slot.id: slot for slot in self._machine.slots if slot.id and not slot.cold}

    async def path(self, slot: SlotView) -> str | None:
        """Where callers find the slot's vCPU; None where there is none."""
        if slot.cold:
            return (await self.places())[slot.index].path
        return None if slot.id is None else f"{PERIPHERAL}/{slot.id}"

    # ------------------------------------------------------------------ the lists

    async def hotpluggable(self) -> list[dict[str, object]]:
        """`query-hotpluggable-cpus`: every slot, the highest first, as QEMU lists them.

        Kata's runtime-rs takes the first one that has a path for the one that it plugged last.
        Raises QmpError on a machine without hotplug.
        """
        if self._machine.config.no_hotplug is not None:
            raise QmpError(HOTPLUG_SUPPORTED.refusal(why=self._machine.config.no_hotplug))
        places = await self.places()
        listed = []
        for slot in reversed(self._machine.slots):
            path = await self.path(slot)
            entry = {"props": dict(places[slot.index].props), "vcpus-count": 1}
            listed.append(entry | ({} if path is None else {"qom-path": path}))
            listed[-1]["type"] = slot.driver
        return listed

    async def fast(self) -> list[dict[str, object]]:
        """`query-cpus-fast`: the real answer, of those that are there alone."""
        there: Sequence[dict[str, object]] = await ask(self._real, "query-cpus-fast")
        slots, listed = self._machine.slots, []
        for cpu in there:
            path = await self.path(slots[int(str(cpu["cpu-index"]))])
            if path is not None:
                listed.append({**cpu, "qom-path": path})
        return listed

    async def power_states(self) -> list[dict[str, object]]:
        """`query-cpus-power-state` of the series' revisions 6 and 7: every possible vCPU.

        One that is not there is disabled, never removed: arm64 has all of them from the start.
        A vCPU on its way in or out is in no state that could be told.
        """
        places = await self.places()
        return [
            {
                "id": slot.index,
                **places[slot.index].props,
                "vcpus-count": 1,
                "qom-path": await self.path(slot) or places[slot.index].path,
                "admin-state": "enabled" if slot.enabled else "disabled",
                "oper-state": _oper_state(slot),
            }
            for slot in self._machine.slots
        ]


def _oper_state(slot: SlotView) -> str:
    if slot.state in (SlotState.REALIZED, SlotState.EJECTING):
        return "unknown"
    return "on" if slot.powered else "off"


async def machines(
    real: RealMonitor, arguments: Mapping[str, object] | None = None
) -> list[dict[str, object]]:
    """`query-machines`: the real list, in which arm's `virt` can hotplug vCPUs.

    libvirt believes this word for as long as it knows the emulator, and else never asks for
    the hotpluggable vCPUs.
    """
    listed: list[dict[str, object]] = await ask(real, "query-machines", arguments)
    for machine in listed:
        name = str(machine["name"])
        if name == "virt" or name.startswith("virt-"):
            machine["hotpluggable-cpus"] = True
    return listed
