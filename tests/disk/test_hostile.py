"""Images that are damaged or made to do harm: an answer or a DiskError, in bounded time."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpcore.disk import DiskError, read_disk
from hpcore.disk.boot import read_here
from hpcore.disk.child import MOST_MEMORY, answer, confine
from hpcore.disk.find import choose
from tests.disk.making import ESP, Piece, ext, gpt, kernel, qcow2, vfat, xfs
from tests.disk.paper import disk, root, volume
from tests.disk.test_grub import DEBIAN
from tests.support.tools import run_tool

SECONDS = 5
"""Of processor time for one damaged image; what takes longer is ended, as by `read_disk`."""

WORDS = [
    "if", "then", "else", "elif", "fi", "while", "until", "for", "in", "do", "done", "function",
    "menuentry", "submenu", "{", "}", ";", "\n", "'", '"', "\\", "$", "${", "#", "set", "a=$a$a",
    "$a", "[", "]", "!", "-a", "-o", "-f", "=", "search", "--set=root", "--file", "--hint",
    "source", "configfile", "/boot/grub/grub.cfg", "(hd0,gpt2)", "linux", "/boot/vmlinuz-6.12",
    "initrd", "break", "return", "true", "false", "blscfg", "load_env", "eval", "default=0>0", "f",
    "\0", "\xff",
]  # fmt: skip
SCRIPTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=60).map(" ".join)


@given(SCRIPTS)
@settings(max_examples=400, deadline=None)
@example("for a in 1 2 3 ; do menuentry b { linux x } ; done ; set default=1")
@example("source " * 10)
@example("while true; do f; done")
def test_any_script_of_grub_gives_a_choice_or_a_disk_error(script: str) -> None:
    try:
        choice = choose(disk(root(grub_cfg=script, grubenv="a=b\ndefault=1\n")))
    except DiskError as error:
        assert "disk.img" in str(error)
    else:
        assert choice.kernel.volume.partition.number == 2


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_grub_cfg_gives_a_choice_or_a_disk_error(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(DEBIAN)))
    cut = data.draw(st.integers(0, 40))
    script = DEBIAN[:at] + data.draw(SCRIPTS) + DEBIAN[at + cut :]
    try:
        choose(disk(root(grub_cfg=script)))
    except DiskError as error:
        assert "disk.img" in str(error)


KEYS = st.sampled_from(
    ["title", "version", "linux", "initrd", "options", "sort-key", "efi", "#", ""]
)
BLS = st.lists(st.tuples(KEYS, st.text(max_size=10)), max_size=8).map(
    lambda lines: "\n".join(f"{key} {value}" for key, value in lines)
)
NAMES = st.text("ab+-~.019\n*[", min_size=1, max_size=8)


@given(st.dictionaries(NAMES, BLS | st.text(), max_size=5), st.text())
@settings(max_examples=300, deadline=None)
def test_any_bls_entries_give_a_choice_or_a_disk_error(files: dict[str, str], conf: str) -> None:
    tree = {f"/loader/entries/{name}.conf": text.encode() for name, text in files.items()}
    tree["/loader/loader.conf"] = f"default {conf}".encode()
    for grub in ({}, {"/grub2/grub.cfg": b"blscfg"}):
        try:
            choose(disk(volume(1, "vfat", "ABCD-1234", tree | grub)))
        except DiskError as error:
            assert "disk.img" in str(error)


def addresses() -> int:
    """Bytes of addresses that this process has already; a fork of it has them, too."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def confined(path: Path) -> str:
    """What reading says, from a process of its own, as `read_disk` has it: an error, or nothing.

    A fork is ten times quicker than a Python of its own.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            confine(SECONDS, MOST_MEMORY + addresses())
            fields, _, _ = answer(path, None)
            os.write(write, pickle.dumps(str(fields.get("error", "")))[:60_000])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        return f"{path} takes too long"
    assert data, "no answer"
    return str(pickle.loads(data))


TREE = {
    "/boot/grub/grub.cfg": b"menuentry A { linux /boot/vmlinuz ro\n initrd /boot/initrd }",
    "/boot/vmlinuz": kernel(), "/boot/initrd": os.urandom(300_000),
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A whole image of each kind. Of xfs only what is used, the rest being zeros."""
    directory = tmp_path_factory.mktemp("whole")
    esp = vfat({"EFI/a/grub.cfg": TREE["/boot/grub/grub.cfg"], "boot/vmlinuz": kernel(),
                "boot/initrd": TREE["/boot/initrd"]})  # fmt: skip
    raw = gpt([Piece(esp, ESP)])
    return {
        "gpt": raw,
        "qcow2": qcow2(raw, directory / "a.qcow2", "-c").read_bytes(),
        "vfat": esp,
        "ext4": ext(TREE, mib=4),
        "ext2": ext(TREE, "ext2", mib=4),
        "xfs": xfs(TREE)[: 80 << 20],
    }


