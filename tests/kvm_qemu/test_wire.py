"""wire.py is wire.h, to the byte."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from hpcore_kvm_qemu import build, wire

from hpcore.model import topology
from tests.kvm_qemu.native import FLAGS, gcc

PROGRAM = """
#include <stddef.h>
#include <stdio.h>
#include "wire.h"
#define SHOW(name, value) printf("%s %zu\\n", name, (size_t)(value))
#define AT(field) offsetof(struct wire_page, field)
int main(void)
{
    SHOW("VERSION", WIRE_VERSION); SHOW("MAGIC", WIRE_MAGIC);
    SHOW("VCPUS", WIRE_VCPUS); SHOW("REGIONS", WIRE_REGIONS);
    SHOW("TOLD", WIRE_TOLD); SHOW("TOLD_AT", AT(told)); SHOW("ASKED_AT", AT(asked));
    SHOW("LAST_AT", AT(last)); SHOW("NOTE_AT", AT(note)); SHOW("DID_AT", AT(did));
    SHOW("NOTE", sizeof(struct wire_note)); SHOW("rest", offsetof(struct wire_note, rest));
    SHOW("HEAD_AT", AT(magic)); SHOW("REGION_AT", AT(region)); SHOW("GRANTED_AT", AT(granted));
    SHOW("FORCE_AT", AT(force)); SHOW("GIC_AT", AT(gic)); SHOW("ALLOWED_AT", AT(allowed));
    SHOW("RESETS_AT", AT(resets)); SHOW("SEEN_AT", AT(seen)); SHOW("LINE", WIRE_LINE);
    SHOW("PAGE_SIZE", sizeof(struct wire_page));
    SHOW("version", AT(version)); SHOW("possible", AT(possible)); SHOW("spi", AT(spi));
    SHOW("kept", AT(kept));
    SHOW("tid", AT(seen[1].tid)); SHOW("powered", AT(seen[1].powered));
    SHOW("forced", AT(seen[1].forced)); SHOW("affinity", AT(seen[1].affinity));
    SHOW("runs", AT(seen[1].runs)); SHOW("gic", AT(seen[1].gic));
    SHOW("MESSAGE", sizeof(struct wire_message)); SHOW("vcpu", offsetof(struct wire_message, vcpu));
    SHOW("a", offsetof(struct wire_message, a)); SHOW("d", offsetof(struct wire_message, d));
    SHOW("ANSWER", sizeof(struct wire_answer)); SHOW("value", offsetof(struct wire_answer, value));
    return 0;
}
"""


def layout_of_c(directory: Path) -> dict[str, int]:
    source, program = directory / "layout.c", directory / "layout"
    source.write_text(PROGRAM)
    gcc(*FLAGS, "-I", build.SOURCE_DIR, source, "-o", program)
    text = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def test_the_page_and_the_messages_are_the_same_in_c(tmp_path: Path) -> None:
    second = wire.SEEN_AT + wire.SEEN.size
    names = (
        "VERSION", "MAGIC", "VCPUS", "REGIONS", "LINE", "HEAD_AT", "REGION_AT", "GRANTED_AT",
        "FORCE_AT", "GIC_AT", "ALLOWED_AT", "RESETS_AT", "SEEN_AT", "PAGE_SIZE", "TOLD", "TOLD_AT",
        "ASKED_AT", "LAST_AT", "NOTE_AT", "DID_AT",
    )  # fmt: skip
    assert layout_of_c(tmp_path) == {
        **{name: getattr(wire, name) for name in names},
        "version": 4, "possible": 8, "spi": 12, "kept": 16,
        "tid": second, "powered": second + 4, "forced": second + 8, "affinity": second + 12,
        "runs": second + 16, "gic": second + 24,
        "MESSAGE": wire.MESSAGE.size, "vcpu": 4, "a": 8, "d": 32,
        "ANSWER": wire.ANSWER.size, "value": 8, "NOTE": wire.NOTE.size, "rest": 28,
    }  # fmt: skip


def test_the_types_of_messages_are_the_same_in_c() -> None:
    text = (build.SOURCE_DIR / "wire.h").read_text()
    found = {name: int(value) for name, value in re.findall(r"WIRE_(\w+) = (\d+),", text)}
    assert found == {message.name: message.value for message in wire.Message}


def test_the_messages_that_wait_are_marked_in_c() -> None:
    text = (build.SOURCE_DIR / "wire.h").read_text()
    marked = re.findall(r"WIRE_(\w+) = \d+, +/\* \?", text)
    assert set(marked) == {message.name for message in wire.ANSWERED}


def test_the_page_has_room_for_all_possible_vcpus() -> None:
    assert wire.VCPUS == topology.MAX_POSSIBLE


def test_the_words_of_two_vcpus_are_in_two_cache_lines() -> None:
    assert wire.SEEN_AT % wire.LINE == 0
    assert wire.SEEN.size % wire.LINE == 0
    assert wire.Seen._make(wire.SEEN.unpack(bytes(wire.SEEN.size))).runs == 0
