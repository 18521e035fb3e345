"""The command line that the real QEMU is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from hpcore.door import keyval
from hpcore.door.asked import Asked
from hpcore.door.front import Part
from hpcore.door.machine_option import OF_BOOT, OURS
from hpcore.door.options import Option, Options


@frozen
class MonitorSocket:
    """Where a monitor of the real QEMU listens for hpcore alone; `pretty` ones print in lines."""

    path: Path
    pretty: bool = False


def remade(asked: Asked, part: Part, sockets: Iterable[MonitorSocket]) -> Options:
    """`asked` in the real QEMU's words, with the accelerator's part, and monitors at `sockets`.

    Every possible vCPU is there from the start, since QEMU can add none later. The machine
    starts stopped, and is stopped when the guest has powered it off: what comes next is
    hpcore's.
    """
    return Options(_options(asked, part, sockets))


def monitor_options(sockets: Iterable[MonitorSocket]) -> Iterator[Option]:
    """The monitors that listen at `sockets`."""
    for socket in sockets:
        where = keyval.form({"path": f"unix:{socket.path}", "server": "on", "wait": "off"}, "path")
        yield Option("qmp-pretty" if socket.pretty else "qmp", where)


def _options(asked: Asked, part: Part, sockets: Iterable[MonitorSocket]) -> Iterator[Option]:
    ours = OURS if asked.boots.firmware else (*OURS, *OF_BOOT)
    machine = {name: value for name, value in asked.machine.items() if name not in ours}
    yield Option("machine", keyval.form({**machine, **part.machine}, "type"))
    yield Option("accel", asked.accel)
    yield Option("cpu", asked.cpu)
    yield Option("smp", _smp(asked))
    yield from (Option("m", text) for text in asked.memory)
    yield from asked.rest
    yield from (Option("numa", text) for text in asked.numa)
    yield Option("S")
    if asked.incoming is not None:
        yield Option("incoming", "defer")  # it is given to the real QEMU by the door
    yield Option("action", "shutdown=pause")
    yield from monitor_options(sockets)
    if any(monitor.has_prompt for monitor in asked.monitors):
        yield Option("monitor", "none")  # or there would be one more, in QEMU's window
    yield Option("serial", asked.serial)
    yield from part.options


def _smp(asked: Asked) -> str:
    shape = asked.config.topology
    levels = {
        "sockets": shape.sockets, "clusters": shape.clusters,
        "cores": shape.cores, "threads": shape.threads,
    }  # fmt: skip
    numbers = {"cpus": shape.maxcpus, "maxcpus": shape.maxcpus, **levels}
    return keyval.form({name: str(number) for name, number in numbers.items()}, "cpus")
