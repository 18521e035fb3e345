"""Run a command in L1: `python -m tests.nested -- pytest tests/kvm -k order -x`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hpcore.cli.diagnostics import set_up_diagnostics
from hpcore.errors import HpcoreError
from hpcore.guest.images import fetch_guest
from tests.nested.image import nested_image
from tests.nested.kernels import old_kernel
from tests.nested.libvirt import nested_libvirt
from tests.nested.machine import NestedMachine, run
from tests.nested.qemu import SERIES, nested_qemu

OUT = Path("build/nested")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.option("--cpu", default="max", show_default=True, help="max (VHE), cortex-a57 (nVHE), ...")
@click.option("--gic", type=click.IntRange(2, 3), default=3, show_default=True)
@click.option("--no-el2", is_flag=True, help="No virtualization in L1, so no /dev/kvm.")
@click.option("--kernel", type=click.Path(path_type=Path, exists=True), help="L1's; default: 6.12.")
@click.option("--qemu", type=click.Choice(list(SERIES)), help="Give L1 Debian's QEMU, too.")
@click.option("--uefi", is_flag=True, help="Give L1 UEFI firmware and a small disk, too.")
@click.option("--libvirt", is_flag=True, help="Give L1 Debian's libvirt, too.")
@click.option("--apparmor", is_flag=True, help="Give L1 Debian's AppArmor, too.")
@click.option("--selinux", is_flag=True, help="Boot L1 with SELinux; with a policy's compiler.")
@click.option("--steady", is_flag=True, help="Its clock stands still while others have the CPUs.")
@click.option("--smp", default=2, show_default=True, help="CPUs of L1.")
@click.option("--seconds", default=600.0, show_default=True, help="What the command has.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True,
              help="Where the files of L1's /out are written.")  # fmt: skip
@click.option("--build", is_flag=True, help="Only build what L1 is made of, where it is missing.")
@click.argument("command", nargs=-1)
def main(
    cpu: str, gic: int, no_el2: bool, kernel: Path | None, qemu: str | None, uefi: bool,
    libvirt: bool, apparmor: bool, selinux: bool, steady: bool, smp: int, seconds: float,
    out: Path, build: bool, command: tuple[str, ...],
) -> None:  # fmt: skip
    """Run COMMAND in an arm64 Linux with a real /dev/kvm, in a copy of this repository.

    \b
    python -m tests.nested -- pytest tests/kvm -k order -x
    python -m tests.nested -- hpcore run plug-unplug --accel kvm --log /out/run.jsonl
    python -m tests.nested --cpu cortex-a57 -- sh -c 'dmesg | grep -i kvm'
    python -m tests.nested --qemu 10 -- hpcore run plug-unplug --accel kvm-qemu

    Exits as COMMAND does, or with 2 where the machine itself fails or its kernel complains of
    itself, as by an oops.
    """
    set_up_diagnostics()
    try:
        if build or not command:
            fetch_guest(progress=_progress)
            parts = [nested_image(progress=_progress), old_kernel(progress=_progress)]
            parts += [nested_qemu(series, progress=_progress) for series in SERIES]
            parts.append(nested_libvirt(progress=_progress))
            for file in parts:
                click.echo(f"{file} ({file.stat().st_size >> 20} MiB)")
            if not build:
                click.echo("no command given; see --help")
            return
        machine = NestedMachine(
            cpu, gic, not no_el2, smp, kernel, qemu, uefi, libvirt, apparmor, selinux, steady
        )
        out.mkdir(parents=True, exist_ok=True)
        ended = run(command, out, machine=machine, seconds=seconds, hear=_hear, progress=_progress)
    except HpcoreError as error:
        click.echo(f"tests.nested: {error}", err=True)
        sys.exit(2)
    files = [str(path) for path in ended.files]
    _progress(
        f"exit status {ended.status}; Linux {ended.kernel} booted in {ended.boot_seconds:.1f} s, "
        f"{ended.seconds:.1f} s in all" + (f"; wrote {', '.join(files)}" if files else "")
    )
    if ended.complaints:
        _progress(f"L1's kernel complains; kernel.log has all of it:\n{ended.complaints}")
    sys.exit(2 if ended.complaints else ended.status)


def _hear(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _progress(text: str) -> None:
    click.echo(f"-- {text}", err=True)


if __name__ == "__main__":
    main()
