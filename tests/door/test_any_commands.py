"""Whatever clients ask of vCPUs, each request has one answer, and the machine goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcore.model.machines import Phase
from tests.door.vm import DRIVER, Vm, vm
from tests.qemu.support import needs_qemu
from tests.support.waits import until

pytestmark = needs_qemu


@frozen
class Kept:
    """One machine for all examples."""

    runner: asyncio.Runner
    vm: Vm = field(repr=False)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with asyncio.Runner() as runner:
        opening = vm(tmp_path_factory.mktemp("vm"))
        yield Kept(runner, runner.run(opening.__aenter__()))
        runner.run(opening.__aexit__(None, None, None))


IDS = st.sampled_from(
    ("a", "b", "cpu0", "", "1", "x y", "/", "/machine/peripheral/a", "\0", "é" * 99)
)
WHATEVER: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4) | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5) | IDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(IDS, inner, max_size=2),
    max_leaves=3,
)  # fmt: skip
PROPS = ("socket-id", "cluster-id", "core-id", "thread-id", "node-id", "bus", "realized", "help")


def plugs() -> st.SearchStrategy[tuple[str, Any]]:
    given = st.fixed_dictionaries(
        {}, optional={name: st.integers(0, 3) | WHATEVER for name in PROPS}
    )  # fmt: skip
    drivers = st.sampled_from((DRIVER, DRIVER, DRIVER, "max-arm-cpu", "arm-cpu")) | WHATEVER
    return st.builds(
        lambda driver, id_, props: ("device_add", {"driver": driver, "id": id_, **props}),
        drivers, IDS | WHATEVER, given,
    )  # fmt: skip


WORDS = st.sampled_from((
    "device_add", "device_del", "info", "cpus", "hotpluggable-cpus", "stop", "cont", "a", "b",
    f"{DRIVER},id=a,socket-id=3", f"{DRIVER},id=b,socket-id=", f"{DRIVER},,id=b", ",", "=", "\n",
    "qom-list", "/machine/peripheral", "/machine/peripheral/a", "migrate", "x" * 300, '"', "\0",
))  # fmt: skip


def commands() -> st.SearchStrategy[tuple[str, Any]]:
    named = st.sampled_from(tuple(NAMES)).flatmap(
        lambda name: st.tuples(st.just(name), st.just({}) | st.dictionaries(
            st.sampled_from(("id", "path", "property", "x")), IDS | WHATEVER, max_size=3,
        ))
    )  # fmt: skip
    lines = st.lists(WORDS, max_size=4).map(" ".join)
    return st.one_of(
        plugs(), st.builds(lambda id_: ("device_del", {"id": id_}), IDS), named,
        st.builds(lambda line: ("human-monitor-command", {"command-line": line}), lines),
    )  # fmt: skip


NAMES = (
    "device_del", "stop", "cont", "system_reset", "query-hotpluggable-cpus", "query-cpus-fast",
    "query-cpus-power-state", "query-acpi-ospm-status", "query-machines", "qom-list", "qom-get",
    "qom-set", "migrate", "human-monitor-command",
)  # fmt: skip


async def asked(machine: Vm, orders: list[tuple[str, Any]]) -> None:
    for n, (command, arguments) in enumerate(orders):
        answer = await machine.client.ask(command, arguments, id=n)
        assert isinstance(answer, dict) and answer["id"] == n, answer
        assert "hpcore failed" not in str(answer), (command, arguments, answer)
    assert await machine.client.ask("cont") == {"return": {}}
    await until(lambda: machine.machine.at_rest, "that all has been done")
    listed: Any = await machine.client.ask("query-hotpluggable-cpus")
    fast: Any = await machine.client.ask("query-cpus-fast")
    there = [cpu["qom-path"] for cpu in reversed(listed["return"]) if "qom-path" in cpu]
    assert there == [cpu["qom-path"] for cpu in fast["return"]]
    assert machine.machine.state.shared.phase is Phase.RUNNING
    for id_ in [slot.id for slot in machine.machine.slots if slot.id and not slot.cold]:
        await machine.client.ask("device_del", {"id": id_})
    await until(lambda: machine.machine.at_rest, "that all vCPUs are given back")
    assert not machine.commands.lists.plugged
    machine.client.heard.clear()
    machine.client.events.clear()


@settings(max_examples=100)
@given(st.lists(commands(), max_size=8))
def test_any_commands_are_answered_and_the_machine_goes_on(
    kept: Kept, orders: list[tuple[str, Any]]
) -> None:
    with structlog.testing.capture_logs() as said:
        kept.runner.run(asyncio.wait_for(asked(kept.vm, orders), 60))
    assert not [line for line in said if line["log_level"] in ("error", "critical")], said
