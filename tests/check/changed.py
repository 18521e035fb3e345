"""`hpcore check` of a protocol whose source is changed in one place, in a process of its own.

`python -m tests.check.changed` reads a list of changes in JSON, each [path, old text, new text,
options of the environment], and prints for each the names of what was found broken. `rules` among
the options names another protocol than hpcore's. Nothing on disk is changed.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from attrs import frozen

from tests.mutation import forks
from tests.mutation.afresh import FindChanged
from tests.mutation.forks import Outcome, Voice
from tests.mutation.mutants import ROOT

SECONDS = 300.0


@frozen
class Changed:
    """A file with one text in the place of another, and where that is looked at."""

    path: str
    old: str
    new: str
    options: dict[str, Any]

    @property
    def changed(self) -> str:
        """The whole file. Raises ValueError where the old text is not in it once."""
        source = (ROOT / self.path).read_text()
        if source.count(self.old) != 1:
            raise ValueError(f"{self.path} has {source.count(self.old)} times: {self.old}")
        return source.replace(self.old, self.new)


def look(changed: Changed, voice: Voice) -> None:
    """Import the program so changed, and check it."""
    voice.begins("check", SECONDS)
    try:
        sys.meta_path.insert(0, FindChanged(changed))  # type: ignore[arg-type] # it has what is read
        proof = importlib.import_module("hpcore.check.proof")
        worlds = importlib.import_module("hpcore.check.world.environment")
        least = {"slots": 2, "faults": 0, "reset": False, "migration": False, "power_off": False}
        options = {**least, **changed.options}
        by = importlib.import_module("hpcore.protocols").load(options.pop("rules", "hpcore"))
        held = importlib.import_module("hpcore.check.variants.revisions").properties_of(by)
        environment = worlds.Environment(**options)
        result = proof.prove(environment, by.rules, "symbolic", properties=held)
    except Exception as error:
        voice.ends(Outcome("error", f"{type(error).__name__}: {error}"[:500]))
        return
    voice.ends(Outcome("checked", " ".join((*result.violations, *result.missing))))


def main() -> None:
    """See above."""
    changes = [Changed(*one) for one in json.load(sys.stdin)]
    found: dict[int, str] = {}

    def ended(changed: Changed, outcome: Outcome) -> None:
        found[changes.index(changed)] = outcome.by or ""

    forks.run(iter(changes), 1, look, ended)
    print(json.dumps([found[n] for n in range(len(changes))]))


if __name__ == "__main__":
    main()
