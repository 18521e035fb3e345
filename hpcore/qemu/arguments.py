"""Words of QEMU's command line that more than one accelerator needs."""

from __future__ import annotations

from pathlib import Path


def escape(value: str | Path) -> str:
    """`value` within an option: a comma ends a value there, unless doubled."""
    return str(value).replace(",", ",,")


def socket_chardev(
    name: str, path: Path, logfile: str | Path | None = None, *, append: bool = False
) -> list[str]:
    """A character device `name` that listens at `path`, and copies what it sends to `logfile`.

    Also what it sends while nobody is connected. `append` keeps what is in the file.
    """
    chardev = f"socket,id={name},path={escape(path)},server=on,wait=off"
    if logfile:
        chardev += f",logfile={escape(logfile)}" + (",logappend=on" if append else "")
    return ["-chardev", chardev]


def qmp_monitor(path: Path) -> list[str]:
    """A QMP monitor that listens at `path`."""
    return ["-qmp", f"unix:{escape(path)},server=on,wait=off"]


def in_memory(path: Path, address: int) -> list[str]:
    """The file's bytes at `address` of the guest's memory, at the start and after each reset."""
    return ["-device", f"loader,file={escape(path)},addr={address:#x},force-raw=on"]
