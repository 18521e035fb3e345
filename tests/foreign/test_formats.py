"""Every shape in which people keep traces, transcripts and consoles is read."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcore.foreign import NothingToImport
from hpcore.foreign.simple_trace import BEGINNING
from hpcore.foreign.streams import Clock
from tests.foreign.cases import T0, Trace, bring, found, told

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Message = dict[str, Any]
VCPU = {"driver": "host-arm-cpu", "id": "c2", "core-id": 2}
KNOWS = {"device": "c2", "slot": "2", "source": 1, "status": 0, "slot-type": "CPU"}
ADD: Message = {"execute": "device_add", "arguments": VCPU}
OK: Message = {"return": {}}
DEL: Message = {"execute": "device_del", "arguments": {"id": "c2"}}
OST: Message = {
    "timestamp": {"seconds": T0 + 2, "microseconds": 0},
    "event": "ACPI_DEVICE_OST", "data": {"info": KNOWS},
}  # fmt: skip
GONE: Message = {
    "timestamp": {"seconds": T0 + 4, "microseconds": 5},
    "event": "DEVICE_DELETED", "data": {"device": "c2", "path": "/machine/peripheral/c2"},
}  # fmt: skip
TALK: tuple[tuple[str, Message], ...] = (
    ("->", ADD), ("<-", OK), ("<-", OST), ("->", DEL), ("<-", OK), ("<-", GONE),
)  # fmt: skip
WHOLE = "vCPU 2 is plugged as c2, and the guest notified; vCPU 2 is registered by the guest; " \
    "vCPU 2 (c2) is gone: DEVICE_DELETED"


def _dump(message: object) -> str:
    return json.dumps(message)


def _lines() -> str:
    return "".join(f"{_dump(message)}\n" for _, message in TALK)


def _arrows() -> str:
    return "".join(
        f"{T0 + n}.250000 {arrow} {_dump(message)}\n" for n, (arrow, message) in enumerate(TALK)
    )


def _libvirt() -> str:
    out = []
    for n, (arrow, message) in enumerate(TALK):
        when = f"2023-11-14 22:13:2{n}.123+0000: 4242"
        if arrow == "->":
            out.append(f"{when}: info : qemuMonitorSend:940 : QEMU_MONITOR_SEND_MSG: mon=0x7f "
                       f"msg={_dump(message)}\\r\\n fd=-1")  # fmt: skip
            out.append(f"{when}: info : qemuMonitorIOWrite:4 : QEMU_MONITOR_IO_WRITE: mon=0x7f "
                       f"buf={_dump(message)}\\r\\n len=9 ret=9 errno=0")  # fmt: skip
        else:
            said = f"Line [{_dump(message)}]"
            out.append(f"{when}: debug : qemuMonitorJSONIOProcessLine:195 : {said}")
            kind = "event" if "event" in message else "reply"
            name = f"QEMU_MONITOR_RECV_{kind.upper()}"
            out.append(f"{when}: info : qemuMonitorJSONIOProcessLine:210 : {name}: mon=0x7f "
                       f"{kind}={_dump(message)}")  # fmt: skip
    return "\n".join(out) + "\n"


def _qmp_shell() -> str:
    out = ["Welcome to the QMP low-level shell!"]
    for arrow, message in TALK:
        if arrow == "->":
            words = " ".join(f"{k}={v}" for k, v in message["arguments"].items())
            out.append(f"(QEMU) {message['execute']} {words}")
        out.append(json.dumps(message, indent=4))
    return "\n".join(out) + "\n"


def _wrapped() -> str:
    return "".join(
        _dump({"ts": f"2023-11-14T22:13:2{n}.5Z", "dir": arrow, "msg": message}) + "\n"
        for n, (arrow, message) in enumerate(TALK)
    )


def _logfmt() -> str:
    return "".join(
        f'time="2023-11-14T22:13:2{n}.5Z" level=info msg={json.dumps(_dump(message))} name=x\n'
        for n, (_, message) in enumerate(TALK)
    )


SHAPES = {
    "lines": _lines, "arrows": _arrows, "libvirt": _libvirt, "qmp-shell": _qmp_shell,
    "wrapped": _wrapped, "logfmt": _logfmt,
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_transcript_is_read_in_every_common_shape(shape: str, tmp_path: Path) -> None:
    done, verdict = bring(tmp_path, SHAPES[shape]())
    assert told(verdict) == WHOLE
    assert verdict.ok and [each.text.split()[0] for each in verdict.asked] == [
        "device_add", "device_del",
    ]  # fmt: skip
    assert done.files[0].format == "a QMP transcript"


def test_a_chardevs_logfile_which_has_qemus_side_alone_shows_plugs_by_what_is_told(
    tmp_path: Path,
) -> None:
    text = "".join(f"{_dump(message)}\r\n" for arrow, message in TALK if arrow == "<-")
    done, verdict = bring(tmp_path, text)
    assert told(verdict) == WHOLE and not found(verdict)
    assert len(done.assumed) == 3


def test_lines_for_people_are_read_with_their_errors(tmp_path: Path) -> None:
    text = (
        "(qemu) device_add host-arm-cpu,id=c2,core-id=2\n"
        "(qemu) device_add host-arm-cpu,id=c2,core-id=2\n"
        "Error: Duplicate device ID 'c2'\n"
        "(qemu) device_del c2\n(qemu) system_reset\n"
    )
    _, verdict = bring(tmp_path, text)
    assert [each.text.split()[0] for each in verdict.asked] == [
        "device_add", "device_add", "device_del", "system_reset",
    ]  # fmt: skip
    assert any("Duplicate device ID" in mark.text for mark in verdict.remarks)


# -------------------------------------------------------------------------- traces


@pytest.mark.parametrize("times", [True, False])
def test_a_trace_is_read_with_times_and_without(times: bool, tmp_path: Path) -> None:
    trace = Trace()
    trace.whole()
    trace.shutdown()
    text = trace.text if times else re.sub(r"(?m)^\d+@[\d.]+:", "", trace.text)
    done, verdict = bring(tmp_path, text)
    assert verdict.ok and "DEVICE_DELETED" in told(verdict)
    assert done.files[0].clock is (Clock.HOST if times else Clock.STAMPS)
    assert (done.flags_read, done.flags_differ) == (2, 0)


def simple(text: str) -> bytes:
    """A trace as the simple backend writes it."""
    out = bytearray(BEGINNING + struct.pack("=Q", 4))
    names: dict[str, int] = {}
    for line in text.splitlines():
        head, name, rest = re.fullmatch(r"(\d+@[\d.]+):(\w+) (.*)", line).groups()  # type: ignore
        if name not in names:
            names[name] = len(names)
            out += struct.pack("=QQL", 0, names[name], len(name)) + name.encode()
        if "mon" in rest:
            message = rest.partition(": ")[2].encode()
            body = struct.pack("=QL", 0x55, len(message)) + message
        else:
            numbers = [int(n, 0) for n in re.findall(r"0x[0-9a-f]+|(?<![\w[])\d+\b", rest)]
            body = b"".join(struct.pack("=Q", n) for n in numbers)
        seconds, _, micro = head.partition("@")[2].partition(".")
        at = (int(seconds) - T0) * 10**9 + int(micro) * 1000
        out += struct.pack("=QQQLL", 1, names[name], at, 24 + len(body), 100) + body
    return bytes(out)


def test_a_trace_of_the_simple_backend_is_read(tmp_path: Path) -> None:
    trace = Trace()
    trace.whole()
    trace.shutdown()
    done, verdict = bring(tmp_path, simple(trace.text))
    assert verdict.ok and "DEVICE_DELETED" in told(verdict)
    assert done.files[0].clock is Clock.MONOTONIC and done.flags_read == 2
    cut = simple(trace.text)[:-7]
    done, verdict = bring(tmp_path, cut)
    assert any("cut short" in said for said in done.files[0].said)
    assert "DEVICE_DELETED" in told(verdict)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "zstd": zstd.compress, "xz": lzma.compress, "bzip2": bz2.compress,
}  # fmt: skip


@pytest.mark.parametrize("packed", PACKED)
def test_a_packed_file_is_read_and_what_is_whole_of_a_cut_one(
    packed: str, tmp_path: Path
) -> None:
    trace = Trace()
    for _ in range(40):
        trace.whole()
    data = PACKED[packed](trace.text.encode())
    done, verdict = bring(tmp_path, data)
    assert done.files[0].packed == packed and told(verdict).count("DEVICE_DELETED") == 40
    try:
        done, verdict = bring(tmp_path, data[: len(data) * 2 // 3])
    except NothingToImport:
        return  # what is packed as one block is all or nothing
    assert any(packed in said for said in done.files[0].said)


@pytest.mark.parametrize("as_written", [
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    lambda text: text.encode()[:-9],
], ids=["CRLF", "BOM", "UTF-16", "torn"])  # fmt: skip
def test_a_file_that_went_through_other_hands_is_read(
    as_written: Callable[[str], bytes], tmp_path: Path
) -> None:
    trace = Trace()
    trace.whole()
    trace.shutdown()
    done, verdict = bring(tmp_path, as_written(trace.text))
    assert "DEVICE_DELETED" in told(verdict) and not found(verdict)
    assert done.flags_read == 2


# ---------------------------------------------------------- several writers, several files


def test_lines_of_several_writers_in_one_file_are_told_apart(tmp_path: Path) -> None:
    trace = Trace()
    trace.whole()
    lines = trace.text.splitlines()
    lines.insert(8, "[   12.345678] psci: CPU2 killed (polled 0 ms)")
    lines.insert(4, "some words of somebody's")
    lines[6] = "glued to a prompt $ " + lines[6]
    done, verdict = bring(tmp_path, "\n".join(lines) + "\n")
    assert "DEVICE_DELETED" in told(verdict) and not found(verdict)
    assert set(done.files[0].formats) == {"QEMU's trace", "a guest's console"}
    assert done.files[0].first_unknown == 5


def test_a_transcript_beside_a_trace_that_has_the_same_is_taken_once(tmp_path: Path) -> None:
    trace = Trace()
    trace.whole()
    same = "".join(line.partition(": ")[2] + "\n" for line in trace.lines if "mon" in line)
    _, verdict = bring(tmp_path, trace.text, same)
    assert told(verdict).count("is plugged") == 1 and not found(verdict)
    assert len(verdict.asked) == 2


def test_a_console_with_the_guests_clock_alone_is_put_in_order_by_what_both_have_seen(
    tmp_path: Path,
) -> None:
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.ost(2, 1, 0)
    trace.say("cpu_reset 2", 112)
    trace.unplug(2)
    trace.scan(2, "remove")
    trace.eject(2)
    text = "[    5.000000] Linux version 6.12\n[   12.345678] psci: CPU2 killed (polled 0 ms)\n"
    done, verdict = bring(tmp_path, trace.text, text)
    console = done.files[1]
    assert console.clock is Clock.PRINTK and 0 < console.doubt < 0.1
    assert T0 < console.offset + 12.345678 <= T0 + trace.t
    assert not found(verdict) and "DEVICE_DELETED" in told(verdict)


def test_dmesg_that_prints_old_lines_again_is_taken_once(tmp_path: Path) -> None:
    line = "[   12.445678] ACPI: \\_SB_.CPUS.C003: Eject incomplete - status 0xf\n"
    done, verdict = bring(tmp_path, line + "~ # dmesg\n" + line)
    assert found(verdict) == ["eject_incomplete"] and done.files[0].repeated == 1
    assert verdict.looks_like is not None
    assert verdict.looks_like.name == "plugged_before_confirmed"
    assert verdict.wrong[0].marks[0].slot == 3


@pytest.mark.parametrize("said", ["[   12.345670] psci: CPU2 killed", "psci: CPU2 killed"])
def test_ftraces_text_is_a_console_by_what_printk_says_in_it(said: str, tmp_path: Path) -> None:
    """With and without printk's own time; what the kernel traces besides is no unknown line."""
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.ost(2, 1, 0)
    trace.say("cpu_reset 2", 112)
    trace.unplug(2)
    trace.scan(2, "remove")
    trace.eject(2)
    ftrace = (
        "           <...>-27      [002] d..2.    12.300001: cpuhp_enter: cpu: 0002 target:   0 "
        "step: 231 (sched_cpu_deactivate)\n"
        f" kworker/u8:1-42      [000] d..1.    12.345678: console: {said} (polled 0 ms)\n"
    )
    done, verdict = bring(tmp_path, trace.text, ftrace)
    console = done.files[1]
    assert console.clock is Clock.PRINTK and not console.unknown
    assert sum(console.formats.values()) == 2
    assert not found(verdict) and "DEVICE_DELETED" in told(verdict)
    _, alone = bring(tmp_path, ftrace.replace("killed", "failed to come online"))
    assert found(alone) == ["cpu_not_started"]


def test_what_no_line_of_is_about_vcpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToImport, match="no line says anything about vCPUs"):
        bring(tmp_path, "nothing\nof the kind\n")
    with pytest.raises(NothingToImport):
        bring(tmp_path, b"")
    with pytest.raises(NothingToImport):
        bring(tmp_path, bytes(range(256)) * 64)
