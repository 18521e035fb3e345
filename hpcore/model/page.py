"""The page of the documentation that shows the model: tables, diagrams, guards, invariants.

`python -m hpcore.model.page` prints it; `make docs` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from hpcore.model.diagram import mermaid
from hpcore.model.guards import REASONS, SWITCHES
from hpcore.model.invariants import INVARIANTS
from hpcore.model.machines import TABLES
from hpcore.model.rules import BUILD, TEARDOWN

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
    yield from ("", "## Reasons to refuse", "")
    yield "Each by the name that a refusal has in a log. A star marks those that a check can"
    yield "switch off, to see what breaks (`hpcore check --mutant NAME`). A QMP client is told"
    yield "the class and the text."
    yield ""
    yield "| reason | text | the invariant that it keeps | QMP class |"
    yield "| --- | --- | --- | --- |"
    for reason in REASONS.values():
        star = "*" if reason.name in SWITCHES else ""
        keeps = f"`{reason.keeps}`" if reason.keeps else ""
        yield f"| `{reason.name}`{star} | {reason.text} | {keeps} | {reason.qmp_class} |"
    yield from ("", "## Invariants", "", "| # | name | says |", "| --- | --- | --- |")
    for rule in INVARIANTS:
        yield f"| {rule.number} | `{rule.name}` | {rule.says} |"


if __name__ == "__main__":
    print(model_page(), end="")
