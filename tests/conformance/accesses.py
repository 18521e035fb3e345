"""What a guest does to the hotplug registers, access by access, recorded as it happens.

    python -m tests.nested -- python3 -m tests.conformance.accesses plug-unplug /out/linux.jsonl

records a real Linux on KVM; the recordings that tests hold played guests against were made
so. Only what acts is kept: loads of the GED's events, stores of command, flags and data,
each with the slot that was selected. A load of the flags is `_STA`, and how often a kernel
evaluates that is its own affair.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from attrs import asdict, frozen

from hpcore.guest.images import fetched_guest
from hpcore.platform import virt
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.platform.hotplug_registers import COMMAND, DATA, FLAGS, SELECTOR
from hpcore.run.accelerator import GuestImages
from hpcore.run.discovery import find
from hpcore.scenario.read import load
from hpcore.scenario.runner import Job, run_job

NAMES = {COMMAND: "command", FLAGS: "flags", DATA: "data"}


@frozen
class Access:
    """One that acts. `register` is ged, which is loaded, or one that is stored to."""

    register: str
    size: int
    value: int
    selected: int | None = None


def read_recording(path: Path) -> list[Access]:
    """The accesses in a file that `main` wrote."""
    return [Access(**json.loads(line)) for line in path.read_text().splitlines()]


@contextmanager
def recorded() -> Iterator[list[Access]]:
    """Whatever is done to any HotplugDevice meanwhile."""
    accesses: list[Access] = []
    selected = 0
    real_read, real_write = HotplugDevice.read, HotplugDevice.write

    def read(self: HotplugDevice, address: int, size: int) -> int:
        value = real_read(self, address, size)
        if address == virt.GED_BASE:
            accesses.append(Access("ged", size, value))
        return value

    def write(self: HotplugDevice, address: int, size: int, value: int) -> None:
        nonlocal selected
        offset = address - virt.CPU_HOTPLUG_BASE
        if offset == SELECTOR:
            selected = value
        else:
            accesses.append(Access(NAMES.get(offset, hex(address)), size, value, selected))
        real_write(self, address, size, value)

    with patch.object(HotplugDevice, "read", read), patch.object(HotplugDevice, "write", write):
        yield accesses


def main(scenario: str, out: Path) -> None:
    """Run `scenario` on KVM and write what Linux does to `out`, a JSON object a line."""
    guest = fetched_guest()
    assert guest is not None, "run `hpcore guest fetch` first"
    images = GuestImages(guest.kernel, guest.initramfs())
    job = Job(load(scenario), find("kvm"), images, out.with_suffix(".log"), overwrite=True)
    with recorded() as accesses:
        outcome = asyncio.run(run_job(job))
    assert outcome.ok, outcome.results
    out.write_text("".join(json.dumps(asdict(each)) + "\n" for each in accesses))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
