"""Imports run one way, and the model knows attrs and transitions alone."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "hpcore"

MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "log": {"model"},
    "platform": {"model"},
    "fetch": set(),
    "yaml": set(),
    "protocols": {"model", "yaml"},
    "spread": set(),
    "guest": {"model", "fetch", "platform"},
    "disk": {"guest", "fetch"},
    "qemu": {"fetch"},
    "run": {"model", "log", "guest", "platform", "disk"},
    "session": {"model", "guest", "run", "qemu"},
    "scenario": {"model", "log", "guest", "run", "yaml"},
    "promises": {"model", "log", "guest", "run"},
    "check": {"model", "log", "guest", "yaml", "spread"},
    "foreign": {"model", "log"},
    "triage": {"model", "log", "foreign", "check", "spread"},
    "show": {"model", "log", "triage", "check"},
    "door": {"model", "log", "guest", "run", "session", "qemu", "platform", "disk", "fetch"},
    "sequence": {"model", "log", "guest", "run", "scenario", "check"},
    "cli": {
        "model", "log", "platform", "guest", "run", "scenario", "check", "sequence", "triage",
        "fetch", "qemu", "disk", "door", "foreign", "show", "protocols",
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
    """The room that a module is in. Those that every room may import are in none."""
    parts = module.split(".")
    in_a_room = parts[0] == "hpcore" and parts[1:2] not in ([], ["errors"], ["version"])
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
    assert not set(imports(CORE / "version.py"))


def test_no_room_looks_up_into_one_that_looks_into_it() -> None:
    assert circle_in(MAY_IMPORT) is None


def test_the_model_imports_attrs_and_transitions_alone() -> None:
    for path in (CORE / "model").rglob("*.py"):
        foreign = {m.split(".")[0] for m in imports(path)} - set(sys.stdlib_module_names)
        assert foreign <= {"attrs", "transitions", "hpcore"}, path


def test_the_core_knows_no_accelerator() -> None:
    for path in CORE.rglob("*.py"):
        assert not any(m.startswith(("hpcore_", "ziglang")) for m in imports(path)), path


def modules(top: Path, below: Path) -> dict[str, set[str]]:
    """The modules under `below`, by their names from `top`, and what each imports."""
    graph = {}
    for path in below.rglob("*.py"):
        parts = path.relative_to(top).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        graph[name] = {m for m in imports(path) if m.startswith(f"{below.name}.")} - {name}
    return graph


def circle_in(graph: Mapping[str, Iterable[str]]) -> str | None:
    """A way round in `graph`, in words; None where there is none."""
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> str | None:
        if name in above:
            return " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for other in graph.get(name, ()):
                if (found := visit(other, (*above, name))) is not None:
                    return found
            done.add(name)
        return None

    return next((found for name in graph if (found := visit(name, ())) is not None), None)


PACKAGES = [CORE, *(ROOT / "backends").glob("*/hpcore_*")]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_modules_do_not_import_each_other_in_circles(package: Path) -> None:
    assert circle_in(modules(package.parent, package)) is None


def test_a_circle_is_found() -> None:
    assert circle_in({"a": ["b"], "b": ["c"], "c": ["b"]}) == "b -> c -> b"


ROOMS_WITH_A_FACE = (
    "hpcore.log", "hpcore.run", "hpcore.scenario", "hpcore.check", "hpcore.sequence",
    "hpcore.promises",
    "hpcore.qemu", "hpcore.disk", "hpcore.door.qmp",
)  # fmt: skip


@pytest.mark.parametrize("package", ROOMS_WITH_A_FACE)
def test_a_room_with_a_face_names_what_it_gives_and_documents_it(package: str) -> None:
    """What a room's __init__ exports is listed, sorted and documented, constants apart."""
    room = import_module(package)
    names = list(room.__all__)
    assert len(names) == len(set(names))
    for name in names:
        value = getattr(room, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{package}.{name}"
