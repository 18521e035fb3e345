"""The entry points: what can run here, and a session of it.

`qtest` is arm `virt` with hpcore's own hotplug registers; the others are machines whose
vCPUs QEMU hotplugs itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import attrs

from hpcore.guest.played import KINDS
from hpcore.model.config import MachineConfig
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State
from hpcore.model.topology import MAX_POSSIBLE
from hpcore.qemu.errors import QemuError
from hpcore.qemu.fetch import find_hotplugging
from hpcore.qemu.find import Qemu, find_qemu
from hpcore.run.accelerator import (
    OWN_PROTOCOL_ALONE,
    AcceleratorError,
    Belongings,
    Capabilities,
    GuestImages,
    GuestScript,
    Report,
    Stream,
)
from hpcore.run.admission import need_gicv3
from hpcore.run.saved_parts import need_running
from hpcore_qtest.base import QtestSession
from hpcore_qtest.native.boards import ARM_VIRT, LOONGARCH64_VIRT, Q35, NativeBoard
from hpcore_qtest.native.detection import arm_hotplugs_itself
from hpcore_qtest.native.session import NativeSession
from hpcore_qtest.qemu import launch
from hpcore_qtest.virt.saved import script_of as said_script
from hpcore_qtest.virt.session import VirtSession

_MODELLED_EVERYWHERE = {
    "power_off": "no vCPU runs, so that it is only noted which are on",
    "pause": "the machine's time never runs; the played guest is held back instead",
    "cpu_on": "the played guest calls PSCI, and the core answers it; QEMU is not asked",
    "shell": "no code of the guest runs; a line for its shell counts as run",
}

MODELLED = _MODELLED_EVERYWHERE | {
    "realize": "QEMU has all possible vCPUs from its start; none of them ever runs",
    "stop": "there is no thread that runs guest code",
    "release": "QEMU keeps the vCPU's address space, for it cannot be made anew",
    "wake": "there is no thread that was halted",
    "halt": "there is no thread that could be parked",
    "interrupt": (
        "the GED's SPI pends in the real distributor; the CPU interface is out of qtest's "
        "reach, so that its pending bit is cleared where a kernel would read ICC_IAR1_EL1"
    ),
}
"""What arm `virt` cannot do for real when none of its vCPUs runs, and why."""

NATIVE_MODELLED = _MODELLED_EVERYWHERE | {
    "init_gic": "this machine has no GIC; QEMU made its interrupt controller at the start",
    "bind": "there is no GICR_TYPER here; the affinity is that of the model",
    "wire": "QEMU connects the vCPU's interrupts within device_add",
    "unwire": "QEMU disconnects them within the eject",
    "unbind": "there is no redistributor to let go of",
    "park": "QEMU keeps nothing of an unplugged vCPU; the next plug creates one",
    "notify_insert": "device_add sets the event already; the guest is held back until here",
    "raise_ged": "QEMU can't be made to raise the line again; the registers answer as if it had",
    "cpu_model": "the machine's own vCPU type stands for the arm one",
}
"""The same for machines whose vCPUs QEMU hotplugs itself."""


NATIVE_NO_SAVE = (
    "a machine is not saved: QEMU takes a stream only where it has every vCPU that was plugged "
    "already, and which those were is not kept in a form that would outlive hpcore"
)


class QtestAccelerator:
    """Stock QEMU whose vCPUs never run: its GICv3 is real, the guest is played."""

    def __init__(self, rules: Rules = RULES) -> None:
        self._rules = rules

    def by(self, rules: Rules) -> QtestAccelerator:
        """See `hpcore.run.accelerator.RuledAccelerator`."""
        return QtestAccelerator(rules)

    def probe(self) -> Capabilities:
        """Whether there is a QEMU, and how it is kept from running. Starts no machine."""
        can = _capabilities(find_qemu, MAX_POSSIBLE, MODELLED, {})
        return attrs.evolve(can, no_save=None)

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> QtestSession:
        """A session for `machine`. Without a guest everything works but START.

        Where QEMU's arm `virt` hotplugs vCPUs itself, that is what the effects act on.
        """
        script = script_of(guest)
        need_gicv3("qtest", machine)
        qemu, native = await self._qemu()
        if native:
            if foreign := sorted(self._rules.traits & set(OWN_PROTOCOL_ALONE)):
                raise AcceleratorError(
                    f"the protocol has the trait '{foreign[0]}', and this QEMU hotplugs vCPUs "
                    "by itself, in its own way; choose another by HPCORE_QEMU"
                )
            return NativeSession(machine, ARM_VIRT, script, qemu, report)
        return VirtSession(machine, script, qemu, report, self._rules)

    async def restore(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> VirtSession:
        """See `hpcore.run.accelerator.RestoringAccelerator`."""
        need_running(state)
        script = script_of(said_script(belongings))
        qemu, native = await self._qemu()
        if native:
            raise AcceleratorError(f"on this QEMU, which hotplugs vCPUs itself, {NATIVE_NO_SAVE}")
        session = VirtSession(state.config, script, qemu, report, self._rules)
        await session.load(state, belongings, stream)
        return session

    async def _qemu(self) -> tuple[Qemu, bool]:
        """The QEMU for it, and whether that hotplugs vCPUs itself. Raises AcceleratorError."""
        try:
            qemu = await asyncio.to_thread(find_qemu)
            return qemu, await arm_hotplugs_itself(qemu)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error


class NativeAccelerator:
    """QEMU's own vCPU hotplug on one board; the guest is played."""

    board: NativeBoard

    def probe(self) -> Capabilities:
        """Whether there is a QEMU for it. Starts no machine."""
        return _capabilities(
            lambda: find_hotplugging(self.board.program), self.board.most, NATIVE_MODELLED
        )

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> NativeSession:
        """A session for `machine`. Without a guest everything works but START."""
        script = script_of(guest)
        if machine.possible > (most := self.board.room_for(machine)):
            raise AcceleratorError(
                f"{self.board.name} has at most {most} vCPUs with this topology, and the "
                f"machine {machine.possible}; lower maxcpus"
            )
        try:
            qemu = await asyncio.to_thread(find_hotplugging, self.board.program)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        return NativeSession(machine, self.board, script, qemu, report)


