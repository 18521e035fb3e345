"""A machine as sections, and a machine made of them: all but memory, which is a stream.

The order in which KVM takes a machine: vCPUs and the VGIC are made as for any (`machine.py`);
then registers, the distributor, CPU interfaces; then the devices, whose lines the VGIC has by
then. Every thread is out of KVM_RUN, and held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.model.states import State
from hpcore.platform import hotplug_device
from hpcore.run.accelerator import Belongings
from hpcore.run.saved_parts import (
    refuse_unlike,
    section,
    section_read,
    state_of,
    with_images,
)
from hpcore_kvm import gic_state, pl011, uapi, vcpu_state
from hpcore_kvm.gic import InterfaceState
from hpcore_kvm.gic_state import DistributorState
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.order import Order, SlotParts
from hpcore_kvm.uapi import MpState
from hpcore_kvm.vcpu_state import VcpuState

FEATURES, FILTERED = "vcpu-features", "smccc-filter"
VCPUS, VGIC, CLOCK, UART, HOTPLUG, SLOTS = "vcpus", "vgic", "clock", "pl011", "hotplug", "slots"
VERSION = 1
"""Of each section but those of the devices, which have their own."""

_MASK = (1 << 64) - 1

# ------------------------------------------------------------------------- to sections


def facts(machine: KvmMachine) -> dict[str, str]:
    """What must be the same where the machine goes on."""
    return {
        FEATURES: f"{machine.features.bits:#x}",
        FILTERED: "yes" if machine.filtered else "no",
    }


def sections(machine: KvmMachine, order: Order) -> dict[str, bytes]:
    """All of `machine` but its memory, while its time stands still. Raises KvmError."""
    assert machine.stopped_at is not None, "time stands still"
    vcpus = {
        str(index): _vcpu(machine, index)
        for index in range(machine.possible) if machine.realized(index)
    }  # fmt: skip
    return {
        **section(VCPUS, VERSION, vcpus),
        **section(VGIC, VERSION, _vgic(machine)),
        **section(CLOCK, VERSION, {"counter": machine.stopped_at}),
        **section(UART, pl011.VERSION, machine.uart.saved()),
        **section(HOTPLUG, hotplug_device.VERSION, machine.hotplug.saved()),
        **section(SLOTS, VERSION, {"slots": [attrs.asdict(slot) for slot in order.slots]}),
    }


def belongings(machine: KvmMachine, order: Order, images: BootFiles | None) -> Belongings:
    """What is saved of `machine` beside its memory. Raises KvmError, and EffectError."""
    said = with_images(facts(machine), images)
    return attrs.evolve(said, files={**said.files, **sections(machine, order)})


def _vcpu(machine: KvmMachine, index: int) -> dict[str, object]:
    state = vcpu_state.read(machine.vcpu(index))
    registers = dict(state.registers)
    thread = machine.threads.get(index)
    answer = None if thread is None else thread.untaken
    if answer is not None:
        registers[uapi.x_register(0)] = (answer & _MASK).to_bytes(8, "little")
    return {
        "registers": {f"{register:#x}": value.hex() for register, value in registers.items()},
        "mp_state": int(state.mp_state),
        "serror": state.serror,
        "on": machine.on(index),
        "fresh": machine.fresh(index),
    }


def _vgic(machine: KvmMachine) -> dict[str, object]:
    distributor = gic_state.read(machine.vgic)
    return {
        "words": _plain(distributor.words.items()),
        "levels": _plain(distributor.levels.items()),
        "interfaces": {
            str(index): _interface(machine.vgic.save(index)) for index in sorted(machine.vgic.bound)
        },
    }


def _interface(state: InterfaceState) -> dict[str, object]:
    return {
        "redistributor": _plain(state.redistributor), "cpu": _plain(state.cpu),
        "levels": state.line_levels,
    }  # fmt: skip


def _plain(pairs: Any) -> list[list[int]]:
    return [[int(key), int(value)] for key, value in pairs]


# ----------------------------------------------------------------------- from sections


def refuse_unfit(machine: KvmMachine, saved: Belongings) -> None:
    """Raise AcceleratorError where this host's KVM makes another machine than `saved` was."""
    for name, here in facts(machine).items():
        refuse_unlike(saved, name, here, "restore it on a host like the one where it was saved")


@frozen
class Blank:
    """What a machine that was just made has: it needs not to be written again."""

    registers: Mapping[int, Mapping[int, bytes]] = {}
    words: Mapping[int, int] = {}


