"""A VM started as its user would: the executable, a real QMP client, its guest's shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from qemu.qmp import EventListener, ExecuteError, QMPClient

from hpcore.guest.linux import LinuxGuest
from hpcore.guest.shell import Shell
from hpcore.log import read
from hpcore.qemu.console import SocketConsole
from hpcore.run.kept import place_of
from tests.support.guests import fetched_images
from tests.support.waits import SECONDS, until

EXECUTABLE = Path(sys.executable).with_name("hpcore-qemu-system-aarch64")
BOOT_SECONDS = 120.0
END_SECONDS = 20.0
MOVING_SECONDS = 120.0
PLUGGABLE, PLUGGABLE_ON_KVM = "cortex-a57-arm-cpu", "host-arm-cpu"
TCG = ("-M", "virt", "-accel", "tcg", "-cpu", "cortex-a57")
SMALL = "256M"
TOLD = [{"capability": "events", "state": True}]
"""What has a client told of a migration by events."""
KVM = ("-M", "virt,gic-version=host", "-accel", "kvm", "-cpu", "host")


@define
class Client:
    """A QMP client, and the events that it was told, oldest first."""

    qmp: QMPClient
    _collecting: asyncio.Task[None]
    events: list[dict[str, Any]]

    async def close(self) -> None:
        """Leave the monitor to the next one."""
        self._collecting.cancel()
        with contextlib.suppress(Exception):  # QEMU may be gone
            await self.qmp.disconnect()

    async def do(self, command: str, **arguments: object) -> Any:
        """What a command returns; `_` in a name is `-`. Raises ExecuteError."""
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        return await self.qmp.execute(command, given or None)

    async def migrated(self) -> dict[str, object]:
        """What `query-migrate` says once the migration is over."""
        found: dict[str, object] = {}
        deadline = asyncio.get_running_loop().time() + MOVING_SECONDS
        while found.get("status") not in ("completed", "failed", "cancelled"):
            assert asyncio.get_running_loop().time() < deadline, found
            await asyncio.sleep(0.02)
            found = dict(await self.do("query-migrate"))
        return found

    async def refused(self, command: str, **arguments: object) -> str:
        """The words with which a command is refused."""
        with pytest.raises(ExecuteError) as refusal:
            await self.do(command, **arguments)
        return str(refusal.value)

    async def told(self, name: str, since: int = 0, **data: object) -> dict[str, Any]:
        """The first event of that name from number `since` on, with that data."""

        def found() -> dict[str, Any] | None:
            for event in self.events[since:]:
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    return event
            return None

        await until(lambda: found() is not None, f"the event {name} with {data}")
        event = found()
        assert event is not None
        return event

    # ------------------------------------------------------- vCPUs, as tools ask for them

    async def plug(self, cpu: int, id_: str = "", driver: str = PLUGGABLE) -> None:
        """Plug the vCPU of that core, and wait for nothing."""
        await self.do("device_add", driver=driver, id=id_ or f"cpu{cpu}", core_id=cpu)

    async def unplug(self, cpu: int) -> None:
        """Unplug it, and wait until it is gone."""
        since = len(self.events)
        await self.do("device_del", id=f"cpu{cpu}")
        await self.told("DEVICE_DELETED", since, device=f"cpu{cpu}")

    async def there(self) -> dict[int, str]:
        """The vCPUs that are there, by their core, and the path of each."""
        listed = await self.do("query-hotpluggable-cpus")
        return {e["props"]["core-id"]: e["qom-path"] for e in listed if "qom-path" in e}


@define
class Vm:
    """A running VM. `directory` holds its sockets and logs."""

    directory: Path
    process: asyncio.subprocess.Process
    client: Client
    guest: LinuxGuest

    @property
    def log(self) -> Path:
        """hpcore's log of this VM."""
        (found,) = (self.directory / "logs").glob("*.jsonl")
        return found

    @property
    def diagnostics(self) -> str:
        """What the door has said."""
        return "".join(f.read_text() for f in (self.directory / "logs").glob("*.door.log"))

    def threads(self) -> set[int]:
        """The threads of the process that was started."""
        return {int(entry.name) for entry in Path(f"/proc/{self.process.pid}/task").iterdir()}

    def door(self) -> int:
        """The door's process id, which its files' names end with."""
        return int(self.log.stem.rpartition("-")[2])

    async def connect(self, name: str) -> Client:
        """One more client, on the monitor of that name."""
        return await connected(self.directory / name)

    async def shows(self, online: set[int]) -> None:
        """Wait until the guest's masks show these vCPUs enabled; bring them all online."""
        await self.enabled(online)
        for cpu in online - (await self.guest.masks()).online:
            await self.guest.online(cpu)
        assert (await self.guest.masks()).online == online

    async def enabled(self, cpus: set[int]) -> None:
        """Wait until the guest knows these vCPUs to be enabled, and no other."""
        deadline = asyncio.get_running_loop().time() + SECONDS
        while (masks := await self.guest.masks()).enabled != frozenset(cpus):
            assert asyncio.get_running_loop().time() < deadline, masks
            await asyncio.sleep(0.05)

    async def ended(self) -> int:
        """Its exit status, once it has ended by itself."""
        return await asyncio.wait_for(self.process.wait(), END_SECONDS)


