"""The distributor's state: what every SPI is set to, and which are pending or active.

With what `Vgic.save` gives of each bound CPU interface it is all of a VGIC. There is no ITS,
hence no LPI, and no table of pending ones in the guest's memory that had to be written first.
No vCPU is in KVM_RUN meanwhile.

Source: Documentation/virt/kvm/devices/arm-vgic-v3.rst.
"""

from __future__ import annotations

from attrs import frozen

from hpcore_kvm import abi, uapi
from hpcore_kvm.gic import (
    ALL,
    GICD_CTLR,
    GICD_ICACTIVER,
    GICD_ICENABLER,
    GICD_ICFGR,
    GICD_IGROUPR,
    GICD_IPRIORITYR,
    GICD_IROUTER,
    GICD_ISACTIVER,
    GICD_ISENABLER,
    GICD_ISPENDR,
    INTIDS,
    Vgic,
)


def _bank(register: int, bits: int) -> tuple[int, ...]:
    """The words of an array with so many bits an interrupt that are of SPIs."""
    return tuple(register + n for n in range(32 * bits // 8, INTIDS * bits // 8, 4))


CONFIGURATION = (
    GICD_CTLR, *_bank(GICD_IGROUPR, 1), *_bank(GICD_ICFGR, 2), *_bank(GICD_IPRIORITYR, 8),
    *_bank(GICD_IROUTER, 64), *_bank(GICD_ISENABLER, 1),
)  # fmt: skip
PENDING = (*_bank(GICD_ISACTIVER, 1), *_bank(GICD_ISPENDR, 1))
_TWINS = (
    (GICD_ISENABLER, GICD_ICENABLER), (GICD_ISACTIVER, GICD_ICACTIVER),
)  # fmt: skip
CLEARED_BY = {
    word: clears
    for sets, by in _TWINS
    for word, clears in zip(_bank(sets, 1), _bank(by, 1), strict=True)
}
"""Words that set by writing 1, and what clears them."""


@frozen
class DistributorState:
    """Words by their offset; line levels by the first INTID of each 32."""

    words: dict[int, int]
    levels: dict[int, int]


def read(vgic: Vgic) -> DistributorState:
    """The distributor as it is. Raises KvmError."""
    words = {word: vgic.read_distributor(word) for word in (*CONFIGURATION, *PENDING)}
    return DistributorState(words, {first: _levels(vgic, first) for first in _firsts()})


def write(vgic: Vgic, state: DistributorState) -> None:
    """Put `state` into the distributor, in the documentation's order: configuration, the lines'
    levels, what is pending. Raises KvmError, and KeyError where a word is missing."""
    for word in CONFIGURATION:
        _write(vgic, word, state.words[word])
    for first in _firsts():
        _set_levels(vgic, first, state.levels[first])
    for word in PENDING:
        _write(vgic, word, state.words[word])


def _write(vgic: Vgic, word: int, value: int) -> None:
    if word in CLEARED_BY:
        vgic.write_distributor(CLEARED_BY[word], ALL)
    vgic.write_distributor(word, value)


def _firsts() -> range:
    return range(32, INTIDS, 32)


def _levels(vgic: Vgic, first: int) -> int:
    value = abi.ffi.new("uint32_t *")
    abi.get_attribute(
        vgic.fd, uapi.VGIC_GRP_LEVEL_INFO, first, value, f"the lines from {first} on",
        "VGIC line levels",
    )  # fmt: skip
    return int(value[0])


def _set_levels(vgic: Vgic, first: int, levels: int) -> None:
    abi.set_attribute(
        vgic.fd, uapi.VGIC_GRP_LEVEL_INFO, first, abi.ffi.new("uint32_t *", levels),
        f"the lines from {first} on", "VGIC line levels",
    )  # fmt: skip
