"""A session on arm `virt`: effects act on QEMU's GIC and on hpcore's hotplug registers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hpcore.guest.errors import GuestError
from hpcore.guest.played import Hardware
from hpcore.model.config import MachineConfig
from hpcore.model.effects import NOTIFICATIONS, Effect, MachineStep, Step
from hpcore.model.rules import RULES, Rules, Trait
from hpcore.model.states import State
from hpcore.model.topology import mp_affinity
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.run.accelerator import (
    NEVER_WIRED,
    AcceleratorError,
    Belongings,
    EffectError,
    GuestScript,
    Keep,
    Report,
    Stream,
    Writes,
)
from hpcore_qtest.base import QtestSession
from hpcore_qtest.qemu.machine import Ears, StoppedQemu
from hpcore_qtest.virt.hardware import VirtHardware
from hpcore_qtest.virt.interface import Interface
from hpcore_qtest.virt.machine import GED_SPI, VirtMachine
from hpcore_qtest.virt.redistributor import RedistributorError
from hpcore_qtest.virt.saved import Parts, refuse_other_qemu

REST_SECONDS = 20.0
"""For a guest that is to be saved to come to rest: what it does just then is in no file."""

CHUNK = 1 << 20

TOLD_AT_ONCE = NOTIFICATIONS | {Step.ENABLE, Step.DISABLE}
"""The steps that are the hotplug registers'; they touch no QEMU."""

_WIRED_AND_SHUT = (Step.BIND, Step.WIRE, Step.SHUT)
"""What is done to the GICC of a vCPU that is realized before it is ever plugged."""


