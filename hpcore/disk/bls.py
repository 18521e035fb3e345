"""Boot Loader Specification entries, and the loader.conf of systemd-boot.

Sources: uapi-group.org/specifications/specs/boot_loader_specification (type #1 entries, their
order, boot counting), loader.conf(5) of systemd.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from attrs import frozen

from hpcore.disk.choice import Choice, FileAt, text_of, version_key
from hpcore.disk.errors import DiskError
from hpcore.disk.volume import Volume

MOST_ENTRIES = 1000
ARCHITECTURES = ("", "aa64", "arm64")
COUNTED = re.compile(r"\+(\d{1,9})(-\d{1,9})?$")
"""Tries left, and those that were done, at the end of a name."""


@frozen
class BlsEntry:
    """One entry file. `values` has each key's values with their lines, in the file's order."""

    volume: Volume
    path: str
    name: str
    tries_left: int | None
    values: dict[str, tuple[tuple[int, str], ...]]

    def one(self, key: str) -> str:
        """The last value of a key, or nothing."""
        values = self.values.get(key, ())
        return values[-1][1] if values else ""

    @property
    def title(self) -> str:
        """What a menu shows."""
        return self.one("title") or self.name

    def file(self, line: int, path: str) -> FileAt:
        """A file that a line names, from the root of the entry's volume."""
        return FileAt(self.volume, path, f"{self.volume.said(self.path)}, line {line}")

    def choice(self) -> Choice:
        """What it boots. Raises DiskError where that is no Linux kernel."""
        place = self.volume.said(self.path)
        for key in ("efi", "uki", "uki-url"):
            if key in self.values:
                raise DiskError(
                    f"{place}, line {self.values[key][0][0]}: the entry {self.title!r} starts an "
                    f"EFI program ({key}), which hpcore does not run; make an entry with `linux`"
                )
        if not self.one("linux"):
            raise DiskError(f"{place}: the entry {self.title!r} has no line `linux`")
        line, kernel = self.values["linux"][-1]
        initrds = [
            self.file(at, path)
            for at, paths in self.values.get("initrd", ())
            for path in paths.split()
        ]
        append = " ".join(text for _, text in self.values.get("options", ()))
        return Choice(place, self.title, self.file(line, kernel), tuple(initrds), append)


def read_entry(volume: Volume, directory: str, file: str) -> BlsEntry:
    """The entry in a file of that directory."""
    path = f"{directory}/{file}"
    values: dict[str, tuple[tuple[int, str], ...]] = {}
    for number, raw in enumerate(text_of(volume, path).splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        key, _, value = line.replace("\t", " ").partition(" ")
        values[key] = (*values.get(key, ()), (number, value.strip()))
    name = file.removesuffix(".conf")
    counted = COUNTED.search(name)
    tries = int(counted[1]) if counted else None
    return BlsEntry(volume, path, name[: counted.start()] if counted else name, tries, values)


def entries(volume: Volume, directory: str) -> list[BlsEntry]:
    """The entries in a directory that are for this architecture, in the menu's order."""
    files = [name for name in volume.names(directory) if name.endswith(".conf")]
    if len(files) > MOST_ENTRIES:
        raise DiskError(f"{volume.said(directory)} has more than {MOST_ENTRIES} entries")
    found = [read_entry(volume, directory, file) for file in files]
    return in_order(e for e in found if e.one("architecture").lower() in ARCHITECTURES)


def in_order(found: Iterable[BlsEntry]) -> list[BlsEntry]:
    """The menu's order: newest first, those with a sort-key before, those that failed last."""
    out = sorted(found, key=lambda e: version_key(e.name), reverse=True)
    out.sort(key=lambda e: version_key(e.one("version")) if e.one("sort-key") else [], reverse=True)
    out.sort(key=lambda e: (e.one("sort-key"), e.one("machine-id")) if e.one("sort-key") else ())
    out.sort(key=lambda e: (e.tries_left == 0, not e.one("sort-key")))
    return out


def loader_choice(volume: Volume, top: str) -> Choice | None:
    """What systemd-boot would boot from `top`/loader, or None where it has no entries.

    The choices that it keeps in the firmware's variables are not on the disk.
    """
    found = entries(volume, f"{top}/loader/entries")
    if not found:
        return None
    pattern = _default(volume, f"{top}/loader/loader.conf")
    for entry in found if pattern else ():
        if any(fnmatchcase(name, pattern) for name in (f"{entry.name}.conf", entry.name)):
            return entry.choice()
    return found[0].choice()


def _default(volume: Volume, path: str) -> str:
    if not volume.is_file(path):
        return ""
    out = ""
    for line in text_of(volume, path).splitlines():
        key, _, value = line.replace("\t", " ").strip().partition(" ")
        if key == "default":
            out = value.strip()
    return "" if out.startswith("@") else out