async def connected(path: Path | tuple[str, int]) -> Client:
    """A client of the monitor at `path`, with its events collected until its `close`."""
    qmp = QMPClient("test")
    address = path if isinstance(path, tuple) else str(path)
    await asyncio.wait_for(qmp.connect(address), SECONDS)
    listener, events = EventListener(), list[dict[str, Any]]()
    qmp.register_listener(listener)

    async def collect() -> None:
        async for event in listener:
            events.append(dict(event))

    return Client(qmp, asyncio.create_task(collect()), events)


@asynccontextmanager
async def vm(
    *words: str,
    machine: Sequence[str] = TCG,
    smp: str = "2,maxcpus=4",
    memory: str = "1G",
    kernel: Sequence[str] | None = None,
    monitors: Sequence[str] = ("-qmp", "unix:{}/qmp,server=on,wait=off"),
    boots: bool = True,
    under: Callable[[Path], None] = lambda _directory: None,
    keep: bool = False,
) -> AsyncIterator[Vm]:
    """A VM with `words` besides; `boots` waits for its guest's shell, `keep` is of its settings.

    `{}` in a word is the VM's directory. On leaving, everything of it has ended.
    """
    images = fetched_images()
    assert images is not None, "make setup fetches the guest"
    boot = kernel or ("-kernel", str(images.kernel), "-initrd", str(images.initrd),
                      "-append", "console=ttyAMA0 loglevel=3")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="vm-", dir="/tmp") as name:
        directory = Path(name)
        under(directory)
        argv = [
            str(EXECUTABLE), *machine, "-smp", smp, "-m", memory,
            "-nodefaults", "-display", "none", *boot, *monitors,
            "-serial", "unix:{}/serial,server=on,wait=off", *words,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *(word.replace("{}", name) for word in argv),
            env={**os.environ, **settings(directory, keep=keep)},
            stdin=asyncio.subprocess.DEVNULL,
            cwd=directory,
            start_new_session=True,
        )
        console: SocketConsole | None = None
        client: Client | None = None
        try:
            await until(lambda: _listens(directory, process), "QEMU's start")
            client = await connected(directory / "qmp")
            console = SocketConsole(*await asyncio.open_unix_connection(directory / "serial"))
            made = Vm(directory, process, client, LinuxGuest(Shell(console)))
            if boots:
                await made.guest.wait_ready(BOOT_SECONDS)
            yield made
        finally:
            if console is not None:
                await console.close()
            if client is not None:
                await client.close()
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()
            if said := "".join(f.read_text() for f in (directory / "logs").glob("*.door.log")):
                print(said[-4000:])  # pytest shows it where a test fails
            await _door_gone(directory)
            if keep:
                _remove_places(directory)
            shutil.rmtree(directory / "logs", ignore_errors=True)


def why_not_taken(directory: Path, incoming: str) -> str:
    """What a VM says that cannot take the machine which comes from there."""
    images = fetched_images()
    assert images is not None, "make setup fetches the guest"
    kernel = ("-kernel", str(images.kernel), "-initrd", str(images.initrd))
    argv = [str(EXECUTABLE), *TCG, "-smp", "2,maxcpus=4", "-m", SMALL, "-nodefaults",
            "-display", "none", *kernel, "-incoming", incoming]  # fmt: skip
    done = subprocess.run(
        argv, env={**os.environ, **settings(directory)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done
    return done.stderr


def _remove_places(directory: Path) -> None:
    """Where kept VMs lived, whose doors may be gone."""
    for log in (directory / "logs").glob("*.jsonl"):
        header, records = read(log)
        records.close()
        place = place_of(header)
        assert place is not None, "it was kept"
        shutil.rmtree(place, ignore_errors=True)


def settings(directory: Path, *, keep: bool = False) -> dict[str, str]:
    """The environment by which the executable keeps its logs in `directory`, with the QEMU that the
    tests' own environment names."""
    file = directory / "settings.toml"
    qemu = os.environ.get("HPCORE_QEMU")
    lines = [f'logs = "{directory}/logs"', *([f'qemu = "{qemu}"'] if qemu else [])]
    file.write_text("\n".join([*lines, *(["keep = true"] if keep else []), ""]))
    return {"HPCORE_DOOR_SETTINGS": str(file)}


def _listens(directory: Path, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, f"it ended with {process.returncode}"
    return (directory / "serial").exists() and (directory / "qmp").exists()


async def _door_gone(directory: Path) -> None:
    doors = [int(f.stem.rpartition("-")[2]) for f in (directory / "logs").glob("*.jsonl")]
    for pid in doors:
        await until(partial(is_gone, pid), f"the end of the door {pid}", END_SECONDS)


def program(pid: int) -> str:
    """The name of what runs in a process."""
    return Path(f"/proc/{pid}/exe").readlink().name


def is_gone(pid: int) -> bool:
    """Whether a process has ended, if perhaps nobody has reaped it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"  # nobody may be there to reap it
