"""What a guest finds in its memory, at the start and after every reset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import fdt
import pytest
from hpcore_kvm.boot import LoadError, load
from hpcore_kvm.vm import Memory

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.platform import firmware, virt

MEMORY = 256 << 20


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory(virt.RAM_BASE, MEMORY, shared=False)
    yield memory
    memory.close()


@pytest.fixture
def boot(tmp_path: Path) -> BootFiles:
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(b"kernel" * 1000)
    initrd.write_bytes(b"initrd" * 1000)
    tables = firmware.build(MachineConfig.of(cpus=1, maxcpus=4))
    tree = tables.device_tree(
        bootargs="quiet", initrd_size=6000, kaslr_seed=bytes(8), rng_seed=bytes(32)
    )
    return BootFiles(tables.blob, tree, kernel, initrd)


def at(memory: Memory, address: int, size: int) -> bytes:
    return bytes(memory.data[address - memory.base :][:size])


def chosen(memory: Memory, size: int) -> dict[str, object]:
    tree = fdt.parse_dtb(at(memory, virt.DTB_BASE, size))
    return {prop.name: prop.data for prop in tree.get_node("/chosen").props}


def test_every_image_is_in_its_place_again_after_a_load(memory: Memory, boot: BootFiles) -> None:
    for _ in range(2):
        load(memory, boot)
        assert at(memory, virt.KERNEL_BASE, 6000) == boot.kernel.read_bytes()
        assert at(memory, virt.INITRD_BASE, 6000) == boot.initrd.read_bytes()
        assert at(memory, virt.BLOB_BASE, len(boot.blob)) == boot.blob
        memory.write(virt.KERNEL_BASE, b"overwritten")
        memory.write(virt.BLOB_BASE, bytes(64))


def test_no_two_starts_have_the_same_seeds_and_all_else_is_the_same(
    memory: Memory, boot: BootFiles
) -> None:
    seen = []
    for _ in range(2):
        load(memory, boot)
        seen.append(chosen(memory, len(boot.tree)))
    first, second = seen
    differ = {name for name in first if first[name] != second[name]}
    assert differ == {"kaslr-seed", "rng-seed"}
    assert first["bootargs"] == ["quiet"]


def test_a_guest_without_a_tree_is_loaded_as_it_is(memory: Memory, boot: BootFiles) -> None:
    load(memory, attrs.evolve(boot, tree=b"", blob=b""))
    assert at(memory, virt.DTB_BASE, 64) == bytes(64)


def test_an_image_that_is_gone_or_has_grown_is_named(
    memory: Memory, boot: BootFiles, tmp_path: Path
) -> None:
    with pytest.raises(LoadError, match=r"cannot read .*none: No such file"):
        load(memory, attrs.evolve(boot, initrd=tmp_path / "none"))
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MEMORY)
    with pytest.raises(LoadError, match=f"large has {MEMORY} bytes, and its place"):
        load(memory, attrs.evolve(boot, kernel=large))
