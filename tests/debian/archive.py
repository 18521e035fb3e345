"""A package archive of one package, served to a guest over HTTP from this machine's loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from attrs import Factory, mutable

from tests.support.tools import run_tool

PACKAGE = "hpcore-greeting"
FILE = f"/usr/share/{PACKAGE}"
GREETING = "hello from the archive\n"

CONTROL = f"""\
Package: {PACKAGE}
Version: 1
Architecture: all
Maintainer: The tests of hpcore <tests@hpcore.invalid>
Description: one file, to be installed by a guest
"""

HOST = "10.0.2.2"
"""This machine's loopback, as a guest of QEMU's user network sees it."""


@mutable
class Archive:
    """An archive that is being served."""

    port: int
    asked_for: list[str] = Factory(list)
    """The paths that somebody has asked for."""

    @property
    def source(self) -> str:
        """Its line of a guest's sources.list."""
        return f"deb [trusted=yes] http://{HOST}:{self.port}/ ./"


@contextmanager
def serving(directory: Path) -> Iterator[Archive]:
    """Make the archive in `directory`, and serve it until the end of the block."""
    make(directory)
    archive = Archive(0)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            archive.asked_for.append(self.path)

    handler = partial(Handler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        archive.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield archive
        finally:
            server.shutdown()
            thread.join()


def make(directory: Path) -> None:
    """The package and the index that apt reads."""
    files = directory / "files"
    (files / "DEBIAN").mkdir(parents=True)
    (files / "DEBIAN/control").write_text(CONTROL)
    (files / FILE[1:]).parent.mkdir(parents=True)
    (files / FILE[1:]).write_text(GREETING)
    deb = directory / f"{PACKAGE}.deb"
    run_tool("dpkg-deb", "--root-owner-group", "--build", files, deb)
    data = deb.read_bytes()
    (directory / "Packages").write_text(
        f"{CONTROL}Filename: ./{deb.name}\nSize: {len(data)}\n"
        f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
