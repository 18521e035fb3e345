"""The object that a package brings with it, for machines that have no compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hpcore_kvm_qemu import build

from hpcore.run.accelerator import AcceleratorError


@pytest.fixture(autouse=True)
def _no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sources are a copy, and neither a compiler nor a cache is here."""
    copied = tmp_path / "sources"
    shutil.copytree(build.SOURCE_DIR, copied, ignore=shutil.ignore_patterns("*.so"))
    monkeypatch.setattr(build, "SOURCE_DIR", copied)
    monkeypatch.setattr("hpcore.fetch.zig.zig_version", lambda: None)
    monkeypatch.setenv("HPCORE_CACHE", str(tmp_path / "cache"))


def test_an_object_that_came_with_its_sources_is_used_as_it_is() -> None:
    build.prebuilt().write_bytes(b"the object")
    assert build.ensure_interposer() == build.prebuilt()
    assert build.prebuilt().read_bytes() == b"the object"


def test_an_object_of_other_sources_is_not_used() -> None:
    build.prebuilt().write_bytes(b"the object")
    with (build.SOURCE_DIR / "page.c").open("a") as file:
        file.write("/* changed */\n")
    with pytest.raises(AcceleratorError, match="ziglang is not installed"):
        build.ensure_interposer()
