"""A small configuration's states as a diagram: Mermaid or Graphviz, by the file's suffix."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from hpcore.check.graphs.graph import Graph, explore
from hpcore.check.result import CheckError
from hpcore.check.sightings import Numbers
from hpcore.check.tabulated.schema import Tables

MOST = 2000
"""States beyond which nobody reads a diagram."""

_MERMAID, _GRAPHVIZ = (".mmd", ".md"), (".dot", ".gv")


def check_suffix(path: Path) -> None:
    """Raises CheckError unless the suffix says which format is wanted."""
    if path.suffix not in _MERMAID + _GRAPHVIZ:
        raise CheckError(
            f"{path}: name it .mmd or .md for Mermaid, .dot or .gv for Graphviz"
        )


@frozen
class Drawing:
    """The text of a diagram, and how many states it shows."""

    text: str
    states: int


def draw(tables: Tables, path: Path) -> Drawing:
    """The diagram in the format that the suffix of `path` names. Raises CheckError."""
    check_suffix(path)
    graph = explore(tables, MOST)
    text = (_mermaid if path.suffix in _MERMAID else _graphviz)(tables, graph)
    if path.suffix == ".md":
        text = f"```mermaid\n{text}```\n"
    return Drawing(text, len(graph))


def _mermaid(tables: Tables, graph: Graph) -> str:
    number = {state: n for n, state in enumerate(graph)}
    lines = ["stateDiagram-v2", *(f"    [*] --> s{number[first]}" for first in tables.firsts)]
    lines += [f'    s{n} : {_label(tables, state)}' for state, n in number.items()]
    lines += [f"    s{a} --> s{b} : {label}" for a, b, label in _edges(graph, number)]
    return "\n".join(lines) + "\n"


def _graphviz(tables: Tables, graph: Graph) -> str:
    number = {state: n for n, state in enumerate(graph)}
    lines = ["digraph hpcore {", "  node [shape=box];"]
    lines += [f'  s{n} [label="{_label(tables, state)}"];' for state, n in number.items()]
    lines += [f'  s{a} -> s{b} [label="{label}"];' for a, b, label in _edges(graph, number)]
    return "\n".join((*lines, "}")) + "\n"


def _edges(graph: Graph, number: dict[Numbers, int]) -> list[tuple[int, int, str]]:
    labels: dict[tuple[int, int], dict[str, None]] = {}
    for state, arrows in graph.items():
        for arrow in arrows:
            about = "" if arrow.slot is None else f" {arrow.slot}"
            label = f"{arrow.by.__name__}{about}"
            labels.setdefault((number[state], number[arrow.to]), {})[label] = None
    return [(a, b, ", ".join(found)) for (a, b), found in labels.items()]


def _label(tables: Tables, state: Numbers) -> str:
    common = tables.commons[state[-1]]
    shared = common.shared
    flags = [n for n in ("paused", "migrating", "ged", "scanning") if getattr(shared, n)]
    out = [" ".join([str(shared.phase), *flags, *([f"({shared.step})"] if shared.step else [])])]
    if tables.environment.faults:
        out[0] += f" faults left {common.faults}"
    for i, role in enumerate(tables.roles):
        slot = tables.locals[role][state[i]]
        bits = [n for n in ("insert", "remove", "requested") if getattr(slot, n)]
        owes = [str(x) for x in (slot.command, slot.step) if x not in (None, "none")]
        out.append(f"{i} " + " ".join([str(slot.lifecycle), *bits, *owes]))
    return "; ".join(out)
