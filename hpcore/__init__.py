"""arm64 vCPU hotplug as one checked, event-sourced state machine.

A live machine, driven from Python:

    import hpcore

    found = hpcore.find("qtest")
    machine = hpcore.MachineConfig.of(cpus=2, maxcpus=4)
    async with hpcore.open_machine(found, machine, hpcore.GuestScript(), log="run.jsonl") as m:
        await m.boot()
        await m.plug("core3", core_id=3)
        await m.unplug("core3")

Its log, read and replayed:

    header, records = hpcore.read_log("run.jsonl")
    assert hpcore.replay("run.jsonl").ok

The protocol, checked against every order of events:

    result = hpcore.prove(hpcore.Environment(slots=4, faults=1))
    assert result.proven

And the protocol itself, two pure functions:

    state = hpcore.initial(machine)
    decision = hpcore.decide(state, hpcore.stimuli.Boot())
    state = hpcore.evolve(state, decision.events[0])

These names are what hpcore promises to keep; `examples/` has a page for each use. What
stands in the rooms below may change between versions: `hpcore.model` (the protocol),
`hpcore.log`, `hpcore.check`, `hpcore.run`, `hpcore.scenario`, `hpcore.triage`,
`hpcore.promises` (what every accelerator must keep). A name is loaded when it is first
asked for, so that to import hpcore costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hpcore.version import __version__

if TYPE_CHECKING:
    from hpcore.check import PROPERTIES as PROPERTIES
    from hpcore.check import Environment as Environment
    from hpcore.check import Result as Result
    from hpcore.check import prove as prove
    from hpcore.errors import HpcoreError as HpcoreError
    from hpcore.log import Header as Header
    from hpcore.log import LogWriter as LogWriter
    from hpcore.log import Record as Record
    from hpcore.log import read as read_log  # noqa: F401 - public by __all__
    from hpcore.model import events as events
    from hpcore.model import stimuli as stimuli
    from hpcore.model.config import MachineConfig as MachineConfig
    from hpcore.model.decide import decide as decide
    from hpcore.model.effects import Step as Step
    from hpcore.model.events import Event as Event
    from hpcore.model.evolve import evolve as evolve
    from hpcore.model.properties import Change as Change
    from hpcore.model.properties import Property as Property
    from hpcore.model.properties import always as always
    from hpcore.model.properties import eventually as eventually
    from hpcore.model.properties import sometimes as sometimes
    from hpcore.model.rules import RULES as RULES
    from hpcore.model.rules import Rules as Rules
    from hpcore.model.states import Shared as Shared
    from hpcore.model.states import Slot as Slot
    from hpcore.model.states import State as State
    from hpcore.model.states import initial as initial
    from hpcore.model.stimuli import Stimulus as Stimulus
    from hpcore.run import Found as Found
    from hpcore.run import GuestImages as GuestImages
    from hpcore.run import GuestScript as GuestScript
    from hpcore.run import LiveMachine as LiveMachine
    from hpcore.run import SlotView as SlotView
    from hpcore.run import find as find
    from hpcore.run import open_machine as open_machine
    from hpcore.triage.diff import diff as diff
    from hpcore.triage.replay import replay as replay

_HOMES = {
    "Change": "hpcore.model.properties",
    "Environment": "hpcore.check",
    "Event": "hpcore.model.events",
    "Found": "hpcore.run",
    "GuestImages": "hpcore.run",
    "GuestScript": "hpcore.run",
    "Header": "hpcore.log",
    "HpcoreError": "hpcore.errors",
    "LiveMachine": "hpcore.run",
    "LogWriter": "hpcore.log",
    "MachineConfig": "hpcore.model.config",
    "PROPERTIES": "hpcore.check",
    "Property": "hpcore.model.properties",
    "RULES": "hpcore.model.rules",
    "Record": "hpcore.log",
    "Result": "hpcore.check",
    "Rules": "hpcore.model.rules",
    "Shared": "hpcore.model.states",
    "Slot": "hpcore.model.states",
    "SlotView": "hpcore.run",
    "State": "hpcore.model.states",
    "Step": "hpcore.model.effects",
    "Stimulus": "hpcore.model.stimuli",
    "always": "hpcore.model.properties",
    "decide": "hpcore.model.decide",
    "diff": "hpcore.triage.diff",
    "events": "hpcore.model",
    "eventually": "hpcore.model.properties",
    "evolve": "hpcore.model.evolve",
    "find": "hpcore.run",
    "initial": "hpcore.model.states",
    "open_machine": "hpcore.run",
    "prove": "hpcore.check",
    "read_log": "hpcore.log",
    "replay": "hpcore.triage.replay",
    "sometimes": "hpcore.model.properties",
    "stimuli": "hpcore.model",
}
"""Every public name, and the module that it is loaded from."""

_NAMED_OTHERWISE = {"read_log": "read"}
"""Public names that are others where they come from."""

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - its keys are strings


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hpcore' has no attribute {name!r}")
    module = import_module(home)
    own = _NAMED_OTHERWISE.get(name, name)
    value = getattr(module, own, None)
    if value is None:  # a module of the package, not loaded yet
        value = import_module(f"{home}.{own}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
