"""What is decided, and held to be right, changes only with the version of hpcore.

A log says which hpcore wrote it, and `hpcore replay` takes it for wrong where the same version
decides otherwise now, or an invariant that this version has kept does not hold. So a change of
what is decided, be it a word of a refusal, or of what an invariant says of any event, needs a
new version, and what that one decides is written down.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from hpcore.version import __version__
from tests.model.decisions import PARTS, WRITTEN_DOWN

WRITTEN: dict[str, Any] = orjson.loads(WRITTEN_DOWN.read_bytes())
WHAT_TO_DO = (
    "This hpcore decides, or judges, otherwise than is written down for it. If that is "
    "meant, give it a new version (hpcore/version.py and the backends' pyproject.toml), "
    "unless the last one was never published. Then, or where the walks themselves are new, "
    "write it down: python -m tests.model.decisions"
)


def test_what_is_written_down_is_of_this_version_and_all_there_is() -> None:
    assert WRITTEN["version"] == __version__, WHAT_TO_DO
    found = {part: [*each] for part, each in WRITTEN.items() if part != "version"}
    assert found == {part: [*each] for part, each in PARTS.items()}, WHAT_TO_DO


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in PARTS for name in PARTS[part]])
def test_what_is_decided_and_held_changes_only_with_the_version(part: str, name: str) -> None:
    assert WRITTEN[part][name] == PARTS[part][name](), WHAT_TO_DO
