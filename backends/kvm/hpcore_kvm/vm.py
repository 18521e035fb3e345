"""A VM: guest memory, its vCPUs, interrupt lines; and /dev/kvm itself."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

from hpcore_kvm import abi, uapi
from hpcore_kvm.errors import KvmError
from hpcore_kvm.features import Features, host_features
from hpcore_kvm.uapi import Cap, Ioctl
from hpcore_kvm.vcpu import Vcpu, install_kick_handler

DEVICE = Path("/dev/kvm")
MAP_NORESERVE = 0x4000  # asm-generic/mman-common.h; Python's mmap has no name for it yet
PAGE = mmap.PAGESIZE
PREFERRED_IPA_BITS = 40
"""Guest-physical address bits: what KVM takes by default, and enough for QEMU's `virt`."""


class System:
    """An open /dev/kvm. Raises KvmError where it cannot be opened."""

    def __init__(self, device: Path = DEVICE) -> None:
        self.name = str(device)
        try:
            self.fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise KvmError("open", error.errno or 0, self.name) from None

    def api_version(self) -> int:
        """12 on any KVM of the last fifteen years."""
        return abi.ioctl(self.fd, Ioctl.KVM_GET_API_VERSION, 0, self.name)

    def check(self, cap: Cap) -> int:
        """KVM_CHECK_EXTENSION: 0 where KVM lacks it, else its number."""
        return abi.ioctl(self.fd, Ioctl.KVM_CHECK_EXTENSION, int(cap), self.name)

    def ipa_bits(self) -> int:
        """How many bits of guest-physical address a machine gets here."""
        return min(self.check(Cap.ARM_VM_IPA_SIZE) or PREFERRED_IPA_BITS, PREFERRED_IPA_BITS)

    def close(self) -> None:
        """Close the file. VMs made from it live on."""
        os.close(self.fd)


class Memory:
    """A piece of guest RAM: `data` is its host side, zero at first, taken page by page.

    Raises KvmError where this process cannot have so much of address space.
    """

    def __init__(self, base: int, size: int, shared: bool) -> None:
        self.base, self.size, self.shared = base, size, shared
        kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        flags = kind | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        try:
            self._map = mmap.mmap(-1, size, flags=flags)
        except OSError as error:
            raise KvmError("mmap", error.errno or 0, f"{size:#x} bytes of guest RAM") from None
        self.data = memoryview(self._map)

    @property
    def host_address(self) -> int:
        """Where it is in this process."""
        return abi.address(abi.ffi.from_buffer(self._map))

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Put `data` at guest-physical `address`."""
        start = address - self.base
        self.data[start : start + len(data)] = data

    def clear(self) -> None:
        """Let go of every page: all is zero again, and the guest's caches hold none of it.

        Whoever reloads a guest clears first, while no vCPU runs. KVM brings caches in line
        with memory when it maps a page for the guest, not when user space writes to one
        that is mapped: a guest that starts anew, its caches off, would find what was
        there before, or execute it.
        """
        self._map.madvise(mmap.MADV_REMOVE if self.shared else mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Unmap it. Its views must be gone."""
        self.data.release()
        self._map.close()


