"""The interposer's native tests: C programs for this machine, one for each sanitizer."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from attrs import frozen
from hpcore_kvm_qemu import build

NATIVE = Path(__file__).parent / "native"
FLAGS = ("-std=gnu11", "-g", "-O1", *build.WARNINGS)
LIMITS = ("-DPATIENCE=4", "-DBUSY_NAPS=200")
"""Shorter than the interposer's own: seconds for hpcore's answer, naps while the VGIC is busy."""
SANITIZERS = {
    "address-undefined": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
DEFINED = re.compile(r'^(CASE|FAILS)\((\w+)(?:, "([^"]+)")?\)', re.MULTILINE)


@frozen
class Case:
    """A case of the program; `words` are on stderr where it has to end with 97."""

    name: str
    words: str | None


def cases() -> list[Case]:
    """Every case that the C files define."""
    found = []
    for path in sorted(NATIVE.glob("*_cases.c")):
        for kind, name, words in DEFINED.findall(path.read_text()):
            assert (kind == "FAILS") == bool(words), name
            found.append(Case(name, words or None))
    return found


def gcc(*arguments: str | Path) -> None:
    """Run the compiler; fails with its words."""
    done = subprocess.run(
        ["gcc", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def build_program(sanitizer: str, directory: Path) -> Path:
    """All cases, the interposer with a KVM of the tests' own, and the sanitizer."""
    output = directory / f"cases-{sanitizer}"
    ours = [path for path in build.sources() if path.name != "host.c"]
    gcc(
        *FLAGS, *SANITIZERS[sanitizer], *LIMITS,
        "-I", build.SOURCE_DIR, "-I", NATIVE, *ours, *sorted(NATIVE.glob("*.c")), "-o", output,
    )  # fmt: skip
    return output


def run_case(program: Path, case: Case, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run one case; it makes its socket in `directory`."""
    # TSan would wait for a second at the end of every process
    env = {**os.environ, "TSAN_OPTIONS": "atexit_sleep_ms=0", "ASAN_OPTIONS": "detect_leaks=1"}
    env.pop("LD_PRELOAD", None)
    return subprocess.run(
        [str(program), case.name], cwd=directory, capture_output=True, text=True, timeout=120,
        check=False, env=env,
    )  # fmt: skip
