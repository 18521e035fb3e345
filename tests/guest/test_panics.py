"""What on a console is a panic, and how many boots in a row had one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcore.guest.panics import LONGEST_LINE, Panics, advice, panic_in

TIME = b"[    5.378264] "
PANIC = b"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
END = b"---[ end " + PANIC + b" ]---"
BOOT = TIME + b"Booting Linux\r\n" + TIME + PANIC + b"\r\n" + TIME + b"CPU: 0 PID: 1 Comm: x\r\n"
READY = b"\r\nhpcore-guest-ready uptime=5.30\r\n"


@pytest.mark.parametrize(
    "words",
    [
        PANIC.decode(),
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00007f00",
        "Synchronous Exception at 0x000000004704D5A8",
        "SError Exception at 0x0000000047A1B2C3",
        "Unhandled Exception in EL3.",
        "PANIC at PC : 0x0000000004023120",
        '"Synchronous Abort" handler, esr 0x96000045',
    ],
)
def test_the_words_of_kernels_and_of_firmware_are_known(words: str) -> None:
    panics = Panics()
    assert panics.feed(b"before\r\n\r\n" + words.encode() + b"\r\nafter\r\n")
    assert panics.words == words
    assert panic_in(b"x " + words.encode() + b"\r\n") == words


@pytest.mark.parametrize(
    "line", [b"Oops: 0", b"a panic of mine", b"not syncing", b"exception at 0x1", b"kernel panic"]
)
def test_other_lines_are_no_panic(line: bytes) -> None:
    panics = Panics()
    assert not panics.feed(line + b"\n")
    assert (panics.words, panic_in(line)) == (None, None)


@given(st.lists(st.integers(0, len(BOOT)), max_size=8))
def test_a_panic_is_told_once_a_boot_however_it_comes_in(cuts: list[int]) -> None:
    panics, told = Panics(), 0
    places = [0, *sorted(cuts), len(BOOT)]
    for a, b in pairwise(places):
        told += panics.feed(BOOT[a:b])
    told += panics.feed(BOOT)
    assert (told, panics.in_a_row, panics.words) == (1, 1, PANIC.decode())


def test_boots_that_panic_are_counted_until_one_comes_to_its_shell() -> None:
    panics = Panics()
    for row in (1, 2, 3):
        assert panics.feed(BOOT)
        assert panics.in_a_row == row
        panics.reset(by_guest=True)
        assert panics.words is None
    assert panics.resets == 3
    panics.feed(READY)
    assert (panics.in_a_row, panics.resets) == (0, 0)
    assert panics.feed(BOOT)
    assert panics.in_a_row == 1


def test_resets_of_the_user_are_not_the_guests() -> None:
    panics = Panics()
    panics.reset(by_guest=False)
    assert panics.resets == 0


def test_the_shells_word_is_known_with_kernel_messages_within_and_in_pieces() -> None:
    panics = Panics()
    panics.feed(BOOT)
    panics.feed(b"\r\nhpcore-gu" + TIME + b"CPU1: Booted\r\n")
    assert panics.in_a_row == 1
    panics.feed(b"est-rea")
    panics.feed(TIME + b"CPU2: Booted\r\ndy uptime=5.30\r\n")
    assert panics.in_a_row == 0


def test_a_panic_right_after_the_shells_word_is_one_of_the_new_shell() -> None:
    panics = Panics()
    panics.feed(BOOT)
    panics.reset(by_guest=True)
    assert panics.feed(READY + BOOT)
    assert panics.in_a_row == 1


def test_a_guest_stays_as_it_is_where_linux_says_that_the_panic_has_ended() -> None:
    panics = Panics()
    panics.feed(BOOT)
    assert not panics.stays
    panics.feed(TIME + END + b"\r\n")
    assert panics.stays
    panics.feed(b"\r\n")
    assert panics.stays
    panics.reset(by_guest=False)
    assert not panics.stays


def test_a_guest_that_goes_on_has_not_stayed() -> None:
    for what_follows in (b"<hp-end-1:0>\r\n", b"<hp"):  # a line printed an old log, say
        panics = Panics()
        panics.feed(END + b"\r\n")
        panics.feed(what_follows)
        assert not panics.stays


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    panics = Panics()
    assert panics.feed(PANIC + b"x" * 2 * LONGEST_LINE)
    assert len(panics._rest) == 0


def test_a_guest_that_finds_nothing_to_run_is_asked_for_its_init() -> None:
    assert "is there an /init in the initrd" in advice(PANIC.decode())
    assert advice("Kernel panic - not syncing: sysrq triggered crash") == ""
