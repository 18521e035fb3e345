"""Who is asked, behind hpcore's back, what a machine's vCPUs are: one for each accelerator."""

from __future__ import annotations

import importlib
from typing import Protocol

from hpcore.model.states import Slot
from hpcore.run.accelerator import Session

MODULES = {
    "tcg": "tests.tcg.kills.monitor",
    "kvm-qemu": "tests.kvm_with_qemu.page_witness",
}
"""Where the witness of an accelerator is. It is imported once it is needed, since not every
accelerator is installed everywhere."""

Words = dict[str, object]
"""What is said of one vCPU, by name."""


class Witness(Protocol):
    """A module that has these functions."""

    name: str
    """For people."""

    def of_model(self, slot: Slot) -> Words:
        """What the model says of it, in the witness's words."""

    async def ask(self, session: Session, slots: int) -> list[Words]:
        """What the witness says of each vCPU, once all that it said before has been heard."""


def witness(accelerator: str) -> Witness:
    """The accelerator's own."""
    found: Witness = importlib.import_module(MODULES[accelerator]).WITNESS
    return found
