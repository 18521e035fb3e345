"""One private libvirt for all tests here, and what its domains boot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from hpcore.fetch.cache import cache_directory
from hpcore.qemu.find import find_qemu
from hpcore.run.accelerator import GuestImages
from tests.libvirt.instance import Libvirt, running
from tests.support.guests import fetched_images

DOOR = Path(sys.executable).with_name("hpcore-qemu-system-aarch64")
"""The emulator that hotplugs vCPUs, as it is installed."""


@pytest.fixture(scope="session")
def libvirt() -> Iterator[Libvirt]:
    """A libvirtd of the tests' own."""
    with running() as private:
        yield private


@pytest.fixture(scope="session")
def images() -> GuestImages:
    """The guest that was fetched, quiet on its console."""
    found = fetched_images()
    assert found is not None, "no guest has been fetched: run scripts/setup.sh"
    return attrs.evolve(found, append="console=ttyAMA0 quiet panic=-1")


@pytest.fixture(scope="session")
def door(libvirt: Libvirt) -> Path:
    """The emulator that hotplugs vCPUs, `hpcore` beside it; its logs go where the tests' files do.

    libvirt gives no environment, so a link stands for it, and settings lie beside the link.
    """
    assert DOOR.exists(), f"{DOOR} is not installed: run scripts/setup.sh"
    here = libvirt.directory / "bin"
    here.mkdir()
    for name in (DOOR.name, "hpcore"):
        (here / name).symlink_to(DOOR.with_name(name))
    link = here / DOOR.name
    settings = {
        "logs": libvirt.directory / "logs", "cache": cache_directory(), "qemu": find_qemu().path,
    }  # fmt: skip
    link.with_name(f"{link.name}.toml").write_text(
        "".join(f'{name} = "{path}"\n' for name, path in settings.items())
    )
    return link
