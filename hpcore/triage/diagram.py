"""The declared machines as Mermaid state diagrams, by way of `transitions` itself."""

from __future__ import annotations

from typing import Any

from transitions.extensions import GraphMachine

from hpcore.model.machines import Table


class _Model:
    """What `transitions` draws the diagram of."""


def mermaid(table: Table) -> str:
    """A Mermaid `stateDiagram` of `table`, without a trailing newline."""
    machine = GraphMachine(
        model=_Model(), graph_engine="mermaid", title=table.name, **table.for_library
    )
    graph: Any = machine.get_combined_graph()
    return str(graph.source).strip()
