"""Files that a command is to write are looked at before the work; nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.command import hpcore, refused, unreadable

CHECK = ("check", "--slots", "1")
OPTIONS = [
    ((*CHECK, "--log"), "--log"),
    ((*CHECK, "--graph"), "--graph"),
    (("run", "cover-letter", "--log"), "--log"),
    (("run", "cover-letter", "--console"), "--console"),
]
EACH = pytest.mark.parametrize(("arguments", "option"), OPTIONS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.mmd"  # a name that a graph, too, can have


@EACH
def test_a_file_that_exists_is_kept(arguments: tuple[str, ...], option: str, file: Path) -> None:
    file.write_text("precious")
    error = refused(*arguments, file)
    assert error == f"{file} exists; give another {option}, or --force to overwrite it"
    assert file.read_text() == "precious"


@EACH
def test_a_directory_that_is_not_there(
    arguments: tuple[str, ...], option: str, tmp_path: Path
) -> None:
    there = tmp_path / "no" / "file.mmd"
    says = f"{there}: there is no directory {there.parent}; make it, or give another {option}"
    assert refused(*arguments, there) == says


@EACH
def test_a_directory_is_no_file(arguments: tuple[str, ...], option: str, file: Path) -> None:
    file.mkdir()
    error = refused(*arguments, file, "--force")
    assert error == f"{file}: Is a directory; give another {option}"


@EACH
def test_a_file_that_may_not_be_written(
    arguments: tuple[str, ...], option: str, file: Path
) -> None:
    before = unreadable(file)
    error = refused(*arguments, file, "--force", before=before)
    assert error == f"{file}: may not be written; give another {option}"
    assert file.stat().st_size


@EACH
def test_a_directory_that_may_not_be_written_to(
    arguments: tuple[str, ...], option: str, tmp_path: Path
) -> None:
    before = unreadable(tmp_path / "secret")  # takes root's privilege away
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    error = refused(*arguments, closed / "file.mmd", before=before)
    says = f"the directory {closed} may not be written to; give another {option}"
    assert error == f"{closed / 'file.mmd'}: {says}"


@EACH
def test_a_name_that_is_too_long(arguments: tuple[str, ...], option: str, tmp_path: Path) -> None:
    error = refused(*arguments, tmp_path / ("x" * 300 + ".mmd"))
    assert error.endswith(f": File name too long; give another {option}")


@pytest.mark.parametrize(
    "arguments",
    [("run", "cover-letter", "--log", "{}", "--console", "{}"),
     (*CHECK, "--graph", "{}", "--log", "{}")],
)  # fmt: skip
def test_two_outputs_have_two_files(arguments: tuple[str, ...], file: Path) -> None:
    error = refused(*(word.format(file) for word in arguments))
    assert error.endswith(f" both name {file}; give each a file of its own")
    assert not file.exists()


def test_a_drawing_is_overwritten_by_force(file: Path) -> None:
    file.write_text("old")
    assert hpcore(*CHECK, "--graph", file, "--force").code == 0
    assert file.read_text().startswith("stateDiagram-v2")


def test_an_empty_file_and_a_pipe_have_nothing_to_be_kept(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mmd"
    empty.touch()
    assert hpcore(*CHECK, "--graph", empty).code == 0
    assert empty.stat().st_size
    pipe = tmp_path / "pipe.mmd"
    os.mkfifo(pipe)
    fd = os.open(pipe, os.O_RDWR)
    try:
        assert hpcore(*CHECK, "--graph", pipe).code == 0
        assert os.read(fd, 15) == b"stateDiagram-v2"
    finally:
        os.close(fd)


def test_more_states_than_a_drawing_shows_are_found_before_the_check(file: Path) -> None:
    error = refused("check", "--slots", "500", "--graph", file, seconds=30)
    assert error.startswith("more than 2000 states; take fewer: --slots")
    assert not file.exists()