def prepare(there: KvmMachine, slots: Order) -> Blank:
    """Do for `there`, made just now, what can be done while the guest runs: it costs no downtime.

    Returns what it has then. Raises KvmError.
    """
    registers = {}
    for index, slot in enumerate(slots.slots):
        if slot.bound:
            there.vgic.bind(index)
        if slot.realized:
            registers[index] = vcpu_state.read_registers(there.vcpu(index))
    return Blank(registers, gic_state.read(there.vgic).words)


def carry(here: KvmMachine, there: KvmMachine, order: Order, has: Blank) -> None:
    """Have `there`, made and held, be what `here` is, which stands still: all but its memory.

    It `has` that already. Raises AcceleratorError, KvmError, RuntimeError.
    """
    slots = attrs.evolve(order, slots=[SlotParts() for _ in order.slots])
    load(there, slots, Belongings(facts(here), sections(here, order)), has)
    if here.hotplug.ged_events:  # the edge may have been on its way
        there.hotplug.raise_ged()


def restore(machine: KvmMachine, order: Order, saved: Belongings, state: State) -> None:
    """As `load`; `state` is what its log had come to, which the file may have come too early for.

    An edge of the GED's, too: the kernel injects it in its own time.
    """
    load(machine, order, saved)
    machine.hotplug.do_again(state)


def load(
    machine: KvmMachine, order: Order, saved: Belongings, has: Blank | None = None
) -> None:
    """Have `machine`, made and held, be what `saved` has, but for its memory.

    What it `has` already is not written. Its time stands still then. Raises AcceleratorError,
    KvmError, RuntimeError.
    """
    has = has or Blank()
    refuse_unfit(machine, saved)
    _load_slots(order, state_of(saved, SLOTS, VERSION))
    vcpus = state_of(saved, VCPUS, VERSION)
    with section_read(VCPUS):
        for index, held in sorted((int(i), held) for i, held in vcpus.items()):
            machine.revive(
                index, _vcpu_state(held), on=held["on"], fresh=held["fresh"],
                thread=order.slots[index].thread, has=has.registers.get(index, {}),
            )  # fmt: skip
    vgic = state_of(saved, VGIC, VERSION)
    with section_read(VGIC):
        _load_vgic(machine, vgic, has)
    clock = state_of(saved, CLOCK, VERSION)
    with section_read(CLOCK):
        machine.stop_time(int(clock["counter"]))
    uart = state_of(saved, UART, pl011.VERSION)
    with section_read(UART):
        machine.uart.load(uart)
    registers = state_of(saved, HOTPLUG, hotplug_device.VERSION)
    with section_read(HOTPLUG):
        machine.hotplug.load(registers)


def _load_slots(order: Order, saved: Mapping[str, Any]) -> None:
    with section_read(SLOTS):
        slots = [SlotParts(**{k: bool(v) for k, v in held.items()}) for held in saved["slots"]]
        if len(slots) != len(order.slots):
            raise ValueError(f"it has {len(slots)} slots, and the machine {len(order.slots)}")
        order.slots[:] = slots


def _vcpu_state(held: Mapping[str, Any]) -> VcpuState:
    registers = {int(r, 16): bytes.fromhex(value) for r, value in held["registers"].items()}
    serror = None if held["serror"] is None else int(held["serror"])
    return VcpuState(registers, MpState(held["mp_state"]), serror)


def _load_vgic(machine: KvmMachine, saved: Mapping[str, Any], has: Blank) -> None:
    # The distributor comes first, as in QEMU (hw/intc/arm_gicv3_kvm.c): KVM queues an interrupt
    # for its vCPU where that becomes pending while the distributor is enabled, and looks at it no
    # more. A timer's, which was due when the machine was saved, would never come.
    distributor = DistributorState(dict(saved["words"]), dict(saved["levels"]))
    gic_state.write(machine.vgic, distributor, has.words)
    interfaces = {int(number): held for number, held in saved["interfaces"].items()}
    for number in machine.vgic.bound - interfaces.keys():
        machine.vgic.unbind(number)
    for number, held in interfaces.items():
        if number not in machine.vgic.bound:
            machine.vgic.bind(number)
        machine.vgic.restore(number, InterfaceState(
            tuple(map(tuple, held["redistributor"])), tuple(map(tuple, held["cpu"])),
            int(held["levels"]),
        ))  # fmt: skip
