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
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from textwrap import dedent
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from hpcore.errors import HpcoreError
from hpcore.guest.cpulist import parse_cpu_list
from hpcore.guest.played import KINDS, LOST, Answers
from hpcore.guest.played.answers import LARGEST_STATUS, Answer, notification_name
from hpcore.guest.played.hostile import ARGUMENTS
from hpcore.model.acpi import Notification
from hpcore.model.config import (
    CPU_MODEL,
    GIC_VERSION,
    MEMORY_MIB,
    MIN_MEMORY_MIB,
    MachineConfig,
)
from hpcore.model.machines import SlotState
from hpcore.model.topology import PROPS, Topology, TopologyError
from hpcore.scenario import values as sc
from hpcore.scenario.durations import format_duration, parse_duration
from hpcore.yaml import YamlUnreadable, load_yaml, read_yaml

MOST_STEPS = 10_000
"""Steps that stand in a scenario."""
MOST_TAKEN = 10_000_000
"""Steps that a scenario comes to with all its repeats. At a millisecond each, which few steps
are done in, these are three hours."""
LONGEST_WAIT = 3_600_000
"""Milliseconds of one `wait`: an hour."""
LONGEST_WAITED = 24 * LONGEST_WAIT
"""Milliseconds that all waits of a scenario come to with its repeats: a day."""

_MACHINE = ("cpus", "maxcpus", "sockets", "clusters", "cores", "threads", "memory", "cpu", "gic")
_GUEST = ("append", "kind", "answers")
_NOTIFICATIONS = {notification_name(one): one for one in Notification}
_SLOT_STATES = tuple(str(s) for s in SlotState)


class ScenarioError(HpcoreError, ValueError):
    """A scenario that cannot be read. The text names the file, the line and the remedy."""


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


class StepReader:
    """Reads the steps of a scenario one after the other, as somebody types them.

    Each is what a `steps:` list has for one. The colon after the step's name may be left
    out, as in `plug 2`, and so may the list's dash.
    """

    def __init__(self, machine: MachineConfig, name: str) -> None:
        self._reader = _Reader(name)
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


