"""What a machine on arm `virt` is beyond its log and QEMU's stream: what hpcore has of it.

Whose redistributor a slot has and whether it is wired, the hotplug registers, which vCPUs are
on, and the guest that is played.
"""

from __future__ import annotations

from attrs import frozen

from hpcore.guest.played.answers import Answer, Answers, notification_name
from hpcore.guest.played.guest import PlayedGuest
from hpcore.model.acpi import Notification
from hpcore.model.effects import RaiseGed, Reassert
from hpcore.model.states import State
from hpcore.model.under_way import under_way
from hpcore.platform import hotplug_device
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.qemu.migration import machine_type_of, version_of
from hpcore.qemu.qmp import Qmp
from hpcore.run.accelerator import Belongings, GuestScript
from hpcore.run.saved_parts import refuse_unlike, section, section_read, state_of
from hpcore_qtest.power import ModelledPower
from hpcore_qtest.virt.interface import Interface

QEMU, MACHINE_TYPE = "qemu", "machine-type"
HOTPLUG, SLOTS, SCRIPT, GUEST = "hotplug", "slots", "script", "guest"
VERSION = 1
"""Of each section but that of the hotplug registers, which has its own."""


@frozen
class Parts:
    """What a session has of its machine, beside QEMU."""

    device: HotplugDevice
    interfaces: list[Interface]
    power: ModelledPower
    guest: PlayedGuest

    async def saved(self, qmp: Qmp, script: GuestScript) -> Belongings:
        """What is written of it, at rest. Raises GuestError where it is not, QemuError."""
        facts = {QEMU: await version_of(qmp), MACHINE_TYPE: await machine_type_of(qmp)}
        slots = {
            "on": sorted(self.power.on),
            "interfaces": [[i.frame, i.wired, i.shut] for i in self.interfaces],
        }
        files = section(HOTPLUG, hotplug_device.VERSION, self.device.saved())
        files |= section(SLOTS, VERSION, slots)
        files |= section(GUEST, VERSION, self.guest.saved())
        return Belongings(facts, files | _written(script))

    def load(self, saved: Belongings, state: State) -> None:
        """Be as `saved` says; `state` is what the log had come to. Raises AcceleratorError."""
        slots = state_of(saved, SLOTS, VERSION)
        with section_read(SLOTS):
            self.power.on = {int(cpu) for cpu in slots["on"]}
            for interface, held in zip(self.interfaces, slots["interfaces"], strict=True):
                frame, interface.wired, interface.shut = held
                interface.frame = None if frame is None else int(frame)
        registers = state_of(saved, HOTPLUG, hotplug_device.VERSION)
        with section_read(HOTPLUG):
            self.device.load(registers)
        for effect in under_way(state):
            match effect:
                case Reassert(slot=slot):
                    self.device.reassert(slot)
                case RaiseGed():
                    self.device.raise_ged()
        known = state_of(saved, GUEST, VERSION)
        with section_read(GUEST):
            self.guest.go_on(known)


async def refuse_other_qemu(saved: Belongings, qmp: Qmp) -> None:
    """Raise AcceleratorError where `saved` is of another QEMU than `qmp`'s; or QemuError."""
    for name, ask in ((QEMU, version_of), (MACHINE_TYPE, machine_type_of)):
        refuse_unlike(saved, name, await ask(qmp), "restore it with that one")


def script_of(saved: Belongings) -> GuestScript:
    """How the guest of `saved` behaves. Raises AcceleratorError."""
    written = state_of(saved, SCRIPT, VERSION)
    named = {notification_name(n): n for n in Notification}
    with section_read(SCRIPT):
        answers: Answers = {
            named[name]: _answer(given) for name, given in written["answers"].items()
        }
        return GuestScript(str(written["kind"]), str(written["append"]), answers)


def _written(script: GuestScript) -> dict[str, bytes]:
    answers = {notification_name(n): given for n, given in script.answers.items()}
    return section(
        SCRIPT, VERSION, {"kind": script.kind, "append": script.append, "answers": answers}
    )


def _answer(given: Answer | list[Answer]) -> Answer | tuple[Answer, ...]:
    return tuple(given) if isinstance(given, list) else given
