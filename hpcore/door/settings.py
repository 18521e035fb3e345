"""Settings of the door, which a VM manager gives no environment: a file beside the executable.

    # EXECUTABLE.toml, or else /etc/hpcore/door.toml; every line may be left out
    qemu = "/usr/bin/qemu-system-aarch64"   # the real one
    logs = "/var/log/hpcore"                # where each VM's log and diagnostics go
    cache = "/var/cache/hpcore"             # where hpcore keeps what it builds

Who has an environment can name another file by $HPCORE_DOOR_SETTINGS.
"""

from __future__ import annotations

import os
import pwd
import tomllib
from pathlib import Path

from attrs import fields, frozen

from hpcore.errors import HpcoreError

VARIABLE = "HPCORE_DOOR_SETTINGS"
SYSTEM_FILE = Path("/etc/hpcore/door.toml")
PROGRAM = "qemu-system-aarch64"


class SettingsError(HpcoreError):
    """The settings cannot be used; the text names the file and the line's name."""


@frozen
class Settings:
    """Where the real QEMU is, where logs go, and where hpcore keeps what it builds."""

    qemu: Path
    logs: Path
    cache: Path

    @classmethod
    def read(cls, executable: Path, system: Path = SYSTEM_FILE) -> Settings:
        """The settings of `executable`, the path by which it was called. Raises SettingsError."""
        file, values = _values(executable, system)
        for name in values:
            if name not in {field.name for field in fields(cls)}:
                raise SettingsError(f"{file}: '{name}' is no setting; there are qemu, logs, cache")
        qemu = values.get("qemu") or _real_qemu(executable)
        if not os.access(qemu, os.X_OK):
            raise SettingsError(f"{qemu} cannot be run; install QEMU, or set qemu in {file}")
        return cls(
            qemu,
            values.get("logs") or _logs(),
            values.get("cache") or _cache(),
        )


def _values(executable: Path, system: Path) -> tuple[Path, dict[str, Path]]:
    """What the first file that is there says; the names are checked by the caller.

    A file that the environment names is the only one. Else the one beside the executable comes
    first: beside the link by which it was called, and then beside the file itself.
    """
    named = os.environ.get(VARIABLE)
    beside = [path.with_name(f"{path.name}.toml") for path in (executable, executable.resolve())]
    for file in [Path(named)] if named else [*beside, system]:
        try:
            values = tomllib.loads(file.read_text())
        except FileNotFoundError:
            if named:
                raise SettingsError(f"{file}, which ${VARIABLE} names, is not there") from None
            continue
        except (OSError, ValueError) as error:
            raise SettingsError(f"{file}: cannot be read as TOML: {error}") from error
        for name, value in values.items():
            if not isinstance(value, str) or not value.startswith("/"):
                raise SettingsError(f"{file}: {name} must be an absolute path, not {value!r}")
        return file, {name: Path(value) for name, value in values.items()}
    return beside[0], {}


def _real_qemu(executable: Path) -> Path:
    """The QEMU on PATH that is not this executable under QEMU's name."""
    own = executable.resolve()
    for directory in os.get_exec_path():
        found = Path(directory) / PROGRAM
        if os.access(found, os.X_OK) and found.resolve() != own:
            return found
    return Path("/usr/bin") / PROGRAM


def _home() -> Path:
    """The user's, also where $HOME was set to another place, as libvirt does for a VM."""
    return Path(pwd.getpwuid(os.geteuid()).pw_dir)


def _logs() -> Path:
    return Path("/var/log/hpcore") if os.geteuid() == 0 else _home() / ".local/state/hpcore/vms"


def _cache() -> Path:
    own = os.environ.get("HPCORE_CACHE")
    return Path(own).absolute() if own else _home() / ".cache/hpcore"
