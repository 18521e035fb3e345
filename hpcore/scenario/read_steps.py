"""Reading the steps of a scenario: a whole list of them, or one after the other as typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import dedent
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from hpcore.guest.played.hostile import ARGUMENTS
from hpcore.model.config import MachineConfig
from hpcore.model.machines import SlotState
from hpcore.model.topology import PROPS, Topology, TopologyError
from hpcore.scenario import values as sc
from hpcore.scenario.durations import format_duration, parse_duration
from hpcore.scenario.yaml_values import (
    ScenarioError,
    YamlValues,
    item_line,
    line_of,
    said,
)
from hpcore.yaml import YamlUnreadable, load_yaml

MOST_STEPS = 10_000
"""Steps that stand in a scenario."""
MOST_TAKEN = 10_000_000
"""Steps that a scenario comes to with all its repeats. At a millisecond each, which few steps
are done in, these are three hours."""
LONGEST_WAIT = 3_600_000
"""Milliseconds of one `wait`: an hour."""
LONGEST_WAITED = 24 * LONGEST_WAIT
"""Milliseconds that all waits of a scenario come to with its repeats: a day."""

_SLOT_STATES = tuple(str(s) for s in SlotState)


class StepReader:
    """Reads the steps of a scenario one after the other, as somebody types them.

    Each is what a `steps:` list has for one. The colon after the step's name may be left
    out, as in `plug 2`, and so may the list's dash.
    """

    def __init__(self, machine: MachineConfig, name: str) -> None:
        self._reader = YamlSteps(name)
        self._reader.topology = machine.topology
        self._taken = self._waited = 0

    def read(self, text: str, at: int = 1) -> tuple[sc.Line, ...]:
        """The step in `text`, whose first line has the number `at`; none in a comment.

        A list has several. Raises ScenarioError, and then nothing of it counts as read.
        """
        reader, count = self._reader, self._reader.count
        reader.first = at
        try:
            lines = self._lines(_whole(dedent(text).strip()))
            taken = self._taken + sc.steps_taken(lines)
            waited = self._waited + sc.waited(lines)
            reader.bounded(taken, waited, 0)
        except YamlUnreadable as error:
            raise ScenarioError(str(error)) from error
        except ScenarioError:
            reader.count = count
            raise
        self._taken, self._waited = taken, waited
        return lines

    def _lines(self, text: str) -> tuple[sc.Line, ...]:
        reader = self._reader
        found = load_yaml(text, reader.name, reader.first)
        if found is None:
            return ()
        if isinstance(found, CommentedSeq):
            return reader.steps(found, 0)
        return (reader.step(found, 0),)


class YamlSteps(YamlValues):
    """Turns YAML's values into steps."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.count = 0
        """The steps that were read."""
        self.topology: Topology

    def steps(self, data: Any, line: int | None) -> tuple[sc.Line, ...]:
        if not isinstance(data, CommentedSeq) or not data:
            raise self.fail(line, "steps must be a list with at least one step")
        return tuple(self.step(item, item_line(data, n)) for n, item in enumerate(data))

    def step(self, item: Any, line: int | None) -> sc.Line:
        self.count += 1
        number = self.count
        if number > MOST_STEPS:
            raise self.fail(line, f"more than {MOST_STEPS} steps; use repeat")
        fails, waits = None, True
        if isinstance(item, str):
            verb, value = item, None
        else:
            step = self.mapping(item, line, "a step", (*_VERBS, *MODIFIERS))
            fails = self.text(step["fails"], line, "fails") if "fails" in step else None
            waits = self.truth(step.get("waits", True), line, "waits")
            verbs = [k for k in step if k not in MODIFIERS]
            if len(verbs) != 1:
                raise self.fail(line, f"a step has one verb; this has {len(verbs)}: {verbs}")
            verb, value = verbs[0], step[verbs[0]]
        self.known(verb, _VERBS, line, "step")
        made = _VERBS[verb](self, value, line)
        if not waits and not isinstance(made, sc.MAY_NOT_WAIT):
            raise self.fail(line, f"waits: false has no meaning for {verb}")
        at = None if line is None else line + self.first
        return sc.Line(made, number, _wording(verb, value), fails, waits, at)

    def plug(self, value: Any, line: int | None) -> sc.ScenarioStep:
        if isinstance(value, int) and not isinstance(value, bool):
            try:
                return sc.PlugStep(f"cpu{value}", dict(self.topology.props(value)))
            except TopologyError as error:
                raise self.fail(line, f"plug: {error}") from error
        # Props are not checked here: a scenario may want to see them refused.
        given = self.mapping(value, line, "plug", None)
        props = {k: v for k, v in given.items() if k not in {"id", "driver"}}
        id_ = self.text(given.get("id", ""), line, "id")
        driver = self.text(given["driver"], line, "driver") if "driver" in given else None
        for key in props:
            if not isinstance(key, str):
                raise self.fail(line, f"plug: {key!r} is no property; they are {PROPS}")
        return sc.PlugStep(id_, props, driver)

    def unplug(self, value: Any, line: int | None) -> sc.ScenarioStep:
        if isinstance(value, str | int):
            return sc.UnplugStep(self.device(value, line))
        given = self.mapping(value, line, "unplug", ("id", "force"))
        force = self.truth(given.get("force", False), line, "force")
        return sc.UnplugStep(self.device(given.get("id"), line), force)

    def scale(self, value: Any, line: int | None) -> sc.ScenarioStep:
        # The bounds are not checked here: a scenario may want to see a target refused.
        if not isinstance(value, CommentedMap):
            return sc.ScaleStep(self.integer(value, line, "scale"))
        given = self.mapping(value, line, "scale", ("to", "undo"))
        undo = self.truth(given.get("undo", False), line, "undo")
        return sc.ScaleStep(self.integer(given.get("to"), line, "to"), undo)

    def device(self, value: Any, line: int | None) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            return f"cpu{value}"
        return self.text(value, line, "unplug")

    def cpu(self, value: Any, line: int | None) -> sc.Cpu:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.fail(line, f"{value!r} is no vCPU; give its index or its id")
        return int(value) if isinstance(value, int) else str(value)  # not the reader's own type

    def shell(self, value: Any, line: int | None) -> sc.ScenarioStep:
        if isinstance(value, str):
            return sc.ShellStep(value)
        given = self.mapping(value, line, "shell", ("line", "prints"))
        prints = self.text(given["prints"], line, "prints") if "prints" in given else None
        return sc.ShellStep(self.text(given.get("line"), line, "line"), prints)

    def expect(self, value: Any, line: int | None) -> sc.ScenarioStep:
        given = self.mapping(value, line, "expect", (*sc.MASKS, "slots"))
        masks = {
            k: self.cpu_list(given[k], line_of(given, k), k) for k in given if k in sc.MASKS
        }
        slots: dict[sc.Cpu, str] = {}
        wanted = self.mapping(given.get("slots", CommentedMap()), line, "slots", None)
        for cpu, state in wanted.items():
            self.known(state, _SLOT_STATES, line_of(wanted, cpu), "state of a slot")
            slots[self.cpu(cpu, line)] = state
        return sc.ExpectStep(masks, slots)

    def call(self, value: Any, line: int | None) -> sc.ScenarioStep:
        given = self.mapping(value, line, "call", ARGUMENTS)
        if len(given) != 1:
            raise self.fail(line, f"call takes one of {', '.join(ARGUMENTS)}")
        ((name, words),) = given.items()
        numbers = words if isinstance(words, CommentedSeq) else [words]
        arguments = tuple(self.integer(n, line, f"an argument of {name}") for n in numbers)
        wanted = ARGUMENTS[name]
        if len(arguments) != len(wanted):
            raise self.fail(line, f"{name} takes {', '.join(wanted)}; not {len(arguments)} numbers")
        if any(not 0 <= n < 1 << 64 for n in arguments):
            raise self.fail(line, f"the arguments of {name} are numbers of 64 bits")
        if wanted[1:2] == ("size",) and arguments[1] not in (1, 2, 4, 8):
            raise self.fail(line, f"size is {arguments[1]}; it must be 1, 2, 4 or 8")
        return sc.CallStep(str(name), arguments)

    def save_machine(self, value: Any, line: int | None) -> sc.ScenarioStep:
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.fail(line, f"save-machine takes the name of a file; not {said(value)}")
        return sc.SaveStep(value)

    def repeat(self, value: Any, line: int | None) -> sc.ScenarioStep:
        given = self.mapping(value, line, "repeat", ("times", "steps"))
        times = self.integer(given.get("times"), line, "times")
        if not 1 <= times <= 1_000_000:
            raise self.fail(line, f"times is {times}; it must be 1 to 1000000")
        steps = self.steps(given.get("steps"), line)
        self.bounded(times * sc.steps_taken(steps), times * sc.waited(steps), line)
        return sc.RepeatStep(times, steps)

    def wait(self, value: Any, line: int | None) -> sc.ScenarioStep:
        try:
            milliseconds = parse_duration("" if value is None else str(value))
        except ValueError as error:
            raise self.fail(line, f"wait: {error}") from error
        if not 1 <= milliseconds <= LONGEST_WAIT:
            most = format_duration(LONGEST_WAIT)
            raise self.fail(line, f"wait is {value}; it must be 1ms to {most}")
        return sc.WaitStep(milliseconds)

    def bounded(self, taken: int, waited: int, line: int | None) -> None:
        """Refuse what would never come to its end."""
        if waited > LONGEST_WAITED:
            raise self.fail(
                line,
                f"with every repeat the waits are {waited // 1000:,} s; a scenario waits "
                f"{LONGEST_WAITED // 1000:,} s at most: lower times",
            )
        if taken > MOST_TAKEN:
            raise self.fail(
                line,
                f"with every repeat these are {taken:,} steps; a scenario takes {MOST_TAKEN:,} "
                "at most: lower times",
            )


