"""The diagnostics of a program that opens a machine, and did or did not set them up itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, sys
import structlog
from hpcore import GuestScript, MachineConfig, open_machine
from tests.support.played import found

async def main():
    log = sys.argv[1]
    async with open_machine(found(), MachineConfig.of(cpus=1), GuestScript(), log=log) as m:
        await m.boot()
        diagnostics = structlog.get_logger("hpcore.anything")
        diagnostics.debug("a detail")
        diagnostics.warning("a warning")
{set_up}
asyncio.run(main())
"""


def ran(tmp_path: Path, set_up: str = "") -> tuple[str, str]:
    """What the program wrote to standard output, and to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(set_up=set_up), tmp_path / "log"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout, done.stderr


def test_a_program_that_set_none_up_hears_warnings_alone_on_standard_error(tmp_path: Path) -> None:
    out, err = ran(tmp_path)
    assert out == ""
    assert "a warning" in err
    assert "a detail" not in err


def test_a_programs_own_diagnostics_are_left_alone(tmp_path: Path) -> None:
    json_lines = "structlog.configure(processors=[structlog.processors.JSONRenderer()])"
    out, err = ran(tmp_path, json_lines)
    assert '"event": "a detail"' in out
    assert '"event": "a warning"' in out
    assert err == ""
