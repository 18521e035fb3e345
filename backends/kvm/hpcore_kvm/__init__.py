"""The kvm accelerator: a small arm64 VMM on /dev/kvm."""

from hpcore_kvm.accelerator import KvmAccelerator

__all__ = ["KvmAccelerator"]
