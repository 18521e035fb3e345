"""Scenarios through the real command, on real QEMU with a real Linux, and their replays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcore.model.events import CpuOnGranted, PlugCompleted, UnplugCompleted
from hpcore.scenario.read import bundled
from tests.nested.kernels import old_kernel
from tests.support.command import hpcore, needs_guest, records, scenario

pytestmark = needs_guest


def ran(name: str | Path, log: Path, accel: str = "tcg") -> dict[str, Any]:
    """Run a scenario, which must succeed; its closing object."""
    ended = hpcore("run", name, "--accel", accel, "--log", log, "--json")
    assert ended.code == 0, ended
    assert ended.last["ok"] is True
    assert ended.last["log"] == str(log)
    return ended.last


def replayed(log: Path, *more: str) -> dict[str, Any]:
    """Replay a log, which must be good; the closing object."""
    ended = hpcore("replay", log, "--json", *more)
    assert ended.code == 0, ended
    assert ended.last["ok"] is True
    assert ended.last["violation"] is None
    return ended.last


@pytest.mark.parametrize("name", sorted(set(bundled()) - {"cycles"}))
def test_a_bundled_scenario_runs_and_its_log_replays(
    name: str, tmp_path: Path, kept_logs: Path
) -> None:
    log = kept_logs / f"tcg-{name}.jsonl"
    result = ran(name, log)
    again = replayed(log)
    assert again["events"] == result["events"] == len(log.read_bytes().splitlines()) - 1
    assert (again["torn"], again["in_flight"]) == (None, [])
    # the scenario's last step has the guest power the machine off, or `run` ends it
    assert again["state"]["shared"]["phase"] == ("off" if name == "plug-unplug" else "ended")
    shown = [(slot["id"], slot["lifecycle"]) for slot in again["state"]["slots"]]
    assert shown == [(slot["id"], slot["state"]) for slot in result["slots"]]
    assert replayed(log, "--at", str(result["events"]))["state"] == again["state"]
    # Linux did what the played one does, and the core the same for both
    on_qtest = tmp_path / "qtest.jsonl"
    ran(name, on_qtest, "qtest")
    same = hpcore("diff", log, on_qtest)
    assert same.code == 0, same
    assert "none differs" in same.out


def test_a_played_old_kernel_does_what_a_real_one_does(tmp_path: Path) -> None:
    steps = (
        "boot",
        "expect: {possible: 0-1, present: 0-1, online: 0-1}",
        "{plug: {id: core2, core-id: 2}, fails: does not know it}",
        "expect: {possible: 0-1, present: 0-1, online: 0-1, slots: {core2: enabled}}",
        "{online: core2, fails: cpu2/online}",
        "unplug: core2",
        "reboot",
        "expect: {online: 0-1, slots: {2: parked}}",
    )
    path = scenario(tmp_path / "old.yaml", *steps, machine="cpus: 2, maxcpus: 4")
    real, played = tmp_path / "real.jsonl", tmp_path / "played.jsonl"
    ended = hpcore("run", path, "--accel", "tcg", "--kernel", old_kernel(), "--log", real)
    assert ended.code == 0, ended
    path.write_text("guest: {kind: legacy}\n" + path.read_text())
    ran(path, played, "qtest")
    assert hpcore("diff", real, played).code == 0


@pytest.mark.parametrize(
    ("append", "at_boot", "with_core2"),
    [
        ("nr_cpus=3 nr_cpus=5", "possible: 0-2, present: 0-2, enabled: 0-1", "enabled: 0-2"),
        pytest.param(
            "nr_cpus=2", "possible: 0-1, present: 0-1, enabled: 0-1, online: 0-1", "enabled: 0-1",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "nr_cpus=1", "possible: 0, present: 0, enabled: 0, online: 0", "enabled: 0",
            marks=pytest.mark.long,
        ),
        ("nosmp", "possible: 0-4, present: 0, enabled: 0, online: 0", "enabled: 0"),
        ("maxcpus=1", "possible: 0-4, present: 0-4, enabled: 0-1, online: 0", "enabled: 0-2"),
    ],
)
def test_a_played_kernel_with_room_for_fewer_vcpus_does_what_a_real_one_does(
    tmp_path: Path, append: str, at_boot: str, with_core2: str
) -> None:
    """Also beyond its limit: it answers with success and never has what is plugged."""
    heard = ("settle", "shell: sleep 0.5")  # also the guest's last word
    steps = (
        "boot", f"expect: {{{at_boot}}}",
        "{plug: {id: core2, core-id: 2}, waits: false}", *heard, f"expect: {{{with_core2}}}",
        "{plug: {id: core4, core-id: 4}, waits: false}", *heard, "expect: {slots: {4: enabled}}",
        "{unplug: core4}", *heard, f"expect: {{{with_core2}, slots: {{4: parked}}}}",
        "{unplug: core2}", *heard, f"expect: {{{at_boot}}}",
        "{plug: {id: core4, core-id: 4}, waits: false}", *heard, "reset",
        f"expect: {{{at_boot.partition(', enabled')[0]}, slots: {{2: parked}}}}",
    )  # fmt: skip
    path = scenario(tmp_path / "few.yaml", *steps, machine="cpus: 2, maxcpus: 5")
    path.write_text(f"guest: {{append: {append}}}\n" + path.read_text())
    real, played = tmp_path / "real.jsonl", tmp_path / "played.jsonl"
    ran(path, real)
    ran(path, played, "qtest")
    same = hpcore("diff", real, played)
    assert same.code == 0, same


def test_the_state_at_an_event_is_the_one_right_after_it(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    ran(scenario(tmp_path / "s.yaml", "boot", "plug: 2", "online: 2", "unplug: 2"), log)
    events = {type(r.event): r.seq for r in records(log)}  # the last one of each kind

    def slot_at(seq: int) -> dict[str, Any]:
        slot = replayed(log, "--at", str(seq))["state"]["slots"][2]
        assert isinstance(slot, dict)
        return slot

    assert slot_at(events[PlugCompleted])["lifecycle"] == "enabled"
    on = events[CpuOnGranted]
    assert [slot_at(seq)["powered"] for seq in (on - 1, on)] == [False, True]
    gone = events[UnplugCompleted]
    assert slot_at(gone)["lifecycle"] == "parked"
    people = hpcore("replay", log, "--at", str(gone))
    assert f"State after event {gone}: the machine is running" in people.out
    assert "DEVICE_DELETED" in people.out


@pytest.mark.long
def test_30_vcpus_are_plugged_into_a_machine_of_32(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    # 15 and 16 are in two groups of 16, the most that one SGI reaches
    some = (2, 15, 16, 17, 31)
    path = scenario(
        tmp_path / "wide.yaml",
        "boot",
        "expect: {possible: 0-31, present: 0-31, enabled: 0-1, online: 0-1}",
        *(f"plug: {index}" for index in range(2, 32)),
        "expect: {enabled: 0-31, online: 0-1}",
        *(f"online: {index}" for index in some),
        'expect: {enabled: 0-31, online: "0-2,15-17,31"}',
        *(f"unplug: {index}" for index in (31, 2, 16, 9)),
        'expect: {enabled: "0-1,3-8,10-15,17-30", online: "0-1,15,17",'
        " slots: {31: parked, 2: parked, 16: parked, 9: parked, 17: online, 30: enabled}}",
        "plug: 16",
        "online: 16",
        'expect: {online: "0-1,15-17"}',
        machine="cpus: 2, maxcpus: 32",
    )
    result = ran(path, log)
    assert [slot["index"] for slot in result["slots"]] == list(range(32))
    assert len(result["latencies_ms"]["plug to registered"]) == 31
    assert replayed(log)["events"] == result["events"]


def test_the_console_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    log, console = tmp_path / "run.jsonl", tmp_path / "console.txt"
    path = scenario(tmp_path / "s.yaml", "boot", "shell: echo marked-words")
    ended = hpcore("run", path, "--log", log, "--console", console, "--append", "loglevel=8")
    assert ended.code == 0, ended
    said = console.read_text(errors="replace")
    assert "Linux version 6." in said
    assert "loglevel=8" in said
    assert "marked-words" in said
