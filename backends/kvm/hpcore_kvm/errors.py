"""What KVM refuses, in words: the ioctl, what it was done on, the cause, the remedy.

The causes are those that Linux 6.12 gives in arch/arm64/kvm (arm.c, vgic/*.c, hypercalls.c,
pmu-emul.c, reset.c) and virt/kvm/kvm_main.c; tests/kvm provokes each on a real KVM.
"""

from __future__ import annotations

import errno

_VGIC_BUSY = (
    "a vCPU is in KVM_RUN, or the VGIC is not initialised; take every vCPU out of KVM_RUN first"
)

_CAUSES: dict[tuple[str, int], str] = {
    ("open", errno.ENOENT): (
        "there is no /dev/kvm; load KVM or boot a host kernel at EL2, or use --accel tcg"
    ),
    ("open", errno.EACCES): (
        "this user may not use KVM; add the user to the group that owns the device "
        "(`usermod -aG kvm $USER`, then log in again), or use --accel tcg"
    ),
    ("open", errno.ENODEV): (
        "KVM is loaded but the host kernel does not run at EL2; boot it there, "
        "or use --accel tcg"
    ),
    ("open", errno.EPERM): (
        "a container or sandbox keeps this process from the device; let it in (docker: "
        "`--device /dev/kvm`), or use --accel tcg"
    ),
    ("KVM_CREATE_VM", errno.EINVAL): (
        "the host does not have that many bits of guest-physical address; ask for fewer"
    ),
    ("KVM_CREATE_VCPU", errno.EEXIST): "a vCPU has that id already; each is created once",
    ("KVM_CREATE_VCPU", errno.EINVAL): (
        "KVM has no vCPU id that high; lower maxcpus to what the capabilities say"
    ),
    ("KVM_CREATE_VCPU", errno.EBUSY): (
        "the VGIC is initialised, and from then on there are no new vCPUs; create all "
        "possible ones first"
    ),
    ("KVM_RUN", errno.ENOEXEC): "the vCPU was never initialised; do KVM_ARM_VCPU_INIT first",
    ("KVM_RUN", errno.ENXIO): (
        "the VGIC has no address yet, or its redistributor regions hold fewer frames than "
        "there are vCPUs; the machine cannot be mended: make it anew with regions for all "
        "possible vCPUs"
    ),
    ("KVM_RUN", errno.EPERM): (
        "the vCPU has SVE and its vector lengths are not final; do KVM_ARM_VCPU_FINALIZE first"
    ),
    ("KVM_RUN", errno.EINVAL): (
        "the vCPU's PMU or timer is not set up, or its registers are not valid; initialise "
        "the PMU after the VGIC and before the first run"
    ),
    ("KVM_RUN", errno.EFAULT): (
        "the guest reached memory that the host could not give it; the host may be out of memory"
    ),
    ("KVM_ARM_VCPU_INIT", errno.EINVAL): (
        "a vCPU keeps the features of its first initialisation, and all vCPUs have the "
        "same; initialise it with those"
    ),
    ("KVM_ARM_VCPU_INIT", errno.ENOENT): "this KVM does not know a feature that was asked for",
    ("KVM_ARM_VCPU_FINALIZE", errno.EPERM): "the feature is final already; it is made so once",
    ("KVM_ARM_VCPU_FINALIZE", errno.EINVAL): "the vCPU was not initialised with that feature",
    ("KVM_GET_ONE_REG", errno.ENOEXEC): "the vCPU was never initialised",
    ("KVM_SET_ONE_REG", errno.ENOEXEC): "the vCPU was never initialised",
    ("KVM_GET_ONE_REG", errno.ENOENT): "the vCPU has no such register",
    ("KVM_SET_ONE_REG", errno.ENOENT): "the vCPU has no such register",
    ("KVM_SET_MP_STATE", errno.EINVAL): "arm64 takes RUNNABLE, STOPPED and SUSPENDED alone",
    ("KVM_CREATE_DEVICE", errno.ENODEV): (
        "the host has no GICv3 to virtualise; use a host with a GICv3, or --accel tcg"
    ),
    ("KVM_CREATE_DEVICE", errno.EEXIST): "the machine has a VGIC already; it has one",
    ("KVM_CREATE_DEVICE", errno.EBUSY): "a vCPU has run; create the VGIC before the first run",
    ("KVM_CREATE_DEVICE", errno.E2BIG): (
        "there are more vCPUs than that VGIC can serve; lower maxcpus"
    ),
    ("VGIC NR_IRQS", errno.EBUSY): "the number of interrupts is set once, before CTRL_INIT",
    ("VGIC NR_IRQS", errno.EINVAL): "it is a multiple of 32, from 64 to 1024",
    ("VGIC DIST address", errno.EEXIST): "the distributor's address is set once",
    ("VGIC REDIST_REGION", errno.EINVAL): (
        "the region overlaps another, comes out of order, or is not 64 KiB aligned"
    ),
    ("VGIC REDIST_REGION", errno.E2BIG): "the region ends beyond the guest-physical addresses",
    ("VGIC CTRL_INIT", errno.EBUSY): "a vCPU is in KVM_RUN; take all out of it first",
    ("VGIC GICR register", errno.EBUSY): _VGIC_BUSY,
    ("VGIC GICR register", errno.EINVAL): "no vCPU has that mp-affinity; was it initialised?",
    ("VGIC GICR register", errno.ENXIO): "there is no such register in a redistributor",
    ("VGIC ICC register", errno.EBUSY): _VGIC_BUSY,
    ("VGIC ICC register", errno.EINVAL): "KVM does not take that value, or knows no such vCPU",
    ("VGIC ICC register", errno.ENXIO): "this host has no such CPU interface register",
    ("VGIC GICD register", errno.EBUSY): _VGIC_BUSY,
    ("VGIC GICD register", errno.ENXIO): "there is no such register in a distributor",
    ("VGIC line levels", errno.EBUSY): _VGIC_BUSY,
    ("SMCCC filter", errno.EBUSY): "a vCPU has run; set the filter before the first run",
    ("SMCCC filter", errno.EEXIST): "the filter has an action for one of these calls already",
    ("SMCCC filter", errno.EINVAL): (
        "the range is empty or no SMCCC call, or this kernel has no filter (it came with 6.4)"
    ),
    ("SMCCC filter", errno.ENXIO): "this kernel has no SMCCC filter (it came with 6.4)",
    ("PMU IRQ", errno.EBUSY): "the PMU's interrupt is set once, before PMU INIT",
    ("PMU IRQ", errno.EINVAL): (
        "all vCPUs have the same PPI (16 to 31) for their PMU, and the VGIC is created before"
    ),
    ("PMU INIT", errno.EBUSY): "the PMU is initialised once",
    ("PMU INIT", errno.ENODEV): (
        "the PMU is initialised after the VGIC's CTRL_INIT, on a vCPU that has the feature"
    ),
    ("PMU INIT", errno.ENXIO): "the PMU has no interrupt yet; set it before PMU INIT",
    ("KVM_IRQ_LINE", errno.EINVAL): "the VGIC has no such SPI; raise its number of interrupts",
    ("KVM_IRQFD", errno.EBUSY): "that eventfd drives an interrupt already",
    ("mmap", errno.ENOMEM): (
        "this process may not have so much address space; lower memory, raise `ulimit -v`, "
        "or set vm.overcommit_memory to 0"
    ),
    ("KVM_SET_USER_MEMORY_REGION", errno.EEXIST): "the region overlaps one that is there",
    ("KVM_SET_USER_MEMORY_REGION", errno.EFAULT): (
        "the host's KVM has no guest-physical addresses that high; lower memory"
    ),
    ("KVM_SET_USER_MEMORY_REGION", errno.EINVAL): (
        "address and size must be whole pages, within the guest-physical addresses"
    ),
}

