"""What a wrong `device_add` or `device_del` is answered: by QEMU 10, and by the core, alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from attrs import frozen
from hpcore_qtest.native.boards import LOONGARCH64_VIRT, Q35, NativeBoard
from hpcore_qtest.native.machine import NativeMachine
from hpcore_qtest.qemu.machine import Ears, StoppedQemu

from hpcore.model import guards
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.events import Refused
from hpcore.model.states import initial
from hpcore.qemu.fetch import find_hotplugging
from hpcore.qemu.qmp import QmpRefused
from tests.qemu.support import needs_qemu
from tests.qtest.native import needs_hotplugging
from tests.support.world import World

pytestmark = [needs_qemu, needs_hotplugging]

CONFIG = MachineConfig.of(cpus=1, maxcpus=8, sockets=2, cores=2, threads=2)
IDS = ("socket-id", "core-id", "thread-id")
FREE = dict(zip(IDS, (1, 0, 0), strict=True))
PLUGGED = "cpu7"


@frozen
class Answer:
    """An error that QMP answers with: its class, and its words."""

    class_: str
    words: str


def wrong_values() -> dict[str, object]:
    """What is no id of a vCPU, whichever machine it is, by what is wrong with it."""
    return {
        "a string": "1", "an empty string": "", "a fraction": 1.5, "a truth": True,
        "nothing": None, "a list": [1], "an object": {},
        "33 bits": 1 << 31, "33 bits, negative": -(1 << 31) - 1, "64 bits": (1 << 63) - 1,
        "65 bits": 1 << 63, "65 bits, negative": -(1 << 63) - 1,
    }  # fmt: skip


def additions() -> dict[str, dict[str, object]]:
    """The arguments of each `device_add` that is refused, without the driver."""
    found: dict[str, dict[str, object]] = {
        f"{name} is {what}": {"id": "cpu4", **FREE, name: value}
        for name in IDS
        for what, value in wrong_values().items()
    }
    found["an unknown property"] = {"id": "cpu4", **FREE, "numa": 1}
    found["an id that is taken"] = {"id": PLUGGED, **FREE}
    found["a driver that is none"] = {"driver": "nosuch-cpu", "id": "cpu4", **FREE}
    return found


async def qemu_refuses(qemu: StoppedQemu, command: str, arguments: Mapping[str, object]) -> Answer:
    with pytest.raises(QmpRefused) as refused:
        await qemu.qmp.execute(command, arguments)
    return Answer(refused.value.error_class, refused.value.description)


@frozen
class Asked:
    """What QEMU answered: to each addition, by its name; to the removal of nobody."""

    driver: str
    additions: dict[str, Answer]
    removal: Answer


@pytest.fixture(scope="module", params=[LOONGARCH64_VIRT, Q35], ids=lambda board: board.name)
def asked(request: pytest.FixtureRequest) -> Asked:
    async def ask(board: NativeBoard) -> Asked:
        machine = await NativeMachine.start(CONFIG, board, find_hotplugging(board.program), Ears())
        try:
            qemu, cpu = machine.qemu, machine.slots[7]
            add = {"driver": cpu.driver, "id": PLUGGED, **cpu.props}
            await qemu.qmp.execute("device_add", add)
            answers = {
                name: await qemu_refuses(qemu, "device_add", {"driver": cpu.driver, **arguments})
                for name, arguments in additions().items()
            }
            removal = await qemu_refuses(qemu, "device_del", {"id": "nobody"})
            return Asked(cpu.driver, answers, removal)
        finally:
            await machine.qemu.close()

    return asyncio.run(ask(request.param))


def core_refuses(stimulus: st.Stimulus) -> Answer:
    """What the core answers, with vCPU 7 plugged as on QEMU's machine."""
    world = World()
    world.config, world.state = CONFIG, initial(CONFIG)
    world.boot().feed(st.DeviceAdd(PLUGGED, tuple(CONFIG.topology.props(7).items())))
    decision = decide(world.state, stimulus)
    (refused,) = decision.events
    assert isinstance(refused, Refused), decision
    return Answer(guards.REASONS[refused.guard].qmp_class, refused.message)


def as_stimulus(arguments: Mapping[str, Any]) -> st.DeviceAdd:
    props = {name: value for name, value in arguments.items() if name not in ("id", "driver")}
    return st.DeviceAdd(arguments["id"], tuple(props.items()), arguments.get("driver"))


@pytest.mark.parametrize("name", additions())
def test_a_wrong_plug_is_refused_in_qemus_words(name: str, asked: Asked) -> None:
    theirs = asked.additions[name]
    words = theirs.words.replace(asked.driver, CONFIG.driver)  # each machine has its own
    assert core_refuses(as_stimulus(additions()[name])) == attrs.evolve(theirs, words=words)


def test_an_unplug_of_nobody_is_refused_in_qemus_words(asked: Asked) -> None:
    assert asked.removal.class_ == guards.QmpErrorClass.DEVICE_NOT_FOUND
    assert core_refuses(st.DeviceDel("nobody")) == asked.removal


# ---------------------------------------------- an unplug while one is pending


def test_qemu_refuses_a_second_unplug_of_a_pci_device_while_the_guest_is_stopped() -> None:
    async def refused() -> Answer:
        port = ["-machine", "q35", "-device", "pcie-root-port,id=rp0,chassis=1"]
        qemu = await StoppedQemu.start(find_hotplugging(Q35.program), port)
        try:
            add = {"driver": "virtio-net-pci", "id": "net0", "bus": "rp0", "romfile": ""}
            await qemu.qmp.execute("device_add", add)
            assert await qemu.qmp.execute("device_del", {"id": "net0"}) == {}
            return await qemu_refuses(qemu, "device_del", {"id": "net0"})
        finally:
            await qemu.close()

    reason = guards.NOT_BEING_EJECTED  # what is said of a vCPU whose eject has begun
    assert asyncio.run(refused()) == Answer(reason.qmp_class, reason.refusal(id="net0"))


def test_qemu_takes_a_second_unplug_of_a_vcpu() -> None:
    async def scene() -> None:
        board = LOONGARCH64_VIRT
        machine = await NativeMachine.start(CONFIG, board, find_hotplugging(board.program), Ears())
        try:
            await machine.add(7)
            for _ in range(3):
                await machine.request_removal(7)
        finally:
            await machine.qemu.close()

    asyncio.run(scene())
