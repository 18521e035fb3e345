"""What lines mean: each mapping, what is assumed, and how the import goes on past a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.foreign import IMPORTED, Kind, Mark, import_files, read_mark
from hpcore.log import read
from hpcore.model import events as ev
from hpcore.model.invariants import BY_NAME
from hpcore.triage.known import ALL, KNOWN
from hpcore.triage.replay import replay
from tests.foreign.cases import Trace, bring, found, told

GIC = "gicv3_dist_write GICv3 distributor write: offset {} data 0x200 size 4 secure 0"


def test_a_good_trace_makes_a_log_that_replays(tmp_path: Path) -> None:
    trace = Trace()
    for _ in range(3):
        trace.whole()
    trace.shutdown()
    done, verdict = bring(tmp_path, trace.text)
    assert verdict.ok and not done.wrong and not verdict.remarks
    replayed = replay(done.log)
    assert replayed.ok and replayed.says_the_end and replayed.otherwise is None
    assert replayed.header.accelerator == IMPORTED


def test_marks_are_read_back_as_they_were_written() -> None:
    for mark in (
        Mark(Kind.FLAGS, "read", "it: differs: so", 3, "a b:c.trace:17"),
        Mark(Kind.SUMMARY, "flags", "2 flags"),
        Mark(Kind.GUARD, "eject_was_requested", "words\nof two lines", 0),
    ):
        assert read_mark(mark.line()) == mark
    for note in ("step 3: plug", "import: nothing x: y", "import: flags", ""):
        assert read_mark(note) is None


def test_every_known_bug_is_shown_by_something_that_is_there() -> None:
    from hpcore.model.guards import GUARDS  # noqa: PLC0415

    names = set(BY_NAME) | set(GUARDS) | {"eject_incomplete"}
    assert all(bug.shown_by <= names for bug in KNOWN)
    assert len({bug.name for bug in ALL}) == len(ALL)
    assert all(bug.says and bug.where for bug in ALL)


def test_flags_that_differ_are_marked_once_each(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    for _ in range(3):
        trace.guest("read_flags", 2, " flags: 0x7")
    trace.guest("read_flags", 2, " flags: 0x3")
    done, verdict = bring(tmp_path, trace.text)
    assert (done.flags_read, done.flags_differ) == (4, 3)
    assert found(verdict) == ["read"]
    assert "insert and remove" in verdict.wrong[0].marks[0].text
    assert verdict.wrong[0].place == "file0:6"


def test_every_finding_is_told_of_and_the_import_goes_on(tmp_path: Path) -> None:
    trace = Trace(cold=3)
    trace.eject(1)
    trace.whole(3)
    trace.eject(2)
    trace.whole(3)
    trace.shutdown()
    _, verdict = bring(tmp_path, trace.text)
    names = found(verdict)
    assert names.count("eject_not_cold_booted") == 2
    assert told(verdict).count("is plugged as core3") == 2
    assert verdict.end is not None and verdict.end.name == "shutdown"


def test_cpu_on_is_seen_on_the_vcpus_own_thread_and_cpu_off_is_assumed(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.ost(2, 1, 0)
    trace.say("cpu_reset 2", 112)
    trace.unplug(2)
    trace.scan(2, "remove")
    trace.eject(2)
    done, verdict = bring(tmp_path, trace.text)
    _, records = read(done.log)
    events = [record.event for record in records]
    assert ev.CpuOnGranted(2, 0, delegated=True) in events and ev.CpuWentOff(2) in events
    assert any("CPU_OFF" in what for what in done.assumed) and not verdict.wrong


def test_cpu_on_of_a_vcpu_that_is_not_enabled_is_wrong(tmp_path: Path) -> None:
    trace = Trace()
    trace.whole()
    trace.say("cpu_reset 2", 112)
    _, verdict = bring(tmp_path, trace.text)
    assert found(verdict) == ["cpu_on_enabled"]
    assert verdict.looks_like is not None
    assert verdict.looks_like.name == "granted_while_disabled"


def test_cpu_on_that_qemu_denies_is_no_fault(tmp_path: Path) -> None:
    trace = Trace()
    trace.whole()
    trace.lines.append("[ARM]arm_set_cpu_on: Denying attempt to online removed/disabled CPU2")
    done, verdict = bring(tmp_path, trace.text)
    _, records = read(done.log)
    assert any(isinstance(record.event, ev.CpuOnDenied) for record in records)
    assert not verdict.wrong


def test_the_gic_shows_where_a_scan_begins_and_ends(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.say(GIC.format("0x184"), trace.vcpu)
    trace.scan(2, "inserting")
    trace.plug(3)  # its bit is set while the guest still scans, and the guest ends without it
    trace.say(GIC.format("0x104"), trace.vcpu)
    _, verdict = bring(tmp_path, trace.text)
    assert not found(verdict), "the interrupt of vCPU 3 is pending"
    trace.say(GIC.format("0x184"), trace.vcpu)
    trace.say(GIC.format("0x104"), trace.vcpu)
    _, verdict = bring(tmp_path, trace.text)
    assert found(verdict) == ["no_notification_lost"]


@pytest.mark.parametrize(
    ("error", "slot", "says"),
    [
        ("Duplicate device ID 'core2'", 2, "so do the rules"),
        ("out of memory", 3, "the rules would have taken it"),
    ],
)
def test_what_qemu_refuses_is_held_against_the_rules(
    error: str, slot: int, says: str, tmp_path: Path
) -> None:
    trace = Trace()
    trace.plug(2)
    asked = {"driver": "host-arm-cpu", "core-id": slot, "id": "core2" if slot == 2 else "x"}
    trace.command("device_add", False, **asked)
    trace.answer(len(trace.lines) - 1, error)
    _, verdict = bring(tmp_path, trace.text)
    assert any(mark.kind is Kind.REFUSED and says in mark.text for mark in verdict.remarks)


def test_a_plug_of_what_is_there_takes_its_eject_for_lost(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.plug(2)
    _, verdict = bring(tmp_path, trace.text)
    assert "plugged_again" in found(verdict)
    assert told(verdict).count("is plugged as core2") == 2


def test_a_trace_that_begins_late_takes_what_is_there_for_plugged_before(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.guest("read_flags", 3, " flags: 0x1")
    trace.eject(3)
    trace.guest("read_flags", 3, " flags: 0x1")
    done, verdict = bring(tmp_path, trace.text)
    assert any("no file has" in what for what in done.assumed)
    assert found(verdict) == ["eject_was_requested", "eject_requested_and_off", "read"]
    assert verdict.wrong[1].before.slots[3].lifecycle == "parked"


def test_without_qmp_the_registers_alone_show_plugs_and_ejects(tmp_path: Path) -> None:
    trace = Trace()
    trace.whole()
    text = "\n".join(line for line in trace.lines if "mon" not in line)
    done, verdict = bring(tmp_path, text)
    assert "is plugged" in told(verdict) and "DEVICE_DELETED" in told(verdict)
    assert not verdict.wrong and done.assumed and not done.flags_differ


def test_vcpus_plugged_before_the_machine_goes_are_there_at_boot(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.event("RESUME")
    trace.unplug(2)
    trace.scan(2, "remove")
    trace.eject(2)
    _, verdict = bring(tmp_path, trace.text)
    assert not verdict.wrong and "DEVICE_DELETED" in told(verdict)


def test_a_command_that_comes_while_aml_clears_what_it_has_found_ends_no_scan(
    tmp_path: Path,
) -> None:
    trace = Trace()
    trace.plug(2)
    trace.guest("write_cmd", 0, " cmd: 0x0")
    trace.guest("cpu_has_events", 2, " inserting: 1, removing: 0")
    trace.guest("write_cmd", 3, " cmd: 0x0")  # QEMU's AML: comes round, and clears behind its loop
    trace.guest("cpu_has_events", 2, " inserting: 1, removing: 0")
    trace.command("query-status")
    trace.guest("clear_inserting_evt", 2)
    trace.ost(2, 1, 0)
    done, verdict = bring(tmp_path, trace.text)
    assert not found(verdict)
    _, records = read(done.log)
    kinds = [type(record.event) for record in records]
    assert kinds.index(ev.InsertCleared) < kinds.index(ev.ScanFinished)


def test_what_is_pending_on_a_machine_that_came_by_migration_is_not_held_against_it(
    tmp_path: Path,
) -> None:
    trace = Trace(cold=3)
    trace.event("MIGRATION", status="completed")
    trace.guest("read_flags", 2, " flags: 0x3")
    trace.guest("clear_inserting_evt", 2)
    trace.guest("read_flags", 2, " flags: 0x1")
    done, verdict = bring(tmp_path, trace.text)
    assert not found(verdict) and done.flags_differ == 0
    trace.guest("read_flags", 2, " flags: 0x3")
    done, verdict = bring(tmp_path, trace.text)
    assert found(verdict) == ["read"]


# ------------------------------------------------------------------------- how it ends


def test_a_trace_that_stops_within_a_command_says_what_was_under_way(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.command("device_del", answered=False, id="core2")
    _, verdict = bring(tmp_path, trace.text)
    assert verdict.died and not verdict.ok and not verdict.wrong
    assert verdict.end is not None and verdict.end.name == "silent"
    assert any("device_del" in text and "thread 100" in text for text in verdict.open)
    assert {mark.name for mark in verdict.threads} == {"100", "111"}


def test_a_trace_that_stops_with_nothing_under_way_is_not_wrong(tmp_path: Path) -> None:
    trace = Trace()
    trace.whole()
    _, verdict = bring(tmp_path, trace.text)
    assert verdict.ok and verdict.end is not None and verdict.end.name == "silent"


def test_a_main_thread_that_does_nothing_while_others_go_on_hangs(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.command("device_del", answered=False, id="core2")
    trace.t += 30
    trace.guest("read_flags", 2, " flags: 0x1")
    _, verdict = bring(tmp_path, trace.text)
    assert verdict.died and verdict.end is not None and verdict.end.name == "hung"


def test_qemus_last_words_are_its_end(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    words = "ERROR:../tcg/tcg.c:812:tcg_register_thread: assertion failed: (n < tcg_max_ctxs)\n"
    _, verdict = bring(tmp_path, trace.text, words)
    assert verdict.died and verdict.end is not None and verdict.end.name == "died"
    assert "tcg_register_thread" in verdict.end.text


def test_a_machine_that_was_ended_is_told_with_what_it_still_owed(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.ost(2, 1, 0)
    trace.unplug(2)
    trace.shutdown()
    _, verdict = bring(tmp_path, trace.text)
    assert verdict.ok and verdict.open == ["the unplug of vCPU 2 (core2): the guest was asked"]


def test_a_guest_that_refuses_is_not_wrong_and_worth_knowing(tmp_path: Path) -> None:
    trace = Trace()
    trace.plug(2)
    trace.scan(2, "inserting")
    trace.ost(2, 1, 0)
    trace.unplug(2)
    trace.scan(2, "remove")
    trace.ost(2, 3, 0x82)
    trace.shutdown()
    _, verdict = bring(tmp_path, trace.text)
    assert verdict.ok
    assert any(mark.name == "guest_refusal_ends_unplug" for mark in verdict.remarks)


def test_the_lines_of_a_place_are_those_of_the_file(tmp_path: Path) -> None:
    trace = Trace()
    trace.eject(1)
    path = tmp_path / "a.trace"
    path.write_text("a line of somebody's\n\n" + trace.text)
    import_files([str(path)], tmp_path / "log")
    _, records = read(tmp_path / "log")
    marks = [m for r in records if isinstance(r.event, ev.Noted) and (m := read_mark(r.event.text))]
    place = next(mark.place for mark in marks if mark.kind is Kind.GUARD)
    assert place is not None
    assert "ejecting_cpu" in path.read_text().splitlines()[int(place.rpartition(":")[2]) - 1]
