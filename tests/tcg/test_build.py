"""Building the monitor: kept by content, and the compiler's words when it fails."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest
from hpcore_tcg import TcgAccelerator, build

from hpcore.platform import hotplug_page, virt
from hpcore.run.accelerator import AcceleratorError


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the monitor's sources, and an empty cache."""
    copy = tmp_path / "sources"
    shutil.copytree(build.SOURCE_DIR, copy)
    monkeypatch.setattr(build, "SOURCE_DIR", copy)
    monkeypatch.setenv("HPCORE_CACHE", str(tmp_path / "cache"))
    return copy


def test_a_built_monitor_is_kept_and_any_change_gives_another(sources: Path) -> None:
    first = build.ensure_monitor()
    built = first.path.stat().st_mtime_ns
    assert build.ensure_monitor() == first
    assert first.path.stat().st_mtime_ns == built
    psci = sources / "psci.c"
    psci.write_text(psci.read_text().replace("#define DENIED (-3)", "#define DENIED (-1)"))
    second = build.ensure_monitor()
    assert second.path != first.path
    assert second.path.read_bytes() != first.path.read_bytes()
    assert sorted(p.name for p in first.path.parent.iterdir()) == sorted(
        [first.path.name, second.path.name]
    ), "nothing else is left in the cache"


def test_the_same_sources_give_the_same_bytes(
    sources: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = build.ensure_monitor().path.read_bytes()
    monkeypatch.setenv("HPCORE_CACHE", str(tmp_path / "other"))
    assert build.ensure_monitor().path.read_bytes() == first


def test_the_compilers_words_are_in_the_error(sources: Path) -> None:
    with (sources / "gic.c").open("a") as file:
        file.write("\nint broken(void) { return nowhere; }\n")
    with pytest.raises(AcceleratorError, match=r"(?s)zig cc ended with 1:.*nowhere"):
        build.ensure_monitor()


def test_a_warning_is_an_error(sources: Path) -> None:
    with (sources / "gic.c").open("a") as file:
        file.write("\nstatic int unused(int x) { return 1; }\n")
    with pytest.raises(AcceleratorError, match="-Werror"):
        build.ensure_monitor()


def test_a_cache_that_cannot_be_written_is_named(
    sources: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("HPCORE_CACHE", str(file / "below"))
    with pytest.raises(AcceleratorError, match="set HPCORE_CACHE"):
        build.ensure_monitor()


def test_without_the_compiler_probe_says_what_to_install(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert "pip install ziglang" in (TcgAccelerator().probe().unavailable or "")
    with pytest.raises(AcceleratorError, match="pip install ziglang"):
        build.ensure_monitor()


def test_the_header_has_the_numbers_of_both_sides() -> None:
    header = build.constants_header()
    assert f"#define VIRT_GED_GSI {virt.GED_GSI:#x}\n" in header
    assert f"#define PAGE_RING {hotplug_page.RING:#x}\n" in header
    assert "#define VIRT_GICR_HIGH_BASE 0x4000000000UL\n" in header
    assert "#define RINGRECORD_EJECT 0x5\n" in header
