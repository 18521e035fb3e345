"""`hpcore guest`: the kernel and the userland that boot."""

from __future__ import annotations

import click

from hpcore.cli.output import Output, json_option
from hpcore.guest.images import fetch_guest


@click.group()
def guest() -> None:
    """The Linux that runs as the guest."""


@guest.command()
@json_option
def fetch(as_json: bool) -> None:
    """Fetch Debian's kernel and busybox for the guest, verified.

    \b
    hpcore guest fetch
    HPCORE_CACHE=/srv/cache hpcore guest fetch --json

    The packages come from the Debian mirror that this machine's own apt uses, through an
    apt directory of their own: your package sources stay as they are.
    """
    out = Output(json=as_json)
    with out.progress("looking in the cache") as tell:
        got = fetch_guest(progress=tell)
    out.say(f"{got.kernel_package} ({got.kernel_version})")
    out.say(f"kernel   {got.kernel}")
    out.say(f"busybox  {got.busybox}")
    out.close(
        True, kernel=str(got.kernel), busybox=str(got.busybox),
        package=got.kernel_package, version=got.kernel_version,
    )  # fmt: skip
