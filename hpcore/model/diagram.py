"""The declared machines as Mermaid state diagrams, by way of `transitions` itself."""

from __future__ import annotations

from typing import Any

from hpcore.model.machines import Table


class _Model:
    """What `transitions` draws the diagram of."""


_STYLE = ("classDef ", "Class ")
"""`transitions` draws a machine that runs, and colours the state that it is in; a declared
machine runs nowhere, so that these lines say nothing."""


def mermaid(table: Table) -> str:
    """A Mermaid `stateDiagram` of `table`, without a trailing newline."""
    from transitions.extensions import GraphMachine  # noqa: PLC0415 - for drawing alone

    machine = GraphMachine(
        model=_Model(), graph_engine="mermaid", title=table.name, **table.for_library
    )
    graph: Any = machine.get_combined_graph()
    lines = str(graph.source).strip().splitlines()
    kept = (line.rstrip() for line in lines if not line.strip().startswith(_STYLE))
    return "\n".join(line for line in kept if line)
