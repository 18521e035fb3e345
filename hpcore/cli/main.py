"""The `hpcore` command: the group, and the one place where errors become words."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from importlib.metadata import version

import click
import structlog

from hpcore.cli.accel import accel
from hpcore.cli.check import check
from hpcore.cli.diff import diff
from hpcore.cli.guest import guest
from hpcore.cli.model import model
from hpcore.cli.output import BAD_INPUT, Problem
from hpcore.cli.qemu import qemu
from hpcore.cli.replay import replay
from hpcore.cli.run import run
from hpcore.cli.scenarios import scenarios
from hpcore.cli.signals import explain
from hpcore.cli.tables import tables
from hpcore.errors import HpcoreError

DEBUG = "HPCORE_DEBUG"
NOBODY_LISTENS = 128 + signal.SIGPIPE
"""The exit code of a program whose output goes to `head`, say, which has seen enough."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(version("hpcore"), prog_name="hpcore")
def cli() -> None:
    """arm64 vCPU hotplug as one checked state machine, run on interchangeable accelerators.

    \b
    hpcore accel                             what can run here, and why not
    hpcore guest fetch                       get a kernel and a busybox to boot
    hpcore run cover-letter --accel tcg      boot Linux, plug a vCPU, keep a log
    hpcore replay cover-letter.jsonl         what happened, step by step, verified
    hpcore diff tcg.jsonl kvm.jsonl          whether the same happened on both
    hpcore check                             prove that no order of events breaks the protocol

    Exit codes: 0 fine, 1 the checked thing is wrong, 2 bad input or environment; 128 and its
    number for a signal: 130 for Ctrl-C, 143 for SIGTERM.
    """


for command in (accel, check, diff, guest, model, qemu, replay, run, scenarios, tables):
    cli.add_command(command)


def run_and_exit() -> None:
    """Run the command line and exit."""
    set_up_diagnostics()
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
        where = f". See `{error.ctx.command_path} --help`." if error.ctx else ""
        return explain(error.format_message().rstrip(".") + where, BAD_INPUT)
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


def set_up_diagnostics() -> None:
    """structlog to standard error: warnings and worse, or everything with HPCORE_DEBUG."""
    level = logging.DEBUG if os.environ.get(DEBUG) else logging.WARNING
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
