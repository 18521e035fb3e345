"""What becomes of a typed line, wherever it comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import attrs

from hpcore.cli.output import Output, Problem
from hpcore.cli.output_file import refuse_unwritable
from hpcore.cli.prompt.console import QuietConsole
from hpcore.cli.prompt.slots import machine_line, table
from hpcore.cli.prompt.words import PROMPT, STEPS, WORDS
from hpcore.cli.step_words import say_step
from hpcore.run.machine import LiveMachine
from hpcore.scenario import values as sc
from hpcore.scenario.play import Player, StepResult
from hpcore.scenario.read import parse
from hpcore.scenario.read_steps import StepReader
from hpcore.scenario.retold import retold
from hpcore.scenario.runner import Job, arguments
from hpcore.scenario.write import dump
from hpcore.scenario.yaml_values import ScenarioError


class Session:
    """The words of one prompt, on one machine. Speaks by `out`; `name` is for messages."""

    def __init__(
        self, out: Output, machine: LiveMachine, job: Job, console: QuietConsole, name: str
    ) -> None:
        self.machine = machine
        self.player = Player(machine, self._follow)
        self.quits = False
        """Whether the user wants to leave."""
        self._out, self._job, self._console = out, job, console
        self._reader = StepReader(job.scenario.machine, name)
        self._done: list[sc.Line] = []
        self._under_way: sc.Line | None = None
        self._saved: set[Path] = set()

    async def take(self, text: str, at: int = 1) -> bool:
        """Do what the line `text` says, whose number is `at`. Whether it went well.

        Raises Problem or ScenarioError where the line says nothing that can be done.
        """
        word, _, rest = text.strip().partition(" ")
        if word in self._DOES:
            self._DOES[word](self, rest.strip())
            return True
        for line in self._reader.read(text, at):
            if not await self._play(line):
                return False
        return True

    async def _play(self, line: sc.Line) -> bool:
        first = len(self.player.results)
        self._under_way = None
        try:
            went_well = await self.player.play((line,))
        except asyncio.CancelledError:
            if self._under_way is not None:
                self.machine.note(f"step {self._under_way.number} was not waited for any longer")
            self._done += retold(line, self.player.results[first:], self._under_way)
            raise
        self._done += retold(line, self.player.results[first:])
        return went_well

    def _follow(self, line: sc.Line, result: StepResult | None) -> None:
        self._under_way = line if result is None else None
        if result is not None:
            say_step(self._out, result)
            if result.error is not None:
                self._out.say(f"     {result.error}", style="red")

    # -------------------------------------------------------------- about the prompt

    def _slots(self, rest: str) -> None:
        _nothing_after("slots", rest)
        self._out.say(machine_line(self.machine.state))
        for line in table(self.machine.state):
            self._out.say(line)

    def _toggle_console(self, rest: str) -> None:
        _nothing_after("console", rest)
        if self._job.found.capabilities.plays_guest:
            self._out.say("the guest is played, and prints nothing")
            return
        self._console.toggle()
        where = f"; all of it goes to {self._job.console}" if self._job.console else ""
        shown = "shown from here on" if self._console.shown else "not shown any more"
        self._out.say(f"what the guest prints is {shown}{where}")

    def _log(self, rest: str) -> None:
        _nothing_after("log", rest)
        log = self._job.log
        self._out.say(f"{self.machine.last_seq} events in {log}; see `hpcore replay {log}`")

    def _help(self, rest: str) -> None:
        if rest and rest not in WORDS:
            raise Problem(f"help: there is no word '{rest}'; `help` shows all")
        shown = {rest: WORDS[rest]} if rest else WORDS
        rows = self._out.table("", "")
        for typed, says in shown.values():
            rows.add_row(typed, says)
        self._out.show(rows)
        if not rest:
            self._out.say(
                "A step takes `fails` and `waits` as in a scenario: {unplug: cpu0, fails: cold}"
            )

    def _save(self, rest: str) -> None:
        if not rest:
            raise Problem("save: give the name of a file, as in `save mine.yaml`")
        path = Path(rest).expanduser()
        if not self._done:
            raise Problem("save: no step has been done yet")
        if path.resolve() not in self._saved:
            if path.exists():
                raise Problem(f"save: {path} exists; give another name")
            refuse_unwritable({"save": path}, force=False)
        text = dump(attrs.evolve(
            self._job.scenario,
            about=f"What was done at a prompt, on {self._job.found.name}.",
            append=arguments(self._job),
            steps=tuple(self._done),
        ))  # fmt: skip
        try:
            parse(text, str(path))  # nothing is written that could not be run
            path.write_text(text, encoding="utf-8")
        except ScenarioError as error:
            raise Problem(f"save: what was done is no scenario that can be run: {error}") from error
        except OSError as error:
            raise Problem(f"save: {path}: {error.strerror}") from error
        self._saved.add(path.resolve())
        self._out.say(f"{path} has what was done; see `hpcore run {path}`")

    def _quit(self, rest: str) -> None:
        _nothing_after("quit", rest)
        self.quits = True

    def _end(self, rest: str) -> None:
        _nothing_after("end", rest)
        self.machine.end_when_left()
        self.quits = True

    _DOES: dict[str, Callable[[Session, str], None]] = {  # noqa: RUF012 - nobody changes it
        "slots": _slots,
        "console": _toggle_console,
        "save": _save,
        "log": _log,
        "help": _help,
        "quit": _quit,
        "exit": _quit,
        "end": _end,
    }


assert PROMPT.keys() <= Session._DOES.keys(), "what is offered is done"
assert not STEPS.keys() & Session._DOES.keys(), "no word hides a step"


def _nothing_after(word: str, rest: str) -> None:
    if rest:
        raise Problem(f"{word} takes nothing after it, and has '{rest}'")
