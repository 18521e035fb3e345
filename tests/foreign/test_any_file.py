"""Whatever is in a file, an import ends with a log or with words; its memory is bounded."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcore.errors import HpcoreError
from hpcore.foreign import import_files
from hpcore.triage.verdict import judge
from tests.foreign.cases import CASES, Trace

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

SMALL = st.sampled_from([0, 1, 2, 3, 9, 17, 512, 70_000, 1 << 31, 1 << 40, -1])
EVENTS = st.sampled_from([
    "cpuhp_acpi_write_cmd idx[{0:#x}] cmd: 0x0", "cpuhp_acpi_read_flags idx[{0:#x}] flags: {1:#x}",
    "cpuhp_acpi_cpu_has_events idx[{0:#x}] inserting: 1, removing: {1}",
    "cpuhp_acpi_clear_inserting_evt idx[{0:#x}]", "cpuhp_acpi_clear_remove_evt idx[{0:#x}]",
    "cpuhp_acpi_write_ost_ev idx[{0:#x}] OST EVENT: {1:#x}",
    "cpuhp_acpi_write_ost_status idx[{0:#x}] OST STATUS: {1:#x}",
    "cpuhp_acpi_ejecting_cpu {0:#x}", "cpu_reset {0}",
    "gicv3_dist_write GICv3 distributor write: offset 0x184 data 0x200 size 4 secure 0",
    "gicv3_dist_write GICv3 distributor write: offset 0x104 data 0x200 size 4 secure 0",
    "acpi_gpe_sts_ioport_writeb addr: 0x0 <== 0x04",
    'handle_qmp_command mon 0x1 req: {{"execute": "device_add", "arguments": '
    '{{"driver": "x-arm-cpu", "id": "c{0}", "core-id": {0}}}}}',
    'handle_qmp_command mon 0x1 req: {{"execute": "device_del", "arguments": {{"id": "c{0}"}}}}',
    'handle_qmp_command mon 0x1 req: {{"execute": "system_reset"}}',
    'handle_qmp_command mon 0x1 req: {{"execute": "stop"}}',
    'handle_qmp_command mon 0x1 req: {{"execute": "cont"}}',
    'handle_qmp_command mon 0x1 req: {{"execute": "quit"}}',
    'handle_qmp_command mon 0x1 req: {{"execute": "migrate"}}',
    'monitor_qmp_respond mon 0x1 resp: {{"return": {{"status": "completed"}}}}',
    'monitor_qmp_respond mon 0x1 resp: {{"error": {{"desc": "no"}}}}',
    '{{"event": "DEVICE_DELETED", "data": {{"path": "/machine/peripheral/c{0}"}}}}',
    '{{"event": "DEVICE_DELETED", "data": {{"path": "/machine/unattached/device[{0}]"}}}}',
    '{{"event": "RESET", "data": {{"guest": true}}}}', '{{"event": "STOP"}}',
    '{{"event": "RESUME"}}',
    '{{"event": "SHUTDOWN", "data": {{"guest": true}}}}', '{{"event": "SHUTDOWN", "data": {{}}}}',
    '{{"event": "ACPI_DEVICE_OST", "data": {{"info": {{"slot": "{0}", "slot-type": "CPU", '
    '"source": {1}, "status": {1}}}}}}}',
    '{{"event": "GUEST_PANICKED"}}', '{{"return": [{{"props": {{"core-id": {0}}}, '
    '"vcpus-count": 1, "qom-path": "/machine/peripheral/c{0}"}}]}}', '{{"return": ', "}}",
    "[ {1}.000001] psci: CPU{0} killed (polled 0 ms)", "[ 1.5] CPU{0} has been hot-added",
    "CPU{0}: failed to come online", "(qemu) device_add x-arm-cpu,id=c{0},core-id={0}",
    "(QEMU) device_del id=c{0}", "[ 9.000000] smp: Brought up 1 node, {0} CPUs",
    "[ARM]arm_set_cpu_on: Denying attempt to online removed/disabled CPU{0}",
    "Aborted (core dumped)",
])  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Lines that look like something, in any order, on some threads, with any numbers."""
    out = []
    t = 0.0
    for _ in range(draw(st.integers(0, 40))):
        text = draw(EVENTS).format(draw(SMALL), draw(SMALL))
        t += draw(st.sampled_from([0.0, 0.001, 7.0, -3.0]))
        where = draw(st.sampled_from(["", f"1{draw(st.integers(0, 2))}@{1_700_000_000 + t:.6f}:"]))
        out.append(where + text)
    return "\n".join(out).encode()


def bring_and_judge(*contents: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        for n, content in enumerate(contents):
            (here / str(n)).write_bytes(content)
        names = [str(here / str(n)) for n in range(len(contents))]
        try:
            done = import_files(names, here / "log")
        except HpcoreError as error:
            assert str(error)
            return
        verdict = judge(here / "log")
        assert verdict.damage is None
        assert bool(done.wrong) == bool(verdict.wrong)


@FEW
@given(lines(), lines())
def test_lines_in_any_order_make_a_log_that_can_be_judged(one: bytes, other: bytes) -> None:
    bring_and_judge(one, other)


@FEW
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xff\xfe",
       b"\xff" * 8 + b"\xb4\x29\xa4\x0a\xcb\x77\xb1\xf2"]))  # fmt: skip
def test_any_bytes_are_read_or_refused_in_words(data: bytes, begin: bytes) -> None:
    bring_and_judge(begin + data)


@pytest.mark.parametrize("seed", range(6))
def test_real_files_that_are_cut_and_mixed_are_read(seed: int) -> None:
    rng = random.Random(seed)
    files = [path.read_bytes() for path in sorted(CASES.rglob("*")) if path.is_file()]
    mixed = []
    for data in rng.sample(files, 3):
        pieces = data.split(b"\n")
        for _ in range(5):
            at = rng.randrange(len(pieces))
            pieces[at] = pieces[at][: rng.randrange(len(pieces[at]) + 1)]
            pieces.insert(rng.randrange(len(pieces)), rng.choice(rng.choice(files).split(b"\n")))
        mixed.append(b"\n".join(pieces[: rng.randrange(len(pieces)) + 1]))
    bring_and_judge(*mixed)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    trace = Trace()
    for _ in range(4):
        trace.whole()
    noise = "100@1700000000.5:gicv3_redist_read GICv3 redistributor 0x3 read: offset 0x8\n"
    peaks = []
    for times in (1, 12):
        with (tmp_path / "big").open("w") as file:
            file.write(trace.text)
            for _ in range(times):
                file.write(noise * 1000)
                file.write("111@1700000001.5:cpuhp_acpi_read_flags idx[0x1] flags: 0x1\n" * 40)
        tracemalloc.start()
        done = import_files([str(tmp_path / "big")], tmp_path / "log", overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert done.flags_read == 8 + 40 * times
    assert peaks[1] < peaks[0] * 1.5 + (1 << 20)
