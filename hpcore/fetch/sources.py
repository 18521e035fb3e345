"""Which Debian mirror and keyring this machine already uses, from its own apt sources.

hpcore names no mirror: it asks the machine's. Both formats of sources.list(5) are
read, deb822 `.sources` and one-line `.list`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from hpcore.fetch.errors import FetchError

MIRROR_VARIABLE = "HPCORE_DEBIAN_MIRROR"
KEYRING_VARIABLE = "HPCORE_DEBIAN_KEYRING"

CODENAMES = frozenset(("bullseye", "bookworm", "trixie", "forky", "sid"))
RELEASES = CODENAMES | {"oldoldstable", "oldstable", "stable", "testing", "unstable"}
DEFAULT_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)


@frozen
class Mirror:
    """An archive as apt names it, and the file whose keys sign it (None: apt's own)."""

    uri: str
    keyring: str | None


@frozen
class _Source:
    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None

    def is_debian(self) -> bool:
        return bool(RELEASES.intersection(self.suites)) and "main" in self.components

    def rank(self) -> tuple[bool, bool]:
        """Sorts the archive itself before third parties that reuse its suite names."""
        return (
            "debian-archive" not in (self.signed_by or ""),
            not self.uri.rstrip("/").endswith("debian"),
        )


def find_mirror(
    directory: Path = Path("/etc/apt"), environment: Mapping[str, str] = os.environ
) -> Mirror:
    """The Debian mirror to use: the environment's if it names one, else this machine's.

    Raises FetchError where neither names one; the text lists the files that were read.
    """
    keyring = environment.get(KEYRING_VARIABLE) or None
    if given := environment.get(MIRROR_VARIABLE):
        return Mirror(given, keyring or _default_keyring())
    files = _files(directory)
    found = [source for path in files for source in _read(path) if source.is_debian()]
    if not found:
        read = ", ".join(map(str, files)) or f"no file below {directory}"
        raise FetchError(
            f"no Debian mirror in this machine's apt sources ({read}); set {MIRROR_VARIABLE} "
            f"to a Debian archive's URI (and {KEYRING_VARIABLE} to its keyring)"
        )
    best = min(found, key=_Source.rank)
    return Mirror(best.uri, keyring or best.signed_by or _default_keyring())


def _default_keyring() -> str | None:
    return next((str(path) for path in DEFAULT_KEYRINGS if path.exists()), None)


def _files(directory: Path) -> list[Path]:
    parts = directory / "sources.list.d"
    files = [directory / "sources.list", *sorted(parts.glob("*.sources"))]
    return [path for path in [*files, *sorted(parts.glob("*.list"))] if path.is_file()]


def _read(path: Path) -> Iterator[_Source]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # unreadable to this user: as good as absent
    yield from _deb822(text) if path.suffix == ".sources" else _one_line(text)


def _deb822(text: str) -> Iterator[_Source]:
    without_comments = "\n".join(line for line in text.split("\n") if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.split("\n"):
            if line[:1].isspace() and key:
                fields[key] += "\n" + line.strip()
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        signed_by = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            yield _Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                # an embedded key block is not a path; the default keyring stands in
                signed_by if signed_by.startswith("/") and "\n" not in signed_by else None,
            )


def _one_line(text: str) -> Iterator[_Source]:
    for line in text.split("\n"):
        match = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<rest>\S.*)", line.strip())
        if match is None:
            continue
        uri, *rest = match["rest"].partition("#")[0].split()
        if len(rest) < 2:
            continue
        options = dict(
            option.split("=", 1) for option in (match["options"] or "").split() if "=" in option
        )
        yield _Source(uri, (rest[0],), tuple(rest[1:]), options.get("signed-by"))
