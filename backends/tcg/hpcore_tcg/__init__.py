"""The TCG accelerator: unpatched QEMU, and our monitor at EL3 that decides every CPU_ON."""

from hpcore_tcg.accelerator import TcgAccelerator

__all__ = ["TcgAccelerator"]
