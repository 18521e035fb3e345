"""What can go wrong with a disk image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpcore.errors import HpcoreError, printable


class DiskError(HpcoreError):
    """The image, or what it would boot, cannot be taken.

    The text names the image, the partition, the file and the line, as far as the fault has
    them, and says what to do.
    """


@contextmanager
def damaged(what: str) -> Iterator[None]:
    """Whatever a reader of foreign bytes raises becomes a DiskError that names `what`.

    The libraries that read disks raise exceptions of every kind where the bytes are no sense.
    """
    try:
        yield
    except DiskError:
        raise
    except MemoryError as error:
        raise DiskError(f"{what} is damaged: it asks for more memory than any has") from error
    except RecursionError as error:
        raise DiskError(f"{what} is damaged: its structures point at themselves") from error
    except OSError as error:
        raise DiskError(f"{what} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        words = printable(str(error))[:200] or type(error).__name__
        raise DiskError(f"{what} is damaged, or of a kind that is not known: {words}") from error
