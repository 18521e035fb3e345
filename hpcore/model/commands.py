"""What the user asks for: boot, plug, unplug, reset, pause, migrate, end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hpcore.model import events as ev
from hpcore.model import guards, stimuli
from hpcore.model.draft import Draft
from hpcore.model.effects import MachineStep
from hpcore.model.guards import Guard
from hpcore.model.progress import advance
from hpcore.model.rules import Habit
from hpcore.model.states import Owed
from hpcore.model.topology import TopologyError

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,127}")
"""What QEMU takes for an id (util/id.c, id_wellformed), with an end."""


def _boot(draft: Draft, s: stimuli.Boot) -> None:
    if not draft.refused(guards.BOOT, s):
        draft.emit(ev.MachineStepBegun(MachineStep.CREATE_VCPUS))


def _device_add(draft: Draft, s: stimuli.DeviceAdd) -> None:
    config = draft.state.config
    if not s.id:
        draft.refuse(s, guards.ID_GIVEN)
        return
    if not _IDENTIFIER.fullmatch(s.id):
        draft.refuse(s, guards.ID_WELL_FORMED, id=s.id)
        return
    if s.driver is not None and s.driver != config.driver:
        known = s.driver.endswith("-arm-cpu")
        reason = guards.DRIVER_MATCHES if known else guards.DRIVER_KNOWN
        draft.refuse(s, reason, driver=s.driver, expected=config.driver)
        return
    try:
        index = config.topology.locate(dict(s.props), device=config.driver)
    except TopologyError as error:
        draft.refuse(s, guards.PROPS_NAME_A_VCPU, error=error)
        return
    if draft.refused(guards.PLUG, s, index):
        return
    if draft.guarded(guards.ID_UNUSED) and any(slot.id == s.id for slot in draft.state.slots):
        draft.refuse(s, guards.ID_UNUSED, index, id=s.id)
        return
    draft.emit(ev.PlugAccepted(index, s.id))
    advance(draft, index)


def _device_del(draft: Draft, s: stimuli.DeviceDel) -> None:
    index = next((i for i, slot in enumerate(draft.state.slots) if slot.id == s.id), None)
    if index is None:
        draft.refuse(s, guards.DEVICE_EXISTS, id=s.id)
        return
    if draft.refused(guards.UNPLUG, s, index):
        return
    slot = draft.slot(index)
    if slot.command is Owed.UNPLUG and not s.force:
        draft.emit(ev.UnplugRepeated(index, s.id))
    else:
        draft.emit(ev.UnplugAccepted(index, s.id, s.force))
    if s.force or not slot.requested or draft.keeps(Habit.UNPLUG_ASKS_ANEW):
        advance(draft, index)


def _machine_command(
    table: tuple[Guard, ...], step: MachineStep
) -> Callable[[Draft, stimuli.Stimulus], None]:
    def handler(draft: Draft, s: stimuli.Stimulus) -> None:
        if not draft.refused(table, s):
            draft.emit(ev.MachineStepBegun(step))

    return handler


def _power_down(draft: Draft, s: stimuli.PowerDown) -> None:
    draft.emit(ev.MachineStepBegun(MachineStep.POWER_DOWN))


def _migrate(draft: Draft, s: stimuli.Migrate) -> None:
    if draft.refused(guards.MIGRATE, s):
        return
    busy = [i for i, slot in enumerate(draft.state.slots) if slot.busy]
    if busy and draft.guarded(guards.MIGRATION_QUIET):
        draft.refuse(s, guards.MIGRATION_QUIET, i=busy[0])
        return
    draft.emit(ev.MachineStepBegun(MachineStep.MIGRATE))


HANDLERS: dict[type, Callable[[Draft, Any], None]] = {
    stimuli.Boot: _boot,
    stimuli.DeviceAdd: _device_add,
    stimuli.DeviceDel: _device_del,
    stimuli.Reset: _machine_command(guards.RESET, MachineStep.RESET),
    stimuli.Pause: _machine_command(guards.PAUSE, MachineStep.PAUSE),
    stimuli.Resume: _machine_command(guards.RESUME, MachineStep.RESUME),
    stimuli.PowerDown: _power_down,
    stimuli.Migrate: _migrate,
}
