"""On a kernel without the SMCCC filter: tests/nested/test_refusals.py boots one and runs these."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

from hpcore_kvm_qemu import wire

from tests.kvm_with_qemu.by_hand import POSSIBLE, answers, page, qemu
from tests.support.command import hpcore


def test_hpcore_refuses_before_it_starts_anything(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    ended = hpcore("run", "plug-unplug", "--accel", "kvm-qemu", "--log", log, "--json")
    assert ended.code == 2, ended
    assert "SMCCC filter" in ended.last["error"]
    assert not log.exists()


def test_the_interposer_ends_qemu(tmp_path: Path) -> None:
    async def run() -> None:
        link = tmp_path / "link"
        right = page(wire.MAGIC, POSSIBLE, fcntl.F_SEAL_SHRINK)
        with right as descriptor, answers(link, descriptor):
            async with qemu(link) as by_hand:
                said = await by_hand.ended()
                assert "exit status 97" in said
                assert "no SMCCC filter" in said

    asyncio.run(run())
