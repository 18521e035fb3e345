"""The qtest accelerator: stock QEMU that runs no guest code, and a guest that is played."""

from hpcore_qtest.accelerator import LoongarchAccelerator, Q35Accelerator, QtestAccelerator

__all__ = ["LoongarchAccelerator", "Q35Accelerator", "QtestAccelerator"]
