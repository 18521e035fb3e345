"""Ten public bug reports, in fragments with personal details replaced: what triage says of each.

docs/triage.md has the table.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.foreign import import_files
from hpcore.triage.verdict import Verdict, judge
from tests.docs.pages import DOCS
from tests.foreign.cases import CASES, found, told

REPORTS: dict[str, tuple[bool, str | None, str]] = {
    "kata-2875.log": (True, None, "is to be plugged"),
    "kata-5228.log": (True, "no_such_id", "must be in range 0:63"),
    "kata-11633.log": (True, "ids_as_texts", "expected: integer"),
    "lxd-11745.dmesg": (True, None, "never says that it started them: 1, 2, 3"),
    "lxd-13186.log": (False, None, "KVM internal error"),
    "neon-autoscaling-1149.dmesg": (True, None, "never says that it started them: 1, 2, 3"),
    "pxvirt-80.log": (True, "driver_of_x86", "is not a valid device model name"),
    "rpi-linux-7291.dmesg": (False, None, "failed to come online"),
    "tf-issues-638.console": (False, None, "may not have shut down cleanly"),
    "virtio-win-677.qmp": (True, None, ""),
}
"""By file: whether no step is wrong, which known bug it looks like, and what is said of it."""


def words(verdict: Verdict) -> str:
    """All that a verdict says."""
    marks = [*verdict.remarks, *verdict.summary, *(m for w in verdict.wrong for m in w.marks)]
    return "; ".join([told(verdict), *(mark.text for mark in marks)])


@pytest.mark.parametrize("name", REPORTS)
def test_a_public_report_is_read_and_judged(name: str, tmp_path: Path) -> None:
    ok, looks_like, says = REPORTS[name]
    import_files([str(CASES / "public" / name)], tmp_path / "log")
    verdict = judge(tmp_path / "log")
    assert verdict.ok is ok, found(verdict)
    assert (verdict.looks_like.name if verdict.looks_like else None) == looks_like
    if name == "kata-2875.log":
        assert len(verdict.asked) == 2 and "is plugged as cpu-0" in told(verdict)
        assert any("cpu-1" in text for text in verdict.open)
    else:
        assert says in words(verdict)


def test_the_docs_have_each_of_them() -> None:
    assert {path.name for path in (CASES / "public").iterdir()} == set(REPORTS)
    page = (DOCS / "triage.md").read_text()
    assert all(name in page for name in REPORTS)
