"""-cpu, -smp, -m and -numa: the machine's size and shape."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hpcore.door import keyval
from hpcore.door.options import ArgumentRefused, Options
from hpcore.model.config import MIN_MEMORY_MIB, MachineConfig
from hpcore.model.topology import Topology, TopologyError
from hpcore.platform.numa import LOCAL, Nodes, NodesError, default_node

LEVELS = ("sockets", "clusters", "cores", "threads")
NOT_OF_ARM = ("books", "drawers", "dies", "modules")
"""Levels that other boards have; virt takes 1 of each."""

DEFAULT_MEMORY_MIB = 128
USUAL_DISTANCE = 20

_SIZE = re.compile(r"(\d+)([bBkKmMgGtT]?)i?[bB]?")
_UNIT = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_32_BIT = re.compile(r"cortex-(m|r|a7$|a8$|a9$|a15)|arm|pxa|sa11|ti925t|any$")
_MODEL_PROPERTY = re.compile(r"(aarch64)=(off|no|false)")


def machine_config(options: Options, *, has_host_cpu: bool = False) -> MachineConfig:
    """The machine with that CPU model, topology and memory; `host` where the accelerator has it.

    Raises ArgumentRefused.
    """
    model = _cpu_model(options.last("cpu"), has_host_cpu=has_host_cpu)
    topology = _topology(options.all("smp"))
    memory = _memory(options.all("m"))
    return MachineConfig(topology, model, memory=memory)


def _cpu_model(text: str | None, *, has_host_cpu: bool) -> str:
    if text is None:
        raise ArgumentRefused("-cpu", "is missing, and QEMU's default has 32 bits; "
                                      "name a model of 64, such as -cpu cortex-a57")  # fmt: skip
    model = text.partition(",")[0]
    if model == "host" and not has_host_cpu:
        raise ArgumentRefused("-cpu host", "there is no host CPU under tcg; name a model")
    if _32_BIT.match(model) or _MODEL_PROPERTY.search(text):
        raise ArgumentRefused(f"-cpu {text}", "has 32 bits; name a model of 64, such as cortex-a57")
    return model


def _topology(texts: Iterable[str]) -> Topology:
    values: dict[str, str] = {}
    for text in texts:
        values |= keyval.parse(text, "cpus")
    said = f"-smp {keyval.form(values, 'cpus')}"
    for level in NOT_OF_ARM:
        if values.pop(level, "1") != "1":
            raise ArgumentRefused(said, f"{level} are not supported by this machine's CPU topology")
    numbers: dict[str, int] = {}
    for name, value in values.items():
        if name not in ("cpus", "maxcpus", *LEVELS):
            raise ArgumentRefused(said, f"Invalid parameter '{name}'")
        if not value.isascii() or not value.isdigit():
            raise ArgumentRefused(said, f"Parameter '{name}' expects a number")
        numbers[name] = int(value)
    if "cpus" not in numbers and "maxcpus" not in numbers and not values.keys() & set(LEVELS):
        numbers["cpus"] = 1
    try:
        return Topology.resolve(**numbers)
    except TopologyError as error:
        raise ArgumentRefused(said, str(error)) from error


def _memory(texts: Iterable[str]) -> int:
    values = {"size": str(DEFAULT_MEMORY_MIB)}
    for text in texts:
        values |= keyval.parse(text, "size")
    said = f"-m {keyval.form(values, 'size')}"
    size = _mebibytes(said, values["size"])
    if size < MIN_MEMORY_MIB:
        raise ArgumentRefused(
            said, f"is {size} MiB; a guest of this kind needs {MIN_MEMORY_MIB} to reach its init"
        )
    return size


def _mebibytes(said: str, text: str) -> int:
    """A size; a number alone counts MiB. Raises ArgumentRefused."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ArgumentRefused(said, f"'{text}' is no size; write one as in 2G or 512M")
    size = int(found[1]) * _UNIT[(found[2] or "m").lower()]
    if size % _UNIT["m"]:
        raise ArgumentRefused(said, f"'{text}' is no whole number of MiB; round it up")
    return size // _UNIT["m"]


