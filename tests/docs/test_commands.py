"""Every command that README, docs and `--help` show can be typed so, and does what is said.

What costs little is run, each by itself in a directory that has the files which the docs talk
about. The others are parsed: by click's own parser, by make, by the module's `--help`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.disk.making import debian, qcow2
from tests.docs.commands import mentioned, shown, stages, why_not
from tests.docs.pages import DOCS, ROOT, Found, blocks
from tests.support.command import HPCORE

NOT_RUN: Mapping[str, str] = {
    r"make [\w-]+( (MUTATION|PROTOCOL)=.*)?":
        "set-up, tests and benchmarks take minutes; make docs and check write here",
    r"hpcore run .*--accel tcg\b.*": "boots Linux: tests/e2e runs every scenario on tcg",
    r"hpcore restore vm.saved.*": "restores a Linux: tests/tcg/test_saving.py does",
    r"hpcore run .*--accel kvm(-qemu)?\b.*":
        "needs an arm64 KVM: tests/nested runs every scenario on one",
    r"hpcore shell .*--accel tcg\b.*": "a prompt: tests/cli/test_shell_prompt.py types on tcg",
    r"hpcore run mine.yaml --keep .*": "boots Linux, and leaves it: tests/tcg/test_kept.py does",
    r"hpcore run long.yaml .*--log-segment .*":
        "boots Linux: tests/run/test_open.py has a machine's log in segments",
    r"hpcore attach .*": "a machine that goes on: tests/tcg/test_kept.py has some",
    r"hpcore kept --json .*": "asks for machines that go on: tests/tcg/test_kept.py has some",
    r"hpcore run mine.yaml --(kernel|initrd) .*": "tests/e2e/test_own_guest.py boots one's own",
    r"(\w+=\S+ )?hpcore (guest|qemu|uefi) fetch\b.*": "downloads; tests/guest and tests/qemu fetch",
    r"hpcore check --slots 16.*": "tests/check/test_engines.py proves as many slots",
    r"hpcore check --rules .*": "tests/check/test_revisions.py proves each, and hunts in each",
    r"hpcore bisect .*": "wants two logs of one machine: tests/triage/test_bisect.py makes them",
    r"hpcore check --mutants": "minutes: tests/check/test_mutants.py looks for every mutant",
    r".*--scheduler .*": "needs a Dask scheduler: tests/check/test_sweep.py starts one",
    r"python -m pytest .*": "these are the tests",
    r"python -m tests.tcg.kills .*": "minutes of kills: tests/tcg/test_kept.py has a few",
    r"python -m tests.nested .*": "boots a nested machine: tests/nested does",
    r"python -m tests.conformance.differential .*": "ten minutes; tests/conformance has it shorter",
    r"python -m bench\..*": "minutes of measuring",
    r"(java|spin) .*": "TLC and SPIN: tests/specs/test_counts.py runs them",
}
"""What is only parsed, and why: a pattern of whole commands."""

EXIT_CODES: Mapping[str, int] = {
    r"hpcore triage logs .*": 1,  # one of the two is the mutant's
    r"hpcore check --mutant .*": 1,  # it finds what the mutant breaks
    r"hpcore replay (broken|small).jsonl": 1,
    r"hpcore check storm.yaml.*": 1,  # it is what fails
    r"hpcore check mine.yaml --property mine.py": 1,  # what must be seen there is not
    r"hpcore check (mine|calm).yaml --(race|guest hostile).*": 1,
    r"hpcore run lost.yaml .*--mutant .*": 1,
    r"hpcore run small.jsonl .*": 1,  # an order that qtest, too, knows to be wrong
    r"hpcore triage (.* )?report\.trace.*": 1,
}
"""Where a command does not exit with 0, as the docs say."""

LEFT_OUT = re.compile("Missing argument|Missing option|requires an argument")
"""What click says of a command that is mentioned and not shown whole."""

SHOWN = shown()


def matches(command: str, patterns: Mapping[str, object]) -> str | None:
    return next((p for p in patterns if re.fullmatch(p, command)), None)


RUN = [found for found in SHOWN if matches(found.text, NOT_RUN) is None]


def test_commands_are_found() -> None:
    texts = {found.text for found in SHOWN}
    assert {"make demo", "make test", "hpcore check", "hpcore replay run.jsonl"} <= texts
    assert any(found.page.is_relative_to(ROOT / "--help") for found in SHOWN)
    assert len(RUN) > 30


def test_what_is_not_run_is_shown_somewhere() -> None:
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, found.text) for found in SHOWN), pattern
    for pattern in EXIT_CODES:
        assert any(re.fullmatch(pattern, found.text) for found in RUN), pattern


@pytest.mark.parametrize("found", SHOWN, ids=lambda f: f.text)
def test_a_command_can_be_typed_so(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(block(DOCS / "check.md", "from attrs"))  # read as it is typed
    monkeypatch.chdir(tmp_path)
    for stage in stages(found.text):
        assert why_not(stage) is None, f"{found}: {why_not(stage)}"


def test_a_command_that_is_mentioned_exists() -> None:
    wrong = [f"{found}: {why}" for found in mentioned() if (why := unknown(found.text))]
    assert not wrong, "\n".join(wrong)
    assert len(mentioned()) > 20


def unknown(command: str) -> str | None:
    """What is wrong with a command between backticks, which may leave its arguments out."""
    for stage in stages(command):
        why = why_not(stage)
        if why is not None and not LEFT_OUT.search(why):
            return why
    return None


@pytest.mark.parametrize(
    "wrong",
    [
        "hpcore chekc", "hpcore check --slot 4", "hpcore model slott", "hpcore replay",
        "hpcore replay run.jsonl | hpcore diff a", "make dem", "python -m bench.nothing",
        "python -m bench.hotplug --nothing", "python -m pytest tests/nothing", "hpcroe check",
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_typed_is_found(wrong: str) -> None:
    assert any(why_not(stage) for stage in stages(wrong))


# --------------------------------------------------------------------------- run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the commands of the docs are about."""
    here = tmp_path_factory.mktemp("files")
    run(here, "hpcore run cover-letter --accel qtest --log run.jsonl")
    run(here, "hpcore run reset --accel qtest --log qtest.jsonl")
    for name in ("other", "cover-letter", "a", "b"):
        shutil.copy(here / "run.jsonl", here / f"{name}.jsonl")
    for name in ("tcg", "kvm"):
        shutil.copy(here / "qtest.jsonl", here / f"{name}.jsonl")
    run(here, "hpcore check --slots 2 --mutant unbind_before_unwire --log broken.jsonl", 1)
    run(here, "hpcore shrink broken.jsonl --log small.jsonl --scenario small.yaml")
    (here / "logs").mkdir()
    for name in ("run", "broken"):
        shutil.copy(here / f"{name}.jsonl", here / "logs")
    (here / "mine.yaml").write_text(block(ROOT / "README.md", "machine:"))
    storm, calm = blocks_of(DOCS / "sequences.md", "machine:")
    (here / "storm.yaml").write_text(storm)
    (here / "calm.yaml").write_text(calm)
    run(here, "hpcore check storm.yaml --log found.jsonl --scenario again.yaml", 1)
    lost = "--slots 2 --rules v6 --mutant lost_at_reset"
    run(here, f"hpcore check {lost} --scenario lost.yaml", 1)
    shutil.copytree(ROOT / "examples" / "protocols", here / "examples" / "protocols")
    (here / "mine.py").write_text(block(DOCS / "check.md", "from attrs"))
    (here / "steps.txt").write_text(block(DOCS / "shell.md", "boot"))
    (here / "found.yaml").write_text(block(DOCS / "scenarios.md", "about:"))
    sweep = block(DOCS / "check.md", "slots:")
    least = re.sub(r"slots: .*\nguest: .*", "slots: [2]\nguest: [hostile]", sweep)
    assert least != sweep
    (here / "sweep.yaml").write_text(least)
    for name in ("qemu.trace", "console.txt", "report.trace"):
        shutil.copy(ROOT / "tests" / "foreign" / "cases" / name, here)
    run(here, "hpcore import qemu.trace --log imported.jsonl")
    (here / "disk.img").write_bytes(debian())
    qcow2(debian(), here / "debian.qcow2")
    return here


def block(page: Path, begins: str) -> str:
    """The first code block of the page that begins so."""
    return next(text for text in blocks(page) if text.startswith(begins))


def blocks_of(page: Path, begins: str) -> list[str]:
    """Every code block of the page that begins so."""
    return [text for text in blocks(page) if text.startswith(begins)]


@pytest.mark.parametrize("found", RUN, ids=lambda f: f.text)
def test_a_command_does_what_the_docs_say(found: Found, files: Path, tmp_path: Path) -> None:
    here = shutil.copytree(files, tmp_path / "here")
    for program, *arguments in stages(found.text):
        if program == "hpcore" and arguments[0] in ("run", "check", "shrink"):
            for option in {"--log", "--scenario"} & set(arguments):
                (here / arguments[arguments.index(option) + 1]).unlink(missing_ok=True)
    pattern = matches(found.text, EXIT_CODES)
    run(here, found.text, 0 if pattern is None else EXIT_CODES[pattern])


def run(here: Path, command: str, code: int = 0) -> str:
    """Run a line of a shell in `here`; what it prints, once it has exited with `code`."""
    path = f"{HPCORE.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "200"}
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=here, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in ended.stdout + ended.stderr, ended
    assert ended.returncode == code, (command, ended)
    return ended.stdout
