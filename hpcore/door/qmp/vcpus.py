"""The QMP commands about vCPUs, and about the whole machine, as hpcore answers them.

    vcpus = VcpuCommands(machine, real)
    stop_watching = vcpus.watch(monitors.tell)
    await monitors.serve(vcpus.answers(), gone)

A command is answered when hpcore has accepted or refused it. What comes of it is told by
events: a guest may take its time, and the machine may stand still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from hpcore.door.qmp.answers import (
    Answers,
    Awaited,
    Handler,
    Passes,
    QmpError,
    RealMonitor,
)
from hpcore.door.qmp.hmp import HumanMonitor
from hpcore.door.qmp.qom import VcpuPaths
from hpcore.door.qmp.vcpu_events import Tell, VcpuEvents, ost_info
from hpcore.door.qmp.vcpu_lists import PERIPHERAL, VcpuLists, ask, machines
from hpcore.model import stimuli
from hpcore.model.guards import ID_UNUSED, NOT_COLD_BOOTED, PLUG_FINISHED, REASONS
from hpcore.model.machines import Phase
from hpcore.model.plain import plain_props
from hpcore.model.states import Owed
from hpcore.run.commands import Accepted, MachineCommand
from hpcore.run.errors import CommandRefused, RunError
from hpcore.run.machine import LiveMachine

CANNOT_MIGRATE = (
    "on this accelerator what hpcore knows of the vCPUs does not travel with QEMU's state yet"
)
"""Why a machine's state can be neither sent nor kept."""

MOMENT = 0.2
"""Seconds that an answer may wait for what will soon have ended; Kata waits 0.25 for it."""

_SENDS_STATE = (
    "migrate", "migrate-incoming", "snapshot-save", "snapshot-load", "snapshot-delete",
)  # fmt: skip
_LEAD_TO_EVENTS = frozenset({"stop", "cont", "human-monitor-command"})


