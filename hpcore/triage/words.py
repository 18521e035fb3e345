"""An event in a person's words."""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model.acpi import ost_source, ost_status
from hpcore.model.effects import MachineStep, Step
from hpcore.model.psci import psci_status

_DOING = {
    Step.REALIZE: "is being realized",
    Step.BIND: "is being bound to its GICC",
    Step.WIRE: "has its interrupts being wired",
    Step.ENABLE: "is being enabled in _STA",
    Step.NOTIFY_INSERT: "has a device check being sent",
    Step.NOTIFY_REMOVE: "has an eject request being sent",
    Step.DISABLE: "is being disabled in _STA",
    Step.POWER_OFF: "is being powered off by force",
    Step.UNWIRE: "has its interrupts being unwired",
    Step.UNBIND: "is being unbound from its GICC",
    Step.STOP: "has its thread being stopped",
    Step.RELEASE: "has its address space being released",
    Step.PARK: "is being parked",
    Step.WAKE: "has its thread being woken",
    Step.OPEN: "has its GICC being opened",
    Step.SHUT: "has its GICC being shut",
    Step.HALT: "has its thread being halted",
}
_DONE = {
    Step.REALIZE: "is realized, powered off",
    Step.BIND: "is bound to its GICC",
    Step.WIRE: "is wired",
    Step.ENABLE: "is enabled in _STA",
    Step.NOTIFY_INSERT: "has its device check sent",
    Step.NOTIFY_REMOVE: "has its eject request sent",
    Step.DISABLE: "is disabled in _STA",
    Step.POWER_OFF: "is powered off by force",
    Step.UNWIRE: "is unwired",
    Step.UNBIND: "is unbound from its GICC",
    Step.STOP: "has no thread any more",
    Step.RELEASE: "has no address space any more",
    Step.PARK: "is parked",
    Step.WAKE: "has its thread woken",
    Step.OPEN: "has its GICC open again",
    Step.SHUT: "has its GICC shut",
    Step.HALT: "is parked whole, its thread halted",
}
_MACHINE = {
    MachineStep.CREATE_VCPUS: "creating all possible vCPUs",
    MachineStep.INIT_GIC: "initialising the GIC",
    MachineStep.START: "starting vCPU 0",
    MachineStep.RESET: "resetting the machine",
    MachineStep.RESTART: "restoring what is plugged and starting vCPU 0",
    MachineStep.PAUSE: "pausing",
    MachineStep.RESUME: "resuming",
    MachineStep.POWER_DOWN: "ending the machine",
    MachineStep.MIGRATE: "migrating",
    MachineStep.SAVE: "saving",
}


def say(event: ev.Event) -> str:
    """`event` as a sentence without its full stop."""
    match event:
        case ev.Refused():
            return f"{event.stimulus} is refused: {event.message}"
        case ev.Noted():
            return f"— {event.text}"
        case ev.MachineStepBegun():
            told = f", with {_cpus(event.enabled)} plugged" if event.enabled else ""
            return f"{_MACHINE[event.step]}{told}"
        case ev.MachineStepDone():
            return f"done: {_MACHINE[event.step]}"
        case ev.MachineStepFailed():
            return f"{_MACHINE[event.step]} failed: {event.error}"
        case ev.MachineWasReset():
            return f"the machine was reset; {_cpus(event.enabled)} stay plugged"
        case ev.MachinePoweredOff():
            return f"the machine is off, by the {event.by}'s word"
        case ev.Restored():
            where = f" from {event.file}" if event.file else ""
            return f"the machine is restored{where}, and stands still"
        case ev.MachineLost():
            return f"the machine is lost: {event.error}"
        case ev.ScanBegun():
            return "the guest reads the event bits"
        case ev.ScanFinished():
            return "the guest has read the event bits"
        case ev.GedRaised():
            return "bits are still set; the GED is raised again"
    return f"vCPU {ev.slot_of(event)} {_of_slot(event)}"


def _of_slot(event: ev.Event) -> str:  # noqa: PLR0912 - one branch an event
    match event:
        case ev.StepBegun():
            return _DOING[event.step]
        case ev.StepDone(affinity=affinity):
            at = f", at affinity {affinity:#x}" if affinity is not None else ""
            return _DONE[event.step] + at
        case ev.StepFailed():
            return f"fails to {event.step}: {event.error}"
        case ev.ColdBootBegun():
            return "is cold-booted"
        case ev.ColdBootDone():
            return "is ready for the guest's boot"
        case ev.PlugAccepted():
            return f"is to be plugged as {event.id}"
        case ev.PlugCompleted():
            return f"is plugged as {event.id}, and the guest notified"
        case ev.PlugFailed():
            return f"is not plugged as {event.id}: {event.error}"
        case ev.UnplugAccepted():
            return f"({event.id}) is to be {'taken by force' if event.forced else 'unplugged'}"
        case ev.UnplugRepeated():
            return f"({event.id}) is to be unplugged, once more"
        case ev.UnplugCompleted():
            return f"({event.id}) is gone: DEVICE_DELETED"
        case ev.UnplugFailed():
            return f"({event.id}) stays: DEVICE_UNPLUG_GUEST_ERROR: {event.error}"
        case ev.TakenByForce():
            return "is taken from the guest"
        case ev.InsertCleared():
            return "has its device check read"
        case ev.RemoveCleared():
            return "has its eject request read"
        case ev.OstReceived():
            return f"has _OST for {ost_source(event.source)}: {ost_status(event.status)}"
        case ev.Registered():
            return "is registered by the guest"
        case ev.EjectAccepted():
            return "is ejected by the guest"
        case ev.EjectUnconfirmed():
            return "has no _OST for its eject, which is waited for no longer"
        case ev.EjectRefused():
            return f"is not ejected: {event.message}"
        case ev.CpuOnGranted():
            return f"is powered on by vCPU {event.caller}"
        case ev.CpuOnDenied():
            return f"is not powered on by vCPU {event.caller}: {psci_status(event.status)}"
        case ev.CpuWentOff():
            return "is off"
    return ev.event_name(event)


def _cpus(slots: tuple[int, ...]) -> str:
    return "vCPU " + ", ".join(str(s) for s in slots) if slots else "no vCPU"
