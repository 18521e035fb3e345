"""apt with a directory of its own: packages of any architecture, as any user.

Lists, status, cache and sources are private; the machine's apt is only read (its
`Acquire::` settings, so that a proxy keeps working). apt itself checks what it downloads
against the signed index: nothing here switches that off.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from hpcore.fetch.errors import FetchError
from hpcore.fetch.sources import Mirror

TOOLS = ("apt-get", "apt-cache", "apt-config", "dpkg-deb")
LEFT_OUT = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
"""The relations of packages that are no dependencies."""

TIMEOUT = 900.0
"""Seconds for one run of apt; the largest download is some 40 MB."""


@frozen
class PrivateApt:
    """A private apt root below `root`. Make one with `create`."""

    root: Path
    mirror: Mirror

    @classmethod
    def create(
        cls, root: Path, mirror: Mirror, suites: Iterable[str], architecture: str = "arm64"
    ) -> PrivateApt:
        """Lay the root out, for packages of the Debian `architecture`; downloads nothing.

        Raises FetchError where apt or dpkg-deb is not installed.
        """
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            raise FetchError(
                f"cannot fetch Debian packages: {', '.join(missing)} not found in PATH; run on "
                "Debian or Ubuntu, or in a container of one"
            )
        for name in ("lists/partial", "cache/archives/partial", "preferences.d"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        signed = f"[signed-by={mirror.keyring}] " if mirror.keyring else ""
        lines = [f"deb {signed}{mirror.uri} {suite} main\n" for suite in suites]
        (root / "sources.list").write_text("".join(lines))
        configuration = _configuration(root, architecture) + _machine_acquire_settings()
        (root / "apt.conf").write_text(configuration)
        return cls(root, mirror)

    def update(self) -> None:
        """Fetch the signed package index. Raises FetchError naming the mirror on failure."""
        # without Error-Mode a mirror out of reach is only a warning
        self._run("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")

    def names(self, pattern: str) -> list[str]:
        """The packages whose whole name matches the regular expression `pattern`."""
        output = self._run("apt-cache", "search", "--names-only", f"^{pattern}$")
        return [line.split(" ", 1)[0] for line in output.splitlines() if line]

    def version(self, package: str) -> str:
        """The version that `download` would fetch."""
        output = self._run("apt-cache", "show", "--no-all-versions", package)
        match = re.search(r"^Version: (\S+)$", output, re.MULTILINE)
        if match is None:
            raise FetchError(f"the mirror {self.mirror.uri} has no package {package}")
        return match[1]

    def needed_by(self, packages: Iterable[str], suite: str) -> list[str]:
        """Every package that `packages` of `suite` need, at any remove, themselves left out."""
        left_out = [f"--no-{kind}" for kind in LEFT_OUT]
        given = list(packages)
        output = self._run(
            "apt-cache", "-o", f"APT::Default-Release={suite}",
            "depends", "--recurse", *left_out, *given,
        )  # fmt: skip
        found = {line for line in output.splitlines() if re.match(r"[a-z0-9]", line)}
        return sorted(found - set(given))

    def download(self, package: str) -> Path:
        """Fetch one package, its dependencies left out, and return the `.deb`."""
        target = self.root / "debs" / package
        target.mkdir(parents=True, exist_ok=True)
        self._run("apt-get", "-q", "download", package, cwd=target)
        debs = list(target.glob("*.deb"))
        if len(debs) != 1:
            raise FetchError(f"apt-get download {package} left {len(debs)} .deb files in {target}")
        return debs[0]

    def download_with_needed(
        self, packages: Iterable[str], suite: str | None = None
    ) -> list[Path]:
        """Fetch `packages`, which may be apt's patterns, and all that they need; the `.deb`s.

        With a `suite` its versions are taken before those of others.
        """
        release = [] if suite is None else ["-o", f"APT::Default-Release={suite}"]
        self._run(
            "apt-get", *release, "-q", "-y", "--no-install-recommends", "--download-only",
            "install", *packages,
        )  # fmt: skip
        return sorted((self.root / "cache" / "archives").glob("*.deb"))

    def unpack(self, deb: Path) -> Path:
        """Unpack the files of `deb` and return the directory that holds them."""
        target = deb.parent / "files"
        self._run("dpkg-deb", "-x", str(deb), str(target))
        return target

    def _run(self, *command: str, cwd: Path | None = None) -> str:
        environment = dict(os.environ, APT_CONFIG=str(self.root / "apt.conf"), LC_ALL="C")
        try:
            done = subprocess.run(
                command, cwd=cwd or self.root, env=environment, text=True, errors="replace",
                stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise FetchError(
                f"{' '.join(command)} took over {TIMEOUT:.0f} s with the mirror "
                f"{self.mirror.uri}; check the network, then try again"
            ) from error
        if done.returncode:
            raise FetchError(self._explain(command, done.stderr + done.stdout))
        return done.stdout

    def _explain(self, command: tuple[str, ...], output: str) -> str:
        lines = [line for line in output.splitlines() if line.startswith(("E:", "W:", "Err:"))]
        if not lines:
            lines = output.strip().splitlines()[-3:]
        said = "; ".join(lines[:4]) or "it said nothing"
        what = f"{' '.join(command)} failed with the mirror {self.mirror.uri}: {said}."
        if re.search(r"[Nn]o space left|not have enough (free )?space", output):
            return f"{what} The disk that holds {self.root} is full: free some space there"
        if re.search(r"NO_PUBKEY|not signed|EXPKEYSIG|GPG error", output):
            keyring = self.mirror.keyring or "apt's default keyring"
            return f"{what} The keys in {keyring} do not sign it: install debian-archive-keyring"
        return f"{what} Check the network and the machine's apt sources, then try again"


def _configuration(root: Path, architecture: str) -> str:
    # Dir::Etc::parts and main away: hooks of the machine's configuration would run on
    # the machine's own cache. Sandbox user root: `_apt` may not enter a private directory.
    return f"""\
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{root}/preferences.d";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Log "{root}";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
"""


def _machine_acquire_settings() -> str:
    """The machine's own `Acquire::` settings (proxies, timeouts), in apt.conf's syntax.

    Without those that allow an archive whose signature does not hold.
    """
    done = subprocess.run(
        ["apt-config", "dump"], text=True, errors="replace", capture_output=True, check=False
    )
    not_these = ("Acquire::Languages", "Acquire::Retries", "Acquire::Allow")
    return "".join(
        line + "\n"
        for line in done.stdout.splitlines()
        if line.startswith("Acquire::") and not line.startswith(not_these)
    )
