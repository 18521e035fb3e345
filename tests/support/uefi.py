"""A guest that starts by Debian's AAVMF with hpcore's tables, on a plain QEMU without KVM.

Nobody answers at the hotplug registers there, and a load of them ends in an abort. So a vCPU that
is not enabled says so by a constant (`AllAsBooted`), and none comes or goes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
from attrs import frozen

from hpcore.guest.linux import LinuxGuest
from hpcore.guest.shell import Shell
from hpcore.model import acpi
from hpcore.model.config import MachineConfig
from hpcore.platform.acpi.register_transport import RegisterTransport
from hpcore.platform.aml.statements import give
from hpcore.platform.firmware import QEMU_KVM_REGISTERS, QEMU_KVM_VIRT
from hpcore.platform.table_loader import loader_files
from hpcore.qemu import QemuProcess, Qmp, find_qemu, runtime_directory
from hpcore.qemu.console import SocketConsole
from hpcore.qemu.uefi import fetch_uefi, fw_cfg_arguments

READY_SECONDS = 240.0
"""Firmware and Linux take 10 s on two idle CPUs, and GRUB and systemd 30 s more."""


@frozen
class AllAsBooted(RegisterTransport):
    """The registers' AML, but for what Linux evaluates of a vCPU unasked."""

    def status(self, index: int) -> bytes:
        """Never enabled: those that are have no method."""
        return give(acpi.STA_PRESENT)


BOARD = attrs.evolve(
    QEMU_KVM_VIRT, transport=AllAsBooted(QEMU_KVM_REGISTERS.base, power_button=True)
)


@frozen
class UefiMachine:
    """The machine's console, as a shell, and QMP."""

    shell: Shell
    qmp: Qmp

    @property
    def linux(self) -> LinuxGuest:
        """The Linux behind the shell."""
        return LinuxGuest(self.shell)


@asynccontextmanager
async def started_by_uefi(config: MachineConfig, *arguments: str) -> AsyncIterator[UefiMachine]:
    """A QEMU with firmware, tables and `arguments`, its shell ready; it is ended in the end."""
    firmware, directory = fetch_uefi(), runtime_directory()
    qmp, console = directory / "qmp", directory / "console"
    tables = loader_files(config, BOARD).write(directory)
    argv: Sequence[str] = [
        str(find_qemu().path), "-no-user-config", "-nodefaults", "-display", "none",
        "-machine", "virt,acpi=off,gic-version=3", "-accel", "tcg,thread=multi",
        "-cpu", config.cpu_model, "-smp", str(config.possible), "-m", f"{config.memory}M",
        "-chardev", f"socket,id=console,path={console},server=on,wait=off",
        "-serial", "chardev:console", "-qmp", f"unix:{qmp},server=on,wait=off",
        *firmware.arguments(firmware.new_variables(directory / "variables.fd")),
        *fw_cfg_arguments(tables), *arguments,
    ]  # fmt: skip
    process = await QemuProcess.start(argv, directory, (qmp, console))
    try:
        streams = SocketConsole(*await process.connect(console))
        try:
            control = await Qmp.connect(process, qmp, lambda _name, _data: None)
            try:
                machine = UefiMachine(Shell(streams), control)
                await machine.linux.wait_ready(READY_SECONDS)
                yield machine
            finally:
                await control.close()
        finally:
            await streams.close()
    finally:
        await process.close()
