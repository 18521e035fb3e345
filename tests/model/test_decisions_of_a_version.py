"""What is decided, and held to be right, changes only with the version of hpcore.

A log says which hpcore wrote it, and `hpcore replay` takes it for wrong where the same version
decides otherwise now, or an invariant that this version has kept does not hold. So a change of
what is decided, be it a word of a refusal, or of what an invariant says of any event, needs a
new version, and what that one decides is written down.
"""

from __future__ import annotations

import orjson
import pytest

from hpcore.version import __version__
from tests.model.decisions import PARTS, WRITTEN_DOWN


@pytest.mark.parametrize("part", PARTS)
def test_what_is_decided_and_held_changes_only_with_the_version(part: str) -> None:
    written = orjson.loads(WRITTEN_DOWN.read_bytes())
    assert (written["version"], written[part]) == (__version__, PARTS[part]()), (
        "This hpcore decides, or judges, otherwise than is written down for it. If that is "
        "meant, give it a new version (hpcore/version.py and the backends' pyproject.toml), "
        "unless the last one was never published. Then, or where the walks themselves are new, "
        "write it down: python -m tests.model.decisions"
    )
