"""The `hpcore` command: the group, and the one place where errors become words.

A command's module is loaded when that command is asked for, and no other's: `hpcore replay`
has no use for what boots a machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from importlib import import_module

import click

from hpcore.cli.output import BAD_INPUT, Problem
from hpcore.cli.signals import DEBUG, explain
from hpcore.errors import HpcoreError
from hpcore.version import __version__

NOBODY_LISTENS = 128 + signal.SIGPIPE
"""The exit code of a program whose output goes to `head`, say, which has seen enough."""

COMMANDS = {
    "accel": "Say which accelerators can run here, and why not.",
    "attach": "Take the machine of LOG up again, which was kept.",
    "bisect": "Say where the log BAD leaves the log GOOD, as far as that makes it wrong.",
    "check": "Prove the invariants, or print the shortest way to break one.",
    "diff": "Compare the logs A and B of one scenario, event by event.",
    "disk": "Say which kernel the disk IMAGE would boot, and with what.",
    "domain": "Print the XML of a libvirt domain NAME whose vCPUs can be hotplugged.",
    "explore": "Write a page to walk in: each state, and what may come next in it.",
    "guest": "The Linux that runs as the guest.",
    "import": "Make a log of QEMU's traces, QMP transcripts and guests' consoles.",
    "kept": "List the machines that go on without hpcore.",
    "model": "Show a state machine of the protocol, or its invariants.",
    "qemu": "The QEMU 10 of qtest-loongarch64 and qtest-q35.",
    "replay": "Say what happened in LOG, and check it event by event.",
    "restore": "Take up the machine again that was saved in FILE.",
    "run": "Run SCENARIO on an accelerator, and keep its log.",
    "scenarios": "List the scenarios that come with hpcore, or print one.",
    "shell": "A prompt: type the steps of a scenario, and see what comes of each.",
    "show": "Draw LOG: a lane for each vCPU, the machine and the guest.",
    "shrink": "Find the shortest stimuli that break what LOG breaks.",
    "tables": "Write a machine's ACPI tables to DIRECTORY, as .aml files.",
    "triage": "Say what happened in FILE, and which step was the first that is wrong.",
    "uefi": "The UEFI firmware of arm64 guests.",
}
"""Every command, in a module of its name, and the first line of its help."""

ELSEWHERE = {"import": ("import_files", "import_")}
"""A command whose name is none for a module: where it stands, and what it is called there."""


class LazyGroup(click.Group):
    """A group that loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, name = ELSEWHERE.get(cmd_name, (cmd_name, cmd_name))
        command = getattr(import_module(f"hpcore.cli.{module}"), name)
        assert isinstance(command, click.Command)
        if "structlog" in sys.modules:  # it comes with what drives a machine
            import_module("hpcore.cli.diagnostics").set_up_diagnostics()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in the help, from their first lines alone."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.version_option(__version__, prog_name="hpcore")
def cli() -> None:
    """arm64 vCPU hotplug as one checked state machine, run on interchangeable accelerators.

    \b
    hpcore accel                             what can run here, and why not
    hpcore guest fetch                       get a kernel and a busybox to boot
    hpcore run cover-letter --accel tcg      boot Linux, plug a vCPU, keep a log
    hpcore shell --accel tcg                 a prompt: plug, unplug, look, save a scenario
    hpcore attach run.jsonl                  a machine of --keep: go on where hpcore was killed
    hpcore domain vm1 > vm1.xml              a libvirt domain with vCPU hotplug
    hpcore disk debian.qcow2                 what a disk image would boot
    hpcore replay cover-letter.jsonl         what happened, step by step, verified
    hpcore triage qemu.trace                 somebody else's bug: the first wrong step
    hpcore diff tcg.jsonl kvm.jsonl          whether the same happened on both
    hpcore check                             prove that no order of events breaks the protocol

    Exit codes: 0 fine, 1 the checked thing is wrong, 2 bad input or environment; 128 and its
    number for a signal: 130 for Ctrl-C, 143 for SIGTERM.
    """


def run_and_exit() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # it is not the real one
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.exit(_run())


def _run() -> int:
    try:
        code = cli.main(standalone_mode=False)
    except Problem as problem:
        return explain(problem.message, problem.code, **problem.fields)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return BAD_INPUT
    except click.UsageError as error:
        message = error.format_message().rstrip(".")
        stop = "" if message.endswith("?") else "."
        where = f"{stop} See `{error.ctx.command_path} --help`." if error.ctx else ""
        return explain(message + where, BAD_INPUT)
    except click.ClickException as error:
        return explain(error.format_message(), BAD_INPUT)
    except HpcoreError as error:
        return explain(str(error), BAD_INPUT)
    except (BrokenPipeError, SystemExit) as error:
        # click and rich make an exit with 1 of a broken pipe, which would be a verdict here;
        # nothing else of hpcore exits so
        if isinstance(error, SystemExit) and error.code != 1:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_LISTENS
    except OSError as error:
        at = f"{error.filename}: " if error.filename else ""
        return explain(f"{at}{error.strerror or error}", BAD_INPUT)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return explain(
            f"a fault of hpcore: {type(error).__name__}: {error}. "
            f"Set {DEBUG}=1 for the details that a report should have",
            BAD_INPUT,
        )
    return code if isinstance(code, int) else 0
