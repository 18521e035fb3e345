"""hpcore's side of the interposer in a process of its own, which a test may kill.

It runs as a script: its arguments are the socket, and how many vCPUs the machine has. It obeys
the lines of its standard input, and repeats each when that is done: `expect PID`, `grant SLOT`,
`run`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hpcore_kvm_qemu.policy import Heard, Policy

from hpcore.cli.diagnostics import set_up_diagnostics
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step


async def main(socket: Path, possible: int) -> None:
    """Obey until standard input ends."""
    set_up_diagnostics()  # to standard error
    policy = Policy(MachineConfig.of(cpus=1, maxcpus=possible, memory=256), socket)
    policy.hear(Heard(lambda _call: None, lambda: None, lambda _why: None))
    say("listens")
    while line := await asyncio.to_thread(sys.stdin.readline):
        match line.split():
            case ["expect", pid]:
                policy.expect(int(pid))
            case ["grant", slot]:
                policy.hotplug.apply(Step.ENABLE, int(slot))
                policy.show(int(slot))
            case ["run"]:
                while not policy.ready:
                    await policy.news(0.01)
                policy.let_run()
        say(line.strip())


def say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
