"""The tables of docs/accelerators.md are what the accelerators say of themselves."""

from __future__ import annotations

from hpcore.protocols import bundled, load
from hpcore.run.accelerator import Capabilities
from hpcore.run.discovery import probe_all
from tests.docs.pages import DOCS, table

PAGE = DOCS / "accelerators.md"
FOUND = {
    found.name: found.capabilities for found in probe_all()
    if found.distribution.startswith("hpcore-")
}  # fmt: skip


def answer(why_not: str | None) -> str:
    return "yes" if why_not is None else f"no: {why_not}"


def protocols(can: Capabilities) -> str:
    """Those that come with hpcore and ask for nothing that the accelerator lacks."""
    asked = {name: {*load(name).steps, *load(name).rules.traits} for name in bundled()}
    known = [name for name, words in asked.items() if not words & can.lacks.keys()]
    return "all of them" if known == list(asked) else ", ".join(known)


def test_what_each_can_do_is_told_with_the_reasons_why_not() -> None:
    assert {"kvm", "kvm-qemu", "qtest", "tcg"} <= FOUND.keys()
    assert list(table(PAGE, "accelerator")) == [
        (f"`{name}`", "played" if can.plays_guest else "runs", answer(can.no_migration),
         answer(can.no_save), answer(can.no_keep), protocols(can))
        for name, can in FOUND.items()
    ]  # fmt: skip


def test_what_is_modelled_is_told_with_the_reason_and_by_whom() -> None:
    whose: dict[tuple[str, str], list[str]] = {}
    for name, can in FOUND.items():
        for what, why in can.modelled.items():
            whose.setdefault((f"`{what}`", why), []).append(name)
    told = {(what, why): by.split(", ") for what, why, by in table(PAGE, "modelled")}
    assert told == whose
