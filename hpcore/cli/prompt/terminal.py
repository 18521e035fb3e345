"""The prompt on a terminal: completion, the slots below it, and Ctrl-C for one step."""

from __future__ import annotations

import asyncio
import signal
import sys
import termios
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.output import create_output
from rich.live import Live
from rich.text import Text

from hpcore.cli.output import Output, Problem
from hpcore.cli.prompt.completion import completions, last_word
from hpcore.cli.prompt.session import Session
from hpcore.cli.prompt.slots import machine_line, table
from hpcore.errors import HpcoreError, printable
from hpcore.model.machines import Phase
from hpcore.run.machine import LiveMachine

BEFORE_IT_IS_SHOWN = 0.2
"""Seconds after which a step that is under way has the slots shown as they change."""

TYPED = "typed"
"""What errors call the text that was typed; where it is one line, they need not."""

MOST_ROWS = 12
"""Rows of the table under the prompt."""


class Terminal:
    """Reads lines for `session` from a person, and says between them what goes on."""

    def __init__(self, out: Output, machine: LiveMachine) -> None:
        self._out, self._machine = out, machine
        self._step: asyncio.Task[bool] | None = None
        self._interrupted = False
        self._told: set[asyncio.Future[None]] = set()
        self._prompt: PromptSession[str] = PromptSession(
            "hpcore> ",
            completer=_StepCompleter(machine),
            complete_while_typing=False,
            bottom_toolbar=self._slots,
            output=create_output(always_prefer_tty=True),
        )

    def say(self, text: str, style: str | None = None) -> None:
        """A line for the person, above the prompt where there is one just now."""
        if not self._prompt.app.is_running:
            self._out.say(text, style)
            return
        told = asyncio.ensure_future(run_in_terminal(lambda: self._out.say(text, style)))
        self._told.add(told)
        told.add_done_callback(self._told.discard)

    async def follow(self, session: Session) -> None:
        """Have `session` take what is typed, until the person leaves."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        stop_following = self._machine.subscribe(lambda *_: self._prompt.app.invalidate())
        end = asyncio.create_task(self._say_the_end())
        first = "; `boot` is first" if self._machine.state.shared.phase is Phase.DEFINED else ""
        self._out.say(f"`help` shows what can be typed, Tab what may come next{first}")
        try:
            while not session.quits:
                try:
                    text = await self._prompt.prompt_async(handle_sigint=False)
                except KeyboardInterrupt:
                    continue
                except EOFError:
                    return
                for line in _lines(text):
                    if not await self._take(session, line) or session.quits:
                        break
        finally:
            stop_following()
            end.cancel()
            await asyncio.gather(end, *self._told, return_exceptions=True)

    async def _take(self, session: Session, text: str) -> bool:
        """Do one line, with the slots shown meanwhile. Whether it went well."""
        self._interrupted = False
        self._step = step = asyncio.create_task(session.take(text))
        try:
            with _unseen_typing():
                await asyncio.wait({step}, timeout=BEFORE_IT_IS_SHOWN)
                if not step.done():
                    with self._shown():
                        await asyncio.wait({step})
            return await step
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
            self.say("interrupted: it is not waited for any longer, and the machine goes on")
        except HpcoreError as error:
            self.say(str(error).removeprefix(f"{TYPED}:1: "), "red")
        except Problem as problem:
            self.say(problem.message, "red")
        finally:
            self._step = None
            if not step.done():
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
        return False

    def _interrupt(self) -> None:
        if self._step is not None:
            self._interrupted = True
            self._step.cancel()

    async def _say_the_end(self) -> None:
        why = await self._machine.ended()
        self.say(f"the machine is gone: {why}. `save` and `log` still work", "yellow")

    def _slots(self) -> str:
        state = self._machine.state
        return "\n".join(printable(line) for line in (
            f"{machine_line(state)}; {self._machine.last_seq} events", *table(state, MOST_ROWS)
        ))  # fmt: skip

    @contextmanager
    def _shown(self) -> Iterator[None]:
        with Live(
            get_renderable=lambda: Text(self._slots(), style="reverse"),
            console=self._out.people, refresh_per_second=8, transient=True,
        ):  # fmt: skip
            yield


class _StepCompleter(Completer):
    def __init__(self, machine: LiveMachine) -> None:
        self._machine = machine

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        start = -len(last_word(text))
        found = completions(text, self._machine.config, self._machine.state)
        for word, says in found.items():
            yield Completion(word, start, display_meta=says)


def _lines(text: str) -> list[str]:
    """What was pasted, as the steps in it: a list as it is, else line by line."""
    return [text] if text.lstrip().startswith("- ") else text.splitlines()


@contextmanager
def _unseen_typing() -> Iterator[None]:
    """Keep what is typed meanwhile for the next prompt, and show it there. Ctrl-C works."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    quiet = termios.tcgetattr(fd)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(fd, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
