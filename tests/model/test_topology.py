"""Where vCPUs sit, and what a wrong request is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hpcore.model.config import MachineConfig, cap
from hpcore.model.topology import (
    MAX_POSSIBLE,
    Topology,
    TopologyError,
    index_of,
    mp_affinity,
)

LEVELS = some.tuples(*(some.integers(1, 6) for _ in range(4)))


@given(LEVELS)
def test_props_name_every_vcpu_exactly_once(levels: tuple[int, int, int, int]) -> None:
    sockets, clusters, cores, threads = levels
    possible = sockets * clusters * cores * threads
    if possible > MAX_POSSIBLE:
        return
    topology = Topology.resolve(
        maxcpus=possible, sockets=sockets, clusters=clusters, cores=cores, threads=threads
    )
    props = [tuple(topology.props(i).values()) for i in range(possible)]
    assert len(set(props)) == possible
    assert [topology.locate(topology.props(i)) for i in range(possible)] == [
        (i,) for i in range(possible)
    ]


@given(LEVELS)
def test_props_that_are_left_out_match_all_and_those_given_must_match(
    levels: tuple[int, int, int, int],
) -> None:
    sockets, clusters, cores, threads = levels
    possible = sockets * clusters * cores * threads
    if possible > MAX_POSSIBLE:
        return
    topology = Topology.resolve(
        maxcpus=possible, sockets=sockets, clusters=clusters, cores=cores, threads=threads
    )
    assert topology.locate({}) == tuple(range(possible))
    for name, value in topology.props(possible - 1).items():
        assert topology.locate({name: value}) == tuple(
            i for i in range(possible) if topology.props(i)[name] == value
        )


def test_mp_affinity_puts_sixteen_vcpus_under_each_aff1() -> None:
    assert [mp_affinity(i) for i in (0, 15, 16, 17, 255, 256, 511)] == [
        0x0, 0xF, 0x100, 0x101, 0xF0F, 0x1000, 0x1F0F,
    ]  # fmt: skip


@given(some.integers(0, MAX_POSSIBLE - 1))
def test_an_affinity_names_its_vcpu(index: int) -> None:
    assert index_of(mp_affinity(index), MAX_POSSIBLE) == index


@pytest.mark.parametrize("affinity", [0x10, 0x1F, 0x110, 1 << 16, 0x2000])
def test_an_affinity_between_groups_or_beyond_the_machine_names_none(affinity: int) -> None:
    assert index_of(affinity, 512) is None


def test_cores_take_what_the_other_levels_leave() -> None:
    assert Topology.resolve(cpus=2, maxcpus=12, sockets=2, threads=2).cores == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"maxcpus": 0}, "maxcpus is 0; it must be 1 or more"),
        ({"maxcpus": 513}, "maxcpus is 513; arm virt with a GICv3 has at most 512"),
        ({"cpus": 7, "maxcpus": 6}, "cpus is 7, more than maxcpus"),
        ({"maxcpus": 7, "threads": 2}, "does not divide"),
        ({"maxcpus": 8, "cores": 3}, "it must equal maxcpus, which is 8"),
        ({"cpus": -1}, "cpus is -1"),
    ],
)
def test_a_wrong_geometry_is_named(given: dict[str, int], says: str) -> None:
    with pytest.raises(TopologyError, match=says):
        Topology.resolve(**given)


@pytest.mark.parametrize(
    ("props", "says"),
    [
        ({"core-id": 6}, "Invalid core-id 6 specified, correct range 0:5"),
        ({"socket-id": -1}, "Invalid socket-id -1 specified, correct range 0:0"),
        ({"thread-id": 1}, "Invalid thread-id 1 specified, correct range 0:0"),
        ({"core-id": (1 << 31) - 1}, "Invalid core-id 2147483647 specified, correct range 0:5"),
        ({"core-id": -1 << 31}, "Invalid core-id -2147483648 specified, correct range 0:5"),
        ({"socket-id": 0xFFFFFFFF}, "Parameter 'socket-id' expects int32_t"),  # a -1, as unsigned
        ({"core-id": 1 << 31}, "Parameter 'core-id' expects int32_t"),
        ({"core-id": (-1 << 31) - 1}, "Parameter 'core-id' expects int32_t"),
        ({"core-id": (1 << 63) - 1}, "Parameter 'core-id' expects int32_t"),
        ({"core-id": 1 << 63}, "Invalid parameter type for 'core-id', expected: integer"),
        ({"core-id": "4"}, "Invalid parameter type for 'core-id', expected: integer"),
        ({"core-id": True}, "Invalid parameter type for 'core-id', expected: integer"),
        ({"core-id": None}, "Invalid parameter type for 'core-id', expected: integer"),
        ({"core-id": 4.0}, "Invalid parameter type for 'core-id', expected: integer"),
        ({"die-id": 1}, "Property 'cortex-a57-arm-cpu.die-id' not found"),
        ({"mp-affinity": 77}, "Property 'cortex-a57-arm-cpu.mp-affinity' not found"),
    ],
)
def test_wrong_props_get_the_texts_of_qemus_series(props: dict[str, object], says: str) -> None:
    with pytest.raises(TopologyError) as error:
        Topology.resolve(cpus=4, maxcpus=6).locate(props, device="cortex-a57-arm-cpu")
    assert str(error.value) == says


def test_an_accelerator_without_hotplug_caps_possible_to_present() -> None:
    config = cap(MachineConfig.of(cpus=4, maxcpus=6), "it has no policy")
    assert config.possible == 4
    assert config.no_hotplug == "it has no policy"


def test_a_gicv2_caps_possible_to_present() -> None:
    config = cap(MachineConfig.of(cpus=4, maxcpus=6, gic_version=2), None)
    assert config.possible == 4
    assert "GICv2" in str(config.no_hotplug)


def test_a_machine_with_nothing_to_plug_is_not_capped() -> None:
    config = MachineConfig.of(cpus=4, maxcpus=4, gic_version=2)
    assert cap(config, "no policy") is config
