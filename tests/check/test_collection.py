"""A search leaves Python's garbage collector as it found it."""

from __future__ import annotations

import gc

import pytest
from click.testing import CliRunner

from hpcore.check.collection import no_collection
from hpcore.cli.main import cli


@pytest.mark.parametrize("what", [["--slots", "1", "--faults", "0"], ["plug-unplug"]])
def test_circles_are_collected_again_after_a_check(what: list[str]) -> None:
    """Else whoever goes on in this process keeps every open file that is part of one."""
    done = CliRunner().invoke(cli, ["check", *what])
    assert done.exit_code == 0, done.output
    assert gc.isenabled()


def test_who_collects_none_goes_on_so() -> None:
    gc.disable()
    try:
        with no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
