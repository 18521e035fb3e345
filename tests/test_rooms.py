"""Imports run one way, and the model knows attrs and transitions alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "hpcore"

MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "log": {"model"},
    "platform": {"model"},
    "fetch": set(),
    "guest": {"model", "fetch", "platform"},
    "qemu": {"fetch"},
    "run": {"model", "log", "guest", "platform"},
    "scenario": {"model", "log", "guest", "run"},
    "promises": {"model", "log", "guest", "run"},
    "check": {"model", "log", "guest"},
    "triage": {"model", "log"},
    "cli": {
        "model", "log", "platform", "guest", "run", "scenario", "check", "triage", "fetch", "qemu",
    },
}  # fmt: skip
"""The rooms, and the rooms that each may look into. What is not here may not be."""


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if is_module(inner) else node.module


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def room_of(module: str) -> str | None:
    """The room that a module is in. hpcore.errors is in none: every room may import it."""
    parts = module.split(".")
    in_a_room = parts[0] == "hpcore" and len(parts) > 1 and parts[1] != "errors"
    return parts[1] if in_a_room else None


def test_every_room_imports_only_what_it_may() -> None:
    rooms = {p.name for p in CORE.iterdir() if (p / "__init__.py").exists()}
    assert rooms == set(MAY_IMPORT)
    for room, allowed in MAY_IMPORT.items():
        for path in (CORE / room).rglob("*.py"):
            seen = {r for m in imports(path) if (r := room_of(m)) is not None} - {room}
            assert seen <= allowed, f"{path} imports {seen - allowed}"


def test_what_every_room_may_import_imports_nothing() -> None:
    assert set(imports(CORE / "errors.py")) == {"__future__"}


def test_the_model_imports_attrs_and_transitions_alone() -> None:
    for path in (CORE / "model").rglob("*.py"):
        foreign = {m.split(".")[0] for m in imports(path)} - set(sys.stdlib_module_names)
        assert foreign <= {"attrs", "transitions", "hpcore"}, path


def test_the_core_knows_no_accelerator() -> None:
    for path in CORE.rglob("*.py"):
        assert not any(m.startswith(("hpcore_", "ziglang")) for m in imports(path)), path


def test_modules_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for path in CORE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        graph[name] = {m for m in imports(path) if m.startswith("hpcore.")} - {name}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())
