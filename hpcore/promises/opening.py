"""Before there is a machine: `probe`, and `open`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from hpcore.model.config import MachineConfig
from hpcore.model.events import EVENTS
from hpcore.model.topology import MAX_POSSIBLE
from hpcore.promises.belongings import PAUSES, belongings, left_behind
from hpcore.promises.promise import IDLE, Promises, Subject, gone, hold
from hpcore.run.accelerator import Capabilities, GuestImages, GuestScript

PROBE_SECONDS = 1.0
PROBES = 3
"""So many, and the quickest counts: a busy machine holds up any one."""

PROMISES = Promises()


@PROMISES.promise()
async def probe_is_quick_and_starts_nothing(subject: Subject) -> None:
    """`probe` takes under a second, and leaves nothing running."""
    seconds: list[float] = []

    async def probe() -> None:
        for _ in range(PROBES):
            began = time.perf_counter()
            subject.accelerator.probe()
            seconds.append(time.perf_counter() - began)

    left = await left_behind(probe)
    quickest = min(seconds)
    hold(quickest < PROBE_SECONDS, f"The quickest of {len(seconds)} took {quickest:.2f} s.")
    hold(not left, f"It left behind: {', '.join(sorted(left))}.")


@PROMISES.promise()
async def probe_never_raises(subject: Subject) -> None:
    """`probe` raises nothing, also where no program and no file of the user's is found."""
    with TemporaryDirectory() as empty, _environment(PATH=empty, HOME=empty, XDG_CACHE_HOME=empty):
        found = subject.accelerator.probe()
    hold(isinstance(found, Capabilities), f"It gave {found!r}, which are no Capabilities.")


@PROMISES.promise()
async def capabilities_are_explained_in_words_that_exist(subject: Subject) -> None:
    """What an accelerator cannot do has a reason, and `differs` names events that exist."""
    can = subject.capabilities
    hold(can.max_vcpus >= 1, f"max_vcpus is {can.max_vcpus}.")
    for what in ("unavailable", "no_hotplug"):
        hold(getattr(can, what) != "", f"{what} is empty; it is None, or the reason.")
    for what, reasons in (("modelled", can.modelled), ("differs", can.differs)):
        for name, reason in reasons.items():
            hold(reason.strip(), f"{what} gives no reason for {name}.")
    for name in can.differs:
        hold(_in_a_log(name), f"differs names {name}, and no log has such an event or field.")


def _in_a_log(name: str) -> bool:
    event, _, of_event = name.partition(".")
    if event not in EVENTS:
        return False
    return not of_event or of_event in {a.name for a in attrs.fields(EVENTS[event])}


@PROMISES.promise()
async def open_starts_nothing(subject: Subject) -> None:
    """`open` starts nothing: CREATE_VCPUS does that."""
    started: set[str] = set()
    for pause in PAUSES:  # something else of this process may be starting just now
        await asyncio.sleep(pause)
        before = belongings()
        async with subject.opened() as rig:
            started = {words for words in belongings() - before if not words.startswith("file")}
            told, id_, console = rig.stimuli, rig.session.process_id, rig.session.console
            hold(id_ is None, "The session has a process_id before CREATE_VCPUS.")
            hold(console is None, "The session has a console before CREATE_VCPUS.")
            hold(not told, f"It reported {told} before CREATE_VCPUS.")
        if not started:
            break
    hold(not started, f"It started: {', '.join(sorted(started))}.")


@PROMISES.promise()
async def open_refuses_the_other_kind_of_guest(subject: Subject) -> None:
    """`open` refuses a kernel where the guest is played, and a script where one runs."""
    nowhere = Path("/nonexistent")
    other = GuestImages(nowhere, nowhere) if subject.capabilities.plays_guest else IDLE
    await _refuses(subject, subject.config, other)


@PROMISES.promise()
async def open_refuses_a_guest_that_there_is_not(subject: Subject) -> None:
    """`open` refuses a kernel that cannot be read, or the name of no guest."""
    if subject.capabilities.plays_guest:
        await _refuses(subject, subject.config, GuestScript("a guest that there is not"))
        return
    with _no_kernels() as images:
        for image in images:
            await _refuses(subject, subject.config, image)


@contextmanager
def _no_kernels() -> Iterator[tuple[GuestImages, ...]]:
    """A file that is no kernel, and one that there is not."""
    with TemporaryDirectory() as directory:
        kernel, initrd = Path(directory, "kernel"), Path(directory, "initrd")
        kernel.write_bytes(b"this is no kernel" * 100)
        initrd.write_bytes(b"")
        yield GuestImages(kernel, initrd), GuestImages(kernel.with_name("none"), initrd)


@PROMISES.promise(lambda subject: subject.capabilities.max_vcpus < MAX_POSSIBLE)
async def open_refuses_more_vcpus_than_max_vcpus(subject: Subject) -> None:
    """`open` refuses a machine with more possible vCPUs than `max_vcpus`."""
    possible = subject.capabilities.max_vcpus + 1
    large = MachineConfig.of(cpus=1, maxcpus=possible, memory=256)
    await _refuses(subject, large, subject.script)


async def _refuses(
    subject: Subject, machine: MachineConfig, guest: GuestImages | GuestScript | None
) -> None:
    told: list[object] = []
    what = f"open() with {guest} and {machine.possible} possible vCPUs"

    async def refused() -> None:
        await gone(subject.accelerator.open(machine, guest, told.append), what)

    left = await left_behind(refused)
    hold(not left, f"{what} was refused, and left behind: {', '.join(sorted(left))}.")
    hold(not told, f"{what} was refused, and reported {told}.")


@contextmanager
def _environment(**changes: str) -> Iterator[None]:
    before: Mapping[str, str | None] = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
