"""The EL3 monitor of hpcore-tcg as a witness: its word on every slot, by QUERY."""

from __future__ import annotations

from hpcore_tcg.kept import KeptTcgSession
from hpcore_tcg.protocol import Op, Power, StateBit

from hpcore.model.machines import GiccState
from hpcore.model.states import Slot, sta
from hpcore.run.accelerator import Session
from tests.tcg.kills.witness import Words


class Monitor:
    """See Witness."""

    name = "the monitor"

    def of_model(self, slot: Slot) -> Words:
        """See Witness."""
        return {
            "realized": slot.thread, "bound": slot.gicc is not GiccState.UNBOUND,
            "wired": slot.gicc is GiccState.WIRED, "allowed": slot.enabled,
            "on": slot.powered, "sta": sta(slot),
        }  # fmt: skip

    async def ask(self, session: Session, slots: int) -> list[Words]:
        """See Witness."""
        assert isinstance(session, KeptTcgSession)
        assert session._machine is not None
        return [said(await session._machine.link.send(Op.QUERY, i)) for i in range(slots)]


def said(word: int) -> Words:
    """What the monitor's answer means."""

    def bit(at: StateBit, width: int = 1) -> int:
        return word >> at & ((1 << width) - 1)

    return {
        "realized": bool(bit(StateBit.REALIZED)), "bound": bool(bit(StateBit.BOUND)),
        "wired": bool(bit(StateBit.WIRED)), "allowed": bool(bit(StateBit.ALLOWED)),
        "on": Power(bit(StateBit.POWER, 2)) is not Power.OFF, "sta": bit(StateBit.STA, 8),
    }  # fmt: skip


WITNESS = Monitor()
