"""What the user asks for: boot, plug, unplug, reset, pause, migrate, save, end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hpcore.model import events as ev
from hpcore.model import guards, stimuli
from hpcore.model.draft import Draft
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.progress import advance
from hpcore.model.rules import Habit, Trait
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
        named = config.topology.locate(dict(s.props), device=config.driver)
    except TopologyError as error:
        draft.refuse(s, guards.PROPS_NAME_A_VCPU, error=error)
        return
    index = next((i for i in named if guards.SLOT_VACANT.holds(draft.ask(i))), named[0])
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
    if draft.shared.phase is Phase.DEFINED and draft.slot(index).command is Owed.PLUG:
        _take_back(draft, index)
        return
    if draft.refused(guards.UNPLUG, s, index):
        return
    if s.force and draft.has(Trait.NO_FORCE):
        draft.refuse(s, guards.FORCE_KNOWN, index)
        return
    slot = draft.slot(index)
    if slot.command is Owed.UNPLUG and not s.force:
        draft.emit(ev.UnplugRepeated(index, s.id))
    else:
        draft.emit(ev.UnplugAccepted(index, s.id, s.force))
    if s.force or not slot.requested or draft.keeps(Habit.UNPLUG_ASKS_ANEW):
        advance(draft, index)


def _take_back(draft: Draft, index: int) -> None:
    """Unplug what was plugged before the boot, of which nobody but the core knows yet."""
    id_ = draft.slot(index).id or ""
    draft.emit(ev.PlugFailed(index, id_, "it was unplugged before the machine was booted"))
    draft.emit(ev.UnplugAccepted(index, id_))
    draft.emit(ev.UnplugCompleted(index, id_))


def _reset(draft: Draft, s: stimuli.Reset) -> None:
    shared = draft.shared
    if shared.phase is Phase.DEFINED and shared.step is None:
        return  # QEMU's succeeds before the first cont, too: nothing has run yet
    if not draft.refused(guards.RESET, s):
        draft.emit(ev.MachineStepBegun(MachineStep.RESET))


def _pause(draft: Draft, s: stimuli.Pause) -> None:
    shared = draft.shared
    stands = shared.paused or (shared.phase is Phase.DEFINED and shared.step is None)
    if shared.step is MachineStep.PAUSE or (stands and shared.step is not MachineStep.RESUME):
        return  # QEMU's stop of a machine that is stopped succeeds
    if not draft.refused(guards.PAUSE, s):
        draft.emit(ev.MachineStepBegun(MachineStep.PAUSE))


def _resume(draft: Draft, s: stimuli.Resume) -> None:
    shared = draft.shared
    goes = not shared.paused and (shared.phase is not Phase.DEFINED or shared.step is not None)
    if shared.step is MachineStep.RESUME or (goes and shared.step is not MachineStep.PAUSE):
        return  # QEMU's cont of a machine that runs, or is on its way, succeeds
    if not draft.refused(guards.RESUME, s):
        draft.emit(ev.MachineStepBegun(MachineStep.RESUME))


def _power_down(draft: Draft, s: stimuli.PowerDown) -> None:
    draft.emit(ev.MachineStepBegun(MachineStep.POWER_DOWN))


def _migrate(draft: Draft, s: stimuli.Migrate) -> None:
    _carry(draft, s, MachineStep.MIGRATE)


def _save(draft: Draft, s: stimuli.Save) -> None:
    _carry(draft, s, MachineStep.SAVE)


def _carry(draft: Draft, s: stimuli.Migrate | stimuli.Save, step: MachineStep) -> None:
    if draft.refused(guards.MIGRATE, s):
        return
    busy = [i for i, slot in enumerate(draft.state.slots) if slot.busy]
    if busy and draft.guarded(guards.MIGRATION_QUIET):
        draft.refuse(s, guards.MIGRATION_QUIET, i=busy[0])
        return
    draft.emit(ev.MachineStepBegun(step))


HANDLERS: dict[type, Callable[[Draft, Any], None]] = {
    stimuli.Boot: _boot,
    stimuli.DeviceAdd: _device_add,
    stimuli.DeviceDel: _device_del,
    stimuli.Reset: _reset,
    stimuli.Pause: _pause,
    stimuli.Resume: _resume,
    stimuli.PowerDown: _power_down,
    stimuli.Migrate: _migrate,
    stimuli.Save: _save,
}
