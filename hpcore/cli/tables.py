"""`hpcore tables`: the ACPI tables that a machine's guest gets, as files."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.cli.output import Output, json_option
from hpcore.model.config import MachineConfig
from hpcore.platform.firmware import HPCORE_VIRT, QEMU_KVM_VIRT, QEMU_VIRT, write_tables
from hpcore.scenario import read

BOARDS = {"qemu": QEMU_VIRT, "qemu-kvm": QEMU_KVM_VIRT, "hpcore": HPCORE_VIRT}


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--scenario", help="Take the machine of this scenario.")
@click.option("--cpus", type=int, default=4, show_default=True, help="vCPUs at boot.")
@click.option("--maxcpus", type=int, default=6, show_default=True, help="Possible vCPUs.")
@click.option(
    "--board", type=click.Choice(list(BOARDS)), default="qemu", show_default=True,
    help="QEMU's, as on tcg, QEMU's with hotplug registers, as on kvm-qemu, or our own, as on kvm.",
)  # fmt: skip
@json_option
def tables(
    directory: Path, scenario: str | None, cpus: int, maxcpus: int, board: str, as_json: bool
) -> None:
    """Write a machine's ACPI tables to DIRECTORY, as .aml files.

    \b
    hpcore tables acpi --cpus 4 --maxcpus 6
    iasl -d /tmp/acpi/dsdt.aml
    """
    out = Output(json=as_json)
    if scenario is not None:
        config = read.load(scenario).machine
    else:
        config = MachineConfig.of(cpus=cpus, maxcpus=maxcpus)
    paths = write_tables(config, directory, BOARDS[board])
    for path in paths:
        out.say(f"{path}  {path.stat().st_size} bytes")
    out.close(True, tables=[str(p) for p in paths])
