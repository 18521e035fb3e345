"""iasl, the ACPI compiler, as the judge of our tables."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

HEADER_SIZE = 36


@frozen
class Verdict:
    """What iasl made of a table: its source, and the source compiled again."""

    source: str
    recompiled: bytes
    errors: int
    warnings: int
    said: str


def judge(table: bytes, directory: Path) -> Verdict:
    """Disassemble `table`, and compile the result without optimisations."""
    signature = table[:4].decode()
    original = directory / f"{signature}.aml"
    original.write_bytes(table)
    _iasl(directory, "-d", original.name)
    source = directory / f"{signature}.dsl"
    said = _iasl(directory, "-oa", "-p", "again", source.name)
    summary = re.search(r"(\d+) Errors, (\d+) Warnings", said)
    assert summary is not None, f"iasl gave no summary for {signature}:\n{said}"
    again = directory / "again.aml"
    assert again.exists(), f"iasl does not compile its own source of {signature}:\n{said}"
    return Verdict(
        source=source.read_text(),
        recompiled=again.read_bytes(),
        errors=int(summary[1]),
        warnings=int(summary[2]),
        said=said,
    )


def compile_source(source: str, directory: Path) -> bytes:
    """`source` as iasl compiles it, constants in their shortest form."""
    (directory / "given.asl").write_text(source)
    said = _iasl(directory, "-on", "-p", "given", "given.asl")
    compiled = directory / "given.aml"
    assert compiled.exists(), said
    return compiled.read_bytes()


def body(table: bytes) -> bytes:
    """A table without its header, in which iasl names itself as the creator."""
    return table[HEADER_SIZE:]


def _iasl(directory: Path, *arguments: str) -> str:
    program = shutil.which("iasl")
    assert program is not None, "iasl is not installed: apt-get install acpica-tools"
    done = subprocess.run(
        [program, *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr
