"""The monitor's C and assembly: a name tells its file, and files use each other in no circle."""

from __future__ import annotations

import re
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from hpcore_tcg import build

NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
FUNCTION = re.compile(r"^(?!static\b)[A-Za-z][\w *]*?\b(\w+)\([^;{}]*\)\n\{", re.MULTILINE)
PROTOTYPE = re.compile(r"^[A-Za-z][\w *]*?\b(\w+)\([^;{}]*\);", re.MULTILINE)
VARIABLE = re.compile(
    r"^(?!static\b|extern\b|typedef\b)[A-Za-z][\w *]*?\b(\w+)(?:\[[^;]*\])?(?: = [^;]*)?;",
    re.MULTILINE,
)
LABEL = re.compile(r"^\s*\.global\s+(\w+)", re.MULTILINE)

Files = dict[str, str]
"""The text of every file by its name, without comments and strings."""


def read(directory: Path) -> Files:
    return {
        path.name: NOT_CODE.sub(" ", path.read_text())
        for path in sorted(directory.iterdir())
        if path.suffix in (".c", ".S")
    }


def offered(name: str, text: str) -> set[str]:
    """The functions and variables that a file defines and other files can use."""
    if name.endswith(".S"):
        return set(LABEL.findall(text))
    return {*FUNCTION.findall(text), *VARIABLE.findall(text)}


def uses(files: Files) -> dict[str, set[str]]:
    """For each file the others that define something which it names."""
    home = {shared: name for name, text in files.items() for shared in offered(name, text)}
    return {
        name: {home[word] for word in re.findall(r"\w+", text) if word in home} - {name}
        for name, text in files.items()
    }


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    """Files that use each other all around, if there are such."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        nodes: list[str] = error.args[1]
        return nodes
    return None


def strangers(files: Files) -> Iterable[str]:
    """The shared names that do not begin with the name of their file."""
    for name, text in files.items():
        stem = name.partition(".")[0]
        for shared in sorted(offered(name, text)):
            if shared.lstrip("_") != stem and not shared.startswith(f"{stem}_"):
                yield f"{name}: {shared}"


def test_the_files_use_each_other_in_no_circle() -> None:
    graph = uses(read(build.SOURCE_DIR))
    assert circle(graph) is None
    # some uses are known, because an empty graph has no circle either
    assert graph["start.S"] == {"enter.S", "vcpu.c"}
    assert graph["calls.c"] == {"gic.c", "page.c", "report.c", "slots.c"}
    assert graph["lock.c"] == graph["page.c"] == graph["gic.c"] == set()


def test_a_shared_name_begins_with_the_name_of_its_file() -> None:
    assert list(strangers(read(build.SOURCE_DIR))) == []


def test_what_files_share_is_declared_in_the_header_alone() -> None:
    files = read(build.SOURCE_DIR)
    assert [name for name, text in files.items() if PROTOTYPE.search(text)] == []
    declared = PROTOTYPE.findall(NOT_CODE.sub(" ", (build.SOURCE_DIR / "monitor.h").read_text()))
    defined = {function for text in files.values() for function in FUNCTION.findall(text)}
    assert sorted(declared) == sorted(defined | {"enter_normal_world"})


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("report.c", "void report_more(void)\n{\n    link_drain();\n}\n", "link.c"),
        ("page.c", "void page_more(void)\n{\n    slots_eject(0);\n}\n", "slots.c"),
        ("gic.c", "u32 gic_power(void)\n{\n    return slots[0].power;\n}\n", "slots.c"),
        ("psci.c", "void psci_more(void)\n{\n    vcpu_main();\n}\n", "vcpu.c"),
        ("enter.S", "        bl      _start\n", "start.S"),
    ],
    ids=["report", "page", "gic", "psci", "enter"],
)
def test_a_use_that_closes_a_circle_is_found(file: str, line: str, found: str) -> None:
    files = read(build.SOURCE_DIR)
    files[file] += line
    nodes = circle(uses(files))
    assert nodes is not None
    assert {file, found} <= set(nodes)


@pytest.mark.parametrize(
    "line", ["void other(void)\n{\n}\n", "volatile u32 other;\n"], ids=["function", "variable"]
)
def test_a_name_without_its_file_is_found(line: str) -> None:
    files = read(build.SOURCE_DIR)
    files["page.c"] += line
    assert list(strangers(files)) == ["page.c: other"]


def test_comments_strings_and_what_is_static_do_not_count() -> None:
    code = '/* a() */ b("c()"); // d()\nstatic void e(void)\n{\n}\nvoid f(void)\n{\n}\n'
    text = NOT_CODE.sub(" ", code)
    assert not {"a", "c", "d"} & set(re.findall(r"\w+", text))
    assert offered("x.c", text) == {"f"}
