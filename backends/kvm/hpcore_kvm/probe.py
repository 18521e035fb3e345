"""What can run here, found out without making a machine, and said with cause and remedy."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from hpcore.model.topology import MAX_POSSIBLE
from hpcore.platform import virt
from hpcore.run.accelerator import Capabilities

if TYPE_CHECKING:
    from hpcore_kvm.vm import System, Vm

DEVICE = Path("/dev/kvm")
INTERRUPTS = Path("/proc/interrupts")
HIGH_BITS = (virt.GICR_HIGH_BASE + virt.GICR_HIGH_SIZE - 1).bit_length()
"""Guest-physical address bits that the redistributors of the high region need."""

MODELLED = {
    "cpu_model": "a vCPU is of the host's own model; the machine's cpu_model names it only",
    "unwire": "KVM wires a vCPU's private interrupts for good; they are disabled instead",
    "migrate": (
        "the machine is carried to a VM of its own within hpcore's process; memory and state go "
        "as they would to another"
    ),
    "release": "a KVM vCPU has no address space of its own; its run page is unmapped",
}
_ANYWHERE = Capabilities(
    no_save=None, no_keep="the machine is a part of hpcore's own process", modelled=MODELLED
)
"""What does not depend on the host."""


def probe(device: Path = DEVICE, machine: str | None = None) -> Capabilities:
    """What this machine's KVM can do. Makes an empty VM for a moment, and takes milliseconds.

    `machine` is what the host is, as uname(1) has it.
    """
    versions = {"host kernel": platform.release()}  # the header's "kernel" is the guest's
    reason = not_arm64(machine or platform.machine())
    if reason is not None:
        return attrs.evolve(_ANYWHERE, unavailable=reason, versions=versions)
    # Not before here: the binding parses KVM's structs when it is imported, which takes
    # longer than all of the rest, and for nothing on another host.
    from hpcore_kvm import uapi  # noqa: PLC0415
    from hpcore_kvm.errors import KvmError  # noqa: PLC0415
    from hpcore_kvm.vm import System, Vm  # noqa: PLC0415

    try:
        system = System(device)
        try:
            version = system.api_version()
            if version != uapi.API_VERSION:
                return attrs.evolve(
                    _ANYWHERE,
                    unavailable=f"{device} has API version {version}, not "
                    f"{uapi.API_VERSION}; boot a Linux host kernel with KVM",
                    versions=versions,
                )
            with Vm(device) as vm:
                return _of(system, vm, versions)
        finally:
            system.close()
    except KvmError as error:
        return attrs.evolve(_ANYWHERE, unavailable=str(error), versions=versions)


def not_arm64(machine: str) -> str | None:
    """Why a host of that kind cannot run arm64 guests in KVM, or None where it can."""
    if machine == "aarch64":
        return None
    return (
        f"this host is {machine}, and KVM runs guests of the host's own architecture; "
        "use an arm64 host, or --accel tcg"
    )


def too_many(possible: int, most: int) -> str:
    """What to say where a machine has more possible vCPUs than the host's KVM can have."""
    return (
        f"this host's KVM has at most {most} vCPUs in a machine, and {possible} are possible in "
        "this one; lower maxcpus"
    )


def host_mode(interrupts: Iterable[str]) -> str | None:
    """VHE or nVHE, from the lines of /proc/interrupts; None where they do not tell.

    A kernel that runs at EL2 (VHE) takes the EL2 physical timer for itself, one that runs
    at EL1 the EL1 physical timer (drivers/clocksource/arm_arch_timer.c,
    arch_timer_select_ppi).
    """
    for line in interrupts:
        words = line.split()
        if words and words[-1] == "arch_timer":
            if str(virt.TIMER_HYP_GSI) in words:
                return "VHE"
            if str(virt.TIMER_PHYS_GSI) in words:
                return "nVHE"
    return None


def _of(system: System, vm: Vm, versions: dict[str, str]) -> Capabilities:
    from hpcore_kvm import smccc, uapi  # noqa: PLC0415
    from hpcore_kvm.errors import KvmError  # noqa: PLC0415
    from hpcore_kvm.uapi import Cap  # noqa: PLC0415

    with suppress(OSError):  # a sandbox may hide it, and nothing but a log's header lacks it
        mode = host_mode(INTERRUPTS.read_text().splitlines())
        if mode is not None:
            versions["kvm"] = mode
    unavailable = None
    try:
        vm.create_device(uapi.DEV_TYPE_ARM_VGIC_V3, "a VGICv3", test=True)
    except KvmError as error:
        unavailable = str(error)
    most = min(vm.check(Cap.MAX_VCPUS) or vm.check(Cap.NR_VCPUS), MAX_POSSIBLE)
    if system.ipa_bits() < HIGH_BITS:
        # the high region is out of reach, so that is all the redistributors there can be
        most = min(most, virt.GICR_FIRST_REGION)
    return attrs.evolve(
        _ANYWHERE,
        unavailable=unavailable,
        no_hotplug=None if smccc.has_filter(vm) else smccc.NO_FILTER,
        max_vcpus=most,
        versions=versions,
    )
