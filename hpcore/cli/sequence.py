"""`hpcore check SCENARIO`: a sequence in every order that the world around it allows."""

from __future__ import annotations

from typing import Any, NoReturn

import click
from click.core import ParameterSource

from hpcore.check.collection import no_collection
from hpcore.check.memory import human, peak
from hpcore.check.properties import PROPERTIES
from hpcore.check.result import CheckError
from hpcore.cli.output import Output, Problem
from hpcore.cli.output_file import refuse_unwritable, write_file
from hpcore.cli.own import properties_of
from hpcore.cli.protocols import Chosen, chosen_by
from hpcore.log import is_log
from hpcore.scenario import ScenarioError, dump, load
from hpcore.scenario.values import Scenario
from hpcore.sequence import Answer, Anyhow, Finding, Question, check, guest_of
from hpcore.sequence.repeat import CannotRepeat, scenario_of
from hpcore.sequence.told import log_of
from hpcore.sequence.words import headline, way_of

_TAKEN = {
    "scenario", "race", "repeat_in", "most", "guest", "faults", "reset", "property_files", "log",
    "force", "as_json", "mutant", "rules",
}  # fmt: skip
"""The options that have a meaning for a sequence."""
def check_sequence(ctx: click.Context, out: Output, options: dict[str, Any]) -> NoReturn:
    """Take every run of the scenario, say what is wrong in one, and exit with 1 if any is."""
    given = {
        name for name in ctx.params
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }  # fmt: skip
    scenario = _scenario(options["scenario"])
    if strange := given - _TAKEN:
        flag = min(strange).replace("_", "-")
        raise CheckError(f"--{flag} has no meaning for a sequence: the scenario says what is done")
    files = {"--log": options["log"], "--scenario": options["repeat_in"]}
    refuse_unwritable(files, force=options["force"])
    chosen = _chosen(options)
    own = properties_of(options["property_files"])[len(PROPERTIES) :]
    question = Question(
        scenario,
        Anyhow(options["guest"]) if "guest" in given else guest_of(scenario, chosen.rules),
        faults=options["faults"] if "faults" in given else 0,
        race=options["race"],
        resets="reset" in given and options["reset"],
        rules=chosen.rules,
        properties=(*chosen.properties, *own),
        most=options["most"],
    )
    out.say(_described(question))
    with no_collection(), out.progress("starting") as tell:
        answer = check(question, lambda depth, states: tell(
            f"{states:,} states, depth {depth}; {human(peak())}"
        ))  # fmt: skip
    _report(out, question, answer, options)


def _chosen(options: dict[str, Any]) -> Chosen:
    return chosen_by(options["rules"], options["mutant"], every=False, start=None)


def _scenario(name: str) -> Scenario:
    if is_log(name):
        raise Problem(f"{name} is a log; --from {name} starts a check from where it ends")
    try:
        return load(name)
    except ScenarioError as error:
        raise Problem(str(error)) from error


def _described(q: Question) -> str:
    topology = q.scenario.machine.topology
    faults = {0: "no faults", 1: "1 fault"}.get(q.faults, f"{q.faults} faults")
    words = [
        f"{q.scenario.name}: {topology.cpus} of {topology.maxcpus} vCPUs at boot",
        f"{q.guest.name}", faults,
        *(["resets"] if q.resets else []), *(["commands overlap"] if q.race else []),
    ]  # fmt: skip
    return "; ".join(words)


def _report(out: Output, q: Question, answer: Answer, options: dict[str, Any]) -> NoReturn:
    out.say(
        f"sequence: {answer.states:,} states, {answer.transitions:,} transitions, depth "
        f"{answer.depth}, {answer.seconds:.1f} s, {human(answer.memory)}"
    )
    if answer.findings:
        first, *others = answer.findings
        out.say(f"{_capital(headline(first))}", style="bold red")
        for n, said in enumerate(way_of(first), 1):
            out.say(f"{n:>4}  {said}")
        for other in others:
            out.say(f"Also, {headline(other)} (after {len(other.way)})", style="red")
    for name in answer.missing:
        out.say(f"Never happens: {name}", style="bold red")
    for end in answer.fault_ends:
        out.say(f"By a fault {headline(end)} (after {len(end.way)})")
    if not answer.completed:
        out.say("No run comes to the end of the scenario.", style="red")
    if answer.ok:
        out.say("Every run goes as the scenario says.", style="green")
    told = _write(out, q, answer.findings[0], options) if answer.findings else {}
    out.end(
        answer.ok,
        engine="sequence",
        states=answer.states, transitions=answer.transitions, depth=answer.depth,
        seconds=round(answer.seconds, 3), memory=answer.memory, completed=answer.completed,
        findings=[_plain(f) for f in answer.findings],
        fault_ends=[_plain(f) for f in answer.fault_ends],
        missing=list(answer.missing),
        **told,
    )  # fmt: skip


def _write(
    out: Output, q: Question, finding: Finding, options: dict[str, Any]
) -> dict[str, object]:
    told: dict[str, object] = {}
    log, repeat_in = options["log"], options["repeat_in"]
    if log is not None:
        chosen = _chosen(options)
        events = log_of(
            log, finding, q, chosen.name, overwrite=options["force"], protocol=chosen.written_down
        )
        out.say(f"{events} events in {log}; see `hpcore replay {log}`")
        told["log"] = str(log)
    if repeat_in is not None:
        told["scenario"] = told["not_scripted"] = None
        try:
            repeated = scenario_of(finding, q)
        except CannotRepeat as error:
            out.say(f"No scenario repeats it: {error}", style="yellow")
            told["not_scripted"] = [str(error)]
            return told
        write_file(repeat_in, dump(repeated.scenario).encode())
        out.say(f"{repeat_in} repeats it: `hpcore run {repeat_in} --accel qtest`")
        for left in repeated.left_open:
            out.say(f"  left to chance: {left}", style="yellow")
        told |= {"scenario": str(repeat_in), "not_scripted": list(repeated.left_open)}
    return told


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "kind": str(finding.kind),
        "step": None if finding.line is None else finding.line.number,
        "line": None if finding.line is None else finding.line.at,
        "why": finding.why, "property": finding.broken, "slot": finding.slot,
        "length": len(finding.way), "faults": finding.faults, "way": list(way_of(finding)),
    }  # fmt: skip


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
