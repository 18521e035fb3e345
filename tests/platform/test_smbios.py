"""SMBIOS: the structures as their specification has them, and what they can't hold."""

from __future__ import annotations

import struct
import uuid

import attrs
import pytest

from hpcore.platform import efi
from hpcore.platform.firmware import HPCORE_VIRT, QEMU_VIRT, Board, build
from hpcore.platform.smbios import MOST_BYTES, Identity, IdentityError, Structure, structures
from tests.platform.machines import machine
from tests.platform.test_firmware import at, configuration

UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
BARE = Identity(UUID)
FULL = Identity(
    UUID, "maker", "product", "1.0", "serial", "sku", "family", ("io.example:a=b", "second")
)


def parsed(data: bytes) -> list[tuple[int, int, bytes, list[str]]]:
    """Type, handle, formatted part without its header, and texts, of each structure."""
    found, position = [], 0
    while position < len(data):
        kind, length, handle = struct.unpack_from("<BBH", data, position)
        end = data.index(b"\0\0", position + length) + 2
        texts = data[position + length : end].rstrip(b"\0").decode()
        found.append(
            (
                kind, handle, data[position + 4 : position + length],
                texts.split("\0") if texts else [],
            )
        )  # fmt: skip
        position = end
    return found


@pytest.mark.parametrize("board", [QEMU_VIRT, HPCORE_VIRT])
def test_the_hand_off_leads_to_the_entry_point_and_that_to_the_structures(board: Board) -> None:
    firmware = build(machine(6), board, identity=FULL)
    entry = at(firmware, configuration(firmware)[efi.SMBIOS3.bytes_le], 24)
    assert entry[:5] == b"_SM3_"
    assert sum(entry) & 0xFF == 0
    assert tuple(entry[6:12]) == (24, 3, 0, 0, 1, 0)
    size, address = struct.unpack_from("<IQ", entry, 12)
    assert at(firmware, address, size) == structures(FULL)


def test_a_machine_without_an_identity_has_no_smbios() -> None:
    assert efi.SMBIOS3.bytes_le not in configuration(build(machine(6)))


def test_the_structures_have_the_sizes_of_the_specification_and_handles_of_their_own() -> None:
    found = parsed(structures(FULL))
    assert [(kind, 4 + len(body)) for kind, _, body, _ in found] == [
        (1, 0x1B), (3, 0x16), (11, 5), (32, 11), (127, 4),
    ]  # fmt: skip
    assert len({handle for _, handle, _, _ in found}) == len(found)


def test_the_system_is_who_it_is_said_to_be() -> None:
    _, _, body, texts = parsed(structures(FULL))[0]
    assert texts == ["maker", "product", "1.0", "serial", "sku", "family"]
    assert tuple(body[:4]) == (1, 2, 3, 4)
    assert body[4:20] == bytes.fromhex("33221100 5544 7766 8899aabbccddeeff")
    assert tuple(body[20:]) == (6, 5, 6)


def test_the_chassis_has_the_makers_name_and_is_in_a_safe_state() -> None:
    _, _, body, texts = parsed(structures(FULL))[1]
    assert texts == ["maker", "1.0"]
    assert tuple(body[:9]) == (1, 1, 2, 0, 0, 3, 3, 3, 2)
    assert not any(body[9:])


def test_a_text_that_is_not_there_has_no_number_and_takes_none() -> None:
    system, chassis, *rest = parsed(structures(attrs.evolve(BARE, serial="serial")))
    assert system[3] == ["QEMU", "QEMU Virtual Machine", "serial"]
    assert (tuple(system[2][:4]), tuple(system[2][21:])) == ((1, 2, 0, 3), (0, 0))
    assert chassis[3] == ["QEMU"]
    assert tuple(chassis[2][:3]) == (1, 1, 0)
    assert [kind for kind, *_ in rest] == [Structure.BOOT_INFORMATION, Structure.END]


def test_oem_strings_are_counted_and_kept_in_order() -> None:
    kind, _, body, texts = parsed(structures(FULL))[2]
    assert (kind, body) == (Structure.OEM_STRINGS, b"\x02")
    assert texts == list(FULL.oem_strings)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"serial": "a\0b"}, r"with a NUL in it"),
        ({"oem_strings": ("a", "")}, r"'' is no text of SMBIOS: empty"),
        ({"product": "\udcff"}, r"'\\udcff' is no text of SMBIOS: it is not UTF-8"),
        ({"oem_strings": ("a",) * 256}, "256 OEM strings; SMBIOS counts up to 255"),
        ({"family": "x" * MOST_BYTES}, f"of at most {MOST_BYTES}; shorten its texts"),
    ],
)
def test_what_smbios_cannot_hold_is_refused_in_words(
    changed: dict[str, str | tuple[str, ...]], said: str
) -> None:
    with pytest.raises(IdentityError, match=said):
        build(machine(2), identity=attrs.evolve(BARE, **changed))  # type: ignore[arg-type]


def test_the_most_that_smbios_can_hold_fits_beside_the_tables_of_512_vcpus() -> None:
    room = MOST_BYTES - len(structures(attrs.evolve(BARE, family="x"))) + 1
    most = attrs.evolve(BARE, family="x" * room)
    assert len(structures(most)) == MOST_BYTES
    build(machine(512), identity=most)
    assert structures(attrs.evolve(BARE, oem_strings=("a",) * 255))
