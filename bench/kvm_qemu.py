"""An unpatched QEMU on KVM, for long: stops, resets and plugs at random moments of its guest.

    python -m bench.kvm_qemu --moments 1000 --qemu 10

Where the machine has no arm64 KVM it runs in a nested guest, QEMU emulating EL2. Exits with 1
where a call of the guest's fails or is lost, or where guest and model disagree.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import click
from attrs import asdict

from hpcore.cli.diagnostics import set_up_diagnostics
from tests.conftest import has_kvm
from tests.kvm_with_qemu.churn import Churned, churn
from tests.kvm_with_qemu.puppet import puppet
from tests.nested.machine import NestedMachine, run
from tests.nested.qemu import SERIES

NESTED_SECONDS = 6 * 3600.0
TOLD_EVERY = 50


@click.command()
@click.option("--moments", default=1000, show_default=True, help="At which something is done.")
@click.option("--seed", default=1, show_default=True)
@click.option("--qemu", type=click.Choice(list(SERIES)), default="7.2", show_default=True,
              help="Of the nested machine.")  # fmt: skip
def main(moments: int, seed: int, qemu: str) -> None:
    """Do it where a KVM is, and report."""
    set_up_diagnostics()
    if not has_kvm():
        words = ("python3", "-m", "bench.kvm_qemu", "--moments", str(moments), "--seed", str(seed))
        with tempfile.TemporaryDirectory() as directory:
            ended = run(
                words, Path(directory), machine=NestedMachine(qemu=qemu), seconds=NESTED_SECONDS,
                hear=lambda text: click.echo(text, nl=False),
            )  # fmt: skip
        sys.exit(ended.status)
    began = time.monotonic()

    def tell(number: int) -> None:
        if number % TOLD_EVERY == 0:
            click.echo(f"{number} moments, {time.monotonic() - began:.0f} s")

    async def here(directory: Path) -> Churned:
        async with puppet(directory, 1, 3) as rig:
            return await churn(rig, moments, Random(seed), tell)

    with tempfile.TemporaryDirectory() as directory:
        done = asyncio.run(here(Path(directory)))
    click.echo(f"{asdict(done)}; no call failed, guest and model agree")


if __name__ == "__main__":
    main()
