"""A file that only grows at its end: its beginning is given back to the disk, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.qemu import kept_file
from hpcore.qemu.kept_file import BLOCK, KeptFile, extents, given_back


def made(tmp_path: Path, blocks: int) -> Path:
    """A file whose blocks are of one letter each."""
    path = tmp_path / "file"
    path.write_bytes(b"".join(bytes([65 + i]) * BLOCK for i in range(blocks)))
    return path


def there(path: Path) -> list[tuple[int, int]]:
    """Where it has bytes, in blocks."""
    with path.open("rb") as file:
        found = extents(file.fileno(), path.stat().st_size)
        return [(each.start // BLOCK, each.stop // BLOCK) for each in found]


def test_what_is_given_back_takes_no_disk_and_the_rest_stays_in_its_place(tmp_path: Path) -> None:
    path = made(tmp_path, 5)
    before = path.stat().st_blocks
    KeptFile(path).give_back(3 * BLOCK + 17)
    assert path.stat().st_size == 5 * BLOCK
    assert path.stat().st_blocks <= before - 3 * BLOCK // 512
    assert path.read_bytes() == bytes(3 * BLOCK) + b"D" * BLOCK + b"E" * BLOCK
    assert there(path) == [(3, 5)]
    assert given_back(path) == 3 * BLOCK


def test_what_is_to_stay_stays_until_something_later_is(tmp_path: Path) -> None:
    path = made(tmp_path, 7)
    file = KeptFile(path)
    file.give_back(3 * BLOCK, range(BLOCK + 1, BLOCK + 4))
    assert there(path) == [(1, 2), (3, 7)]
    file.give_back(4 * BLOCK, range(BLOCK + 1, BLOCK + 4))
    assert there(path) == [(1, 2), (4, 7)]
    file.give_back(6 * BLOCK, range(5 * BLOCK - 2, 5 * BLOCK + 2))  # across two blocks
    assert there(path) == [(4, 7)]
    file.give_back(7 * BLOCK)
    assert there(path) == []
    assert given_back(path) == 7 * BLOCK


def test_a_second_one_goes_on_where_the_first_has_ended(tmp_path: Path) -> None:
    path = made(tmp_path, 5)
    KeptFile(path).give_back(2 * BLOCK, range(3))
    KeptFile(path).give_back(4 * BLOCK, range(3))
    assert there(path) == [(0, 1), (4, 5)]


def test_what_can_make_no_holes_leaves_the_file_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, 3)
    tries = []

    def punch(_descriptor: int, start: int, end: int) -> None:
        tries.append((start, end))
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(kept_file, "_punch", punch)
    file = KeptFile(path)
    file.give_back(BLOCK)
    file.give_back(2 * BLOCK)
    assert tries == [(0, BLOCK)]
    assert there(path) == [(0, 3)]
    assert given_back(path) == 0


def test_a_file_that_is_not_there_has_nothing_given_back(tmp_path: Path) -> None:
    KeptFile(tmp_path / "none").give_back(BLOCK)
    assert given_back(tmp_path / "none") == 0
