"""`hpcore qemu`: the QEMU that hotplugs vCPUs by itself."""

from __future__ import annotations

import click

from hpcore.cli.output import Output, json_option
from hpcore.qemu.fetch import fetch_qemu


@click.group()
def qemu() -> None:
    """The QEMU 10 of qtest-loongarch64 and qtest-q35."""


@qemu.command()
@json_option
def fetch(as_json: bool) -> None:
    """Fetch QEMU 10 for loongarch64 and x86_64 (51 MB), verified.

    \b
    hpcore qemu fetch
    HPCORE_CACHE=/srv/cache hpcore qemu fetch --json

    The packages are those of Debian's backports, from the mirror that this machine's own
    apt uses, through an apt directory of their own: your package sources, and the QEMU that
    is installed, stay as they are.
    """
    out = Output(json=as_json)
    with out.progress("looking in the cache") as tell:
        got = fetch_qemu(progress=tell)
    out.say(f"QEMU {got.version} is in {got.directory}")
    out.close(True, version=got.version, directory=str(got.directory))