def nodes(options: Options, config: MachineConfig) -> Nodes | None:
    """The nodes of -numa; None without any. Raises ArgumentRefused.

    Where no vCPU is given a node, each is where QEMU's board puts it; where some are, the others
    are in node 0. Memory that is named by a memory backend has the backend's size.
    """
    texts = options.all("numa")
    if not texts:
        return None
    backends = _backends(options)
    memory: dict[int, int | None] = {}
    placed: dict[int, int] = {}
    far: dict[tuple[int, int], int] = {}
    for text in texts:
        given = keyval.pairs(text, "type")
        values, said = dict(given), f"-numa {text}"
        match values.pop("type", None):
            case "node":
                node = _number(said, values, "nodeid", len(memory))
                memory[node] = _node_memory(said, values, backends)
                for name, value in given:  # cpus= may be given more than once
                    for vcpu in _vcpus(said, value) if name == "cpus" else ():
                        placed[vcpu] = node
            case "cpu":
                node = _number(said, values, "node-id", None)
                for vcpu in _matching(said, values, config.topology):
                    placed[vcpu] = node
            case "dist":
                ends = _number(said, values, "src", None), _number(said, values, "dst", None)
                far[ends] = _number(said, values, "val", None)
            case other:
                raise ArgumentRefused(said, f"the tables cannot describe '{other}'; leave it out")
    return _nodes(config, memory, placed, far)


def _nodes(
    config: MachineConfig,
    memory: dict[int, int | None],
    placed: dict[int, int],
    far: dict[tuple[int, int], int],
) -> Nodes:
    count = len(memory)
    if sorted(memory) != list(range(count)):
        raise ArgumentRefused("-numa node", "nodes are numbered from 0 without a gap")
    if all(size is None for size in memory.values()):
        raise ArgumentRefused("-numa node", "give each node its memory by memdev= or mem=")
    vcpus = tuple(
        placed.get(vcpu, 0 if placed else default_node(config.topology, vcpu, count))
        for vcpu in range(config.possible)
    )
    distances = None
    if far:
        distances = tuple(
            tuple(
                LOCAL if a == b else far.get((a, b), far.get((b, a), USUAL_DISTANCE))
                for b in range(count)
            )
            for a in range(count)
        )
    found = Nodes(tuple(memory[n] or 0 for n in range(count)), vcpus, distances)
    try:
        found.check(config)
    except NodesError as error:
        raise ArgumentRefused("-numa", str(error)) from error
    return found


def _backends(options: Options) -> dict[str, str]:
    """The sizes of the memory backends, by their ids."""
    found = {}
    for text in options.all("object"):
        values = keyval.parse_object("-object", text, "qom-type")
        if "size" in values and "id" in values:
            size = values["size"]
            found[str(values["id"])] = f"{size}b" if isinstance(size, int) else str(size)
    return found


def _node_memory(
    said: str, values: dict[str, str], backends: dict[str, str]
) -> int | None:
    if "mem" in values:
        return _mebibytes(said, values["mem"])
    if "memdev" not in values:
        return None
    name = values["memdev"]
    if name not in backends:
        raise ArgumentRefused(said, f"there is no -object memory-backend-... with id={name}")
    size = backends[name]
    # a number alone is bytes in an -object, and MiB elsewhere
    return _mebibytes(said, size if not size.isdigit() else f"{size}b")


def _number(said: str, values: dict[str, str], name: str, default: int | None) -> int:
    text = values.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit()):
        raise ArgumentRefused(said, f"Parameter '{name}' expects a number")
    return int(text)


def _vcpus(said: str, text: str) -> Iterable[int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        raise ArgumentRefused(said, f"cpus={text} is no number, and no range such as 0-3")
    return range(int(first), int(last or first) + 1)


def _matching(said: str, values: dict[str, str], topology: Topology) -> list[int]:
    """The vCPUs that have the ids given; those of `-numa cpu`, which may leave some out."""
    wanted = {
        name: _number(said, values, name, None) for name in values if name != "node-id"
    }
    found = [
        vcpu
        for vcpu in range(topology.maxcpus)
        if wanted.items() <= topology.props(vcpu).items()
    ]
    if not found:
        raise ArgumentRefused(said, "there is no such vCPU in this machine")
    return found
