"""`python -m tests.mutation.protocol`: change the protocol a little, and have `hpcore check` look.

`tests.mutation` asks whether a test notices. Here no test is run: each changed protocol is
tabulated and searched, as by `hpcore check`, in small machines. A survivor is a protocol that is
wrong, and that the checker calls proven; or one that is no other protocol.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tests.mutation import forks
from tests.mutation.afresh import FindChanged
from tests.mutation.forks import Outcome, Voice
from tests.mutation.known import KnownError, KnownList, read_known
from tests.mutation.mutants import ROOT, Mutant, all_mutants, sample
from tests.mutation.report import Report, Tried

RESULT = ROOT / "build" / "mutation" / "protocol.json"
LIST = Path(__file__).with_name("protocol.toml")
"""The survivors that somebody has looked at."""

HANDLERS = tuple(
    f"hpcore/model/{name}.py" for name in ("calls", "commands", "decide", "outcomes", "progress")
)
ORDERS, CHANGES = "hpcore/model/rules.py", "hpcore/model/evolve.py"
EVENTS, EFFECTS_OF = "hpcore/model/events.py", "effects_of"
SUBJECTS = (*HANDLERS, ORDERS, CHANGES, EVENTS)
"""What stimuli do, in which order, what events change, and what an accelerator is asked."""

DELETED = frozenset({"statement dropped", "element dropped", "argument dropped", "return",
                     "condition dropped", "case", "loop"})  # fmt: skip
INVERTED = frozenset({"compare", "negated", "not dropped", "and-or", "builtin"})

SECONDS = 900.0
"""For one look at one mutant: an idle machine needs 10. Who has no verdict by then counts as a
survivor, with that as its note, because a checker that is slow has found nothing."""

Look = tuple[str, dict[str, Any]]
LOOKS: tuple[Look, ...] = (
    # The quickest first; it also sees what need never end.
    ("explicit", {"slots": 2, "faults": 0, "migration": False, "power_off": False}),
    ("symbolic", {"slots": 3, "faults": 1, "pause": True, "power_on": True, "plugged": 1}),
    ("symbolic", {"slots": 2, "faults": 0, "guest": "linux"}),
    ("symbolic", {"slots": 2, "faults": 0, "pause": True, "before_boot": True}),
    ("symbolic", {"slots": 2, "faults": 0, "boot": 2}),
    ("symbolic", {"slots": 2, "faults": 0, "rules": "v6"}),
    ("symbolic", {"slots": 2, "faults": 0, "rules": "by-device"}),
    ("symbolic", {"slots": 2, "faults": 0, "rules": "deferred"}),
)
"""The engines, and what they are asked: a guest that means harm, and one that behaves; the boot;
a vCPU that the guest has from then on for good; and other protocols, since what they alone do is in
the same files."""


def protocol_mutants() -> list[Mutant]:
    """Every deletion and every inversion in what the protocol is made of, texts apart."""
    lines = _lines_of(EFFECTS_OF, (ROOT / EVENTS).read_text())
    return [
        m for m in all_mutants(SUBJECTS)
        if m.operator in DELETED | INVERTED and (m.path != EVENTS or m.line in lines)
    ]  # fmt: skip


def _lines_of(function: str, source: str) -> range:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return range(node.lineno, (node.end_lineno or 0) + 1)
    raise ValueError(f"there is no function {function}")


def look(mutant: Mutant, voice: Voice) -> None:
    """In a process that has imported nothing of hpcore: import it changed, and check it."""
    sys.meta_path.insert(0, FindChanged(mutant))
    voice.begins("import", SECONDS)
    try:
        proof = importlib.import_module("hpcore.check.proof")
        worlds = importlib.import_module("hpcore.check.world.environment")
        guests = importlib.import_module("hpcore.check.world.guests")
        protocols = importlib.import_module("hpcore.protocols")
        revisions = importlib.import_module("hpcore.check.variants.revisions")
        for engine, options in LOOKS:
            voice.begins(engine, SECONDS)
            asked = dict(options)
            guest = guests.GUESTS[asked.pop("guest", "hostile")]
            by = protocols.load(asked.pop("rules")) if "rules" in asked else None
            environment = worlds.Environment(**asked, guest=guest)
            if by is None:
                result = proof.prove(environment, engine=engine)
            else:
                held = revisions.properties_of(by)
                result = proof.prove(environment, by.rules, engine, properties=held)
            if not result.proven:
                ends = (what.partition(" of ")[0] for what in result.endless or ())
                by = (*result.violations, *result.missing, *dict.fromkeys(ends))
                voice.ends(Outcome("found", " ".join(by)))
                return
    except Exception as error:  # a mutant may do anything
        voice.ends(Outcome("ends in an error", type(error).__name__, str(error)[:200]))
        return
    voice.ends(Outcome(None))


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.option("--seed", default=1, show_default=True, help="Chooses the sample.")
@click.option("--sample", "size", default=150, show_default=True, type=click.IntRange(min=0),
              help="How many mutants are tried; 0 for all.")  # fmt: skip
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True,
              type=click.IntRange(min=1), help="How many are tried at a time.")  # fmt: skip
@click.option("--in", "words", multiple=True, metavar="TEXT",
              help="Those alone whose file, or changed lines, hold one of these texts.")
@click.option("--again", is_flag=True, help="Try those alone that survived in the last run.")
@click.option("--json", "result", default=RESULT, type=click.Path(path_type=Path, dir_okay=False),
              help="Where the result is written.  [default: build/mutation/protocol.json]")
def main(
    seed: int, size: int, jobs: int, words: tuple[str, ...], again: bool, result: Path
) -> None:
    """Delete or invert what the protocol is made of, one thing in turn, and check what is left.

    The exit code is 1 where fewer than 97 % are found of those that are another protocol.
    """
    began = time.monotonic()
    try:
        known = read_known(LIST)
    except KnownError as error:
        print(f"mutation: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    mutants = protocol_mutants()
    chosen = sample(mutants, seed, size)
    if words:
        chosen = [m for m in chosen if any(w in m.path or w in m.before for w in words)]
    if again:
        kept = {tuple(name) for name in json.loads(result.read_bytes())["names"]}
        chosen = [m for m in mutants if _name(m) in kept]
    importlib.import_module("numpy")  # once, before the forks
    tried: list[Tried] = []
    try:
        forks.run(iter(chosen), jobs, look, lambda m, o: _ended(tried, known, m, o, len(chosen)))
    except KeyboardInterrupt:
        print("interrupted; what was tried until now:")
    report = Report(
        seed, {path: sum(m.path == path for m in mutants) for path in SUBJECTS}, tried,
        known.without_mutant(mutants, SUBJECTS), time.monotonic() - began, LIST.name,
    )  # fmt: skip
    print("", *report.lines(), "", *_by_property(tried), sep="\n")
    result.parent.mkdir(parents=True, exist_ok=True)
    names = [_name(t.mutant) for t in tried if not t.outcome.found]
    result.write_text(json.dumps({**report.as_json(), "names": names}, indent=1) + "\n")
    raise SystemExit(0 if report.passed else 1)


def _name(mutant: Mutant) -> tuple[str, str, str, str, int]:
    return mutant.path, mutant.operator, mutant.before, mutant.after, mutant.nth


def _ended(
    tried: list[Tried], known: KnownList, mutant: Mutant, outcome: Outcome, count: int
) -> None:
    if outcome.how == "too long":
        outcome = Outcome(None, note=f"no verdict in {SECONDS:.0f} s")
    tried.append(Tried(mutant, outcome, known.of(mutant)))
    if not outcome.found:
        print(f"{mutant.path}:{mutant.line}: {mutant.operator}: survives\n{mutant.diff}")
    if len(tried) % 25 == 0:
        left = sum(not t.outcome.found for t in tried)
        print(f"... {len(tried)} of {count} tried, {left} survive", flush=True)


def _by_property(tried: Sequence[Tried]) -> Iterator[str]:
    """What finds how many; and how many it alone finds."""
    found, alone = Counter[str](), Counter[str]()
    for names in _names(tried):
        found.update(names)
        alone.update(names if len(names) == 1 else ())
    yield f"{'found by':38}{'mutants':>8}{'it alone':>10}"
    yield from (f"{name:38}{n:8}{alone[name]:10}" for name, n in found.most_common())


def _names(tried: Iterable[Tried]) -> Iterator[set[str]]:
    for t in tried:
        if t.outcome.how == "found":
            yield set((t.outcome.by or "").split())
        elif t.outcome.found:
            yield {f"({t.outcome.how})"}


if __name__ == "__main__":
    main()
