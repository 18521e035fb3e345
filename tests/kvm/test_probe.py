"""The probe on a machine that has all it takes."""

from __future__ import annotations

import os
from pathlib import Path

from hpcore_kvm.probe import probe

from hpcore.model.topology import MAX_POSSIBLE


def test_a_host_with_all_it_takes_has_nothing_to_say_against() -> None:
    found = probe()
    assert (found.unavailable, found.no_hotplug, found.max_vcpus) == (None, None, MAX_POSSIBLE)
    assert found.versions["host kernel"] == os.uname().release
    assert found.versions["kvm"] in ("VHE", "nVHE")


def test_the_probe_leaves_nothing_open() -> None:
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir()))
    probe()
    assert len(list(files.iterdir())) == before
