"""The features that every vCPU of a machine is initialised with, chosen once from what KVM has.

KVM holds a vCPU to the features of its first KVM_ARM_VCPU_INIT, so a parked one gets them
all, and its SVE vector lengths are made final, long before it is plugged.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from hpcore_kvm.uapi import Cap, Feature


@frozen
class Features:
    """What a vCPU is initialised with, beside PSCI 0.2 or later."""

    pmu: bool = False
    sve: bool = False
    pointer_authentication: bool = False

    @property
    def bits(self) -> int:
        """The first word of `kvm_vcpu_init.features`, without POWER_OFF."""
        bits = 1 << Feature.PSCI_0_2
        if self.pmu:
            bits |= 1 << Feature.PMU_V3
        if self.sve:
            bits |= 1 << Feature.SVE
        if self.pointer_authentication:
            # KVM takes both or neither
            bits |= 1 << Feature.PTRAUTH_ADDRESS | 1 << Feature.PTRAUTH_GENERIC
        return bits


def host_features(check_extension: Callable[[Cap], int]) -> Features:
    """All that this KVM can give a vCPU."""
    return Features(
        pmu=check_extension(Cap.ARM_PMU_V3) > 0,
        sve=check_extension(Cap.ARM_SVE) > 0,
        pointer_authentication=(
            check_extension(Cap.ARM_PTRAUTH_ADDRESS) > 0
            and check_extension(Cap.ARM_PTRAUTH_GENERIC) > 0
        ),
    )
