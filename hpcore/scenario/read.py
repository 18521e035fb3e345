"""Reading a scenario from YAML, with the line of whatever is wrong.

    machine: {cpus: 4, maxcpus: 6}
    steps:
      - boot
      - plug: {id: core4, core-id: 4}
      - expect: {enabled: 0-4}
"""

from __future__ import annotations

import difflib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from hpcore.guest.played import KINDS, LOST, Answers
from hpcore.guest.played.answers import LARGEST_STATUS, Answer, notification_name
from hpcore.model.acpi import Notification
from hpcore.model.config import (
    CPU_MODEL,
    GIC_VERSION,
    MEMORY_MIB,
    MIN_MEMORY_MIB,
    MachineConfig,
)
from hpcore.model.topology import Topology, TopologyError
from hpcore.scenario import values as sc
from hpcore.scenario.read_steps import YamlSteps
from hpcore.scenario.yaml_values import ScenarioError, line_of
from hpcore.yaml import YamlUnreadable, load_yaml, read_yaml

_MACHINE = ("cpus", "maxcpus", "sockets", "clusters", "cores", "threads", "memory", "cpu", "gic")
_GUEST = ("append", "kind", "answers")
_NOTIFICATIONS = {notification_name(one): one for one in Notification}


def bundled() -> dict[str, Path]:
    """The scenarios that come with hpcore, by name."""
    folder = Path(str(files("hpcore") / "scenarios"))
    return {p.stem: p for p in sorted(folder.glob("*.yaml"))}


def load(name: str) -> sc.Scenario:
    """The scenario in the file `name`, or the one of that name that comes with hpcore.

    Raises ScenarioError.
    """
    path = Path(name)
    if not path.exists():
        known = bundled()
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ScenarioError(
                f"{name}: no such file, and no scenario of that name comes with hpcore{hint} "
                f"Those that do: {', '.join(known)}"
            )
        path = known[name]
    try:
        return _Reader(str(path)).scenario(read_yaml(path))
    except YamlUnreadable as error:
        raise ScenarioError(str(error)) from error


def parse(text: str, name: str = "scenario") -> sc.Scenario:
    """The scenario in `text`; `name` is for messages. Raises ScenarioError."""
    try:
        return _Reader(name).scenario(load_yaml(text, name))
    except YamlUnreadable as error:
        raise ScenarioError(str(error)) from error


def read_machine(text: str) -> MachineConfig:
    """The machine of `cpus=2,maxcpus=6`: the keys of `machine:` as QEMU's options are written.

    Raises ScenarioError.
    """
    given = CommentedMap()
    for word in text.split(","):
        key, equals, value = (part.strip() for part in word.partition("="))
        if not (key and equals and value):
            raise ScenarioError(f"the machine {text}: '{word}' is not as in cpus=2")
        if key in given:
            raise ScenarioError(f"the machine {text}: {key} stands there twice")
        given[key] = int(value) if re.fullmatch("-?[0-9]{1,9}", value) else value
    return _Reader(f"the machine {text}").machine(given, None)


class _Reader(YamlSteps):
    """Turns YAML's values into a scenario."""

    def scenario(self, data: Any) -> sc.Scenario:
        top = self.mapping(data, 0, "a scenario", ("about", "machine", "guest", "steps"))
        if "steps" not in top:
            raise self.fail(0, "there is no 'steps:'; see `hpcore run --help` for an example")
        machine = self.machine(top.get("machine", CommentedMap()), line_of(top, "machine"))
        at = line_of(top, "guest")
        guest = self.mapping(top.get("guest", CommentedMap()), at, "guest", _GUEST)
        append = self.text(guest.get("append", ""), at, "append")
        kind = self.text(guest.get("kind", KINDS[0]), at, "kind")
        self.known(kind, KINDS, line_of(guest, "kind"), "kind of guest")
        answers = self.answers(guest.get("answers", CommentedMap()), line_of(guest, "answers"))
        about = self.text(top.get("about", ""), line_of(top, "about"), "about")
        at = line_of(top, "steps")
        steps = self.steps(top["steps"], at)
        self.bounded(sc.steps_taken(steps), sc.waited(steps), at)
        return sc.Scenario(Path(self.name).stem, about, machine, append, steps, kind, answers)

    def machine(self, data: Any, line: int | None) -> MachineConfig:
        given = self.mapping(data, line, "machine", _MACHINE)
        numbers: dict[str, int] = {}
        for key in given:
            if key not in {"cpu"}:
                numbers[key] = self.integer(given[key], line_of(given, key), key)
        memory, gic = numbers.pop("memory", MEMORY_MIB), numbers.pop("gic", GIC_VERSION)
        try:
            self.topology = Topology.resolve(**numbers)
        except TopologyError as error:
            raise self.fail(line, f"machine: {error}") from error
        if gic not in (2, 3):
            raise self.fail(line_of(given, "gic"), f"gic is {gic}; it must be 2 or 3")
        if memory < MIN_MEMORY_MIB:
            raise self.fail(
                line_of(given, "memory"), f"memory is {memory} MiB; the least is {MIN_MEMORY_MIB}"
            )
        cpu = self.text(given.get("cpu", CPU_MODEL), line, "cpu")
        return MachineConfig(self.topology, cpu, gic, memory)

    def answers(self, data: Any, line: int | None) -> Answers:
        given = self.mapping(data, line, "answers", _NOTIFICATIONS)
        return {
            _NOTIFICATIONS[name]: self.answer(value, line_of(given, name), name)
            for name, value in given.items()
        }

    def answer(self, value: Any, line: int | None, name: str) -> Answer | tuple[Answer, ...]:
        if not isinstance(value, CommentedSeq):
            return self.one_answer(value, line, name)
        if not value:
            raise self.fail(line, f"{name} has a list with no answer in it")
        return tuple(self.one_answer(one, line, name) for one in value)

    def one_answer(self, value: Any, line: int | None, name: str) -> Answer:
        if value == "lost":
            return LOST
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(
                line, f"{name} is answered with {value!r}; it must be a status of _OST, such as "
                "0x82, or lost"
            )  # fmt: skip
        if not 0 <= value <= LARGEST_STATUS:
            raise self.fail(line, f"{name} is answered with {value}; a status has 32 bits")
        return int(value)
