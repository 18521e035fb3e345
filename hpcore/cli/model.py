"""`hpcore model`: the state machines, as tables or as diagrams."""

from __future__ import annotations

import click

from hpcore.cli.output import Output, Problem, json_option
from hpcore.model.diagram import mermaid
from hpcore.model.invariants import INVARIANTS
from hpcore.model.machines import TABLES


@click.command()
@click.argument("name", type=click.Choice([*(t.name for t in TABLES), "invariants", "protocols"]))
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print a Mermaid state diagram.")
@json_option
def model(name: str, as_mermaid: bool, as_json: bool) -> None:
    """Show a state machine of the protocol, its invariants, or the other protocols that there are.

    \b
    hpcore model slot
    hpcore model slot --mermaid
    hpcore model invariants
    hpcore model protocols         for `hpcore check --rules`
    """
    out = Output(json=as_json)
    if name in ("invariants", "protocols") and as_mermaid:
        raise Problem(f"the {name} are no state machine to draw; leave --mermaid out")
    if name == "protocols":
        from hpcore.cli.protocols import list_protocols  # noqa: PLC0415 - reads YAML

        list_protocols(out)
        return
    if name == "invariants":
        table = out.table("#", "invariant", "says")
        for rule in INVARIANTS:
            table.add_row(str(rule.number), rule.name, rule.says)
        out.show(table)
        out.close(True, invariants=[{"name": r.name, "says": r.says} for r in INVARIANTS])
        return
    chosen = next(t for t in TABLES if t.name == name)
    if as_mermaid:
        out.text(mermaid(chosen) + "\n")
        out.close(True, mermaid=mermaid(chosen))
        return
    table = out.table("from", "trigger", "to", "who asks for it")
    for row in chosen.rows:
        table.add_row(str(row.source), row.trigger, str(row.dest), row.why)
    out.show(table)
    out.close(
        True,
        transitions=[
            {"source": str(r.source), "trigger": r.trigger, "dest": str(r.dest)}
            for r in chosen.rows
        ],
    )
