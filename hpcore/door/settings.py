"""Settings of the door, which a VM manager gives no environment: a file beside the executable.

    # EXECUTABLE.toml, or else /etc/hpcore/door.toml; every line may be left out
    qemu = "/usr/bin/qemu-system-aarch64"   # the real one
    logs = "/var/log/hpcore"                # where each VM's log and diagnostics go
    cache = "/var/cache/hpcore"             # where hpcore keeps what it builds
    log-segment = "32M"                     # the log goes on in another file at this size; "off"
    log-keep = 8                            # how many files of a VM's log are kept
    keep = false                            # whether a VM goes on when its door ends

Who has an environment can name another file by $HPCORE_DOOR_SETTINGS.
"""

from __future__ import annotations

import os
import pwd
import tomllib
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from hpcore.errors import HpcoreError
from hpcore.log import Rotation

VARIABLE = "HPCORE_DOOR_SETTINGS"
SYSTEM_FILE = Path("/etc/hpcore/door.toml")
PROGRAM = "qemu-system-aarch64"


ROTATION = Rotation(32 << 20, 8)
"""Of a VM's log, unless the settings say otherwise: years of hotplug, or ten minutes of a guest
that does its worst. docs/log.md has the figures."""
NO_SEGMENTS = "off"

_PATHS = ("qemu", "logs", "cache")
_SEGMENT, _KEEP = "log-segment", "log-keep"
_OUTLIVES = "keep"


class SettingsError(HpcoreError):
    """The settings cannot be used; the text names the file and the line's name."""


@frozen
class Settings:
    """Where the real QEMU is, where logs go, and where hpcore keeps what it builds.

    `rotation` is when a VM's log goes on in another file; None for never. With `keep` a VM goes
    on when its door ends, and `hpcore attach` opens another door for it.
    """

    qemu: Path
    logs: Path
    cache: Path
    rotation: Rotation | None = ROTATION
    keep: bool = False

    @classmethod
    def read(cls, executable: Path, system: Path = SYSTEM_FILE) -> Settings:
        """The settings of `executable`, the path by which it was called. Raises SettingsError."""
        file, values = _values(executable, system)
        known = (*_PATHS, _SEGMENT, _KEEP, _OUTLIVES)
        for name in values:
            if name not in known:
                raise SettingsError(
                    f"{file}: '{name}' is no setting; there are {', '.join(known)}"
                )
        paths = {name: _path(file, name, values) for name in _PATHS}
        qemu = paths["qemu"] or _real_qemu(executable)
        if not os.access(qemu, os.X_OK):
            raise SettingsError(f"{qemu} cannot be run; install QEMU, or set qemu in {file}")
        return cls(
            qemu,
            paths["logs"] or _logs(),
            paths["cache"] or _cache(),
            _rotation(file, values.get(_SEGMENT), values.get(_KEEP)),
            _yes_or_no(file, _OUTLIVES, values),
        )


def _path(file: Path, name: str, values: Mapping[str, object]) -> Path | None:
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.startswith("/"):
        raise SettingsError(f"{file}: {name} must be an absolute path, not {value!r}")
    return Path(value)


def _yes_or_no(file: Path, name: str, values: Mapping[str, object]) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise SettingsError(f"{file}: {name} must be true or false, not {value!r}")
    return value


def _rotation(file: Path, segment: object, keep: object) -> Rotation | None:
    if keep is None:
        keep = ROTATION.keep
    elif type(keep) is not int or keep < 1:
        raise SettingsError(f"{file}: {_KEEP} must be a number from 1 on, not {keep!r}")
    if segment is None:
        return Rotation(ROTATION.size, keep)
    if segment == NO_SEGMENTS:
        return None
    try:
        return Rotation(Rotation.size_of(str(segment)), keep)
    except ValueError as error:
        raise SettingsError(f'{file}: {_SEGMENT}: {error}, or "{NO_SEGMENTS}"') from None


def _values(executable: Path, system: Path) -> tuple[Path, Mapping[str, object]]:
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
        return file, values
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
