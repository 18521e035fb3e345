"""QEMU's hotplug registers against ours, for as long as one likes.

    python -m tests.conformance.differential --minutes 10 --seed 7

Every case is drawn, carried out on both sides, and compared: what was read, how the line
moved, what was refused, what QEMU told the user. A difference is shrunk and printed, and the
exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable, Sequence

import structlog
from attrs import frozen
from hpcore_qtest.native.boards import LOONGARCH64_VIRT, Q35, NativeBoard

from tests.conformance.operations import BYTES, Add, Operation, decode
from tests.conformance.sides import OurSide, QemuSide, Result, accepts

BOARDS = (LOONGARCH64_VIRT, Q35)
LONGEST = 200
"""Operations in a case at most."""


WORKERS = 4
"""QEMUs a board in a long run."""


@frozen
class Difference:
    """Where the two sides part: the operation, or None for what was told, and both answers."""

    board: str
    operations: tuple[Operation, ...]
    at: int | None
    qemu: object
    ours: object

    def __str__(self) -> str:
        shown = [f"  {n}: {operation}" for n, operation in enumerate(self.operations)]
        what = "what QEMU told the user" if self.at is None else f"operation {self.at}"
        return "\n".join([
            f"{self.board}: {what} differs", *shown, f"  QEMU: {self.qemu}", f"  ours: {self.ours}",
        ])  # fmt: skip


class Differential:
    """One board, both sides. Use within one event loop; `close` it."""

    def __init__(self, board: NativeBoard) -> None:
        self.board, self.steps, self.cases = board, 0, 0
        self._qemu: QemuSide | None = None

    async def compare(self, operations: Sequence[Operation]) -> Difference | None:
        """The first difference that a case shows, or None."""
        case = tuple(o for o in operations if accepts(self.board, o))
        qemu = await self._fresh(sum(isinstance(o, Add) for o in case))
        theirs, ours = await qemu.run(case), OurSide(self.board).run(case)
        self.steps += len(case)
        self.cases += 1
        return _difference(self.board, case, theirs, ours)

    async def shrink(self, difference: Difference) -> Difference:
        """The same with as few operations as leaving some out can do."""
        size = len(difference.operations) // 2
        while size:
            start = 0
            while start < len(difference.operations):
                case = difference.operations
                less = await self.compare(case[:start] + case[start + size :])
                if less is None:
                    start += size
                else:
                    difference = less
            size //= 2
        return difference

    async def close(self) -> None:
        """End QEMU."""
        if self._qemu is not None:
            await self._qemu.close()
            self._qemu = None

    async def _fresh(self, plugs: int) -> QemuSide:
        """A QEMU that can still create `plugs` vCPUs."""
        if self._qemu is not None and self._qemu.creations_left < plugs:
            await self.close()
        if self._qemu is None:
            self._qemu = await QemuSide.start(self.board)
        return self._qemu


def _difference(
    board: NativeBoard, case: tuple[Operation, ...], theirs: Result, ours: Result
) -> Difference | None:
    for at, (their, our) in enumerate(zip(theirs.outcomes, ours.outcomes, strict=True)):
        if their != our:
            return Difference(board.name, case[: at + 1], at, their, our)
    if theirs.told != ours.told:
        return Difference(board.name, case, None, theirs.told, ours.told)
    return None


async def run(
    boards: Sequence[NativeBoard],
    seconds: float,
    seed: int,
    say: Callable[[str], None] = print,
    fewest: int = 0,
) -> list[Difference]:
    """Compare on all boards at once for `seconds`; the first difference of each worker, shrunk.

    Where the machine is so busy that a worker has not done `fewest` steps by then, it goes on.
    Several QEMUs a board, because each waits most of the time for the thread of a vCPU that
    it unplugs.
    """
    workers = [(Differential(board), n) for board in boards for n in range(WORKERS)]
    began = time.monotonic()
    found = await asyncio.gather(
        *(
            _work(both, f"{seed} {both.board.name} {n}", began + seconds, fewest)
            for both, n in workers
        )
    )
    took = time.monotonic() - began
    for board in boards:
        those = [both for both, _ in workers if both.board is board]
        steps, cases = sum(both.steps for both in those), sum(both.cases for both in those)
        say(f"{board.name}: {steps} steps in {cases} cases, {steps / took:.0f} a second")
    return [difference for difference in found if difference is not None]


async def _work(both: Differential, seed: str, until: float, fewest: int) -> Difference | None:
    draw = random.Random(seed)
    try:
        while time.monotonic() < until or both.steps < fewest:
            data = draw.randbytes(BYTES * draw.randint(1, LONGEST))
            difference = await both.compare(decode(data))
            if difference is not None:
                return await both.shrink(difference)
    finally:
        await both.close()
    return None


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.differential")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="a new one, if none is given")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"seed {seed}", flush=True)
    found = asyncio.run(run(BOARDS, options.minutes * 60, seed))
    for difference in found:
        print(difference)
    print(f"{len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
