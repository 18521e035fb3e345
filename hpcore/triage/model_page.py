"""The page of the documentation that shows the model: tables, diagrams, guards, invariants.

`python -m hpcore.triage.model_page` prints it; `make docs` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from hpcore.model.guards import GUARDS
from hpcore.model.invariants import INVARIANTS
from hpcore.model.machines import TABLES
from hpcore.model.rules import BUILD, TEARDOWN
from hpcore.triage.diagram import mermaid

_TITLES = {
    "slot": "The vCPU slot",
    "gicc": "The GIC CPU interface",
    "machine": "The machine",
}


def model_page() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# The model"
    yield ""
    yield "Made from `hpcore/model` by `make docs`; a test holds it against the code."
    for table in TABLES:
        yield from ("", f"## {_TITLES[table.name]}", "")
        yield from ("```mermaid", mermaid(table), "```", "")
        yield from ("| from | trigger | to | who asks for it |", "| --- | --- | --- | --- |")
        for row in table.rows:
            yield f"| {row.source} | `{row.trigger}` | {row.dest} | {row.why} |"
    yield from ("", "## Orders", "")
    yield "A plug: " + ", ".join(f"`{s}`" for s in BUILD) + "."
    yield ""
    yield "An eject: " + ", ".join(f"`{s}`" for s in TEARDOWN) + "."
    yield ""
    yield "A step of an eject that has nothing to do is left out; a failed plug is taken back"
    yield "the same way."
    yield from ("", "## Guards", "", "| guard | the invariant that it keeps |", "| --- | --- |")
    for guard in GUARDS.values():
        yield f"| `{guard.name}` | `{guard.keeps}` |"
    yield from ("", "## Invariants", "", "| # | name | says |", "| --- | --- | --- |")
    for rule in INVARIANTS:
        yield f"| {rule.number} | `{rule.name}` | {rule.says} |"


if __name__ == "__main__":
    print(model_page(), end="")
