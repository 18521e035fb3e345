"""KVM's structs and the one way to call it: cffi in ABI mode, so nothing is ever compiled.

The layouts below are checked when this module is imported, against the sizes and offsets
that Linux 6.12 has on arm64. They hold on any 64-bit little-endian machine, so that the
package imports where no arm64 KVM is, and can say so.

Source: include/uapi/linux/kvm.h, arch/arm64/include/uapi/asm/kvm.h, Linux 6.12.
"""

from __future__ import annotations

import errno
import mmap
from typing import Any

from cffi import FFI

from hpcore_kvm.errors import KvmError
from hpcore_kvm.uapi import Ioctl

_CDEF = """
int ioctl(int fd, unsigned long request, ...);
void (*signal(int number, void (*handler)(int)))(int);
int abs(int value);
void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset);
int munmap(void *address, size_t length);

struct kvm_userspace_memory_region {
    uint32_t slot, flags;
    uint64_t guest_phys_addr, memory_size, userspace_addr;
};
struct kvm_dirty_log { uint32_t slot, padding1; void *dirty_bitmap; };
struct kvm_vcpu_init { uint32_t target, features[7]; };
struct kvm_one_reg { uint64_t id, addr; };
struct kvm_reg_list { uint64_t n; uint64_t reg[]; };
struct kvm_mp_state { uint32_t mp_state; };
struct kvm_vcpu_events {
    struct {
        uint8_t serror_pending, serror_has_esr, ext_dabt_pending, pad[5];
        uint64_t serror_esr;
    } exception;
    uint32_t reserved[12];
};
struct kvm_irq_level { uint32_t irq, level; };
struct kvm_irqfd { uint32_t fd, gsi, flags, resamplefd; uint8_t pad[16]; };
struct kvm_enable_cap { uint32_t cap, flags; uint64_t args[4]; uint8_t pad[64]; };
struct kvm_create_device { uint32_t type, fd, flags; };
struct kvm_device_attr { uint32_t flags, group; uint64_t attr, addr; };
struct kvm_smccc_filter { uint32_t base, nr_functions; uint8_t action, pad[15]; };
struct kvm_run {
    uint8_t request_interrupt_window, immediate_exit, padding1[6];
    uint32_t exit_reason;
    uint8_t ready_for_interrupt_injection, if_flag;
    uint16_t flags;
    uint64_t cr8, apic_base;
    union {
        struct { uint64_t hardware_entry_failure_reason; uint32_t cpu; } fail_entry;
        struct { uint64_t phys_addr; uint8_t data[8]; uint32_t len; uint8_t is_write; } mmio;
        struct { uint64_t nr, args[6], ret, flags; } hypercall;
        struct { uint32_t suberror, ndata; uint64_t data[16]; } internal;
        struct { uint32_t type, ndata; uint64_t data[16]; } system_event;
        struct { uint64_t esr_iss, fault_ipa; } arm_nisv;
        struct { uint64_t flags, gpa, size; } memory_fault;
        uint8_t padding[256];
    };
    uint64_t kvm_valid_regs, kvm_dirty_regs;
    uint8_t sync_regs[2048];
};
"""

SIZES = {
    "kvm_userspace_memory_region": 32,
    "kvm_dirty_log": 16,
    "kvm_vcpu_init": 32,
    "kvm_one_reg": 16,
    "kvm_reg_list": 8,
    "kvm_mp_state": 4,
    "kvm_irq_level": 8,
    "kvm_irqfd": 32,
    "kvm_enable_cap": 104,
    "kvm_create_device": 12,
    "kvm_device_attr": 24,
    "kvm_smccc_filter": 24,
    "kvm_run": 2352,
    "kvm_vcpu_events": 64,
}
"""Bytes of each struct, as the kernel has them."""

OFFSETS: dict[tuple[str, ...], int] = {
    ("immediate_exit",): 1,
    ("exit_reason",): 8,
    ("mmio", "phys_addr"): 32,
    ("mmio", "data"): 40,
    ("mmio", "len"): 48,
    ("mmio", "is_write"): 52,
    ("hypercall", "nr"): 32,
    ("hypercall", "args"): 40,
    ("hypercall", "ret"): 88,
    ("hypercall", "flags"): 96,
    ("system_event", "type"): 32,
    ("system_event", "data"): 40,
    ("arm_nisv", "fault_ipa"): 40,
    ("kvm_valid_regs",): 288,
    ("sync_regs",): 304,
}
"""Bytes into `struct kvm_run`, as the kernel has them."""


