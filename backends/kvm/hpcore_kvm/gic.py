"""The VGICv3: sized for every possible vCPU, initialised once; and its CPU interfaces.

A CPU interface here is what the architecture splits in two: the redistributor of a vCPU
(GICR) and its CPU interface registers (ICC). KVM lets user space at either only while *no
vCPU of the machine is in KVM_RUN*, and answers EBUSY otherwise (vgic-kvm-device.c,
lock_all_vcpus). So whoever calls anything here but the constructor takes the threads out
of `Vcpu.run` first, and holds them out until it is done.

Source: Documentation/virt/kvm/devices/arm-vgic-v3.rst; Arm IHI 0069 for the registers.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from hpcore.model.topology import mp_affinity
from hpcore.platform import virt
from hpcore_kvm import abi, uapi
from hpcore_kvm.errors import MismatchError, OrderError
from hpcore_kvm.uapi import system_register
from hpcore_kvm.vm import Vm

SPIS = 256
"""Shared interrupts, as many as QEMU's `virt` has."""

INTIDS = 32 + SPIS
HIGH_FRAMES = virt.GICR_HIGH_SIZE // virt.GICR_FRAME
ALL = 0xFFFF_FFFF
EDGE = 0xAAAA_AAAA  # sixteen times two bits

GICR_TYPER = 0x0008
SGI_FRAME = 0x1_0000

# Registers of a redistributor, in the order in which a restore writes them. Those that set
# by writing 1 are cleared by their twin first. There is no ITS, so there are no LPIs, and
# what configures those (GICR_PROPBASER, GICR_PENDBASER) has no effect.
GICR_IGROUPR0 = SGI_FRAME + 0x080
GICR_ISENABLER0, GICR_ICENABLER0 = SGI_FRAME + 0x100, SGI_FRAME + 0x180
GICR_ISPENDR0 = SGI_FRAME + 0x200
GICR_ISACTIVER0, GICR_ICACTIVER0 = SGI_FRAME + 0x300, SGI_FRAME + 0x380
GICR_IPRIORITYR0 = SGI_FRAME + 0x400
GICR_ICFGR0, GICR_ICFGR1 = SGI_FRAME + 0xC00, SGI_FRAME + 0xC04
GICR_WORDS = (
    GICR_IGROUPR0, GICR_ISENABLER0, GICR_ICFGR0, GICR_ICFGR1,
    *range(GICR_IPRIORITYR0, GICR_IPRIORITYR0 + 32, 4),
    GICR_ISACTIVER0, GICR_ISPENDR0,
)  # fmt: skip
_CLEARED_BY = {GICR_ISENABLER0: GICR_ICENABLER0, GICR_ISACTIVER0: GICR_ICACTIVER0}

ICC_CTLR_EL1 = system_register(3, 0, 12, 12, 4)
ICC_PMR_EL1 = system_register(3, 0, 4, 6, 0)
ICC_REGISTERS = (
    system_register(3, 0, 12, 12, 5),  # ICC_SRE_EL1
    ICC_CTLR_EL1,
    system_register(3, 0, 12, 12, 6),  # ICC_IGRPEN0_EL1
    system_register(3, 0, 12, 12, 7),  # ICC_IGRPEN1_EL1
    ICC_PMR_EL1,
    system_register(3, 0, 12, 8, 3),  # ICC_BPR0_EL1
    system_register(3, 0, 12, 12, 3),  # ICC_BPR1_EL1
)

GICD_CTLR = 0x0000
GICD_IGROUPR, GICD_ISENABLER, GICD_ICENABLER = 0x0080, 0x0100, 0x0180
GICD_ISPENDR, GICD_ISACTIVER, GICD_ICACTIVER = 0x0200, 0x0300, 0x0380
GICD_IPRIORITYR, GICD_ICFGR, GICD_IROUTER = 0x0400, 0x0C00, 0x6000


def _active_priorities(priority_bits: int) -> Iterator[int]:
    """ICC_AP0R<n>_EL1 and ICC_AP1R<n>_EL1: one bit a preemption level, 32 to a register."""
    for n in range(1 << max(priority_bits - 5, 0)):
        yield system_register(3, 0, 12, 8, 4 + n)
        yield system_register(3, 0, 12, 9, n)


@frozen
class InterfaceState:
    """The registers of one CPU interface: GICR words by offset, ICC by encoding, PPI lines."""

    redistributor: tuple[tuple[int, int], ...]
    cpu: tuple[tuple[int, int], ...]
    line_levels: int


