"""Opening a machine: what it fits, how its log is kept, where diagnostics go."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from hpcore.log import Sync, read
from hpcore.model.config import MachineConfig
from hpcore.run import AcceleratorError, Capabilities, Found, fit, open_machine
from tests.support.paper import PaperAccelerator

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)


def paper(capabilities: Capabilities | None = None) -> Found:
    accelerator = PaperAccelerator()
    return Found("paper", "tests", accelerator, capabilities or accelerator.probe())


def opened(log: Path, **options: Sync | bool) -> None:
    async def main() -> None:
        async with open_machine(paper(), CONFIG, log=log, **options):  # type: ignore[arg-type]
            pass

    asyncio.run(asyncio.wait_for(main(), 30))


def test_what_cannot_run_here_fits_nothing() -> None:
    with pytest.raises(AcceleratorError, match="cannot run here: there is none"):
        fit(paper(Capabilities(unavailable="there is none")), CONFIG)


@pytest.mark.parametrize("most", [3, 4])
def test_as_many_vcpus_fit_as_the_accelerator_can_run(most: int) -> None:
    found = paper(Capabilities(max_vcpus=most))
    if most == CONFIG.possible:
        assert fit(found, CONFIG) == CONFIG
    else:
        with pytest.raises(AcceleratorError, match=r"4 possible vCPUs; 'paper' can run 3 here"):
            fit(found, CONFIG)


@pytest.mark.parametrize("sync", Sync)
def test_the_log_is_kept_as_it_was_asked_to_be(tmp_path: Path, sync: Sync) -> None:
    opened(tmp_path / "log", sync=sync)
    assert read(tmp_path / "log")[0].sync is sync


def test_a_machines_log_is_durable_and_overwrites_none(tmp_path: Path) -> None:
    opened(tmp_path / "log")
    assert read(tmp_path / "log")[0].sync is Sync.DURABLE
    with pytest.raises(Exception, match="the file exists and is not empty"):
        opened(tmp_path / "log")
    opened(tmp_path / "log", overwrite=True)


@pytest.fixture
def no_diagnostics() -> Iterator[None]:
    """As in a program that has not set them up."""
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    if before is not None:
        structlog.configure(**before)


@pytest.mark.usefixtures("no_diagnostics")
def test_warnings_alone_go_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(tmp_path / "log")
    log = structlog.get_logger("test")
    log.info("not_heard")
    log.warning("heard")
    out, err = capsys.readouterr()
    assert out == ""
    assert "heard" in err
    assert "not_heard" not in err


@pytest.mark.usefixtures("no_diagnostics")
def test_diagnostics_that_a_program_has_set_up_stay_as_they_are(tmp_path: Path) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stdout))
    before = structlog.get_config()["logger_factory"]
    opened(tmp_path / "log")
    assert structlog.get_config()["logger_factory"] is before
