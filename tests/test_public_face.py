"""What `import hpcore` gives: few names, each documented, and nothing loaded before its time."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hpcore

FACE = Path(hpcore.__file__)

NAMES = {
    # a live machine
    "find", "Found", "open_machine", "LiveMachine", "SlotView", "MachineConfig",
    "GuestImages", "GuestScript",
    # its log
    "read_log", "LogWriter", "Header", "Record", "replay", "diff",
    # the checker
    "prove", "Environment", "Result", "Property", "always", "sometimes", "eventually",
    "Change", "PROPERTIES",
    # the protocol
    "decide", "evolve", "initial", "State", "Slot", "Shared", "Rules", "RULES", "Step",
    "Stimulus", "Event", "stimuli", "events",
    # what goes wrong
    "HpcoreError", "__version__",
}  # fmt: skip
VALUES = {"__version__", "RULES", "PROPERTIES", "Stimulus", "Event"}
"""Names that have no docstring of their own: values, and unions of types."""


def test_the_public_names_are_these() -> None:
    assert set(hpcore.__all__) == NAMES
    assert set(dir(hpcore)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES - VALUES))
def test_a_public_name_can_be_had_and_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(hpcore, name))


def test_what_a_type_checker_sees_is_what_there_is() -> None:
    """The imports for type checkers and the table of what is loaded say the same."""
    seen = {}
    for node in ast.walk(ast.parse(FACE.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hpcore."):
            for alias in node.names:
                seen[alias.asname or alias.name] = (node.module, alias.name)
    del seen["__version__"]
    for name, (module, own) in seen.items():
        assert hpcore._HOMES[name] == module
        assert hpcore._NAMED_OTHERWISE.get(name, name) == own
    assert set(seen) == set(hpcore._HOMES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hpcore.nothing  # noqa: B018


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded once `code` has run in a new interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n'.join(sys.modules))"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(run.stdout.split())


def test_to_import_hpcore_loads_nothing_else() -> None:
    loaded = {m for m in loaded_by("import hpcore") if m.startswith("hpcore")}
    assert loaded == {"hpcore", "hpcore.version"}


HEAVY = {"structlog", "rich", "asyncio", "ruamel.yaml", "numpy", "distributed", "transitions"}


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["replay", "--quiet", "tests/triage/logs/1.1.jsonl"]]
)
def test_a_small_command_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import contextlib, io, sys; from hpcore.cli.main import cli\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    cli.main({arguments!r})"
    )
    assert not HEAVY & loaded_by(code)


def test_python_dash_m_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "hpcore", "--version"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert run.stdout.strip() == f"hpcore, version {hpcore.__version__}"
