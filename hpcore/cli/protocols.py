"""`--rules`: another protocol than hpcore's own, for the commands that take one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from attrs import frozen

from hpcore.check.properties import PROPERTIES, Properties
from hpcore.check.result import CheckError, Counterexample
from hpcore.check.tabulated.start import Start
from hpcore.check.variants.known_bugs import find_mutant
from hpcore.check.variants.mutants import Mutant
from hpcore.check.variants.revisions import Found, bug_of, hunt_wrong, properties_of, within
from hpcore.check.world.environment import Environment
from hpcore.cli.output import Output, steps
from hpcore.model.revision import HPCORE, Bug, Revision
from hpcore.model.rules import Rules


@frozen
class Chosen:
    """What is checked: a protocol, whole or with one thing wrong."""

    revision: Revision
    properties: Properties
    mutant: Mutant | None = None
    bug: Bug | None = None

    @property
    def rules(self) -> Rules:
        """The rules that are checked."""
        return self.revision.rules if self.mutant is None else self.mutant.rules

    @property
    def written_down(self) -> Revision | None:
        """The protocol for a log's header; None for hpcore's own, and for a mutant of that."""
        return None if self.revision == HPCORE else self.revision

    @property
    def name(self) -> str:
        """Whose rules a counterexample is of."""
        if self.mutant is not None:
            return f"of the mutant {self.mutant.name}"
        return "of the protocol" if self.revision == HPCORE else f"of {self.revision.name}"

    def within(self, environment: Environment) -> Environment:
        """`environment`, and in it what must be able to happen."""
        if self.mutant is not None:
            return self.mutant.within(environment)
        return environment if self.bug is None else within(environment, self.bug.needs)

    def introduce(self, out: Output) -> None:
        """Say whose protocol it is."""
        if self.revision != HPCORE:
            out.say(f"{self.revision.name}: {self.revision.says}")

    def say_more(self, out: Output) -> None:
        """Say what the proof does not cover: what is given up, and what was reported."""
        if self.revision.gives_up:
            out.say(f"It gives up: {', '.join(self.revision.gives_up)}")
        if self.revision.bugs:
            names = ", ".join(bug.name for bug in self.revision.bugs)
            out.say(f"Reported against it, each to be seen with --mutant NAME: {names}")


def chosen_by(rules: str | None, mutant: str | None, every: bool, start: Start | None) -> Chosen:
    """What the options `--rules`, `--mutant` and `--mutants` choose.

    Raises ProtocolError for a file that is none, and CheckError for what cannot be together.
    """
    if start is not None and rules is not None:
        raise CheckError("--from and --rules contradict each other: the log says whose rules")
    if start is not None and start.protocol != HPCORE:
        if mutant is not None:
            raise CheckError(f"--mutant is none of {start.protocol.name}, whose log that is")
        return Chosen(start.protocol, properties_of(start.protocol))
    if rules is None:
        found = None if mutant is None else find_mutant(mutant)
        return Chosen(HPCORE, PROPERTIES, found)
    from hpcore.protocols import load  # noqa: PLC0415 - takes YAML along

    revision = load(rules)
    asked = properties_of(revision)
    if mutant is not None:
        bug = bug_of(revision, mutant)
        return Chosen(revision.with_bug(bug), asked, bug=bug)
    if every and not (revision.bugs or revision.gives_up):
        raise CheckError(f"{revision.name} has no bug and gives nothing up: there is none to find")
    return Chosen(revision, asked)


def run_by(rules: str | None, mutant: str | None) -> Revision:
    """The protocol that a machine is run by, whole or with a bug of it.

    Raises ProtocolError for a file that is none, CheckError for a bug that nobody reported.
    """
    if rules is None:
        if mutant is not None:
            raise CheckError(
                "--mutant is a bug that was reported against a protocol: name it by --rules"
            )
        return HPCORE
    from hpcore.protocols import load  # noqa: PLC0415 - takes YAML along

    revision = load(rules)
    return revision if mutant is None else revision.with_bug(bug_of(revision, mutant))


def repeat(
    out: Output, found: Counterexample, chosen: Chosen, options: Mapping[str, Any]
) -> dict[str, object]:
    """Write the scenario that repeats `found`, where `--scenario` asks for it."""
    path: Path | None = options["repeat_in"]
    if path is None:
        return {}
    from hpcore.scenario.of_counterexample import NotScripted, scripted  # noqa: PLC0415 - YAML
    from hpcore.scenario.write import dump  # noqa: PLC0415 - as above

    about = f"Repeats what a check {chosen.name} has found: {found.invariant} is broken."
    try:
        made = scripted(path.stem, about, found.start.state.config, found.stimuli)
    except NotScripted as error:
        out.say(f"No scenario repeats it: {error}", style="yellow")
        return {"scenario": None, "not_scripted": [str(error)]}
    path.write_text(dump(made), encoding="utf-8")
    by = "".join(
        f" --{name} {options[name]}" for name in ("rules", "mutant") if options[name] is not None
    )
    if chosen.mutant is not None:
        out.say(f"{path} repeats it, but a machine is not run by a mutant of hpcore's own rules")
    else:
        out.say(f"{path} repeats it: `hpcore run {path} --accel qtest{by}`")
    return {"scenario": str(path), "not_scripted": []}


def hunt_in(out: Output, revision: Revision) -> NoReturn:
    """See every bug of `revision`, and what it gives up, broken; exit with 1 if one is not."""
    out.say(f"{revision.name}: what was reported against it, and what it gives up")

    def tell(found: Found) -> None:
        one, way = found.wrong, found.result.counterexample
        where = "need never end" if way is None else f"found in {steps(way.length)}"
        what = f"{where}: {', '.join(found.broken)}" if found.broken else "NOT FOUND"
        mark = "ok  " if found.as_expected else "FAIL"
        style = None if found.as_expected else "bold red"
        out.say(f"{mark} {one.name} ({one.says.rstrip('.')}): {what}", style=style)

    began = time.monotonic()
    hunted = hunt_wrong(revision, tell)
    ok = all(found.as_expected for found in hunted)
    seconds = time.monotonic() - began
    out.say(
        f"{sum(f.as_expected for f in hunted)} of {len(hunted)} found; {seconds:.0f} s",
        style="green" if ok else "bold red",
    )
    out.end(
        ok,
        rules=revision.plain,
        seconds=round(seconds, 3),
        mutants=[
            {
                "name": f.wrong.name, "says": f.wrong.says, "as_expected": f.as_expected,
                "violations": list(f.broken), "length": f.result.depth,
            }
            for f in hunted
        ],
    )  # fmt: skip


def list_protocols(out: Output) -> None:
    """Show hpcore's own protocol and those that come with it."""
    from hpcore.protocols import bundled, load  # noqa: PLC0415 - takes YAML along

    table = out.table("name", "says")
    known = [HPCORE, *(load(str(path)) for path in bundled().values())]
    for one in known:
        table.add_row(one.name, one.says)
    out.show(table)
    out.close(True, protocols=[{**one.plain, "bugs": [b.name for b in one.bugs]} for one in known])