class Irqfd:
    """An eventfd that raises an SPI, edge by edge, with no ioctl and from any thread."""

    def __init__(self, vm: Vm, intid: int) -> None:
        self._vm, self.intid = vm, intid
        try:
            self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as error:
            raise KvmError("eventfd", error.errno or 0, f"SPI {intid}") from None
        try:
            self._assign(0)
        except KvmError:
            os.close(self.fd)
            raise

    def trigger(self) -> None:
        """One rising edge."""
        os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Detach it and close it. May be called more than once."""
        if self.fd >= 0:
            self._assign(uapi.IRQFD_DEASSIGN)
            os.close(self.fd)
            self.fd = -1

    def _assign(self, flags: int) -> None:
        # KVM numbers the lines of its default routing from the first SPI on
        data = abi.new("kvm_irqfd", fd=self.fd, gsi=self.intid - uapi.FIRST_SPI, flags=flags)
        abi.ioctl(self._vm.fd, Ioctl.KVM_IRQFD, data, f"SPI {self.intid}")


class Vm:
    """A machine in KVM, empty at first. `close` frees all that was made for it.

    What is made for it must come in KVM's order, and raises KvmError otherwise:

    1. `add_memory`, any time before the guest runs
    2. `create_vcpu` for every possible vCPU, then `Vcpu.init` for each
    3. `gic.Vgic(...)`, its regions, `pmu.set_interrupt`
    4. `Vgic.init`; no vCPU can be created from here on
    5. `pmu.initialise` for each vCPU, `smccc.install_filter`
    6. `Vcpu.run`
    """

    def __init__(self, device: Path = DEVICE, ipa_bits: int | None = None) -> None:
        self.name = "the VM"
        self.vcpus: list[Vcpu] = []
        self.memory: list[Memory] = []
        self._irqfds: list[Irqfd] = []
        self._devices: list[int] = []
        self.fd = -1
        install_kick_handler()
        system = System(device)
        try:
            bits = system.ipa_bits() if ipa_bits is None else ipa_bits
            self.fd = abi.ioctl(system.fd, Ioctl.KVM_CREATE_VM, bits, self.name)
            self._run_size = abi.ioctl(
                system.fd, Ioctl.KVM_GET_VCPU_MMAP_SIZE, 0, system.name
            )
            if self.check(Cap.ARM_NISV_TO_USER) and self.check(Cap.ARM_INJECT_EXT_DABT):
                # both since Linux 5.5; else KVM_RUN fails with ENOSYS, the machine with it
                cap = abi.new("kvm_enable_cap", cap=Cap.ARM_NISV_TO_USER)
                abi.ioctl(self.fd, Ioctl.KVM_ENABLE_CAP, cap, self.name)
        except KvmError:
            if self.fd >= 0:
                os.close(self.fd)
            raise
        finally:
            system.close()

    def check(self, cap: Cap) -> int:
        """KVM_CHECK_EXTENSION for this VM: 0 where it lacks it, else its number."""
        return abi.ioctl(self.fd, Ioctl.KVM_CHECK_EXTENSION, int(cap), self.name)

    def host_features(self) -> Features:
        """All that a vCPU of this VM can have."""
        return host_features(self.check)

    def add_memory(self, base: int, size: int, shared: bool = False) -> Memory:
        """Give the guest `size` bytes of RAM at guest-physical `base`.

        Nothing is taken from the host until it is touched. `shared` memory stays the same
        in a child process; private memory may be backed by huge pages.
        """
        memory = Memory(base, size, shared)
        try:
            self._set_memory(len(self.memory), memory, 0)
        except KvmError:
            memory.close()
            raise
        self.memory.append(memory)
        return memory

    def log_writes(self, memory: Memory, logged: bool) -> None:
        """From here on KVM notes which pages of `memory` a vCPU writes to, or does no more."""
        flags = uapi.MEM_LOG_DIRTY_PAGES if logged else 0
        self._set_memory(self.memory.index(memory), memory, flags)

    def written(self, memory: Memory) -> bytes:
        """One bit a page of `memory`, the lowest first: written to since it was last asked.

        Or since `log_writes`. What user space writes is in no log.
        """
        pages = memory.size // PAGE
        bitmap = abi.ffi.new("uint64_t[]", (pages + 63) // 64)
        data = abi.new(
            "kvm_dirty_log", slot=self.memory.index(memory), dirty_bitmap=bitmap
        )
        abi.ioctl(self.fd, Ioctl.KVM_GET_DIRTY_LOG, data, f"memory at {memory.base:#x}")
        return bytes(abi.ffi.buffer(bitmap))

    def _set_memory(self, slot: int, memory: Memory, flags: int) -> None:
        region = abi.new(
            "kvm_userspace_memory_region", slot=slot, flags=flags, guest_phys_addr=memory.base,
            memory_size=memory.size, userspace_addr=memory.host_address,
        )  # fmt: skip
        subject = f"{memory.size:#x} bytes at {memory.base:#x}"
        abi.ioctl(self.fd, Ioctl.KVM_SET_USER_MEMORY_REGION, region, subject)

    def create_vcpu(self, index: int) -> Vcpu:
        """Create vCPU `index`: a file, and nothing else yet. Before the VGIC's CTRL_INIT."""
        fd = abi.ioctl(self.fd, Ioctl.KVM_CREATE_VCPU, index, f"vCPU {index}")
        try:
            target = self._preferred_target()
        except KvmError:
            os.close(fd)
            raise
        vcpu = Vcpu(index, fd, self._run_size, target)
        self.vcpus.append(vcpu)
        return vcpu

    def create_device(self, kind: int, subject: str, test: bool = False) -> int:
        """Create a device of the VM and return its file; with `test`, only try, and -1."""
        data = abi.new(
            "kvm_create_device", type=kind, flags=uapi.CREATE_DEVICE_TEST if test else 0
        )
        abi.ioctl(self.fd, Ioctl.KVM_CREATE_DEVICE, data, subject)
        if test:
            return -1
        fd = int(data.fd)
        self._devices.append(fd)
        return fd

    def set_irq(self, intid: int, level: bool) -> None:
        """Put the line of SPI `intid` to `level`. Any thread."""
        line = abi.new(
            "kvm_irq_level", irq=uapi.IRQ_TYPE_SPI << uapi.IRQ_TYPE_SHIFT | intid, level=level
        )
        abi.ioctl(self.fd, Ioctl.KVM_IRQ_LINE, line, f"SPI {intid}")

    def irqfd(self, intid: int) -> Irqfd:
        """An eventfd that raises SPI `intid`. After the VGIC is initialised."""
        irqfd = Irqfd(self, intid)
        self._irqfds.append(irqfd)
        return irqfd

    def close(self) -> None:
        """Free everything. No vCPU may be in `run`. May be called more than once."""
        if self.fd < 0:
            return
        for irqfd in self._irqfds:
            irqfd.close()
        for vcpu in self.vcpus:
            vcpu.close()
        for fd in self._devices:
            os.close(fd)
        os.close(self.fd)
        self.fd = -1
        for memory in self.memory:
            memory.close()

    def __enter__(self) -> Vm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _preferred_target(self) -> int:
        data: Any = abi.new("kvm_vcpu_init")
        abi.ioctl(self.fd, Ioctl.KVM_ARM_PREFERRED_TARGET, data, self.name)
        return int(data.target)
