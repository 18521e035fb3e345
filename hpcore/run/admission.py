"""What accelerators check alike before they open a session, so that all refuse alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hpcore.guest import boot
from hpcore.guest.errors import GuestError
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.revision import Revision
from hpcore.platform.firmware import Board
from hpcore.run.accelerator import AcceleratorError, GuestImages, GuestScript
from hpcore.run.discovery import Found


def need_gicv3(name: str, machine: MachineConfig) -> None:
    """Raise AcceleratorError where `machine` has no GICv3, which accelerator `name` needs."""
    if machine.gic_version != 3:
        raise AcceleratorError(
            f"{name} needs a GICv3, whose redistributors can be taken one by one, and the "
            f"machine has gic-version {machine.gic_version}; use 3"
        )


def images_of(name: str, guest: GuestImages | GuestScript | None) -> GuestImages | None:
    """`guest`, which must be one that accelerator `name` can boot. Raises AcceleratorError."""
    if isinstance(guest, GuestScript):
        raise AcceleratorError(f"{name} boots its guest: give it a kernel and an initrd")
    return guest


async def prepare(
    machine: MachineConfig, board: Board, guest: GuestImages | None, append: str = ""
) -> boot.BootFiles | None:
    """Check `guest` and build `board`'s firmware for it, all in memory; None without one.

    `append` stands on the kernel's command line before what the guest brings. Raises
    AcceleratorError for a machine the tables cannot describe, a kernel that is none, an
    initrd that is not there, or a command line that is too long.
    """
    if guest is None:
        return None
    line = f"{append} {guest.append}".strip()
    try:
        return await asyncio.to_thread(
            boot.prepare, machine, board, guest.kernel, guest.initrd, line
        )
    except GuestError as error:
        raise AcceleratorError(str(error)) from error


def need_protocol(found: Found, protocol: Revision) -> None:
    """Raises AcceleratorError where `found` can't do what `protocol` asks for."""
    steps = (("step", str(step)) for step in protocol.steps)
    traits = (("trait", str(trait)) for trait in sorted(protocol.rules.traits))
    _need(found, f"the protocol {protocol.name}", (*steps, *traits))


def need_steps(found: Found, whose: str, steps: Iterable[Step]) -> None:
    """Raises AcceleratorError where `found` can't do one of `steps`, which `whose` asks for."""
    _need(found, whose, (("step", str(step)) for step in steps))


def _need(found: Found, whose: str, wanted: Iterable[tuple[str, str]]) -> None:
    lacks = found.capabilities.lacks
    for kind, name in wanted:
        if name in lacks:
            raise AcceleratorError(
                f"{whose} has the {kind} '{name}', which '{found.name}' cannot do: "
                f"{lacks[name]}. qtest knows most protocols, and `hpcore check --rules` all"
            )
