"""The commands that docs and `--help` show: what is typed, and whether it can be typed so."""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import click

from hpcore.cli.main import cli
from tests.docs.pages import PAGES, ROOT, Found, code, ours, spans

PROMPT = re.compile(r"^(\$ )?(\.venv/bin/)?")
COMMENT = re.compile(r"\s{2,}.*| +# .*")
"""After a command: the words that say what it does."""
TYPED = re.compile(r"([A-Z_]+=\S+ )*(hpcore|make|python -m|jq|grep|spin|java|pip) [a-z0-9'/.\[-]")
OPERATORS = {"|", "&&", ";", "<", ">"}
FOREIGN = ("jq", "grep", "cc", "java", "spin", "./pan", "cd")
"""Programs that are not ours to check."""


def typed(text: str) -> str | None:
    """The command of a line in a code block, without its prompt and explanation; or None."""
    command = COMMENT.sub("", PROMPT.sub("", text.strip()).replace(".venv/bin/", ""))
    return command if TYPED.match(command) or command == "make" else None


def subcommands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the command line, the groups too."""
    yield path, group
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from subcommands(command, (*path, name))
            else:
                yield (*path, name), command


def shown() -> list[Found]:
    """Every command that a page has in a code block, or a `--help` in its text, each once."""
    out: dict[str, Found] = {}
    for page in PAGES:
        for line in code(page):
            if (command := typed(line.text)) is not None:
                out.setdefault(command, Found(page, line.line, command))
    for path, subcommand in subcommands():
        before = ""
        for number, text in enumerate((subcommand.help or "").splitlines(), 1):
            found = typed(text)
            if found is not None and (before.strip() in ("", "\b") or typed(before) is not None):
                out.setdefault(found, Found(ROOT / "--help" / "/".join(path), number, found))
            before = text
    return list(out.values())


def mentioned() -> list[Found]:
    """Every command between backticks: in the pages, and in what the program says."""
    out: dict[str, Found] = {}
    for page in PAGES:
        for span in spans(page):
            out.setdefault(span.text, span)
    for path in (p for p in ours(".py") if not p.is_relative_to(ROOT / "tests")):
        for match in re.finditer(r"`(hpcore [a-z][^`{]*)`", path.read_text()):
            words = " ".join(match[1].replace('"', " ").split())
            line = path.read_text().count("\n", 0, match.start()) + 1
            out.setdefault(words, Found(path, line, words))
    return [found for text, found in out.items() if text.startswith(("hpcore ", "make "))]


def stages(command: str) -> Iterator[list[str]]:
    """The programs that a line starts, each with its arguments."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    stage: list[str] = []
    redirected = False
    for word in lexer:
        if word in OPERATORS:
            redirected = word in "<>"
            if not redirected:
                yield stage
                stage = []
        elif redirected:
            redirected = False
        elif stage or "=" not in word:  # and no VARIABLE=value before the program
            stage.append(word)
    yield stage


def why_not(stage: list[str]) -> str | None:
    """What is wrong with the way a program is called, or None."""
    program, *arguments = stage
    if program == "hpcore":
        return wrong_for_hpcore(arguments)
    if program == "make":
        ended = subprocess.run(
            ["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return ended.stderr if ended.returncode else None
    if stage[:2] == ["python", "-m"]:
        return wrong_for_module(stage[2], stage[3:])
    return None if program in FOREIGN else f"{program} is no program that the tests know"


def wrong_for_hpcore(arguments: list[str]) -> str | None:
    """What click says of the arguments, which it reads as it does when the command is run."""
    command: click.Command = cli
    context = click.Context(cli, info_name="hpcore")
    rest = arguments
    try:
        with contextlib.suppress(click.exceptions.Exit):  # --help and --version
            while isinstance(command, click.Group):
                if rest[:1] and rest[0].startswith("-"):
                    command.make_context("hpcore", list(rest))
                    return None
                name, found, rest = command.resolve_command(context, list(rest))
                assert found is not None
                if isinstance(found, click.Group):
                    context = click.Context(found, parent=context, info_name=name)
                    if not rest:
                        return None
                else:
                    found.make_context(name, list(rest), parent=context)
                command = found
    except click.UsageError as error:
        return error.format_message()
    return None


def wrong_for_module(name: str, arguments: list[str]) -> str | None:
    """Whether there is such a module, and it has these options."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    options = [word.strip("[]") for word in own if word.strip("[]").startswith("--")]
    inner = arguments[len(own) + 1 :]
    if inner[:1] == ["hpcore"] and (wrong := wrong_for_hpcore(inner[1:])):
        return wrong
    if name == "pytest" or inner[:1] == ["pytest"]:
        places = [word for word in arguments if word.startswith("tests/")]
        if missing := [place for place in places if not (ROOT / place).exists()]:
            return f"there is no {', '.join(missing)}"
    if name == "pytest":
        return None
    if not (known := module_help(name)):
        return f"{name} cannot be started with -m"
    missing = [option for option in options if option not in known]
    return f"{name} has no option {', '.join(missing)}" if missing else None


@cache
def module_help(name: str) -> str:
    """What `python -m NAME --help` prints; nothing where it cannot be started."""
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(name)
    ended = subprocess.run(
        [sys.executable, "-m", name, "--help"], cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended.stdout if ended.returncode == 0 else ""
