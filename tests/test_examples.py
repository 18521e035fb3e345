"""Every example runs as its first lines say, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SAYS = {
    "drive_a_machine.py": (
        "the guest runs; enabled are (0, 1)", "vCPU 2 is plugged as left",
        "vCPU 3 is plugged as right", "refused: cpu(", "vCPU 2 (left) is gone",
        "slot 3: online, on, id right", "events, right",
    ),
    "read_a_log.py": (
        "3 on device_add", "left: registered after", "right: registered after",
        "the chain of checksums holds",
    ),
    "property_of_your_own.py": (
        "on_means_wired: proven", "known_means_enabled: broken", "as a log: counterexample.jsonl",
        "taken_while_on: proven",
    ),
    "sequence_of_your_own.py": (
        "storm: ", "fails", "step 4, `plug id b, core-id 1` (line 8) can fail: cpu(",
        "step 3: unplug a: the user unplugs a", "kept as found.jsonl", "calm: ", "holds",
    ),
    "guest_of_your_own.py": ("with a deaf guest: proven", "it never happens: a_guest_ejects"),
    "changed_protocol.py": (
        "as it is: proven", "before _STA says enabled: breaks built_in_order",
        "does not wait for the insertion: breaks removal_not_shadowed",
        "is not released: breaks eject_in_order",
    ),
    "small_accelerator.py": (" promises, 0 of them broken",),
}  # fmt: skip
"""What each prints, in this order; drive_a_machine comes first, as read_a_log has its log."""


def run(name: str, folder: Path, *arguments: str) -> str:
    made = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        check=False, cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert not made.stderr
    return made.stdout


def holds(name: str, printed: str) -> None:
    at = 0
    for piece in SAYS[name]:
        assert piece in printed[at:], f"{piece!r} does not come in its place in:\n{printed}"
        at = printed.index(piece, at)


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


ALONE = [name for name in SAYS if name not in ("drive_a_machine.py", "read_a_log.py")]


@pytest.mark.parametrize("name", ALONE)
def test_an_example_prints_what_it_is_about(name: str, tmp_path: Path) -> None:
    holds(name, run(name, tmp_path))


def test_a_machine_is_driven_and_its_log_read_with_plain_python(tmp_path: Path) -> None:
    holds("drive_a_machine.py", run("drive_a_machine.py", tmp_path))
    holds("read_a_log.py", run("read_a_log.py", tmp_path, "machine.jsonl"))
    assert "import hpcore" not in (EXAMPLES / "read_a_log.py").read_text()


def test_the_counterexample_is_a_log_that_replay_explains(tmp_path: Path) -> None:
    run("property_of_your_own.py", tmp_path)
    assert (tmp_path / "counterexample.jsonl").stat().st_size


def test_the_small_accelerator_is_the_one_of_the_docs() -> None:
    """docs/accelerators.md shows it; the example adds what runs it."""
    page = (ROOT / "docs" / "accelerators.md").read_text()
    shown = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    code = (EXAMPLES / "small_accelerator.py").read_text()
    classes = shown[shown.index("class NotebookAccelerator") :].strip()
    assert classes in code
