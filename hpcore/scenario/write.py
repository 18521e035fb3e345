"""Writing a scenario as the YAML that `read` reads."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarint import HexInt
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from hpcore.guest.cpulist import format_cpu_list
from hpcore.guest.played import LOST
from hpcore.guest.played.answers import Answer, notification_name
from hpcore.model.config import MachineConfig
from hpcore.model.topology import Topology
from hpcore.scenario import values as sc
from hpcore.scenario.durations import format_duration

_WORD = re.compile(r"[a-z]+(-[a-z]+)*", re.ASCII)

WIDTH = 4096
"""Characters of a line at most: a step is one line, however long."""


def dump(scenario: sc.Scenario) -> str:
    """`scenario` as YAML. What it reads as differs at most in `name` and in wording."""
    top: dict[str, object] = {}
    if scenario.about:
        top["about"] = _text(scenario.about)
    top["machine"] = _flow(_machine(scenario.machine))
    guest: dict[str, object] = {"append": _text(scenario.append)} if scenario.append else {}
    if scenario.kind != "linux":
        guest["kind"] = scenario.kind
    if scenario.answers:
        guest["answers"] = _flow({
            notification_name(notification): _answer(wanted)
            for notification, wanted in scenario.answers.items()
        })  # fmt: skip
    if guest:
        top["guest"] = _flow(guest)
    top["steps"] = _steps(scenario.steps)
    yaml = YAML()
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(CommentedMap(top), out)
    return out.getvalue()


def _answer(wanted: Answer | tuple[Answer, ...]) -> object:
    if isinstance(wanted, tuple):
        return _flow([_answer(one) for one in wanted])
    return "lost" if wanted is LOST else HexInt(wanted)


def _machine(config: MachineConfig) -> dict[str, object]:
    topology = config.topology
    given: dict[str, object] = {"cpus": topology.cpus, "maxcpus": topology.maxcpus}
    if Topology.resolve(cpus=topology.cpus, maxcpus=topology.maxcpus) != topology:
        for level in ("sockets", "clusters", "cores", "threads"):
            given[level] = getattr(topology, level)
    plain = MachineConfig(topology)
    for key, name in (("memory", "memory"), ("cpu", "cpu_model"), ("gic", "gic_version")):
        if getattr(config, name) != getattr(plain, name):
            given[key] = getattr(config, name)
    return given


def _steps(lines: tuple[sc.Line, ...]) -> CommentedSeq:
    return CommentedSeq(_line(line) for line in lines)


def _line(line: sc.Line) -> object:
    verb, value = _VERBS[type(line.step)](line.step)
    step = CommentedMap({verb: value})
    if line.fails is not None:
        step["fails"] = _text(line.fails)
    if not line.waits:
        step["waits"] = False
    return verb if value is None and len(step) == 1 else step


def _plug(step: sc.PlugStep) -> tuple[str, object]:
    given: dict[str, object] = {"id": _text(step.id)} if step.id else {}
    for key, value in step.props.items():
        # quoted but for plain words: a "?" before a key, say, is YAML's own
        name = key if _WORD.fullmatch(key) else DoubleQuotedScalarString(key)
        given[name] = _text(value) if isinstance(value, str) else value
    if step.driver is not None:
        given["driver"] = _text(step.driver)
    return "plug", _flow(given)


def _unplug(step: sc.UnplugStep) -> tuple[str, object]:
    if step.force:
        return "unplug", _flow({"id": _text(step.id), "force": True})
    return "unplug", _text(step.id)


def _scale(step: sc.ScaleStep) -> tuple[str, object]:
    return "scale", _flow({"to": step.to, "undo": True}) if step.undo else step.to


def _shell(step: sc.ShellStep) -> tuple[str, object]:
    if step.prints is None:
        return "shell", _text(step.line)
    return "shell", _flow({"line": _text(step.line), "prints": _text(step.prints)})


def _expect(step: sc.ExpectStep) -> tuple[str, object]:
    given: dict[str, object] = {
        name: DoubleQuotedScalarString(format_cpu_list(mask)) for name, mask in step.masks.items()
    }
    if step.slots:
        given["slots"] = _flow({_cpu(cpu): state for cpu, state in step.slots.items()})
    return "expect", _flow(given)


def _call(step: sc.CallStep) -> tuple[str, object]:
    return "call", _flow({str(step.call): _flow(list(step.arguments))})


def _repeat(step: sc.RepeatStep) -> tuple[str, object]:
    return "repeat", CommentedMap({"times": step.times, "steps": _steps(step.steps)})


def _cpu(cpu: sc.Cpu) -> object:
    return _text(cpu) if isinstance(cpu, str) else cpu


def _text(text: str) -> str:
    """Quoted where YAML would read something else in it, as in `2-3` or `yes`."""
    return text if text.isidentifier() else DoubleQuotedScalarString(text)


def _flow(value: dict[Any, Any] | list[Any]) -> CommentedMap | CommentedSeq:
    made = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    made.fa.set_flow_style()
    return made


def _bare(verb: str) -> Callable[[Any], tuple[str, object]]:
    return lambda _step: (verb, None)


_VERBS: dict[type, Callable[[Any], tuple[str, object]]] = {
    sc.BootStep: _bare("boot"),
    sc.PlugStep: _plug,
    sc.UnplugStep: _unplug,
    sc.ScaleStep: _scale,
    sc.OnlineStep: lambda step: ("online", _cpu(step.cpu)),
    sc.OfflineStep: lambda step: ("offline", _cpu(step.cpu)),
    sc.ShellStep: _shell,
    sc.ExpectStep: _expect,
    sc.ResetStep: _bare("reset"),
    sc.RebootStep: _bare("reboot"),
    sc.RebootedStep: _bare("rebooted"),
    sc.PauseStep: _bare("pause"),
    sc.ResumeStep: _bare("resume"),
    sc.PowerOffStep: _bare("poweroff"),
    sc.MigrateStep: _bare("migrate"),
    sc.SaveStep: lambda step: ("save-machine", step.file),
    sc.CallStep: _call,
    sc.SettleStep: _bare("settle"),
    sc.WaitStep: lambda step: ("wait", format_duration(step.milliseconds)),
    sc.RepeatStep: _repeat,
}
