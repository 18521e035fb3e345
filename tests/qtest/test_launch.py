"""How QEMU is kept from running guest code."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hpcore_qtest.qemu import launch

from hpcore.qemu import Qemu, QemuError
from tests.qemu.support import needs_qemu, program
from tests.qtest.rig import ARGUMENTS, bare


def options(path: Path) -> str:
    sockets = launch.Sockets.below(Path("/run"), serials=1)
    return " ".join(launch.command_line(Qemu(path, "9.0.0"), ARGUMENTS, sockets))


def test_qemus_own_accelerator_is_taken_where_it_has_it(tmp_path: Path) -> None:
    has = program(tmp_path / "has", 'case "$*" in *"-accel qtest"*) exit 0 ;; esac; exit 1')
    has_not = program(tmp_path / "has-not", "echo invalid accelerator qtest >&2; exit 1")
    assert "-accel qtest -S" in options(has)
    assert "-accel tcg -S" in options(has_not)


def test_a_program_that_does_not_answer_is_no_qemu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TRY_SECONDS", 0.1)
    stuck = program(tmp_path / "stuck", "exec sleep 60")
    with pytest.raises(QemuError, match=r"cannot be asked for its accelerators: .*timed out"):
        options(stuck)


@needs_qemu
def test_the_machine_never_runs_not_even_after_a_reset() -> None:
    async def run() -> None:
        async with bare() as machine:
            for _ in range(2):
                status = await machine.qmp.execute("query-status")
                assert isinstance(status, dict)
                assert (status["running"], status["status"]) == (False, "prelaunch")
                await machine.reset()

    asyncio.run(run())
