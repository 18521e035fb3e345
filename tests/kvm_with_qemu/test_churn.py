"""Stops, resets and plugs at any moment of a guest that takes a vCPU on and off all the time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.kvm_with_qemu.churn import Churned, churn
from tests.kvm_with_qemu.puppet import puppet

MOMENTS = 60
"""`python -m bench.kvm_qemu` has 1,000."""


@pytest.mark.long
@pytest.mark.each_qemu
def test_no_call_is_lost_at_any_moment_and_guest_and_model_agree(tmp_path: Path) -> None:
    async def run() -> Churned:
        async with puppet(tmp_path, 1, 3) as rig:
            return await churn(rig, MOMENTS, Random(9))

    done = asyncio.run(run())
    assert done.pauses and done.resets and done.plugs and done.calls, done
