"""A stimulus, and an environment, in a person's words."""

from __future__ import annotations

from hpcore.check.world.environment import Environment
from hpcore.model import stimuli as st
from hpcore.model.acpi import OstSource


def say(stimulus: st.Stimulus) -> str:
    """`stimulus` as a sentence without its full stop."""
    match stimulus:
        case st.DeviceAdd(id=id_, props=props):
            where = ", ".join(f"{k} {v}" for k, v in props)
            return f"the user plugs {id_} ({where})"
        case st.DeviceDel(id=id_, force=force):
            return f"the user {'takes' if force else 'unplugs'} {id_}{' by force' * force}"
        case st.Done(step=step, slot=slot, affinity=affinity):
            at = "" if affinity is None else f", at affinity {affinity:#x}"
            return f"the accelerator has done {step} of vCPU {slot}{at}"
        case st.Failed(step=step, slot=slot):
            return f"the accelerator fails to {step} vCPU {slot}"
        case st.MachineDone():
            return f"the accelerator has done {stimulus.step}"
        case st.MachineFailed():
            return f"the accelerator fails to {stimulus.step}"
        case st.OstReported(slot=slot, source=source, status=status):
            event = "device check" if source == OstSource.DEVICE_CHECK else "eject request"
            return f"the guest answers the {event} of vCPU {slot} with {status:#x}"
        case st.CpuOnCalled(slot=slot, verdict=verdict):
            by = {None: "", True: ", granted on the spot", False: ", denied on the spot"}[verdict]
            return f"the guest calls CPU_ON for vCPU {slot}{by}"
    about = getattr(stimulus, "slot", None)
    return _PLAIN[type(stimulus)] + ("" if about is None else f" of vCPU {about}")


_PLAIN: dict[type, str] = {
    st.Boot: "the user boots the machine",
    st.Reset: "the user resets the machine",
    st.Pause: "the user pauses the machine",
    st.Resume: "the user resumes the machine",
    st.PowerDown: "the user ends the machine",
    st.Migrate: "the user migrates the machine",
    st.Save: "the user saves the machine",
    st.Restored: "the machine is restored from what was saved",
    st.ScanStarted: "the guest begins to read the event bits",
    st.ScanEnded: "the guest has read the event bits",
    st.InsertAcked: "the guest clears the insert bit",
    st.RemoveAcked: "the guest clears the remove bit",
    st.EjectCalled: "the guest evaluates _EJ0",
    st.CpuOffSeen: "the guest calls CPU_OFF",
    st.ResetSeen: "the machine is reset",
    st.PowerOffSeen: "the guest powers the machine off",
    st.Lost: "the accelerator is gone",
    st.GuestSilent: "the guest's time is up for the eject",
    st.Note: "a note is made",
}


def describe(environment: Environment) -> str:
    """The environment in a line."""
    e = environment
    options = ("reset", "migration", "save", "pause", "power_off", "power_on")
    may = [name.replace("_", "-") for name in options if getattr(e, name)]
    faults = "1 fault" if e.faults == 1 else f"{e.faults or 'no'} faults"
    slots = "1 slot" if e.slots == 1 else f"{e.slots} slots"
    commands = "any number of" if e.commands is None else f"at most {e.commands}"
    plugged = f", {e.plugged} plugged before" * (e.plugged > 0)
    plugged += ", what comes before the boot in every order" * e.before_boot
    return (
        f"{slots}, {e.boot} at boot{plugged}; {e.guest.name} guest; {faults}; "
        f"{', '.join(may) or 'no reset'}; {commands} command{'s' * (e.commands != 1)} in flight"
    )
