"""`hpcore uefi`: the firmware with which a guest boots by its own boot loader."""

from __future__ import annotations

import click

from hpcore.cli.output import Output, json_option
from hpcore.qemu.uefi import fetch_uefi


@click.group()
def uefi() -> None:
    """The UEFI firmware of arm64 guests."""


@uefi.command()
@json_option
def fetch(as_json: bool) -> None:
    """Fetch Debian's AAVMF (3 MB), verified.

    \b
    hpcore uefi fetch
    HPCORE_CACHE=/srv/cache hpcore uefi fetch --json

    The package comes from the Debian mirror that this machine's own apt uses, through an
    apt directory of its own: your package sources stay as they are.
    """
    out = Output(json=as_json)
    with out.progress("looking in the cache") as tell:
        got = fetch_uefi(progress=tell)
    out.say(f"AAVMF is in {got.directory}")
    out.close(True, directory=str(got.directory))