class LayoutError(ImportError):
    """This machine's C layout is not the kernel's, so nothing may be passed to KVM."""


def check_layouts(layouts: Any) -> None:
    """Hold every struct of `layouts`, an FFI, against the kernel's. Raises LayoutError."""
    for name, size in SIZES.items():
        found = layouts.sizeof(f"struct {name}")
        if found != size:
            raise LayoutError(
                f"struct {name} has {found} bytes here and {size} in the kernel; "
                "hpcore-kvm needs a 64-bit Linux with the arm64 KVM user API"
            )
    for path, offset in OFFSETS.items():
        found = layouts.offsetof("struct kvm_run", *path)
        if found != offset:
            raise LayoutError(
                f"kvm_run.{'.'.join(path)} is at byte {found} here and at {offset} in the "
                "kernel; hpcore-kvm needs a 64-bit Linux with the arm64 KVM user API"
            )


ffi: Any = FFI()
ffi.cdef(_CDEF)
check_layouts(ffi)
C: Any = ffi.dlopen(None)

_INTEGER = ffi.typeof("unsigned long")
_POINTER = ffi.typeof("void *")
_MAP_FAILED = (1 << 64) - 1


def system(fd: int, request: int, argument: Any) -> int:
    """The ioctl(2) itself; a test that injects a failure replaces it. errno is ffi.errno."""
    result: int = C.ioctl(fd, request, argument)
    return result


def map_shared(fd: int, size: int, subject: str) -> Any:
    """Map the first `size` bytes of `fd`. Raises KvmError.

    Python's own mmap would hold a second file descriptor for every mapping.
    """
    place = C.mmap(ffi.NULL, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
    if address(place) == _MAP_FAILED:
        raise KvmError("mmap", ffi.errno, subject)
    return place


def unmap(place: Any, size: int) -> None:
    """Undo `map_shared`."""
    C.munmap(place, size)


def new(struct: str, **fields: Any) -> Any:
    """A zeroed `struct` with `fields` set."""
    return ffi.new(f"struct {struct} *", fields)


def address(data: Any) -> int:
    """The address of cffi data. It lasts as long as `data` is referred to."""
    return int(ffi.cast("uintptr_t", data))


def ioctl(
    fd: int, request: Ioctl, argument: Any, subject: str, call: str | None = None
) -> int:
    """Do `request` on `fd`; `argument` is an int or cffi data.

    Raises KvmError with the ioctl's name, or `call`, and `subject`, what `fd` is.
    """
    kind = _INTEGER if isinstance(argument, int) else _POINTER
    while True:
        result = system(fd, request, ffi.cast(kind, argument))
        if result >= 0:
            return result
        if ffi.errno != errno.EINTR:  # a kick that came as the vCPU's thread was in here
            raise KvmError(call or request.name, ffi.errno, subject)


def set_attribute(
    fd: int, group: int, attribute: int, value: Any, subject: str, call: str
) -> None:
    """KVM_SET_DEVICE_ATTR; `value` is cffi data, or None where the attribute takes none."""
    _attribute(fd, Ioctl.KVM_SET_DEVICE_ATTR, group, attribute, value, subject, call)


def get_attribute(
    fd: int, group: int, attribute: int, value: Any, subject: str, call: str
) -> None:
    """KVM_GET_DEVICE_ATTR into `value`."""
    _attribute(fd, Ioctl.KVM_GET_DEVICE_ATTR, group, attribute, value, subject, call)


def has_attribute(fd: int, group: int, attribute: int) -> bool:
    """Whether KVM knows the attribute."""
    try:
        _attribute(fd, Ioctl.KVM_HAS_DEVICE_ATTR, group, attribute, None, "it", "")
    except KvmError:
        return False
    return True


def _attribute(
    fd: int, request: Ioctl, group: int, attribute: int, value: Any, subject: str, call: str
) -> None:
    data = new("kvm_device_attr", group=group, attr=attribute)
    if value is not None:
        data.addr = address(value)
    ioctl(fd, request, data, subject, call)
