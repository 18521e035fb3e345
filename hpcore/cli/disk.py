"""`hpcore disk`: what a disk image would boot."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.cli.output import Output, json_option
from hpcore.disk import DiskBoot, extract, kernel_of, read_disk
from hpcore.disk.image import FORMATS


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--extract", "directory", type=click.Path(file_okay=False, path_type=Path),
    help="Write Image, initrd and cmdline to this directory.",
)  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(FORMATS),
    help="What IMAGE is; without it, IMAGE says so itself.",
)  # fmt: skip
@json_option
def disk(image: Path, directory: Path | None, format_: str | None, as_json: bool) -> None:
    """Say which kernel the disk IMAGE would boot, and with what.

    \b
    hpcore disk debian.qcow2
    hpcore disk disk.img --format raw --extract boot
    hpcore run mine.yaml --kernel boot/Image --initrd boot/initrd --no-shell

    IMAGE is raw or qcow2, and stays as it is: nothing is mounted. The entry is the one that
    GRUB or systemd-boot takes by itself. The kernel is written unpacked.
    """
    out = Output(json=as_json)
    with out.progress(f"reading {image}"):
        boot = read_disk(image, format_)
        kernel = kernel_of(boot)
    _say(out, boot)
    out.say(f"kernel   {boot.kernel_file}: {kernel.version or 'no version in it'}, "
            f"{len(boot.kernel):,} bytes{', packed' if kernel.packed else ''}")  # fmt: skip
    for file in boot.initrd_files or ("none",):
        out.say(f"initrd   {file}")
    if boot.initrd_files:
        out.say(f"         {len(boot.initrd):,} bytes")
    out.say(f"append   {boot.append}")
    if kernel.warning:
        out.say(f"warning: {kernel.warning}", style="yellow")
    files = None if directory is None else extract(boot, directory)
    if files is not None:
        out.say(f"written: {files.kernel}, {files.initrd}, {files.command_line}")
    out.close(
        True, image=boot.image, format=boot.format, size=boot.size,
        partitions=[
            {
                "number": p.number, "offset": p.offset, "size": p.size, "content": p.content,
                "uuid": p.uuid, "label": p.label, "part_uuid": p.part_uuid, "name": p.name,
            }
            for p in boot.partitions
        ],
        configuration=boot.configuration, entry=boot.title,
        kernel={
            "file": boot.kernel_file, "version": kernel.version, "size": len(boot.kernel),
            "packed": kernel.packed, "warning": kernel.warning,
        },
        initrd={"files": list(boot.initrd_files), "size": len(boot.initrd)},
        append=boot.append,
        extracted=None if files is None else {
            "kernel": str(files.kernel), "initrd": str(files.initrd),
            "cmdline": str(files.command_line),
        },
    )  # fmt: skip


def _say(out: Output, boot: DiskBoot) -> None:
    out.say(f"{boot.image}: {boot.format}, {boot.size >> 20:,} MiB")
    table = out.table("partition", "size", "content", "label", "uuid")
    for one in boot.partitions:
        table.add_row(
            str(one.number or "none"), f"{one.size >> 20:,} MiB", one.content,
            one.label or one.name, one.uuid,
        )  # fmt: skip
    out.show(table)
    out.say(f"config   {boot.configuration}")
    out.say(f"entry    {boot.title}")