class _Reader:
    """Turns YAML's values into a scenario; knows the file's name for messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first = 1
        """The number of the text's first line."""
        self.count = 0
        self.topology: Topology

    def fail(self, line: int | None, why: str) -> ScenarioError:
        at = f":{line + self.first}" if line is not None else ""
        return ScenarioError(f"{self.name}{at}: {why}")

    def scenario(self, data: Any) -> sc.Scenario:
        top = self.mapping(data, 0, "a scenario", ("about", "machine", "guest", "steps"))
        if "steps" not in top:
            raise self.fail(0, "there is no 'steps:'; see `hpcore run --help` for an example")
        machine = self.machine(top.get("machine", CommentedMap()), _line(top, "machine"))
        at = _line(top, "guest")
        guest = self.mapping(top.get("guest", CommentedMap()), at, "guest", _GUEST)
        append = self.text(guest.get("append", ""), at, "append")
        kind = self.text(guest.get("kind", KINDS[0]), at, "kind")
        self.known(kind, KINDS, _line(guest, "kind"), "kind of guest")
        answers = self.answers(guest.get("answers", CommentedMap()), _line(guest, "answers"))
        about = self.text(top.get("about", ""), _line(top, "about"), "about")
        at = _line(top, "steps")
        steps = self.steps(top["steps"], at)
        self.bounded(sc.steps_taken(steps), sc.waited(steps), at)
        return sc.Scenario(Path(self.name).stem, about, machine, append, steps, kind, answers)

    def machine(self, data: Any, line: int | None) -> MachineConfig:
        given = self.mapping(data, line, "machine", _MACHINE)
        numbers: dict[str, int] = {}
        for key in given:
            if key not in {"cpu"}:
                numbers[key] = self.integer(given[key], _line(given, key), key)
        memory, gic = numbers.pop("memory", MEMORY_MIB), numbers.pop("gic", GIC_VERSION)
        try:
            self.topology = Topology.resolve(**numbers)
        except TopologyError as error:
            raise self.fail(line, f"machine: {error}") from error
        if gic not in (2, 3):
            raise self.fail(_line(given, "gic"), f"gic is {gic}; it must be 2 or 3")
        if memory < MIN_MEMORY_MIB:
            raise self.fail(
                _line(given, "memory"), f"memory is {memory} MiB; the least is {MIN_MEMORY_MIB}"
            )
        cpu = self.text(given.get("cpu", CPU_MODEL), line, "cpu")
        return MachineConfig(self.topology, cpu, gic, memory)

    def answers(self, data: Any, line: int | None) -> Answers:
        given = self.mapping(data, line, "answers", _NOTIFICATIONS)
        return {
            _NOTIFICATIONS[name]: self.answer(value, _line(given, name), name)
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

    # -------------------------------------------------------------------- steps

    def steps(self, data: Any, line: int | None) -> tuple[sc.Line, ...]:
        if not isinstance(data, CommentedSeq) or not data:
            raise self.fail(line, "steps must be a list with at least one step")
        return tuple(self.step(item, _item_line(data, n)) for n, item in enumerate(data))

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
            k: self.cpu_list(given[k], _line(given, k), k) for k in given if k in sc.MASKS
        }
        slots: dict[sc.Cpu, str] = {}
        wanted = self.mapping(given.get("slots", CommentedMap()), line, "slots", None)
        for cpu, state in wanted.items():
            self.known(state, _SLOT_STATES, _line(wanted, cpu), "state of a slot")
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

    # ------------------------------------------------------------------- values

    def mapping(
        self, value: Any, line: int | None, what: str, keys: Iterable[str] | None
    ) -> CommentedMap:
        if not isinstance(value, CommentedMap):
            raise self.fail(line, f"{what} must be a mapping (key: value), not {_kind(value)}")
        if keys is not None:
            for key in value:
                self.known(key, tuple(keys), _line(value, key), f"key of {what}")
        return value

    def known(self, word: Any, words: Iterable[str], line: int | None, what: str) -> None:
        words = tuple(words)
        if word not in words:
            close = difflib.get_close_matches(str(word), words, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(words)}"
            raise self.fail(line, f"'{word}' is no {what}; {hint}")

    def integer(self, value: Any, line: int | None, what: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(line, f"{what} is {value!r}; it must be a whole number")
        return int(value)

    def truth(self, value: Any, line: int | None, what: str) -> bool:
        if not isinstance(value, bool):
            raise self.fail(line, f"{what} is {value!r}; it must be true or false")
        return value

    def text(self, value: Any, line: int | None, what: str) -> str:
        if not isinstance(value, str):
            raise self.fail(line, f"{what} must be text, not {_kind(value)}")
        return str(value)

    def cpu_list(self, value: Any, line: int | None, what: str) -> frozenset[int]:
        try:
            return parse_cpu_list(str(value) if value is not None else "")
        except ValueError as error:
            raise self.fail(line, f"{what}: {error}") from error


def _bare(made: sc.ScenarioStep) -> Callable[[_Reader, Any, int | None], sc.ScenarioStep]:
    def read(reader: _Reader, value: Any, line: int | None) -> sc.ScenarioStep:
        if value is not None:
            raise reader.fail(line, f"this step has the value {_said(value)}; it takes no value")
        return made

    return read


_VERBS: dict[str, Callable[[_Reader, Any, int | None], sc.ScenarioStep]] = {
    "boot": _bare(sc.BootStep()),
    "plug": _Reader.plug,
    "unplug": _Reader.unplug,
    "scale": _Reader.scale,
    "online": lambda r, v, at: sc.OnlineStep(r.cpu(v, at)),
    "offline": lambda r, v, at: sc.OfflineStep(r.cpu(v, at)),
    "shell": _Reader.shell,
    "expect": _Reader.expect,
    "reset": _bare(sc.ResetStep()),
    "reboot": _bare(sc.RebootStep()),
    "rebooted": _bare(sc.RebootedStep()),
    "pause": _bare(sc.PauseStep()),
    "resume": _bare(sc.ResumeStep()),
    "poweroff": _bare(sc.PowerOffStep()),
    "migrate": _bare(sc.MigrateStep()),
    "call": _Reader.call,
    "settle": _bare(sc.SettleStep()),
    "wait": _Reader.wait,
    "repeat": _Reader.repeat,
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
        return f"{verb} " + ", ".join(f"{k} {_said(v)}" for k, v in value.items())
    return f"{verb} {_said(value)}"


def _said(value: Any) -> str:
    """A value as a person would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, CommentedMap):
        return "(" + ", ".join(f"{k} {_said(v)}" for k, v in value.items()) + ")"
    return str(value)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, CommentedSeq):
        return "a list"
    return f"'{value}'" if isinstance(value, str | int | float) else "a mapping"


def _line(mapping: CommentedMap, key: Any) -> int | None:
    try:
        return int(mapping.lc.key(key)[0])
    except (KeyError, TypeError, AttributeError):
        return None


def _item_line(sequence: CommentedSeq, index: int) -> int | None:
    try:
        return int(sequence.lc.item(index)[0])
    except (KeyError, TypeError, AttributeError):
        return None
