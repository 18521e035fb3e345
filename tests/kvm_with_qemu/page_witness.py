"""The policy page of a QEMU with the interposer as a witness: who is granted, and who is on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore_kvm_qemu.session import KvmQemuSession

from hpcore.model.states import Slot
from hpcore.run.accelerator import Session
from tests.tcg.kills.witness import Words


class Page:
    """See Witness."""

    name = "the interposer"

    def of_model(self, slot: Slot) -> Words:
        """See Witness. Each vCPU of QEMU's has its thread, whatever it may do."""
        return {"granted": slot.enabled, "on": slot.powered, "thread": True}

    async def ask(self, session: Session, slots: int) -> list[Words]:
        """See Witness."""
        assert isinstance(session, KvmQemuSession)
        machine = session.machine
        assert machine is not None
        found: list[Words] = []
        for slot in range(slots):
            seen = machine.seen(slot)
            found.append({
                "granted": machine.policy.page.granted(slot), "on": bool(seen.powered),
                "thread": has_thread(session.process_id, seen.tid),
            })  # fmt: skip
        machine.policy.drain()  # what had been said by then is heard, or there is news
        await asyncio.sleep(0)
        return found


def has_thread(pid: int | None, tid: int) -> bool:
    """Whether the process has that thread."""
    return tid != 0 and Path(f"/proc/{pid}/task/{tid}").exists()


WITNESS = Page()
