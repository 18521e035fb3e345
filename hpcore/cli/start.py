"""Where `hpcore` starts: it listens to signals before it loads the rest."""

from __future__ import annotations

from hpcore.cli.signals import explained


def main() -> None:
    """Run the command line and exit. Loading it takes half a second; it can be ended there."""
    with explained():
        from hpcore.cli.main import run_and_exit  # noqa: PLC0415 - not before we listen

        run_and_exit()
