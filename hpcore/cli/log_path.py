"""Where a command is to write a log: what is wrong with the place, and what to do."""

from __future__ import annotations

from pathlib import Path

from hpcore.cli.output import Problem


def need_directory(log: Path) -> None:
    """Raise Problem where no file can be `log`: for want of a directory, or of a name."""
    need_name(log, "--log")
    if not log.parent.is_dir():
        raise Problem(f"{log}: there is no directory {log.parent}; make it, or give another --log")


def need_name(path: Path, option: str) -> None:
    """Raise Problem for `-`, which is no name of a file: what is written there is kept."""
    if str(path) == "-":
        raise Problem(
            f"{option} - is no file, and standard output has another use; give {option} the "
            "name of a file"
        )


def exists(log: Path) -> Problem:
    """What to raise where `log` is there and is not to be overwritten."""
    return Problem(f"{log} exists; give another --log, or --force to overwrite it")
