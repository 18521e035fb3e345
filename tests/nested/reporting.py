"""A pytest plugin for L1: tells the host of each test as it ends, over the serial line."""

from __future__ import annotations

import json
import os

import pytest

MARK_VARIABLE = "HPCORE_NESTED_MARK"
"""What every line for the host starts with."""

LINE = "/dev/ttyAMA0"


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Send `report` as one line."""
    data = report._to_json()  # what pytest_report_to_serializable does, without a config
    data["$report_type"] = "TestReport"
    mark = os.environ[MARK_VARIABLE]
    line = f"\x1f{mark} report {json.dumps(data, default=str)}\n"
    with open(LINE, "wb", buffering=0) as file:  # noqa: PTH123 # one write, so nothing comes between
        file.write(line.encode())