_ANYWHERE = {
    errno.ENOMEM: "the host kernel is out of memory; free some, or lower maxcpus or memory",
    errno.EMFILE: "this process has too many files open; raise `ulimit -n` (a vCPU takes one)",
    errno.ENFILE: "the host has too many files open",
    errno.EIO: (
        "an earlier failure lost the whole machine, and KVM takes nothing for it any more; "
        "make it anew"
    ),
}


class KvmError(Exception):
    """KVM refused or failed.

    `call` is the ioctl, or the device attribute behind it (such as `VGIC CTRL_INIT`);
    `number` the errno; `subject` what it was done on; `hint` cause and remedy, or "".
    """

    def __init__(self, call: str, number: int, subject: str) -> None:
        self.call, self.number, self.subject = call, number, subject
        self.hint = _CAUSES.get((call, number)) or _ANYWHERE.get(number, "")
        text = f"{call} on {subject} failed with {self.name}"
        super().__init__(f"{text}: {self.hint}" if self.hint else text)

    @property
    def name(self) -> str:
        """The errno's name, such as EBUSY."""
        return errno.errorcode.get(self.number, str(self.number))


class OrderError(Exception):
    """Something was asked of the binding out of order; the text says what comes first."""


class MismatchError(Exception):
    """KVM is not as the guest's tables describe the machine; the text says where."""
