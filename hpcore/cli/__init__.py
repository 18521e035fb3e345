"""The command line: arguments in, rooms called, words out."""

from hpcore.cli.ending import explained

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit. Loading it takes half a second; it can be ended there."""
    with explained():
        from hpcore.cli.main import main as run  # noqa: PLC0415 - to listen to signals first

        run()
