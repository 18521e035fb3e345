"""One private libvirt for all tests here, and what its domains boot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

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
def door() -> Path:
    """The emulator that hotplugs vCPUs."""
    assert DOOR.exists(), f"{DOOR} is not installed: run scripts/setup.sh"
    return DOOR
