"""Which Debian mirror is found in a machine's apt sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.fetch.errors import FetchError
from hpcore.fetch.sources import KEYRING_VARIABLE, MIRROR_VARIABLE, Mirror, find_mirror

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

DEB822 = f"""\
# the archive
Types: deb deb-src
URIs: http://mirror.invalid/debian
Suites: trixie
  trixie-updates
# a comment between fields
Components: main contrib
Signed-By: {KEYRING}

Types: deb
URIs: http://security.invalid/debian-security
Suites: trixie-security
Components: main
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_a_deb822_file_gives_uri_and_keyring(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    assert find_mirror(apt, {}) == Mirror("http://mirror.invalid/debian", KEYRING)


@pytest.mark.parametrize(
    "line",
    [
        f"deb [arch=amd64 signed-by={KEYRING}] http://mirror.invalid/debian bookworm main",
        f"deb [ signed-by={KEYRING} ] http://mirror.invalid/debian bookworm main contrib # why",
    ],
)
def test_a_one_line_file_gives_uri_and_keyring(apt: Path, line: str) -> None:
    (apt / "sources.list").write_text(f"# old\n\n{line}\ndeb-src http://other.invalid sid main\n")
    assert find_mirror(apt, {}) == Mirror("http://mirror.invalid/debian", KEYRING)


def test_the_archive_goes_before_others_that_use_its_suite_names(apt: Path) -> None:
    (apt / "sources.list.d" / "a-vendor.list").write_text(
        "deb [signed-by=/usr/share/keyrings/vendor.gpg] http://vendor.invalid bookworm main\n"
    )
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    assert find_mirror(apt, {}).uri == "http://mirror.invalid/debian"


@pytest.mark.parametrize(
    "text",
    [
        DEB822.replace("Types: deb deb-src", "Enabled: no\nTypes: deb"),
        DEB822.replace("Types: deb deb-src", "Types: deb-src"),
        DEB822.replace("trixie\n", "noble\n"),
        DEB822.replace("main contrib", "stable"),
    ],
    ids=["disabled", "sources only", "another distribution", "another component"],
)
def test_what_is_no_debian_archive_is_passed_over(apt: Path, text: str) -> None:
    path = apt / "sources.list.d" / "debian.sources"
    path.write_text(text)
    with pytest.raises(FetchError, match=rf"{path}.*{MIRROR_VARIABLE}"):
        find_mirror(apt, {})


def test_no_sources_at_all_says_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=f"no file below {tmp_path}"):
        find_mirror(tmp_path, {})


def test_the_environment_goes_first(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    environment = {MIRROR_VARIABLE: "http://mine.invalid/d", KEYRING_VARIABLE: "/k.gpg"}
    assert find_mirror(apt, environment) == Mirror("http://mine.invalid/d", "/k.gpg")


def test_an_embedded_key_is_not_taken_for_a_file(apt: Path) -> None:
    block = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    (apt / "sources.list.d" / "debian.sources").write_text(
        DEB822.replace(f"Signed-By: {KEYRING}\n", block)
    )
    assert "BEGIN" not in str(find_mirror(apt, {}).keyring)
