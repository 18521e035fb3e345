"""A protocol is read from a file, and what is wrong in one is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.model.effects import Step
from hpcore.model.other_invariants import OTHER_INVARIANTS
from hpcore.model.revision import HPCORE, Revision, revision_of
from hpcore.model.rules import RULES, Habit, Trait
from hpcore.protocols import ProtocolError, bundled, load, parse
from tests.docs.pages import DOCS, table


def test_a_protocol_that_says_nothing_has_hpcores_rules_and_promises() -> None:
    mine = parse("says: nothing new", "mine")
    assert mine.name == "mine"
    assert (mine.rules, mine.promises) == (RULES, HPCORE.promises)


def test_what_a_file_says_is_what_the_rules_have() -> None:
    mine = parse(
        "plug: [realize, bind, wire, notify_insert, enable]\n"
        "without: [eject_powered_off, unplug_asks_anew]\n"
        "with: [no_force]\n"
        "gives_up: [notified_only_enabled]\n"
        "instead: [boot_vcpu_stays]\n",
        "mine",
    )
    assert mine.rules.build[-2:] == (Step.NOTIFY_INSERT, Step.ENABLE)
    assert mine.rules.teardown == RULES.teardown
    assert mine.rules.guards_off == {"eject_powered_off"}
    assert RULES.habits - mine.rules.habits == {Habit.UNPLUG_ASKS_ANEW}
    assert mine.rules.traits == {Trait.NO_FORCE}
    names = {p.name for p in mine.promises}
    assert "boot_vcpu_stays" in names
    assert "notified_only_enabled" not in names


def test_a_bug_changes_the_protocol_that_has_it() -> None:
    v6 = load("v6")
    (lost,) = (bug for bug in v6.bugs if bug.name == "lost_at_reset")
    wrong = v6.with_bug(lost)
    assert wrong.rules == v6.rules.without("reset_keeps_plugged")
    assert wrong.promises == v6.promises
    assert wrong.name == "v6.lost_at_reset"


@pytest.mark.parametrize("name", bundled())
def test_a_protocol_written_down_and_read_again_is_the_same(name: str) -> None:
    one = load(name)
    again = revision_of(one.plain)
    assert (again.name, again.says, again.protocol) == (one.name, one.says, one.protocol)
    assert again.promises == one.promises


def test_the_docs_say_what_is_promised_instead_and_by_whom() -> None:
    told = {name.strip("`"): (says, set(by.split(", "))) for name, says, by
            in table(DOCS / "protocols.md", "promised instead")}  # fmt: skip
    assert told == {
        p.name: (p.says, {name for name in bundled() if p.name in load(name).instead})
        for p in OTHER_INVARIANTS
    }


@pytest.mark.parametrize("name", bundled())
def test_a_protocol_that_comes_with_hpcore_is_called_as_its_file(name: str) -> None:
    assert load(name).name == name
    assert load(name).says.endswith(".")


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("[]", None, "a protocol must be a mapping"),
        ("plug: [realize]\nplugs: []", 2, "'plugs' is no key of a protocol; did you mean 'plug'?"),
        ("says: x\nplug:\n  - realize\n  - enabel", 4, "did you mean 'enable'?"),
        ("plug: realize", 1, "plug must be a list"),
        ("plug: []", 1, "plug has no step"),
        ("plug: [realize, wire, wire, enable]", 1, "'wire' stands there twice"),
        ("plug: [bind, wire, enable]", 1, "a plug without 'realize' and 'enable' never ends"),
        ("plug: [realize, enable, disable]", 1, "'disable' is no step of a plug"),
        ("unplug: [disable, enable, park]", 1, "'enable' is no step of an unplug"),
        ("unplug: [disable, unwire]", 1, "an unplug has one of 'park' and 'halt'"),
        ("says: x\nunplug: [disable, shut, halt]", 2, "the plug no 'wake'"),
        ("plug: [realize, wake, enable]", 1, "the unplug no 'halt'"),
        ("without:\n- eject_powered_of", 2, "did you mean 'eject_powered_off'?"),
        ("with: [no_fource]", 1, "'no_fource' is no trait; did you mean 'no_force'?"),
        ("gives_up: [everything]", 1, "'everything' is no promise"),
        ("instead: [eject_in_order]", 1, "is no promise of another protocol"),
        ("gives_up: [boot_vcpu_stays]\ninstead: [boot_vcpu_stays]", 2, "is given up and promised"),
        ("says: 1", 1, "says must be text"),
        ("name: a b", 1, "'a b' is no name"),
        ("bugs:\n  one:\n    says: x", 2, "the bug one breaks nothing"),
        ("bugs:\n  one: {breaks: [eject_in_ordr]}", 2, "did you mean 'eject_in_order'?"),
        ("bugs:\n  one:\n    breaks: [madt_fixed]\n    needs: {boot: true}", 4, "a whole number"),
        ("bugs:\n  1: {breaks: [madt_fixed]}", 1, "has the key 1, which is no text"),
        ("plug: [realize", 1, "not YAML"),
    ],
)
def test_what_is_wrong_in_a_protocol_is_said_with_its_line(
    text: str, line: int | None, why: str
) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(text, "mine")
    said = str(caught.value)
    assert why in said
    assert said.startswith("mine: " if line is None else f"mine:{line}: ")


def test_a_protocol_that_there_is_not_is_said_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"no protocol of that name.*did you mean v6.*v5, v6"):
        load("v66")
    with pytest.raises(ProtocolError, match="it is a directory"):
        load(str(tmp_path))
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProtocolError, match="not UTF-8"):
        load(str(tmp_path / "x.yaml"))


def test_hpcores_own_protocol_has_a_name_too() -> None:
    assert load("hpcore") is HPCORE
    assert Revision("hpcore", HPCORE.says) == HPCORE
