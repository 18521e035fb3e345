"""A QEMU process and its sockets: shared by the accelerators that use QEMU."""

from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu, find_qemu
from hpcore.qemu.process import QemuProcess, check_socket_path, runtime_directory
from hpcore.qemu.qmp import Qmp, QmpRefused

__all__ = [
    "Qemu",
    "QemuError",
    "QemuProcess",
    "Qmp",
    "QmpRefused",
    "check_socket_path",
    "find_qemu",
    "runtime_directory",
]