def _bare(made: sc.ScenarioStep) -> Callable[[YamlSteps, Any, int | None], sc.ScenarioStep]:
    def read(reader: YamlSteps, value: Any, line: int | None) -> sc.ScenarioStep:
        if value is not None:
            raise reader.fail(line, f"this step has the value {said(value)}; it takes no value")
        return made

    return read


_VERBS: dict[str, Callable[[YamlSteps, Any, int | None], sc.ScenarioStep]] = {
    "boot": _bare(sc.BootStep()),
    "plug": YamlSteps.plug,
    "unplug": YamlSteps.unplug,
    "scale": YamlSteps.scale,
    "online": lambda r, v, at: sc.OnlineStep(r.cpu(v, at)),
    "offline": lambda r, v, at: sc.OfflineStep(r.cpu(v, at)),
    "shell": YamlSteps.shell,
    "expect": YamlSteps.expect,
    "reset": _bare(sc.ResetStep()),
    "reboot": _bare(sc.RebootStep()),
    "rebooted": _bare(sc.RebootedStep()),
    "pause": _bare(sc.PauseStep()),
    "resume": _bare(sc.ResumeStep()),
    "poweroff": _bare(sc.PowerOffStep()),
    "migrate": _bare(sc.MigrateStep()),
    "save-machine": YamlSteps.save_machine,
    "call": YamlSteps.call,
    "settle": _bare(sc.SettleStep()),
    "wait": YamlSteps.wait,
    "repeat": YamlSteps.repeat,
}
STEPS = tuple(_VERBS)
"""The names of all steps."""
MODIFIERS = ("fails", "waits")
"""What may stand beside a step's name."""
_SHORT = re.compile(rf"((?:-[ \t]+)?(?:{'|'.join(_VERBS)}))[ \t]+([^\s:#].*)", re.ASCII | re.DOTALL)
"""A step with its colon left out: the verb, and something after it."""


def _whole(text: str) -> str:
    """`text`, with the first colon where that was left out."""
    found = _SHORT.fullmatch(text)
    return text if found is None else f"{found[1]}: {found[2]}"


def _wording(verb: str, value: Any) -> str:
    if value is None:
        return verb
    if isinstance(value, CommentedMap):
        if verb == "repeat":
            return f"repeat {value.get('times')} times"
        return f"{verb} " + ", ".join(f"{k} {said(v)}" for k, v in value.items())
    return f"{verb} {said(value)}"
