"""`hpcore restore`: what it refuses before a machine is made. tests/tcg restores real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.log import Header, LogWriter
from hpcore.model.config import MachineConfig
from hpcore.run.accelerator import Belongings
from hpcore.run.saved_file import SavedFileWriter
from tests.support.command import hpcore

MACHINE = MachineConfig.of(cpus=2, maxcpus=4)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file that is whole, of a machine of which its log says nothing yet."""
    with LogWriter.create(tmp_path / "log", Header(MACHINE, "tcg")) as log:
        so_far = log.so_far
    writer = SavedFileWriter(tmp_path / "vm.saved")
    writer.begin("tcg", Belongings({}), so_far).write(b"no stream")
    writer.finish()
    return tmp_path / "vm.saved"


def refused(*arguments: str | Path) -> str:
    ended = hpcore("restore", *arguments)
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    return ended.err


def test_what_is_no_saved_machine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words")
    assert "is no saved machine, or was cut short" in refused(tmp_path / "text")
    assert "cannot be read: No such file" in refused(tmp_path / "nothing")


def test_a_scenario_for_another_machine_is_refused_with_the_one_that_was_saved(
    saved: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.yaml").write_text("machine: {cpus: 1, maxcpus: 8}\nsteps: [settle]\n")
    says = refused(saved, tmp_path / "other.yaml")
    assert "is for another machine" in says
    assert "{cpus: 2, maxcpus: 4, memory: 1024, cpu: cortex-a57}" in says


def test_a_scenario_that_boots_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "boots.yaml").write_text("machine: {cpus: 2, maxcpus: 4}\nsteps: [boot]\n")
    assert "has booted before it was saved" in refused(saved, tmp_path / "boots.yaml")


def test_a_log_that_exists_is_not_overwritten(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert "--force" in refused(saved, "--log", tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