METADATA = {
    "gpt": (0, 34 * 512), "qcow2": (0, 1 << 19), "vfat": (0, 40_000), "ext4": (1024, 90_000),
    "ext2": (1024, 90_000), "xfs": (0, 40_000),
}  # fmt: skip
"""Where the structures are that lead to the rest."""


@pytest.mark.parametrize("kind", METADATA)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_image_gives_its_files_or_a_disk_error(
    tmp_path: Path, images: dict[str, bytes], kind: str, data: st.DataObject
) -> None:
    image, path = images[kind], tmp_path / "damaged.img"
    if not path.exists():
        path.write_bytes(image)
    low, high = METADATA[kind]
    used = [n for n in range(low, min(high, len(image)) - 8, 4) if any(image[n : n + 4])]
    changes = {}
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(used))
        new = data.draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\1\0\0\0", b"\0\0\0\x7f"])
                        | st.binary(min_size=1, max_size=8))  # fmt: skip
        changes[at] = new
    with path.open("r+b") as file:
        for at, new in changes.items():
            file.seek(at)
            file.write(new)
        file.flush()
        said = confined(path)
        for at in changes:
            file.seek(at)
            file.write(image[at : at + 8])
    assert not said or str(path) in said, said


def test_a_chain_of_clusters_that_goes_round_is_refused(
    tmp_path: Path, images: dict[str, bytes]
) -> None:
    image = bytearray(images["vfat"])
    reserved, fats = struct.unpack_from("<HB", image, 14)
    (size,) = struct.unpack_from("<H", image, 22)
    assert fats == 2
    start = reserved * 512
    for fat in (start, start + size * 512):  # FAT12: every cluster is followed by cluster 2
        image[fat + 3 : fat + size * 512] = b"\x02\x20\x00" * ((size * 512 - 3) // 3)
    path = tmp_path / "round.img"
    path.write_bytes(image)
    assert "goes round" in confined(path)


def test_a_file_whose_extents_point_at_themselves_is_refused(
    tmp_path: Path, images: dict[str, bytes]
) -> None:
    path = tmp_path / "round.img"
    path.write_bytes(images["ext4"])
    header = struct.pack("<HHHHI", 0xF30A, 1, 4, 3, 0)  # one entry, three levels down
    block = 3000
    node = header + struct.pack("<IIHH", 0, block, 0, 0)
    with path.open("r+b") as file:
        file.seek(block * 1024)
        file.write(node)
    for n, word in enumerate(struct.unpack("<6I", node)):
        run_tool("debugfs", "-w", "-R", f"sif /boot/vmlinuz block[{n}] {word}", path)
    with pytest.raises(DiskError, match="its structures point at themselves"):
        read_here(path)


def test_what_takes_too_long_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "slow.img"
    loop = b"for a in 1 2 3 4 5 6 7 8 9; do\n" * 40 + b"x=y\n" + b"done\n" * 40
    path.write_bytes(ext({"/boot/grub/grub.cfg": b"if [ a = b ]; then true; fi\n" + loop}))
    began = time.monotonic()
    with pytest.raises(DiskError, match=r"more than 100000 steps|more than 50 blocks"):
        read_disk(path, seconds=30)
    assert time.monotonic() - began < 30
    monkeypatch.setattr("sys.executable", str(_sleeper(tmp_path)))
    with pytest.raises(DiskError, match=r"slow.img takes more than 1 s; it is damaged"):
        read_disk(path, seconds=1)


def _sleeper(directory: Path) -> Path:
    """A program that takes longer than it may."""
    program = directory / "sleeper"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("end", ["kill -XCPU $$", "kill -KILL $$", "exit 3", "exit 0"])
def test_a_reader_that_ends_without_an_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    program = tmp_path / "reader"
    program.write_text(f"#!/bin/sh\n{end}\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    words = "takes more than 60 s" if "kill" in end else "and no answer"
    with pytest.raises(DiskError, match=words):
        read_disk(tmp_path / "disk.img")


def test_memory_and_time_of_the_reader_are_bounded() -> None:
    child = os.fork()
    if child == 0:
        confine(1)
        try:
            bytearray(3 << 30)
        except MemoryError:
            while True:
                pass
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
