"""One machine: its VM, its vCPUs and VGIC in KVM's order, its devices, its threads.

It knows nothing of the core's effects and of its event loop: its methods block, briefly,
and one caller at a time uses them. What the guest does comes in on the vCPUs' threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from attrs import frozen

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.stimuli import GuestCall, Stimulus
from hpcore.platform import virt
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore_kvm import boot as booting
from hpcore_kvm import pl011, pmu, smccc, uapi, vcpu_state
from hpcore_kvm.bus import Bus, Region
from hpcore_kvm.errors import KvmError
from hpcore_kvm.features import Features
from hpcore_kvm.gic import GICR_ICACTIVER0, GICR_ICENABLER0, GICR_ISPENDR0, Vgic
from hpcore_kvm.pl011 import Pl011
from hpcore_kvm.threads import Threads
from hpcore_kvm.uapi import MpState
from hpcore_kvm.vcpu import Vcpu
from hpcore_kvm.vcpu_state import VcpuState
from hpcore_kvm.vm import Irqfd, Memory, Vm

GATE_SECONDS = 5.0
_ALL = 0xFFFF_FFFF


@frozen
class _At:
    """A device that takes absolute addresses, as a region's device."""

    device: HotplugDevice
    base: int

    def read(self, offset: int, size: int) -> int:
        return self.device.read(self.base + offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self.device.write(self.base + offset, size, value)


class KvmMachine:
    """Made with nothing in KVM yet; `create` and `init_gic` come first, in that order."""

    def __init__(
        self,
        config: MachineConfig,
        images: BootFiles | None,
        report: Callable[[Stimulus], None],
        system_event: Callable[[int], None],
        failed: Callable[[str], None],
        output: Callable[[bytes], None],
        *,
        deferred: bool = False,
    ) -> None:
        """`report`, `system_event` and `failed` are for the threads (see threads.Machine);
        `output` takes what the guest prints. All four are called on any thread. `deferred`:
        a vCPU's thread is started as it is first powered on, and not as it is realized."""
        self.possible = config.possible
        self.report, self.system_event, self.failed = report, system_event, failed
        self._config, self._images, self._deferred = config, images, deferred
        self._vm: Vm | None = None
        self._vgic: Vgic | None = None
        self.features = Features()  # none, before `create` has asked the host
        self._memory: Memory | None = None
        self._ged: Irqfd | None = None
        self._fresh: set[int] = set()  # initialised and not run since
        self._stopped_at: int | None = None  # the guest's counter, while paused
        self.filtered = True  # PSCI's CPU_ON and CPU_OFF come to us
        self.hotplug = HotplugDevice(config, self._guest_call, self._raise_ged)
        self.uart = Pl011(self._uart_line, output)
        self.bus = Bus(
            Region(virt.UART0_BASE, pl011.SIZE, self.uart),
            *(Region(base, size, _At(self.hotplug, base)) for base, size in self.hotplug.regions),
        )
        self.threads = Threads(self)

    @property
    def vm(self) -> Vm:
        """The VM, once `create` has made it."""
        assert self._vm is not None, "create comes first"
        return self._vm

    @property
    def memory(self) -> Memory:
        """The guest's memory, once `create` has made it."""
        assert self._memory is not None, "create comes first"
        return self._memory

    @property
    def vgic(self) -> Vgic:
        """The VGIC, once `init_gic` has begun."""
        assert self._vgic is not None, "init_gic comes first"
        return self._vgic

    # ------------------------------------------------------------- once, in KVM's order

    def create(self) -> None:
        """The VM, its memory, and every possible vCPU, initialised and powered off.

        Raises KvmError, and leaves nothing behind.
        """
        self._vm = Vm()
        try:
            self._memory = self.vm.add_memory(virt.RAM_BASE, self._config.memory << 20)
            self.features = self.vm.host_features()
            for index in range(self.possible):
                self.vm.create_vcpu(index).init(self.features, power_off=True)
        except KvmError:
            self.close()
            raise

    def init_gic(self) -> None:
        """The VGIC for all of them, their PMUs, the filter: what comes before the first run.

        Raises KvmError or MismatchError.
        """
        self._vgic = Vgic(self.vm)
        self.vgic.add_redistributors(self.possible)
        if self.features.pmu:
            for vcpu in self.vm.vcpus:
                pmu.set_interrupt(vcpu)
        self.vgic.init()
        if self.features.pmu:
            for vcpu in self.vm.vcpus:
                pmu.initialise(vcpu)
        self.filtered = smccc.has_filter(self.vm)
        if self.filtered:
            smccc.install_filter(self.vm)
        self._ged = self.vm.irqfd(virt.ACPI_GED_GSI)

    # ---------------------------------------------------------------------- a vCPU

    def vcpu(self, index: int) -> Vcpu:
        """The vCPU of slot `index`, parked or not."""
        return self.vm.vcpus[index]

    def on(self, index: int) -> bool:
        """Whether the vCPU may run: the guest, or START, has powered it on."""
        thread = self.threads.get(index)
        return thread is not None and thread.powered

    def do(self, step: Step, index: int) -> int | None:
        """Carry `step` out on vCPU `index`; in order, which the caller has checked.

        For BIND and UNWIRE every thread is out of KVM_RUN, for POWER_OFF that of the vCPU,
        and for STOP it has ended. Raises KvmError and leaves nothing behind.
        """
        match step:
            case Step.REALIZE:
                self._realize(index, thread=not self._deferred)
            case Step.BIND:
                return self.vgic.bind(index)
            case Step.UNWIRE:
                self._quieten(index)
            case Step.UNBIND:
                self.vgic.unbind(index)
            case Step.POWER_OFF:
                self.vcpu(index).mp_state = MpState.STOPPED
            case Step.RELEASE:
                self.vcpu(index).unmap()
            case Step.WIRE | Step.STOP | Step.PARK:
                pass  # the PPIs are wired for good; the thread has ended; a file is left
            case _:
                self.hotplug.apply(step, index)
        return None

    def power_on(self, index: int, entry: int, context: int) -> None:
        """Have the realized vCPU run from `entry`, with `context` in x0, all else reset.

        Raises KvmError, or RuntimeError where its thread is not at the gate, or the host has none.
        """
        # that it went off is reported a moment before its thread lets go of it
        if index in self.threads and self.threads.wait_out(GATE_SECONDS, index):
            raise RuntimeError(f"the thread of vCPU {index} still runs it")
        if index not in self._fresh:
            self._init(index)
        self.vcpu(index).set_entry(entry, context)
        self._run(index)

    # ----------------------------------------------------------------- the whole of it

    @property
    def stopped_at(self) -> int | None:
        """What the guest's counter says while time stands still; None while it does not."""
        return self._stopped_at

    def stop_time(self, at: int | None = None) -> None:
        """Keep what the guest's counter says, or `at`. Every thread is out. Raises KvmError."""
        self._stopped_at = self.vcpu(0).get_register(uapi.REG_TIMER_CNT) if at is None else at

    def start_time(self) -> None:
        """Have the counter go on from there, for all vCPUs. Every thread is out still.

        As QEMU does (target/arm/kvm.c, kvm_arm_put_virtual_time), and for what Linux reads,
        the virtual counter, alone. Raises KvmError.
        """
        if self._stopped_at is not None:
            self.vcpu(0).set_register(uapi.REG_TIMER_CNT, self._stopped_at)
            self._stopped_at = None

    def load(self) -> None:
        """Put the images into memory. No vCPU runs. Raises LoadError."""
        assert self._memory is not None and self._images is not None
        self._memory.clear()
        booting.load(self._memory, self._images)

    def enter_kernel(self) -> None:
        """Have vCPU 0 enter the kernel that was loaded, unless all are held."""
        self._init(0)
        booting.enter(self.vcpu(0))
        self._run(0)
        if not self.filtered:  # the kernel's own PSCI wakes them, inside KVM_RUN
            for index in range(1, self.possible):
                if index in self.threads:
                    self.threads[index].power_on()

    def reset(self, enabled: Collection[int]) -> None:
        """Registers, VGIC and devices as at the start, with the slots of `enabled` enabled.

        Every thread is out and held out. Raises KvmError.
        """
        self.threads.power_off_all()
        for index in range(self.possible):
            if self.realized(index):
                self._init(index)
        self.vgic.reset()
        self.uart.reset()
        self.hotplug.reset()
        for index in sorted(enabled):
            self.hotplug.apply(Step.ENABLE, index)

    def close(self) -> None:
        """Free everything of it in KVM. All threads must have ended."""
        if self._vm is not None:
            self._ged = None
            self._vm.close()

    def realized(self, index: int) -> bool:
        """Whether the vCPU is more than a file: its run page is mapped."""
        return self.vcpu(index).mapped

    def fresh(self, index: int) -> bool:
        """Whether the vCPU was initialised, and has not run since."""
        return index in self._fresh

    def revive(
        self, index: int, state: VcpuState, *,
        on: bool, fresh: bool, thread: bool, has: Mapping[int, bytes] = {},
    ) -> None:  # fmt: skip
        """Have the vCPU as it was in another machine, while all threads are held.

        It `has` these registers as it is initialised. Raises KvmError, or RuntimeError for want
        of a thread.
        """
        self._realize(index, thread=thread)
        vcpu_state.write(self.vcpu(index), state, has)
        if not fresh:
            self._fresh.discard(index)
        if on:
            self.threads[index].power_on()

    def _realize(self, index: int, *, thread: bool) -> None:
        """Unpark: reset the registers, map the run page, start a `thread` at its gate.

        Raises KvmError, or RuntimeError for want of a thread, and leaves nothing behind.
        """
        vcpu = self.vcpu(index)
        self._init(index)
        vcpu.map()
        try:
            if thread:
                self.threads.start(vcpu)
        except RuntimeError:
            vcpu.unmap()
            raise

    def _quieten(self, index: int) -> None:
        """No SGI or PPI of the bound vCPU is enabled, active or pending any more.

        KVM has wired them for good; this is what unwiring can be. Every thread is out.
        """
        for register, value in ((GICR_ICENABLER0, _ALL), (GICR_ICACTIVER0, _ALL),
                                (GICR_ISPENDR0, 0)):  # fmt: skip
            self.vgic.write_redistributor(index, register, value)

    def _init(self, index: int) -> None:
        self.vcpu(index).init(self.features, power_off=True)
        self._fresh.add(index)

    def _run(self, index: int) -> None:
        if index not in self.threads:  # deferred until now
            self.threads.start(self.vcpu(index))
        self._fresh.discard(index)
        self.vcpu(index).mp_state = MpState.RUNNABLE
        self.threads[index].power_on()

    def _guest_call(self, call: GuestCall) -> None:
        self.report(call)

    def _raise_ged(self) -> None:
        if self._ged is not None:
            self._ged.trigger()

    def _uart_line(self, level: bool) -> None:
        self.vm.set_irq(virt.UART0_GSI, level)
