"""All tests, on all cores, as `make test` runs them.

    python -m tests

Those that are marked `long` are left out: `make test-long` runs them.
Three processes run them side by side. One has those of tests/nested, which wait for machines that
boot; two share the others, file by file. What the first has said is printed when all have ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

NESTED = "tests/nested"

OTHERS = (
    "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", f"--ignore={NESTED}",
    "-m", "not long",
)  # fmt: skip
"""A file's tests stay together: they share what its fixtures have made."""

LATER = ("nice", "-n", "5")
"""What boots in tests/nested takes longest of all, so it is not kept waiting."""


def main() -> int:
    """Run them. Returns pytest's exit code, of tests/nested where the others passed."""
    l1s = pytest(NESTED, "--beside-others")
    with tempfile.TemporaryFile("w+") as said, beside(l1s, said) as nested:
        others = subprocess.run((*LATER, *pytest(*OTHERS)), check=False).returncode
        print(f"\n{NESTED}, beside the others:", flush=True)
        code = nested.wait()
        said.seek(0)
        sys.stdout.writelines(said)
    return others or code


def pytest(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pytest", *arguments)


@contextmanager
def beside(command: tuple[str, ...], said: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """`command` under way. It is ended where this is left before it has."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
