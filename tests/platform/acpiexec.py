"""acpiexec, ACPICA's interpreter in a process: what AML does, access by access.

Its regions are memory: a store is read back, and nothing answers as a device would.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

SECONDS = 60.0
REPORT = re.compile(
    r"SystemMemory (?P<kind>Read|Write)\s*: Val (?P<value>[0-9A-F]+) "
    r"Addr (?P<address>[0-9A-F]+) BitWidth (?P<bits>[0-9A-F]+) "
)


@frozen
class Access:
    """A load (`stores` False) or a store of `size` bytes."""

    stores: bool
    address: int
    size: int
    value: int


@frozen
class Run:
    """What came of a command: the accesses in their order, and all that was printed."""

    accesses: tuple[Access, ...]
    said: str

    @property
    def integer(self) -> int:
        """The number that the method returned."""
        found = re.search(r"\[Integer\] = ([0-9A-F]{16})", self.said)
        assert found is not None, self.said
        return int(found[1], 16)

    @property
    def buffer(self) -> bytes:
        """The Buffer of up to 16 bytes that the method returned."""
        found = re.search(r"\[Buffer\] Length \w+ = +0000: ((?:[0-9A-F]{2} )+)", self.said)
        assert found is not None, self.said
        return bytes.fromhex(found[1])


def evaluate(
    table: bytes, directory: Path, method: str, fill: int = 0, *, first: str | None = None
) -> Run:
    """Evaluate `method`, arguments behind its path, every byte of memory being `fill`.

    `first` is a method to evaluate before it, for what that stores; no more is told of it.
    Raises AssertionError where AML fails, TimeoutExpired where it does not end.
    """
    program = shutil.which("acpiexec")
    assert program is not None, "acpiexec is not installed: apt-get install acpica-tools"
    file = directory / "dsdt.aml"
    file.write_bytes(table)
    methods = [method] if first is None else [first, method]
    batch = ";".join([*(f"evaluate {each}" for each in methods), "quit"])
    done = subprocess.run(
        [program, "-vr", "-fv", str(fill), "-b", batch, str(file)],
        capture_output=True, text=True, timeout=SECONDS, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = (done.stdout + done.stderr).rpartition("Evaluating ")[2]
    assert said.startswith(method.split(maxsplit=1)[0]), done.stdout + done.stderr
    assert not re.search(r"ACPI (BIOS )?Error|AE_[A-Z]+", said), said
    return Run(
        tuple(
            Access(m["kind"] == "Write", int(m["address"], 16), int(m["bits"], 16) // 8,
                   int(m["value"], 16))
            for m in REPORT.finditer(said)
        ), said,
    )  # fmt: skip
