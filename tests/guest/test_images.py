"""Fetching the guest: the cache, its failures, and once the real thing."""

from __future__ import annotations

import errno
import json
import threading
import time
from pathlib import Path

import pytest

from hpcore.fetch import apt, cache, whole_directory
from hpcore.fetch.apt import PrivateApt
from hpcore.fetch.cache import cache_directory
from hpcore.fetch.errors import FetchError
from hpcore.fetch.sources import MIRROR_VARIABLE, Mirror
from hpcore.fetch.whole_directory import TellFetch
from hpcore.guest import images
from hpcore.guest.errors import GuestError
from hpcore.guest.images import fetch_guest, fetched_guest, newest_kernel
from hpcore.guest.kernel import load_kernel


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"HPCORE_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, Path("/a/b")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/hpcore")),
        ({}, Path("~/.cache/hpcore").expanduser()),
        ({"HPCORE_CACHE": "", "XDG_CACHE_HOME": ""}, Path("~/.cache/hpcore").expanduser()),
    ],
)
def test_the_cache_is_where_the_environment_says(
    environment: dict[str, str], directory: Path
) -> None:
    assert cache_directory(environment) == directory


def test_the_highest_version_is_taken_by_number_and_signed_before_unsigned() -> None:
    names = [
        "linux-image-6.12.9+deb12-cloud-arm64",
        "linux-image-6.12.95+deb12-cloud-arm64-unsigned",
        "linux-image-6.12.95+deb12-cloud-arm64",
        "linux-image-6.12.12+bpo-cloud-arm64",
    ]
    assert newest_kernel(names) == "linux-image-6.12.95+deb12-cloud-arm64"
    assert newest_kernel(names[:2]) == "linux-image-6.12.95+deb12-cloud-arm64-unsigned"
    with pytest.raises(GuestError, match=r"no 6\.12 cloud kernel"):
        newest_kernel([])


class FakeFetch:
    """Stands in for the network: leaves a guest, or fails, after a while."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error

    def __call__(self, work: Path, progress: TellFetch) -> Path:
        self.calls += 1
        complete = work / "complete"
        complete.mkdir()
        (complete / "Image").write_bytes(b"kernel")
        (complete / "busybox").write_bytes(b"box")
        time.sleep(0.05)
        if self.error is not None:
            raise self.error
        manifest = {
            "kernel_package": "p", "kernel_version": "6.12.1",
            "sizes": {"Image": 6, "busybox": 3},
        }  # fmt: skip
        (complete / "manifest.json").write_text(json.dumps(manifest))
        return complete


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in (cache / "guest").iterdir() if path.name != ".lock"]


def test_a_guest_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = FakeFetch()
    monkeypatch.setattr(images, "_fetch_into", fetch)
    assert fetched_guest(tmp_path) is None
    first = fetch_guest(tmp_path)
    assert first == fetch_guest(tmp_path) == fetched_guest(tmp_path)
    assert fetch.calls == 1
    assert leftovers(tmp_path) == ["debian-12-linux-6.12"]


def test_of_several_at_once_one_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = FakeFetch()
    monkeypatch.setattr(images, "_fetch_into", fetch)
    found: list[images.FetchedGuest] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_guest(tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetch.calls == 1
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left.*HPCORE_CACHE"),
        (FetchError("apt-get failed"), "apt-get failed"),
    ],
)
def test_a_fetch_that_fails_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(images, "_fetch_into", FakeFetch(error))
    with pytest.raises(FetchError, match=said):
        fetch_guest(tmp_path)
    assert leftovers(tmp_path) == []
    monkeypatch.setattr(images, "_fetch_into", FakeFetch())
    assert fetch_guest(tmp_path).kernel.read_bytes() == b"kernel"


def test_a_damaged_guest_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = FakeFetch()
    monkeypatch.setattr(images, "_fetch_into", fetch)
    fetch_guest(tmp_path).kernel.write_bytes(b"ker")
    assert fetched_guest(tmp_path) is None
    assert fetch_guest(tmp_path).kernel.read_bytes() == b"kernel"
    assert fetch.calls == 2


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match=r"file/guest.*HPCORE_CACHE"):
        fetch_guest(tmp_path / "file")


def test_without_apt_the_error_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match=r"apt-get, .*dpkg-deb not found in PATH"):
        PrivateApt.create(tmp_path / "apt", Mirror("http://mirror.invalid", None), ["bookworm"])


def test_a_mirror_that_does_not_answer_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = f"file:{tmp_path}/no-such-mirror"
    monkeypatch.setenv(MIRROR_VARIABLE, mirror)
    with pytest.raises(FetchError, match=f"apt-get .*failed with the mirror {mirror}: ") as caught:
        fetch_guest(tmp_path / "cache")
    assert "try again" in str(caught.value)
    assert leftovers(tmp_path / "cache") == []


def test_apt_never_touches_the_machines_own_state(tmp_path: Path) -> None:
    private = PrivateApt.create(tmp_path / "apt", Mirror("http://mirror.invalid", None), ["sid"])
    text = (private.root / "apt.conf").read_text()
    paths = [line.split('"')[1] for line in text.splitlines() if line.startswith("Dir::")]
    assert paths
    assert all(path == "/dev/null" or path.startswith(str(tmp_path)) for path in paths)
    assert "Allow" not in text, "apt's own defaults refuse what is not signed"


def test_the_real_guest_is_a_6_12_kernel_and_an_arm64_busybox() -> None:
    """Uses the machine's cache and, the first time, the network."""
    guest = fetch_guest()
    kernel = load_kernel(guest.kernel)
    assert kernel.version == guest.kernel_version
    assert guest.kernel_version.startswith("6.12.")
    assert kernel.warning is None
    machine_aarch64 = b"\xb7\x00"
    assert guest.busybox.read_bytes()[18:20] == machine_aarch64
    assert guest.initramfs() == guest.initramfs()
    assert guest.busybox.read_bytes() in guest.initramfs().read_bytes()


def test_the_modules_name_no_network_host() -> None:
    for module in (apt, cache, whole_directory, images):
        assert "://" not in Path(str(module.__file__)).read_text()
