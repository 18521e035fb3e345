"""Whether a QEMU hotplugs vCPUs itself, and where they go: it is asked, not assumed.

`query-hotpluggable-cpus` is refused by a machine that has no vCPU hotplug; arm `virt` does
so up to now. One that answers says for each possible vCPU how `device_add` names it.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from hpcore.qemu.errors import QemuError
from hpcore.qemu.qmp import Qmp, QmpRefused


@frozen
class HotpluggableCpu:
    """A place for a vCPU: its driver and props for `device_add`, and who is there, if any."""

    driver: str
    props: Mapping[str, int]
    path: str | None


class NoHotplug(QemuError):
    """This QEMU's machine hotplugs no vCPU. The text says how it said so."""


async def ask(qmp: Qmp) -> list[HotpluggableCpu]:
    """What QEMU says of every possible vCPU, by index. Raises NoHotplug, or QemuError."""
    try:
        return read(await qmp.execute("query-hotpluggable-cpus"))
    except QmpRefused as refused:
        raise NoHotplug(f"this QEMU hotplugs no vCPU of its machine: {refused}") from refused


def read(answer: object) -> list[HotpluggableCpu]:
    """The vCPUs of an answer, which has them with the highest index first.

    Raises NoHotplug for an answer that no slot could follow: one entry for several vCPUs (as
    on ppc), or with none that says where it is.
    """
    found = []
    assert isinstance(answer, list), "QMP's schema says so"
    for entry in reversed(answer):
        if entry["vcpus-count"] != 1 or not entry["props"]:
            raise NoHotplug(f"this QEMU plugs vCPUs otherwise than one by one: {entry}")
        found.append(HotpluggableCpu(entry["type"], dict(entry["props"]), entry.get("qom-path")))
    if not found:
        raise NoHotplug("this QEMU's machine has no vCPU that could be plugged")
    return found
