"""L1: one QEMU with an emulated EL2, booted for one command."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from pathlib import Path

from attrs import frozen

from hpcore.guest.images import fetch_guest
from hpcore.qemu.find import find_qemu
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.runtime_directory import remove_runtime_directory, runtime_directory
from tests.nested import selinux
from tests.nested.apparmor import nested_apparmor
from tests.nested.console import Console, Hear, Stage
from tests.nested.errors import NestedError
from tests.nested.image import nested_image
from tests.nested.libvirt import nested_libvirt
from tests.nested.payload import COMPLAINTS, KERNEL_LOG, KILL_AFTER, PayloadCommand, payload
from tests.nested.qemu import nested_qemu
from tests.nested.uefi import nested_uefi

BOOT_SECONDS = 600.0
"""For L1 to come to its command: 3 to 6 s on a quiet machine, 200 beside twenty others."""

SEND_SECONDS = 60.0
MEMORY = 2048
"""MiB of L1."""

MEMORY_WITH_QEMU = 3072
"""MiB of an L1 that has a QEMU: two guests at once, each beside a QEMU of its own."""

STEADY = ("-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=2,sleep=off")
"""An instruction is 4 ns, and while no vCPU has one to run the clock leaps to the next timer."""

ARGUMENTS = "console=ttyAMA0 panic=-1 quiet"


@frozen
class NestedMachine:
    """How L1 is made. `cpu` as QEMU's -cpu: `max` has VHE, `cortex-a57` has not.

    `qemu` is the series of the QEMU that L1 has, one of `tests.nested.qemu.SERIES`, or None. With
    `uefi` it has the firmware of `hpcore uefi fetch`, and a small disk that boots by it; with
    `libvirt` Debian's libvirtd and virsh; with `apparmor` Debian's rules, and what loads them; with
    `selinux` SELinux in its place, and what compiles a policy.
    With `steady` its clock counts instructions, and stands still as long as others have this
    machine's CPUs: nothing in L1 times out because of them. It is slower where it is alone.
    """

    cpu: str = "max"
    gic: int = 3
    virtualization: bool = True
    vcpus: int = 2
    kernel: Path | None = None
    qemu: str | None = None
    uefi: bool = False
    libvirt: bool = False
    apparmor: bool = False
    selinux: bool = False
    steady: bool = False

    @property
    def memory(self) -> int:
        """MiB."""
        return MEMORY if self.qemu is None else MEMORY_WITH_QEMU

    def argv(self, qemu: Path, kernel: Path, initrd: Path, console: Path) -> list[str]:
        """QEMU's command line; `kernel` is for where L1 has none of its own, `console` the
        socket of the serial line."""
        # the architected PAuth algorithm costs QEMU half of its time
        cpu = "max,pauth-impdef=on" if self.cpu == "max" else self.cpu
        virtualization = "on" if self.virtualization else "off"
        arguments = f"{ARGUMENTS} {selinux.ARGUMENTS}" if self.selinux else ARGUMENTS
        clock = STEADY if self.steady else ("-accel", "tcg,thread=multi,tb-size=512")
        return [
            str(qemu), *clock,
            "-machine", f"virt,virtualization={virtualization},gic-version={self.gic}",
            "-cpu", cpu, "-smp", str(self.vcpus), "-m", str(self.memory),
            "-kernel", str(self.kernel or kernel), "-initrd", str(initrd), "-append", arguments,
            "-chardev", f"socket,id=console,path={console},server=on,wait=on",
            "-serial", "chardev:console",
            "-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot",
        ]  # fmt: skip


@frozen
class Ended:
    """A command that has ended in L1: its exit status, its output, the files it left in /out,
    L1's kernel, and the time in seconds."""

    status: int
    output: str
    files: list[Path]
    kernel: str
    boot_seconds: float
    seconds: float

    @property
    def complaints(self) -> str:
        """What L1's kernel has complained of, an oops or a warning: the lines that say so first.

        Empty where it has not. All that the kernel has said is in the file KERNEL_LOG then.
        """
        logs = [file for file in self.files if file.name == KERNEL_LOG]
        said = "".join(log.read_text(errors="replace") for log in logs).splitlines()
        return "\n".join(line for line in said if re.search(COMPLAINTS, line))


