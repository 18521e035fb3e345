"""The code with which a module opens runs as it stands there."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from hpcore.guest.played import Hardware
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.events import StepBegun
from hpcore.run import Found, GuestScript, find, open_machine
from tests.guest.test_played import CONFIG, Bench


def qtest(_name: str) -> Found:
    """In the place of `find`: the accelerator that needs no Linux to boot."""
    return find("qtest")


def booting() -> Mapping[str, Any]:
    return {"find": qtest, "guest": GuestScript(), "MachineConfig": MachineConfig}


GIVEN: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "hpcore": dict,
    "hpcore.log": lambda: {
        "machine": MachineConfig.of(1, 2), "StepBegun": StepBegun, "Step": Step,
    },
    "hpcore.run": booting,
    "hpcore.run.machine": lambda: {**booting(), "open_machine": open_machine},
    "hpcore.scenario": lambda: {"find": find, "GuestScript": GuestScript, "log": Path("log")},
    "hpcore.guest.played": lambda: {"config": CONFIG, "hardware": hardware()},
}  # fmt: skip
"""Modules that open with code, and the names that the code takes as given."""


def hardware() -> Hardware:
    return Bench()


def opening(module: str) -> CodeType:
    """The indented lines of the module's docstring, which may await things."""
    said = inspect.getdoc(importlib.import_module(module)) or ""
    lines = said.splitlines()
    source = "\n".join(
        line[4:] for line in lines if line.startswith("    ") and not line[4:].startswith("{")
    )
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, module, "exec", flags=flags, dont_inherit=True)
    assert isinstance(code, CodeType)
    return code


@pytest.mark.parametrize("module", GIVEN)
def test_the_code_that_a_module_opens_with_runs(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = opening(module)
    assert len(code.co_names) > 1, "there is code to run"

    async def run() -> None:
        names = {**vars(importlib.import_module(module)), **GIVEN[module](), "__name__": module}
        result = eval(code, names)  # a coroutine where the code awaits
        if result is not None:
            await asyncio.wait_for(result, 120)

    asyncio.run(run())
