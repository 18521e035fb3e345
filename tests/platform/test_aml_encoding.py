"""The smallest parts of AML, against a decoder written from the specification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcore.platform.aml.encoding import (
    MAX_PACKAGE_LENGTH,
    AmlError,
    eisa_id,
    encode_length,
    integer,
    name_string,
    package,
    string,
)

SEGMENT = st.from_regex(r"[A-Z_][A-Z0-9_]{0,3}", fullmatch=True)
BOUNDARIES = [0, 1, 61, 62, 63, 64, 4092, 4093, 4094, 4095, 4096, 0xFFFFB, 0xFFFFC, 0xFFFFD]


def decode_length(data: bytes) -> tuple[int, int]:
    """The value of PkgLength bytes, and how many they are."""
    following = data[0] >> 6
    if not following:
        return data[0] & 0x3F, 1
    assert data[0] & 0x30 == 0, "reserved bits of a long PkgLength"
    rest = int.from_bytes(data[1 : 1 + following], "little")
    return rest << 4 | data[0] & 0xF, 1 + following


def decode_integer(data: bytes) -> int:
    if data in (b"\x00", b"\x01"):
        return data[0]
    if data == b"\xff":
        return (1 << 64) - 1
    assert len(data) == 1 + {0x0A: 1, 0x0B: 2, 0x0C: 4, 0x0E: 8}[data[0]]
    return int.from_bytes(data[1:], "little")


@given(st.integers(0, MAX_PACKAGE_LENGTH))
def test_a_length_decodes_to_itself(value: int) -> None:
    encoded = encode_length(value)
    assert decode_length(encoded) == (value, len(encoded))


@given(st.integers(0, 5000) | st.sampled_from(BOUNDARIES))
def test_a_package_length_counts_its_own_bytes_and_is_the_shortest(size: int) -> None:
    encoded = package(bytes(size))
    length, length_bytes = decode_length(encoded)
    assert length == len(encoded) == size + length_bytes
    if length_bytes > 1:
        shorter = size + length_bytes - 1
        assert shorter >= (0x40 if length_bytes == 2 else 1 << 4 * (2 * length_bytes - 3))


def test_a_length_beyond_28_bits_is_refused() -> None:
    with pytest.raises(AmlError, match="28 bits"):
        encode_length(MAX_PACKAGE_LENGTH + 1)


@given(st.integers(0, (1 << 64) - 1) | st.sampled_from([0, 1, 255, 256, 65535, 65536, 1 << 32]))
def test_an_integer_decodes_to_itself(value: int) -> None:
    assert decode_integer(integer(value)) == value


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_an_integer_of_more_than_64_bits_is_refused(value: int) -> None:
    with pytest.raises(AmlError, match=str(value)):
        integer(value)


@given(st.sampled_from(["", "\\", "^", "^^"]), st.lists(SEGMENT, min_size=1, max_size=6))
def test_a_name_has_its_prefix_its_count_and_padded_segments(
    prefix: str, segments: list[str]
) -> None:
    encoded = name_string(prefix + ".".join(segments))
    assert encoded.startswith(prefix.encode())
    head = {1: b"", 2: b"\x2e"}.get(len(segments), bytes([0x2F, len(segments)]))
    padded = b"".join(segment.encode() + b"_" * (4 - len(segment)) for segment in segments)
    assert encoded == prefix.encode() + head + padded


def test_the_root_alone_is_a_name() -> None:
    assert name_string("\\") == b"\\\x00"


@pytest.mark.parametrize("path", ["c000", "TOOLONG", "1ABC", "A..B", "A.", "A B", "É"])
def test_what_is_no_name_is_refused_and_quoted(path: str) -> None:
    with pytest.raises(AmlError, match="no ACPI name"):
        name_string(path)


def test_strings_end_with_nul_and_are_ascii() -> None:
    assert string("ACPI0007") == b"\x0dACPI0007\0"
    for text in ("a\0b", "é"):
        with pytest.raises(AmlError, match="no AML string"):
            string(text)


def test_eisa_ids_are_compressed_as_iasl_does() -> None:
    assert eisa_id("PNP0A05") == bytes.fromhex("0c 41 d0 0a 05")
    for text in ("PNP0A0", "pnp0A05", "PNP0A0G"):
        with pytest.raises(AmlError, match="no EISA id"):
            eisa_id(text)