def ignore(_text: str) -> None:
    """The `Hear` that listens to nobody."""


def run(
    script: str | tuple[str, ...],
    out: Path,
    *,
    machine: NestedMachine | None = None,
    seconds: float = 600.0,
    hear: Hear = ignore,
    report: Hear = ignore,
    progress: Hear = ignore,
) -> Ended:
    """Boot L1, run `script` (a shell script, or one program's words) in the repository there.

    The files that it leaves in /out are written below `out`. At its deadline, `seconds` from
    its start, it gets a SIGINT, and has some time to say what it knows. `hear` is told what it
    prints, `report` what `tests.nested.reporting` sends. Raises NestedError where L1 doesn't
    boot, dies or hangs; FetchError and QemuError as their makers do.
    """
    machine = machine or NestedMachine()
    qemu = find_qemu()
    guest = fetch_guest(progress=progress)
    layers = [nested_image(progress=progress)]
    if machine.qemu is not None:
        layers.append(nested_qemu(machine.qemu, progress=progress))
    if machine.uefi:
        layers.append(nested_uefi(progress=progress))
    if machine.libvirt:
        layers.append(nested_libvirt(progress=progress))
    if machine.apparmor:
        layers.append(nested_apparmor(progress=progress))
    if machine.selinux:
        layers.append(selinux.nested_selinux(progress=progress))
    nonce = secrets.token_hex(8)
    if isinstance(script, str):
        command = PayloadCommand(script, seconds, nonce)
    else:
        command = PayloadCommand.of(script, seconds, nonce)
    progress("packing the code under test")
    archive = b"".join(layer.read_bytes() for layer in layers) + payload(command, guest)
    progress("booting L1")
    directory = runtime_directory()
    try:
        # in memory, so that nothing is left of it however the tests end
        with os.fdopen(os.memfd_create("initrd"), "wb", buffering=0) as initrd:
            initrd.write(archive)
            path, socket = Path(f"/proc/{os.getpid()}/fd/{initrd.fileno()}"), directory / "console"
            argv = machine.argv(qemu.path, guest.kernel, path, socket)
            console = Console(nonce, hear, report)
            started = time.monotonic()
            boot_seconds = asyncio.run(_run(argv, directory, socket, console, seconds))
    finally:
        remove_runtime_directory(directory)
    took = time.monotonic() - started
    files = console.unpack(out)
    assert console.status is not None, "done"
    output = console.output.decode(errors="replace")
    return Ended(console.status, output, files, console.kernel, boot_seconds, took)


async def _run(
    argv: list[str], directory: Path, socket: Path, console: Console, seconds: float
) -> float:
    """L1 from its start to its end; the seconds it took to boot."""
    process = await QemuProcess.start(argv, directory, [socket])
    try:
        reader, writer = await process.connect(socket)
        process.remove_directory()
        try:
            return await _listen(reader, console, process, seconds)
        finally:
            writer.close()
    finally:
        await process.close()


async def _listen(
    reader: asyncio.StreamReader, console: Console, process: QemuProcess, seconds: float
) -> float:
    """Hear L1 out, within the time that each stage has; the seconds that it took to boot."""
    limits = {
        Stage.BOOTING: BOOT_SECONDS,
        Stage.RUNNING: seconds + 2 * KILL_AFTER,
        Stage.SENDING: SEND_SECONDS,
    }
    took: dict[Stage, float] = {}
    for stage, limit in limits.items():
        started = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                while console.stage is stage:
                    data = await reader.read(1 << 16)
                    if not data:
                        raise NestedError(_gone(console, process))
                    console.feed(data)
        except TimeoutError as error:
            raise NestedError(
                f"L1 is still {stage.value} after {limit:.0f} s; its last words: "
                f"{console.last_words}"
            ) from error
        took[stage] = time.monotonic() - started
    return took[Stage.BOOTING]


def _gone(console: Console, process: QemuProcess) -> str:
    return (
        f"L1 ended while {console.stage.value}; QEMU: {process.last_words}. "
        f"L1's last words: {console.last_words}"
    )
