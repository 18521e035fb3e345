"""What QEMU and the hotplug registers say, held against what the model believes."""

from __future__ import annotations

from collections.abc import Mapping

from hpcore_qtest.virt.redistributor import (
    ASLEEP,
    EVERY,
    ICFGR1,
    IGROUPR0,
    ISACTIVER0,
    ISENABLER0,
    ISPENDR0,
    PRIORITIES,
    PRIORITY,
    STATE,
    TYPER,
    WAKER,
    WIRED,
)
from hpcore_qtest.virt.session import VirtSession

from hpcore.model.machines import GiccState
from hpcore.model.states import State
from hpcore.model.topology import mp_affinity
from hpcore.platform.ged import GedEvent


async def differences(
    state: State, session: VirtSession, pending: Mapping[int, int]
) -> list[str]:
    """Where `state` and the machine of `session` disagree, in words; empty where they agree.

    `pending` has the SGIs and PPIs that must pend, as ISPENDR0 of each vCPU.
    """
    out: list[str] = []

    def hold(what: str, found: object, wanted: object) -> None:
        if found != wanted:
            out.append(f"{what} is {found!r}, not {wanted!r}")

    machine, device = session.machine, session.device
    assert machine is not None
    gicr = machine.gicr
    typers = await machine.qemu.qtest.read_all((f + TYPER for f in gicr.frames), 8)
    for index, slot in enumerate(state.slots):
        registers = dict(zip(STATE, await gicr.state(index), strict=True))
        wired = slot.gicc is GiccState.WIRED
        hold(f"GICR_WAKER of vCPU {index}", registers[WAKER], 0 if wired else ASLEEP)
        hold(f"GICR_ISENABLER0 of vCPU {index}", registers[ISENABLER0], WIRED if wired else 0)
        hold(f"GICR_IGROUPR0 of vCPU {index}", registers[IGROUPR0], EVERY if wired else 0)
        hold(f"GICR_ISPENDR0 of vCPU {index}", registers[ISPENDR0], pending.get(index, 0))
        hold(f"GICR_ISACTIVER0 of vCPU {index}", registers[ISACTIVER0], 0)
        hold(f"GICR_ICFGR1 of vCPU {index}", registers[ICFGR1], 0)
        priorities = {registers[register] for register in PRIORITIES}
        hold(f"GICR_IPRIORITYR of vCPU {index}", priorities, {PRIORITY if wired else 0})
        hold(f"GICR_TYPER of vCPU {index}", typers[index] >> 32, mp_affinity(index))
        hold(f"_STA of vCPU {index}", device.enabled(index), slot.enabled)
        hold(f"the event bits of vCPU {index}", device.pending(index), (slot.insert, slot.remove))
        hold(f"the power of vCPU {index}", index in session.power.on, slot.powered)
    ged = machine.ged
    enabled, spis = await machine.qemu.qtest.read_all((ged.enable, ged.pending), 4)
    bit = 1 << ged.pin.number
    hold("the GED's SPI enabled", bool(enabled & bit), True)
    raised = bool(device.ged_events & GedEvent.CPU_HOTPLUG)
    hold("the GED's event", raised, state.shared.ged)
    waits = state.shared.ged and state.shared.paused  # while it runs, the guest takes it
    hold("the GED's SPI pending", bool(spis & bit), waits)
    return out