class Vgic:
    """The VGIC of a VM. Created empty, before or after the vCPUs; see `init`."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._bound: set[int] = set()
        self._at_reset: InterfaceState | None = None
        self.fd = vm.create_device(uapi.DEV_TYPE_ARM_VGIC_V3, "the VGIC")
        self.set_interrupts(INTIDS)
        self.set_distributor(virt.GICD_BASE)

    # ------------------------------------------------------- once, before any vCPU runs

    def set_interrupts(self, count: int) -> None:
        """How many INTIDs there are, private ones included. Once, before `init`."""
        abi.set_attribute(
            self.fd, uapi.VGIC_GRP_NR_IRQS, 0, abi.ffi.new("uint32_t *", count),
            f"a VGIC of {count} interrupts", "VGIC NR_IRQS",
        )  # fmt: skip

    def set_distributor(self, base: int) -> None:
        """Where the distributor is. Once."""
        abi.set_attribute(
            self.fd, uapi.VGIC_GRP_ADDR, uapi.VGIC_ADDR_DIST, abi.ffi.new("uint64_t *", base),
            f"a distributor at {base:#x}", "VGIC DIST address",
        )  # fmt: skip

    def add_redistributors(self, possible: int) -> None:
        """Frames for all `possible` vCPUs, where `hpcore.platform.virt` has them.

        KVM hands them out in the order of the vCPUs' creation. It would let a VGIC be
        initialised with too few, and only refuse to run.
        """
        first = min(possible, virt.GICR_FIRST_REGION)
        self.add_region(0, virt.GICR_BASE, first)
        if possible > first:
            self.add_region(1, virt.GICR_HIGH_BASE, possible - first)

    def add_region(self, index: int, base: int, frames: int) -> None:
        """Redistributor region `index`, of `frames` frames of 128 KiB from `base` on."""
        value = frames << uapi.REDIST_REGION_COUNT_SHIFT | base | index
        abi.set_attribute(
            self.fd, uapi.VGIC_GRP_ADDR, uapi.VGIC_ADDR_REDIST_REGION,
            abi.ffi.new("uint64_t *", value),
            f"region {index} of {frames} redistributors at {base:#x}", "VGIC REDIST_REGION",
        )  # fmt: skip

    def init(self) -> None:
        """CTRL_INIT: the VGIC serves the vCPUs that there are, and there will be no more.

        Raises MismatchError where KVM numbered a vCPU otherwise than the MADT does.
        """
        for vcpu in self._vm.vcpus:
            expected = mp_affinity(vcpu.index)
            if vcpu.features is not None and vcpu.affinity != expected:
                raise MismatchError(
                    f"KVM gave {vcpu.name} the mp-affinity {vcpu.affinity:#x}, and the guest's "
                    f"tables say {expected:#x}; this kernel numbers vCPUs otherwise than "
                    "Linux 6.12, and hpcore cannot run on it"
                )
        abi.set_attribute(
            self.fd, uapi.VGIC_GRP_CTRL, uapi.VGIC_CTRL_INIT, None, "the VGIC", "VGIC CTRL_INIT"
        )

    # ---------------------------------------------- no vCPU in KVM_RUN: the CPU interfaces

    @property
    def bound(self) -> frozenset[int]:
        """The vCPUs whose CPU interfaces are bound."""
        return frozenset(self._bound)

    def bind(self, index: int) -> int:
        """Bind the CPU interface of vCPU `index`, found by its mp-affinity, in reset state.

        Returns the affinity that its GICR_TYPER says. What an earlier life of the vCPU left
        in the redistributor and the ICC registers, which KVM_ARM_VCPU_INIT does not touch,
        is gone after this.
        """
        if index in self._bound:
            raise OrderError(f"the CPU interface of vCPU {index} is bound already")
        self._bound.add(index)
        try:
            affinity = self.read_redistributor(index, GICR_TYPER + 4)
            if self._at_reset is None:
                # The first to be bound is cold-booted, so no guest has run yet: what is in
                # there is the reset state, and that of all others. Of a vCPU that is bound
                # later it need not be: the guest reaches its redistributor from the start.
                self._at_reset = self.save(index)
            self.restore(index, self._at_reset)
        except Exception:
            self._bound.discard(index)
            raise
        return affinity

    def unbind(self, index: int) -> None:
        """Let go of the CPU interface of vCPU `index`; it may not be touched from here on."""
        self._check_bound(index)
        self._bound.discard(index)

    def save(self, index: int) -> InterfaceState:
        """The registers of the bound CPU interface of vCPU `index`."""
        self._check_bound(index)
        priority_bits = (self.read_cpu(index, ICC_CTLR_EL1) >> 8 & 0x7) + 1
        cpu = (*ICC_REGISTERS, *_active_priorities(priority_bits))
        return InterfaceState(
            tuple((word, self.read_redistributor(index, word)) for word in GICR_WORDS),
            tuple((register, self.read_cpu(index, register)) for register in cpu),
            self._line_levels(index),
        )

    def restore(self, index: int, state: InterfaceState) -> None:
        """Write `state` to the bound CPU interface of vCPU `index`.

        In the documentation's order: configuration before line levels, those before what
        is pending.
        """
        self._check_bound(index)
        for word, value in state.redistributor:
            if word in _CLEARED_BY:
                self.write_redistributor(index, _CLEARED_BY[word], ALL)
            if word == GICR_ISPENDR0:
                self._set_line_levels(index, state.line_levels)
            self.write_redistributor(index, word, value)
        for register, value in state.cpu:
            self.write_cpu(index, register, value)

    def reset(self) -> None:
        """Put the distributor and every bound CPU interface in reset state."""
        self.reset_distributor()
        for index in sorted(self._bound):
            assert self._at_reset is not None
            self.restore(index, self._at_reset)

    def read_redistributor(self, index: int, offset: int) -> int:
        """The 32-bit word at `offset` in the frame of the bound vCPU `index`."""
        self._check_bound(index)
        value = abi.ffi.new("uint32_t *")
        abi.get_attribute(
            self.fd, uapi.VGIC_GRP_REDIST_REGS, _addressed(index, offset), value,
            _subject(index, offset), "VGIC GICR register",
        )  # fmt: skip
        return int(value[0])

    def write_redistributor(self, index: int, offset: int, value: int) -> None:
        """Write the 32-bit word at `offset` in the frame of the bound vCPU `index`."""
        self._check_bound(index)
        abi.set_attribute(
            self.fd, uapi.VGIC_GRP_REDIST_REGS, _addressed(index, offset),
            abi.ffi.new("uint32_t *", value), _subject(index, offset), "VGIC GICR register",
        )  # fmt: skip

    def read_cpu(self, index: int, register: int) -> int:
        """The ICC register of the bound vCPU `index`, by its encoding."""
        self._check_bound(index)
        value = abi.ffi.new("uint64_t *")
        abi.get_attribute(
            self.fd, uapi.VGIC_GRP_CPU_SYSREGS, _addressed(index, register), value,
            _subject(index, register), "VGIC ICC register",
        )  # fmt: skip
        return int(value[0])

    def write_cpu(self, index: int, register: int, value: int) -> None:
        """Write the ICC register of the bound vCPU `index`, by its encoding."""
        self._check_bound(index)
        abi.set_attribute(
            self.fd, uapi.VGIC_GRP_CPU_SYSREGS, _addressed(index, register),
            abi.ffi.new("uint64_t *", value), _subject(index, register), "VGIC ICC register",
        )  # fmt: skip

    def _line_levels(self, index: int) -> int:
        value = abi.ffi.new("uint32_t *")
        abi.get_attribute(
            self.fd, uapi.VGIC_GRP_LEVEL_INFO, _addressed(index, 0), value,
            f"the PPIs of vCPU {index}", "VGIC line levels",
        )  # fmt: skip
        return int(value[0])

    def _set_line_levels(self, index: int, levels: int) -> None:
        abi.set_attribute(
            self.fd, uapi.VGIC_GRP_LEVEL_INFO, _addressed(index, 0),
            abi.ffi.new("uint32_t *", levels), f"the PPIs of vCPU {index}", "VGIC line levels",
        )  # fmt: skip

    def _check_bound(self, index: int) -> None:
        if index not in self._bound:
            raise OrderError(
                f"the CPU interface of vCPU {index} is not bound; bind it before it is touched"
            )

    # ------------------------------------------------- no vCPU in KVM_RUN: the distributor

    def read_distributor(self, offset: int) -> int:
        """The 32-bit word at `offset` in the distributor."""
        value = abi.ffi.new("uint32_t *")
        abi.get_attribute(
            self.fd, uapi.VGIC_GRP_DIST_REGS, offset, value,
            f"the distributor's word {offset:#x}", "VGIC GICD register",
        )  # fmt: skip
        return int(value[0])

    def write_distributor(self, offset: int, value: int) -> None:
        """Write the 32-bit word at `offset` in the distributor."""
        abi.set_attribute(
            self.fd, uapi.VGIC_GRP_DIST_REGS, offset, abi.ffi.new("uint32_t *", value),
            f"the distributor's word {offset:#x}", "VGIC GICD register",
        )  # fmt: skip

    def reset_distributor(self) -> None:
        """Every SPI disabled, inactive, not pending, edge, priority 0, group 1, to vCPU 0.

        Those are the values that KVM's distributor has when it is made; it has no reset of
        its own. The line of a level-sensitive SPI is its device's, which lowers it.
        """
        self.write_distributor(GICD_CTLR, 0)
        for n in range(4, 4 * INTIDS // 32, 4):  # one bit an SPI
            self.write_distributor(GICD_ICENABLER + n, ALL)
            self.write_distributor(GICD_ICACTIVER + n, ALL)
            self.write_distributor(GICD_ISPENDR + n, 0)
            self.write_distributor(GICD_IGROUPR + n, ALL)
        for n in range(8, INTIDS // 4, 4):  # two bits
            self.write_distributor(GICD_ICFGR + n, EDGE)
        for n in range(32, INTIDS, 4):  # eight bits
            self.write_distributor(GICD_IPRIORITYR + n, 0)
        for n in range(8 * 32, 8 * INTIDS, 4):  # two words
            self.write_distributor(GICD_IROUTER + n, 0)


def _addressed(index: int, register: int) -> int:
    """A VGIC attribute: which vCPU, by its mp-affinity, and which of its registers."""
    return mp_affinity(index) << uapi.VGIC_MPIDR_SHIFT | register


def _subject(index: int, register: int) -> str:
    return f"register {register:#x} of vCPU {index}"