class VirtSession(QtestSession):
    """`device` has the hotplug registers, `machine` is the QEMU that runs now."""

    def __init__(
        self,
        config: MachineConfig,
        script: GuestScript | None,
        qemu: Qemu,
        report: Report,
        rules: Rules = RULES,
    ) -> None:
        super().__init__(config, script, report, rules)
        self._program = qemu
        self.machine: VirtMachine | None = None
        self.device = HotplugDevice(config, report, self._pulse_ged, rules=rules)
        self._interfaces = [Interface() for _ in range(config.possible)]

    @property
    def qemu(self) -> StoppedQemu | None:
        """The QEMU that runs now."""
        return None if self.machine is None else self.machine.qemu

    async def execute(self, effect: Effect) -> int | None:
        """Carry `effect` out; see the protocol."""
        try:
            return await super().execute(effect)
        except RedistributorError as error:
            raise EffectError(str(error)) from error

    async def _create(self) -> Hardware:
        self.machine = await VirtMachine.start(self._config, self._program, self._ears())
        return VirtHardware(self)

    async def _init_gic(self) -> None:
        await self._virt().gicr.check()
        if Trait.REALIZED_AT_START in self._rules.traits:
            for slot in range(self._config.possible):
                if not self._config.cold_booted(slot):
                    for step in _WIRED_AND_SHUT:
                        await self._step(step, slot)

    def _at_once(self, step: Step, slot: int) -> bool:
        if step in TOLD_AT_ONCE:
            self.device.apply(step, slot)
        return step in TOLD_AT_ONCE

    async def _step(self, step: Step, slot: int) -> int | None:
        gicr, interface = self._virt().gicr, self._interfaces[slot]
        match step:
            case Step.BIND:
                frame = await gicr.find(mp_affinity(slot))
                if frame is None:
                    raise EffectError(f"no redistributor has the affinity of vCPU {slot}")
                await gicr.clear(frame)
                interface.frame, interface.wired, interface.shut = frame, False, False
                return await gicr.affinity(frame)
            case Step.WIRE:
                await gicr.wake(self._bound(slot))
                interface.wired = True
            case Step.UNWIRE:
                await gicr.sleep(self._bound(slot))
                interface.wired = False
            case Step.UNBIND:
                if interface.wired:
                    raise EffectError(f"the CPU interface of vCPU {slot} is still wired")
                await gicr.clear(self._bound(slot))
                interface.frame = None
            case Step.PARK:
                if interface.frame is not None:
                    raise EffectError(f"the CPU interface of vCPU {slot} is still bound")
            case Step.POWER_OFF:
                self.power.on.discard(slot)
            case Step.OPEN | Step.SHUT | Step.HALT:
                await self._step_of_others(step, slot)
        return None

    async def _step_of_others(self, step: Step, slot: int) -> None:
        """A step of protocols that leave a vCPU whole as it is unplugged."""
        gicr, interface = self._virt().gicr, self._interfaces[slot]
        if step is Step.HALT:
            if interface.usable:
                raise EffectError(f"the CPU interface of vCPU {slot} is still open")
            return
        if not interface.wired:
            raise EffectError(f"the CPU interface of vCPU {slot} is not wired")
        interface.shut = step is Step.SHUT
        await (gicr.sleep if interface.shut else gicr.wake)(self._bound(slot))

    def _reassert(self, slot: int) -> None:
        self.device.reassert(slot)

    def _raise_ged(self) -> None:
        self.device.raise_ged()

    async def _set_up(self) -> None:
        await self._virt().ged.set_up()

    async def _restore(self, enabled: tuple[int, ...]) -> None:
        missing = [slot for slot in enabled if not self._interfaces[slot].usable]
        if missing:
            raise EffectError(NEVER_WIRED.format(missing[0]))
        for interface in self._interfaces:
            if interface.usable and interface.frame is not None:
                await self._virt().gicr.wake(interface.frame)
        for slot in enabled:
            self.device.apply(Step.ENABLE, slot)

    def _forget(self) -> None:
        self.device.reset()

    async def _move(self) -> None:
        self._follow(await self._virt().moved())

    def _follow(self, there: VirtMachine) -> None:
        self.machine = there
        there.qemu.listen(self._ears())

    # ----------------------------------------------------------- save and restore

    async def save(self, keep: Keep) -> None:
        """See `hpcore.run.accelerator.SavableSession`.

        QEMU sends a machine once. So it goes by a file to a new QEMU, which is the session's
        from then on, and the file is what is saved.
        """
        self._gate.check(MachineStep.SAVE)
        try:
            await self._once_at_rest(keep)
        except (RedistributorError, GuestError) as error:
            raise EffectError(str(error)) from error
        except QemuError as error:
            if self._gate.gone is not None:
                raise AcceleratorError(self._gate.gone) from error
            raise EffectError(str(error)) from error
        except OSError as error:
            raise EffectError(f"the file takes no more: {error.strerror or error}") from error

    async def _once_at_rest(self, keep: Keep) -> None:
        if self._guest is None:
            raise EffectError("it has no guest yet, and a machine is saved once it runs")
        within = asyncio.get_running_loop().time() + REST_SECONDS
        while True:
            async with self._alone():
                if self._guest.undisturbed:
                    self._going.clear()
                    try:
                        return await self._save(keep)
                    finally:
                        self._let_go()
            if self._paused:
                raise EffectError(
                    "the played guest was paused in the middle of something, of which nothing "
                    "can be written: let it go on, and save it then"
                )
            await self._guest.comes_to_rest(within - asyncio.get_running_loop().time())

    async def _save(self, keep: Keep) -> None:
        assert self._script is not None, "there is a guest"
        here = self._running()
        file = await keep(await self._parts().saved(here.qmp, self._script))
        with tempfile.NamedTemporaryFile(prefix="hpcore-") as spool:
            self._follow(await self._virt().moved(Path(spool.name)))
            await here.close()
            await asyncio.to_thread(_copy, spool.name, file)

    async def load(self, state: State, saved: Belongings, stream: Stream) -> None:
        """In place of CREATE_VCPUS and all that followed: the machine that was saved.

        Raises AcceleratorError, and leaves nothing behind.
        """
        try:
            there = await VirtMachine.start(
                self._config, self._program, self._ears(), incoming=True
            )
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        try:
            await refuse_other_qemu(saved, there.qemu.qmp)
            await there.qemu.take_from(stream)
            self.machine = there
            self._meet(VirtHardware(self))
            self._parts().load(saved, state)
        except QemuError as error:
            await self.close()
            await there.qemu.close()
            raise AcceleratorError(f"QEMU does not take the saved machine: {error}") from error
        except BaseException:
            await self.close()
            await there.qemu.close()
            raise
        self._paused = self._started = True
        self._gate.stands(state)
        self._gate.pause()

    def _parts(self) -> Parts:
        assert self._guest is not None, "a machine without a guest is neither saved nor restored"
        return Parts(self.device, self._interfaces, self.power, self._guest)

    # ---------------------------------------------------------------- interrupts

    def _pulse_ged(self) -> None:
        """The device has something to tell: an edge on the GED's SPI. The loop's thread."""
        if self.machine is None or self._gate.gone is not None:
            return
        self.machine.ged.pulse().add_done_callback(self._pulsed)

    def _pulsed(self, sent: asyncio.Future[list[str]]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._lose(str(error))

    def _interrupted(self, number: int, raised: bool) -> None:
        if number == GED_SPI and raised:
            self._look_for_interrupt()

    def _look_for_interrupt(self) -> None:
        if self._going.is_set():
            self._spawn(self._take_interrupt())

    async def _take_interrupt(self) -> None:
        """vCPU 0 takes the GED's interrupt, if it pends: what the guest's own code would do."""
        async with self._alone():
            ged = self._virt().ged
            if self._going.is_set() and await ged.pends():
                await ged.take()
                if self._guest is not None:
                    self._guest.ged_interrupt()

    # ------------------------------------------------------------------- helpers

    def _bound(self, slot: int) -> int:
        frame = self._interfaces[slot].frame
        if frame is None:
            raise EffectError(f"the CPU interface of vCPU {slot} is not bound")
        return frame

    def _virt(self) -> VirtMachine:
        self._running()
        assert self.machine is not None
        return self.machine

    def _ears(self) -> Ears:
        return Ears(irq=self._interrupted, lost=self._lose)


def _copy(name: str, file: Writes) -> None:
    with Path(name).open("rb") as spool:
        while data := spool.read(CHUNK):
            file.write(data)