class VcpuCommands:
    """What is answered about one machine. `real` is a monitor of its QEMU that is hpcore's own."""

    def __init__(
        self,
        machine: LiveMachine,
        real: RealMonitor,
        *,
        cannot_migrate: str | None = CANNOT_MIGRATE,
        awaited: Awaited | None = None,
    ) -> None:
        """Where `cannot_migrate` is None, what sends or keeps the state is passed on.

        A machine that is `awaited` comes from elsewhere, and is never booted.
        """
        self._machine, self._real = machine, real
        self._cannot_migrate, self._awaited = cannot_migrate, awaited
        self.lists = VcpuLists(machine, real)
        self._paths = VcpuPaths(self.lists, real)
        self._events = VcpuEvents(lambda _name, _data: None)
        self._whole = asyncio.Lock()  # a command on the whole machine at a time, in their order
        self.human = HumanMonitor(self, self._paths, real)

    def answers(self) -> Answers:
        """All of it, for the monitors to serve."""
        return Answers(self.handlers(), after_events=_LEAD_TO_EVENTS)

    def handlers(self) -> dict[str, Handler]:
        """Every command that hpcore answers, by its name."""
        found: dict[str, Handler] = {
            "device_add": self.device_add,
            "device_del": self.device_del,
            "stop": self.stop,
            "cont": self.cont,
            "system_reset": self.system_reset,
            "query-hotpluggable-cpus": _without_arguments(self.lists.hotpluggable),
            "query-cpus-fast": _without_arguments(self.lists.fast),
            "query-cpus-power-state": _without_arguments(self.lists.power_states),
            "query-acpi-ospm-status": _without_arguments(self._ospm_status),
            "human-monitor-command": self.human.command,
            **dict.fromkeys(_SENDS_STATE, self.migrate),
            **machine_list(self._real),
            **self._paths.handlers(),
        }
        return found

    def watch(self, tell: Tell) -> Callable[[], None]:
        """Have the machine's events told from here on; what this returns ends that."""
        self._events = VcpuEvents(tell)
        return self._machine.subscribe(self._events.follow)

    # --------------------------------------------------------------------- plugs

    async def device_add(self, arguments: Mapping[str, object]) -> object:
        """Plug a vCPU. Another device's `device_add` is the real QEMU's, if its id is free."""
        rest = dict(arguments)
        driver, id_ = rest.pop("driver", None), rest.pop("id", "")
        if not isinstance(driver, str):
            return Passes.ON
        if not driver.endswith("-arm-cpu"):
            if isinstance(id_, str) and id_ in self.lists.plugged:
                raise QmpError(ID_UNUSED.refusal(id=id_))
            return Passes.ON
        if not isinstance(id_, str):
            raise QmpError("Invalid parameter type for 'id', expected: string")
        if id_ and await self._is_taken(id_):
            raise QmpError(ID_UNUSED.refusal(id=id_))
        node = rest.pop("node-id", None)
        props = plain_props(rest.items())
        if node is not None:
            await self._check_node(node, rest)
        await self._begin(stimuli.DeviceAdd(id_, props, driver))
        return {}

    async def device_del(self, arguments: Mapping[str, object]) -> object:
        """Unplug a vCPU, named by its id or its path."""
        if set(arguments) != {"id"} or not isinstance(name := arguments["id"], str):
            return Passes.ON
        id_ = name.removeprefix(f"{PERIPHERAL}/")
        slot = self.lists.plugged.get(id_)
        if slot is not None:
            await self._unplug(slot.index, id_)
            return {}
        if name in [place.path for place in await self.lists.places()]:
            raise QmpError(NOT_COLD_BOOTED.refusal())
        return Passes.ON

    async def _unplug(self, index: int, id_: str) -> None:
        """Ask for the vCPU back. One that is still being plugged is given a moment for that.

        QEMU's plug is done at once, and its callers may unplug right after it.
        """
        try:
            await self._machine.begin(stimuli.DeviceDel(id_))
            return
        except CommandRefused as refused:
            if refused.event.guard != PLUG_FINISHED.name:
                raise _error(refused) from refused
        with suppress(RunError):
            await self._machine.until(
                lambda s: s.slots[index].command is not Owed.PLUG, "the plug's end", MOMENT
            )
        await self._begin(stimuli.DeviceDel(id_))

    async def _is_taken(self, id_: str) -> bool:
        """Whether a device of the real QEMU's has this id."""
        there = await ask(self._real, "qom-list", {"path": PERIPHERAL})
        return any(child["name"] == id_ for child in there)

    async def _check_node(self, node: object, props: Mapping[str, object]) -> None:
        """Where vCPUs have NUMA nodes, a `node-id` names that of the vCPU and nothing more."""
        places = await self.lists.places()
        if not any("node-id" in place.props for place in places):
            raise QmpError(f"Property '{self._machine.config.driver}.node-id' not found")
        named = (p.props for p in places if props.items() <= p.props.items())
        if not any(place["node-id"] == node for place in named):
            raise QmpError(f"node-id={node} must match numa node specified with -numa option")

    # --------------------------------------------------------- the whole machine

    async def stop(self, arguments: Mapping[str, object]) -> object:
        """Stop the machine's time. Before the boot nothing passes anyway."""
        if arguments:
            return Passes.ON
        if self._awaited is not None and await self._awaited.whole_machine(False):
            return {}
        if self._unbooted:
            return Passes.ON
        await self._whole_machine(stimuli.Pause())
        return {}

    async def cont(self, arguments: Mapping[str, object]) -> object:
        """Boot the machine, the first time; later, let it go on."""
        if arguments:
            return Passes.ON
        if self._awaited is not None and await self._awaited.whole_machine(True):
            return {}
        await self._whole_machine(None)
        return {}

    async def system_reset(self, arguments: Mapping[str, object]) -> object:
        """Reset the machine. Before the boot there is nothing that hpcore would have to do."""
        if arguments:
            return Passes.ON
        if self._awaited is not None:
            await self._awaited.whole_machine(None)
        if self._unbooted:
            return Passes.ON
        async with self._whole:
            await self._begin(stimuli.Reset())
        return {}

    @property
    def _unbooted(self) -> bool:
        shared = self._machine.state.shared
        return shared.phase is Phase.DEFINED and shared.step is None

    async def _whole_machine(self, command: stimuli.Pause | None) -> None:
        async with self._whole:
            begun = await self._begin(
                command or (stimuli.Boot() if self._unbooted else stimuli.Resume())
            )
            assert isinstance(begun, MachineCommand)
            await begun.ended()

    async def migrate(self, _arguments: Mapping[str, object]) -> object:
        """Refuse to send or keep the machine's state, or pass it on. Raises QmpError."""
        if self._cannot_migrate is None:
            return Passes.ON
        raise QmpError(f"hpcore cannot do this: {self._cannot_migrate}")

    async def _begin(self, command: stimuli.DeviceAdd | stimuli.DeviceDel | Whole) -> Accepted:
        if self._awaited is not None:
            await self._awaited.settled()
        try:
            return await self._machine.begin(command)
        except CommandRefused as refused:
            raise _error(refused) from refused

    async def _ospm_status(self) -> list[dict[str, object]]:
        """`query-acpi-ospm-status`: the real QEMU's memory slots, and every slot of a vCPU."""
        try:
            listed: list[dict[str, object]] = await ask(self._real, "query-acpi-ospm-status")
        except QmpError:
            listed = []  # it has no such device
        state = self._machine.state
        return listed + [
            ost_info(state, slot, *self._events.osts.get(slot, (0, 0)))
            for slot in range(len(state.slots))
        ]


def _error(refused: CommandRefused) -> QmpError:
    return QmpError(refused.event.message, REASONS[refused.event.guard].qmp_class)


Whole = stimuli.Boot | stimuli.Reset | stimuli.Pause | stimuli.Resume


def machine_list(real: RealMonitor) -> dict[str, Handler]:
    """What is answered where there is no machine: to who asks what the emulator can do."""

    async def query_machines(arguments: Mapping[str, object]) -> object:
        return await machines(real, arguments)

    return {"query-machines": query_machines}


def _without_arguments(answer: Callable[[], Awaitable[object]]) -> Handler:
    """A handler of a command that takes no arguments; the real QEMU refuses any."""

    async def handler(arguments: Mapping[str, object]) -> object:
        return Passes.ON if arguments else await answer()

    return handler