class LoongarchAccelerator(NativeAccelerator):
    """QEMU's loongarch64 `virt`: registers in memory, a GED."""

    board = LOONGARCH64_VIRT


class Q35Accelerator(NativeAccelerator):
    """QEMU's x86 `q35`: registers at I/O ports, a general purpose event."""

    board = Q35


def script_of(guest: GuestImages | GuestScript | None) -> GuestScript | None:
    """`guest`, which must be one that is played. Raises AcceleratorError."""
    if isinstance(guest, GuestImages):
        raise AcceleratorError("qtest runs no guest code: give it a guest to play, no kernel")
    if guest is not None and guest.kind not in KINDS:
        raise AcceleratorError(
            f"there is no guest '{guest.kind}' to play; there are {', '.join(KINDS)}"
        )
    return guest


def _capabilities(
    find: Callable[[], Qemu],
    most: int,
    modelled: Mapping[str, str],
    lacks: Mapping[str, str] = OWN_PROTOCOL_ALONE,
) -> Capabilities:
    """What an accelerator with such sessions can do here, on the QEMU that `find` finds."""
    versions: dict[str, str] = {}
    unavailable = None
    try:
        qemu = find()
        versions["qemu"] = qemu.version
        versions["qemu accelerator"] = launch.accelerator(qemu.path)[-1]
    except QemuError as error:
        unavailable = str(error)
    return Capabilities(
        unavailable=unavailable,
        max_vcpus=most,
        plays_guest=True,
        no_keep="the guest that is played, and what it has done, is in hpcore's own process",
        modelled=modelled,
        lacks=lacks,
        versions=versions,
        no_save=NATIVE_NO_SAVE,
    )
