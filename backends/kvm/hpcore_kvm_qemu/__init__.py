"""The accelerator `kvm-qemu`: an unpatched QEMU with -accel kvm, and the interposer in it."""

from hpcore_kvm_qemu.accelerator import KvmQemuAccelerator

__all__ = ["KvmQemuAccelerator"]
