"""The page that AML and the EL3 monitor share: no part of it overlaps another."""

from __future__ import annotations

from itertools import pairwise

from hpcore.model.topology import MAX_POSSIBLE
from hpcore.platform import hotplug_page as page
from hpcore.platform import virt

WORD = 4
PARTS = {
    "head": (page.HEAD, WORD),
    "tail": (page.TAIL, WORD),
    "ring": (page.RING, page.RING_RECORDS * page.RECORD_SIZE),
    "sta": (page.STA, MAX_POSSIBLE),
    "insert": (page.INSERT, MAX_POSSIBLE),
    "remove": (page.REMOVE, MAX_POSSIBLE),
}


def test_the_parts_lie_one_after_the_other_in_the_page() -> None:
    for (begins, size), (following, _) in pairwise(PARTS.values()):
        assert begins + size <= following
    begins, size = PARTS["remove"]
    assert begins + size <= page.PAGE_SIZE


def test_every_part_begins_where_its_cells_are_aligned() -> None:
    assert page.PAGE_BASE % 0x1000 == page.PAGE_SIZE % 0x1000 == 0
    assert page.HEAD % WORD == page.TAIL % WORD == 0
    assert page.RING % page.RECORD_SIZE == 0
    assert all(part % 0x100 == 0 for part in (page.RING, page.STA, page.INSERT, page.REMOVE))


def test_a_record_is_two_words_and_their_number_wraps_with_the_counters() -> None:
    assert page.RECORD_SIZE == 2 * WORD
    assert (1 << 32) % page.RING_RECORDS == 0


def test_the_kinds_of_records_are_counted_from_one() -> None:
    assert [kind.value for kind in page.RingRecord] == list(range(1, len(page.RingRecord) + 1))


def test_the_page_lies_behind_the_tables_in_the_same_memory() -> None:
    assert virt.BLOB_BASE < page.PAGE_BASE
