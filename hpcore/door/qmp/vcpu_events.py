"""What QMP clients are told of vCPUs, from the events of hpcore's log."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hpcore.door.qmp.vcpu_lists import PERIPHERAL
from hpcore.model import events as ev
from hpcore.model.states import State

Tell = Callable[[str, Mapping[str, object]], None]
"""Tells every client an event with its data; `Monitors.tell` is one."""


class VcpuEvents:
    """Remembers what the guest said last of each vCPU, and tells what clients wait for.

    An unplug that the guest has neither carried out nor refused is told by nothing, as in
    QEMU: the guest may do so later.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.osts: dict[int, tuple[int, int]] = {}
        """The source and the status of the last `_OST`, by slot."""

    def follow(self, event: ev.Event, state: State) -> None:
        """Take the next event, with the state after it: a watcher of the machine."""
        match event:
            case ev.OstReceived(slot=slot, source=source, status=status):
                self.osts[slot] = source, status
                self._tell("ACPI_DEVICE_OST", {"info": ost_info(state, slot, source, status)})
            case ev.UnplugCompleted(id=id_):
                self._tell("DEVICE_DELETED", _device(id_))
            case ev.PlugFailed(id=id_):
                # the device_add was answered with success; what it made is gone again
                self._tell("DEVICE_DELETED", _device(id_))
            case ev.UnplugFailed(id=id_, still_asked=False):
                self._tell("DEVICE_UNPLUG_GUEST_ERROR", _device(id_))


def ost_info(state: State, slot: int, source: int, status: int) -> dict[str, object]:
    """QAPI's ACPIOSTInfo: the device is named where the vCPU that is there has an id."""
    id_ = None if state.slots[slot].cold else state.slots[slot].id
    return {
        **({} if id_ is None else {"device": id_}),
        "slot": str(slot), "slot-type": "CPU", "source": source, "status": status,
    }  # fmt: skip


def _device(id_: str) -> dict[str, object]:
    return {"device": id_, "path": f"{PERIPHERAL}/{id_}"}
