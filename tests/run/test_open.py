"""Opening a machine: what it fits, how its log is kept, where diagnostics go."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from hpcore.errors import HpcoreError
from hpcore.guest.kernel import KernelImage
from hpcore.log import Rotation, Sync, read
from hpcore.log.segments import LEAST_SIZE, numbers
from hpcore.model import events as ev
from hpcore.model.config import MachineConfig
from hpcore.model.machines import SlotState
from hpcore.model.states import State
from hpcore.run import (
    AcceleratorError,
    Capabilities,
    CommandRefused,
    Found,
    GuestImages,
    GuestScript,
    LiveMachine,
    PlugStage,
    find,
    fit,
    open_machine,
)
from hpcore.triage.replay import replay
from tests.qemu.support import needs_qemu
from tests.run.live import on_played
from tests.run.test_controller import SOON
from tests.support.paper import PaperAccelerator
from tests.support.played import PlayedAccelerator, found

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


def test_what_an_accelerator_cannot_run_is_refused_before_there_is_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def opened(capabilities: Capabilities) -> None:
        async with open_machine(paper(capabilities), CONFIG, log=log):
            raise AssertionError("it was opened")

    with pytest.raises(AcceleratorError, match="'paper' cannot run here: no luck"):
        asyncio.run(opened(Capabilities(unavailable="no luck")))
    with pytest.raises(AcceleratorError, match=r"4 possible vCPUs; 'paper' can run 3 here"):
        asyncio.run(opened(Capabilities(max_vcpus=3)))
    assert not log.exists()


def test_a_machine_is_capped_to_what_its_accelerator_can_do() -> None:
    fitted = fit(paper(Capabilities(no_hotplug="it is on paper")), CONFIG)
    assert (fitted.possible, fitted.no_hotplug) == (2, "it is on paper")
    assert fit(paper(), CONFIG) == CONFIG


def test_the_logs_head_says_that_a_guest_was_played(tmp_path: Path) -> None:
    async def script(_m: LiveMachine) -> None:
        pass

    on_played(script, tmp_path / "log")
    assert read(tmp_path / "log")[0].versions["kernel"] == "linux (played)"


@pytest.mark.parametrize("version", ["6.12.9", None])
def test_the_logs_head_names_what_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    kernel = KernelImage("kernel", b"", packed=False, version=version, memory_size=0)
    monkeypatch.setattr("hpcore.run.open.load_kernel", lambda path: kernel)
    monkeypatch.setattr("hpcore.guest.boot.prepare", lambda *_: None)
    capabilities = Capabilities(
        versions={"paper": "A4"}, modelled={"time": "by hand"}, differs={"ink": "blue"}
    )
    images = GuestImages(tmp_path / "kernel", tmp_path / "initrd")

    async def main() -> None:
        async with open_machine(paper(capabilities), CONFIG, images, log=tmp_path / "log"):
            pass

    asyncio.run(asyncio.wait_for(main(), SOON))
    header = read(tmp_path / "log")[0]
    assert header.versions.get("kernel") == version
    assert (header.accelerator, header.versions["paper"]) == ("paper", "A4")
    assert (header.modelled, header.differs) == ({"time": "by hand"}, {"ink": "blue"})


def test_all_that_happened_is_in_the_log_once_the_machine_is_left(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> LiveMachine:
        async with open_machine(paper(), CONFIG, log=log, sync=Sync.OS) as machine:
            await machine.boot()
            machine.note("a word")
            await machine.plug("core2", core_id=2)
        return machine

    machine = asyncio.run(main())
    header, records = read(log)
    with records:
        logged = [record.event for record in records]
    assert (header.accelerator, header.machine) == ("paper", CONFIG)
    assert len(logged) == machine.last_seq
    assert ev.Noted("a word") in logged
    assert logged[-1] == ev.MachinePoweredOff("user")
    assert machine.why_ended() == "the machine was powered off by the user"


def test_a_body_that_raises_ends_the_machine_and_is_heard(tmp_path: Path) -> None:
    log, accelerator = tmp_path / "log", PlayedAccelerator()

    async def main() -> None:
        async with open_machine(found(accelerator), CONFIG, GuestScript(), log=log) as machine:
            await machine.boot()
            raise HpcoreError("enough")

    with pytest.raises(HpcoreError, match="enough"):
        asyncio.run(main())
    assert replay(log).ok


@needs_qemu
def test_a_real_qemu_is_driven_from_python(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        async with open_machine(
            find("qtest"), MachineConfig.of(2, 4, memory=256), GuestScript(), log=log, sync=Sync.OS
        ) as machine:
            await machine.boot()
            await asyncio.gather(machine.plug("core2", core_id=2), machine.plug("x", core_id=3))
            await machine.guest.online(2)
            await machine.until(lambda s: s.slots[2].powered, "vCPU 2")
            await machine.migrate()
            assert machine.slot("core2").state is SlotState.ONLINE
            await machine.guest.offline(2)
            await machine.unplug("core2")
            await machine.pause()
            plug = await machine.plug("core2", core_id=2)
            assert plug.stage is PlugStage.ACCEPTED
            await machine.resume()
            assert await plug.registered()
            await machine.reset()
            assert (await machine.guest.masks()).enabled == frozenset({0, 1, 2, 3})
            with pytest.raises(CommandRefused, match="cold-booted"):
                await machine.unplug("cpu0")
            await machine.power_off()

    asyncio.run(asyncio.wait_for(main(), 8 * SOON))
    assert replay(log).ok


def test_a_log_in_segments_is_as_the_machine_was(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    rotation = Rotation(LEAST_SIZE, 3)

    async def main() -> State:
        opened = open_machine(
            found(), CONFIG, GuestScript(), log=log, sync=Sync.OS, rotation=rotation
        )
        async with opened as machine:
            await machine.boot()
            for _ in range(4):
                await machine.plug("core3", core_id=3)
                await machine.unplug("core3")
        return machine.state

    state = asyncio.run(asyncio.wait_for(main(), 4 * SOON))
    assert len(numbers(str(log))) == 3
    replayed = replay(log)
    assert replayed.ok
    assert replayed.state == state
    assert replayed.decided_again == sum(r.batch is None for r in read(log)[1])
