"""The accelerator that docs/accelerators.md shows keeps its promises, and works under a core."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from hpcore.model import events as ev
from hpcore.model.config import MachineConfig
from hpcore.model.stimuli import DeviceAdd
from hpcore.promises import PROMISES
from hpcore.run import Found, open_machine

PAGE = Path(__file__).parents[2] / "docs/accelerators.md"


def code() -> dict[str, Any]:
    """What the page's Python defines."""
    names: dict[str, Any] = {"__name__": "the_docs"}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE} (block {number})", "exec"), names)
    return names


NAMES = code()
TestNotebook = NAMES["TestNotebook"]
"""Found and run by pytest, as it would be in an accelerator's own tests."""


def test_the_page_leaves_out_what_is_about_guests_and_losses_alone() -> None:
    kept = len(PROMISES) - len(TestNotebook.left_out)
    about = ("guest", "console", "loss", "not_repeated", "max_vcpus", "is_off")
    assert all(any(word in name for word in about) for name in TestNotebook.left_out)
    assert kept > len(PROMISES) / 2


def test_the_pages_accelerator_plugs_a_vcpu_under_the_core(tmp_path: Path) -> None:
    async def run() -> None:
        accelerator = NAMES["NotebookAccelerator"]()
        found = Found("notebook", "docs", accelerator, accelerator.probe())
        config = MachineConfig.of(cpus=1, maxcpus=2)
        told: list[ev.Event] = []
        async with open_machine(found, config, log=tmp_path / "log.jsonl") as machine:
            machine.subscribe(lambda event, _state: told.append(event))
            await machine.start()
            plug = await machine.begin(DeviceAdd("core1", (("core-id", 1),)))
            await plug.ended()
        assert ev.PlugCompleted(1, "core1") in told
        assert isinstance(told[-1], ev.MachinePoweredOff)

    asyncio.run(run())
