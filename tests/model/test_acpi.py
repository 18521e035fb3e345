"""What the guest says by `_OST`, in words."""

from __future__ import annotations

import pytest

from hpcore.model.acpi import (
    OstSource,
    OstStatus,
    check_refusal,
    eject_refusal,
    ends_eject,
    ost_source,
    ost_status,
    refuses,
)

UNKNOWN = 0x55


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (OstSource.DEVICE_CHECK, "device check"),
        (OstSource.EJECT_REQUEST, "eject request"),
        (OstSource.OSPM_EJECT, "its own eject"),
        (UNKNOWN, "0x55"),
    ],
)
def test_a_source_has_its_words_or_its_number(source: int, words: str) -> None:
    assert ost_source(source) == words


@pytest.mark.parametrize(
    ("status", "number", "words", "check", "eject"),
    [
        (OstStatus.SUCCESS, 0, "success", "success (0x0)", " (0x0)"),
        (OstStatus.FAILURE, 1, "failure", "failure (0x1)", " (0x1)"),
        (OstStatus.EJECTION_DISABLED, 0x80, "refused: ejection is disabled",
         "ejection is disabled (0x80)", ": ejection is disabled (0x80)"),
        (OstStatus.NO_SUCH_DEVICE, 0x81, "refused: no such device",
         "no such device (0x81)", ": no such device (0x81)"),
        (OstStatus.DEVICE_BUSY, 0x82, "refused: busy", "busy (0x82)", ": busy (0x82)"),
        (OstStatus.DEPENDENCY_BUSY, 0x83, "refused: a dependency is busy",
         "a dependency is busy (0x83)", ": a dependency is busy (0x83)"),
        (OstStatus.IN_PROGRESS, 0x84, "in progress", "in progress (0x84)", " (0x84)"),
        (UNKNOWN, UNKNOWN, "0x55", "0x55", " (0x55)"),
    ],
)  # fmt: skip
def test_a_status_has_its_number_and_its_words(
    status: int, number: int, words: str, check: str, eject: str
) -> None:
    assert status == number
    assert ost_status(status) == words
    assert check_refusal(status) == f"the guest answered the device check with {check}"
    assert eject_refusal(status) == f"the guest refuses the eject{eject}"


def test_what_is_neither_success_nor_progress_refuses() -> None:
    known = {status for status in range(256) if not refuses(status)}
    assert known == {OstStatus.SUCCESS, OstStatus.IN_PROGRESS}


def test_an_eject_ends_with_any_word_but_progress() -> None:
    through = [(source, status) for source in (*OstSource, UNKNOWN)
               for status in (*OstStatus, UNKNOWN) if ends_eject(source, status)]  # fmt: skip
    assert {source for source, _ in through} == {OstSource.EJECT_REQUEST, OstSource.OSPM_EJECT}
    assert {status for _, status in through} == {*OstStatus, UNKNOWN} - {OstStatus.IN_PROGRESS}
    assert [int(source) for source in OstSource] == [0x1, 0x3, 0x103]
