"""A QEMU process and its sockets: shared by the accelerators that use QEMU."""

from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu, find_qemu
from hpcore.qemu.process import QemuProcess, check_socket_path
from hpcore.qemu.qmp import Qmp, QmpRefused
from hpcore.qemu.runtime_directory import remove_runtime_directory, runtime_directory

__all__ = [
    "Qemu",
    "QemuError",
    "QemuProcess",
    "Qmp",
    "QmpRefused",
    "check_socket_path",
    "find_qemu",
    "remove_runtime_directory",
    "runtime_directory",
]
