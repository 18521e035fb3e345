"""`hpcore attach`: a machine that has outlived its hpcore is taken up again."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import click

from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.prompt.console import QuietConsole
from hpcore.cli.prompt.session import Session
from hpcore.cli.signals import Stopped, until_stopped
from hpcore.cli.step_words import fields_of, say_kept
from hpcore.errors import HpcoreError
from hpcore.guest.errors import GuestError
from hpcore.model.effects import MachineStep
from hpcore.run.accelerator import GuestScript
from hpcore.run.attach import Attached, attach_machine
from hpcore.run.kept import has_door
from hpcore.scenario.runner import Job, Outcome, outcome
from hpcore.scenario.values import Scenario

SHELL_SECONDS = 10.0
"""For the guest's shell to answer before a person gets the prompt."""


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.argument("step", nargs=-1)
@click.option("--end", is_flag=True, help="End the machine, after STEP if there is one.")
@json_option
def attach(log: Path, step: tuple[str, ...], end: bool, as_json: bool) -> None:
    """Take the machine of LOG up again, which was kept.

    LOG is that of a machine which `hpcore run --keep` or `hpcore shell --keep` has left, by its
    end, by Ctrl-C, or because it was killed, even by `kill -9`. Nothing is lost: what was under
    way goes on, what the guest did meanwhile is in the log, and the log is continued.

    \b
    hpcore attach run.jsonl                  # the prompt of hpcore shell; `quit` leaves again
    hpcore attach run.jsonl plug 2           # one step, and leave
    hpcore attach run.jsonl < steps.txt      # steps that are piped in, one a line
    hpcore attach run.jsonl --end            # end the machine
    hpcore attach /var/log/hpcore/vm.jsonl   # a VM of a door that keeps: its monitors again
    hpcore kept                              # which machines there are

    A VM of hpcore-qemu-system-aarch64 takes no STEP: its monitors, served until the VM has ended,
    take its commands.

    Exits with 1 if a step fails, and with 2 if the machine is gone, or LOG is no log of a kept
    machine, or another hpcore has it.
    """
    out = Output(json=as_json)
    if has_door(log):
        _at_a_door(out, log, step, end=end)
        return
    try:
        ended, taken_up = asyncio.run(until_stopped(_attach(out, log, " ".join(step), end=end)))
    except Stopped:
        say_kept(out, log, kept=True)
        raise
    out.say(f"{ended.events} events in {log}; see `hpcore replay {log}`")
    say_kept(out, log, kept=ended.kept)
    if ended.error is not None:
        raise Problem(ended.error, log=str(log), events=ended.events)
    out.end(ended.ok, log=str(log), missed=taken_up, **fields_of(ended))


def _at_a_door(out: Output, log: Path, step: tuple[str, ...], *, end: bool) -> None:
    from hpcore.cli.at_a_door import serve_again  # noqa: PLC0415 - other machines need no door

    if step:
        raise Problem(
            f"{log} is that of a VM with a door, which takes its commands at its monitors: "
            f"`hpcore attach {log}` serves them, and `--end` ends it"
        )
    try:
        fields = asyncio.run(until_stopped(serve_again(out, log.absolute(), end=end)))
    except Stopped:
        say_kept(out, log, kept=True)
        raise
    out.say(f"{fields['events']} events in {log}; see `hpcore replay {log}`")
    say_kept(out, log, kept=bool(fields["kept"]))
    out.end(True, log=str(log), **fields)


async def _attach(
    out: Output, log: Path, step: str, *, end: bool
) -> tuple[Outcome, dict[str, object]]:
    began = time.monotonic()
    console = QuietConsole(out.say)
    async with AsyncExitStack() as stack:
        taking_up = attach_machine(log, printed=console.printed)
        with out.progress("hearing what the machine did meanwhile"):
            attached = await stack.enter_async_context(taking_up)
        machine, found = attached.machine, attached.taken_up
        milliseconds = (time.monotonic() - began) * 1000
        out.say(f"attached in {milliseconds:.0f} ms: {found}")
        if end:
            machine.end_when_left()
        session = Session(out, machine, _job(attached, log), console, "step")
        try:
            ok = await _steps(out, attached, session, console, step, end=end)
        except (HpcoreError, Problem) as error:
            words = error.message if isinstance(error, Problem) else str(error)
            raise Problem(words, log=str(log), events=machine.last_seq) from error
        kept = machine.is_kept
    how: dict[str, object] = {
        "events": found.events, "answers": found.answers, "repeated": found.repeated,
        "attach_ms": round(milliseconds),
    }  # fmt: skip
    ended = outcome(machine, session.player, ok=ok)
    ended.kept = kept
    return ended, how


async def _steps(
    out: Output,
    attached: Attached,
    session: Session,
    console: QuietConsole,
    step: str,
    *,
    end: bool,
) -> bool:
    """What the user wants of the machine; whether it went well."""
    machine = attached.machine
    typed = sys.stdin.isatty() and not step and not end
    if not (end and not step):
        await _meet(out, attached, SHELL_SECONDS if typed else None)
    if step:
        return await session.take(step)
    if end:
        return True
    if typed:
        from hpcore.cli.prompt.terminal import Terminal  # noqa: PLC0415 - pipes need no prompt

        terminal = Terminal(out, machine)
        console.say = terminal.say
        await terminal.follow(session)
        console.say = out.say
        return True
    from hpcore.cli.prompt.piped import follow  # noqa: PLC0415 - nor do terminals need this

    return await follow(session, sys.stdin.fileno(), "stdin")


async def _meet(out: Output, attached: Attached, seconds: float | None) -> None:
    """Wait for the guest's shell, where the guest can answer."""
    machine = attached.machine
    await machine.until(lambda s: s.shared.step is not MachineStep.PAUSE, "the pause's end")
    shared = machine.state.shared
    if shared.paused or shared.halted:
        return
    with out.progress("waiting for the guest's shell"):
        try:
            await asyncio.wait_for(machine.guest_ready(), seconds)
        except (TimeoutError, GuestError):
            out.say("the guest's shell does not answer yet", style="yellow")


def _job(attached: Attached, log: Path) -> Job:
    """What the prompt asks of a job: its machine, its log."""
    config = attached.machine.config
    what = Scenario("attached", "", config, "", ())
    return Job(scenario=what, found=attached.found, guest=GuestScript(), log=log, keep=True)
