"""The distributor's state: what every SPI is set to, and which are pending or active.

With what `Vgic.save` gives of each bound CPU interface it is all of a VGIC. There is no ITS,
hence no LPI, and no table of pending ones in the guest's memory that had to be written first.
No vCPU is in KVM_RUN meanwhile.

Source: Documentation/virt/kvm/devices/arm-vgic-v3.rst.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from hpcore_kvm import abi, uapi
from hpcore_kvm.errors import KvmError
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
from hpcore_kvm.uapi import Ioctl


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
    one = _OneWord(vgic)
    words = {word: one.read(word) for word in (*CONFIGURATION, *PENDING)}
    return DistributorState(words, {first: _levels(vgic, first) for first in _firsts()})


def write(vgic: Vgic, state: DistributorState, has: Mapping[int, int] = {}) -> None:
    """Put `state` into the distributor, in the documentation's order: configuration, the lines'
    levels, what is pending. Words that it `has` already are not written.

    Raises KvmError, and KeyError where a word is missing."""
    one = _OneWord(vgic)
    for word in CONFIGURATION:
        if has.get(word) != state.words[word]:
            one.put(word, state.words[word])
    for first in _firsts():
        _set_levels(vgic, first, state.levels[first])
    for word in PENDING:
        one.put(word, state.words[word])


class _OneWord:
    """The argument of a call about the distributor, for word after word.

    To make one for each takes longer than the call, and a guest may stand still meanwhile.
    """

    def __init__(self, vgic: Vgic) -> None:
        self._fd = vgic.fd
        self._value = abi.ffi.new("uint32_t *")
        self._data = abi.new(
            "kvm_device_attr", group=uapi.VGIC_GRP_DIST_REGS, addr=abi.address(self._value)
        )

    def read(self, word: int) -> int:
        self._do(Ioctl.KVM_GET_DEVICE_ATTR, word)
        return int(self._value[0])

    def put(self, word: int, value: int) -> None:
        """Have the word say so, also where its bits are cleared by another."""
        if word in CLEARED_BY:
            self._write(CLEARED_BY[word], ALL)
        self._write(word, value)

    def _write(self, word: int, value: int) -> None:
        self._value[0] = value
        self._do(Ioctl.KVM_SET_DEVICE_ATTR, word)

    def _do(self, request: Ioctl, word: int) -> None:
        self._data.attr = word
        try:
            abi.ioctl(self._fd, request, self._data, "")
        except KvmError as error:
            subject = f"the distributor's word {word:#x}"
            raise KvmError("VGIC GICD register", error.number, subject) from None


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
