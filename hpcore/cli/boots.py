"""What a command boots in its machine: the options that say so, and the images they come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import fields, frozen

from hpcore.cli.output import Output, Problem
from hpcore.cli.output_file import OUTPUT_FILE
from hpcore.guest.images import fetched_guest
from hpcore.guest.initrd import check_initrd
from hpcore.guest.kernel import bootable, load_kernel
from hpcore.log import Rotation, Sync
from hpcore.run.accelerator import GuestImages, GuestScript
from hpcore.run.discovery import Found


def _size(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """The bytes of --log-segment, or why they are none."""
    try:
        return None if text is None else Rotation.size_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_OPTIONS = (
    click.option("--force", is_flag=True, help="Overwrite a log or a console that exists."),
    click.option("--kernel", type=click.Path(path_type=Path), help="An arm64 Image of your own."),
    click.option("--initrd", type=click.Path(path_type=Path), help="An initramfs of your own."),
    click.option("--append", default="", help="More kernel arguments."),
    click.option(
        "--no-shell", is_flag=True,
        help="Do without the guest's shell, and without steps that need one.",
    ),
    click.option("--console", type=OUTPUT_FILE, help="Keep what the guest prints here."),
    click.option(
        "--keep", is_flag=True,
        help="Leave the machine running at the end, or if hpcore is killed: see hpcore attach.",
    ),
    click.option(
        "--sync", type=click.Choice([Sync.DURABLE.value, Sync.OS.value]),
        default=Sync.DURABLE.value, show_default=True,
        help="What an event survives: loss of power, or the death of hpcore.",
    ),
    click.option(
        "--log-segment", metavar="SIZE", callback=_size,
        help="Go on in another file whenever the log's last one has this size, such as 32M.",
    ),
    click.option(
        "--log-keep", type=click.IntRange(min=1), metavar="N",
        help="With --log-segment: keep the last N files.  [default: all]",
    ),
)  # fmt: skip


def guest_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the options of every command that runs a machine with a guest.

    It is called with `force`, `sync`, `rotation`, and the others as `boots`, one Boots.
    """

    @wraps(command)
    def called(**given: Any) -> Any:
        boots = Boots(**{name: given.pop(name) for name in _OF_BOOTS})
        size, keep = given.pop("log_segment"), given.pop("log_keep")
        if size is None and keep is not None:
            raise Problem("--log-keep says how many files of --log-segment are kept; give that too")
        rotation = None if size is None else Rotation(size, keep)
        return command(boots=boots, rotation=rotation, **given)

    out: Callable[..., Any] = called
    for option in reversed(_OPTIONS):
        out = option(out)
    return out


@frozen
class Boots:
    """What the options say of the guest."""

    kernel: Path | None
    initrd: Path | None
    console: Path | None
    append: str
    no_shell: bool
    keep: bool = False


_OF_BOOTS = tuple(field.name for field in fields(Boots))


def guest_for(out: Output, found: Found, boots: Boots) -> GuestImages | GuestScript:
    """What boots on the accelerator `found`, or who is played. Raises Problem."""
    if not found.capabilities.plays_guest:
        return images_for(out, boots)
    given = {
        "--kernel": boots.kernel, "--initrd": boots.initrd, "--console": boots.console,
        "--no-shell": boots.no_shell or None,
    }  # fmt: skip
    refuse(
        given, f"'{found.name}' runs no guest code, it plays the guest, which heeds --append "
        "and the scenario's guest: kind"
    )  # fmt: skip
    return GuestScript(append=boots.append)


def refuse(options: Mapping[str, object], why: str) -> None:
    """Raise Problem where one of `options`, by their names, was given: `why` it is of no use."""
    useless = [name for name, value in options.items() if value is not None]
    if useless:
        raise Problem(f"{why}; leave out {', '.join(useless)}")


def images_for(out: Output, boots: Boots) -> GuestImages:
    """The kernel and the initrd that the options name, or else the fetched ones. Raises Problem."""
    fetched, kernel, initrd = fetched_guest(), boots.kernel, boots.initrd
    if fetched is None and (kernel is None or initrd is None):
        raise Problem("there is no guest to boot; run `hpcore guest fetch` first")
    if kernel is not None:
        image = load_kernel(kernel)
        if image.warning:
            out.say(f"warning: {image.warning}", style="yellow")
        kernel = bootable(image)
    if initrd is not None:
        check_initrd(initrd)
    if fetched is not None:
        kernel = kernel or fetched.kernel
        initrd = initrd or fetched.initramfs()
    assert kernel is not None and initrd is not None
    return GuestImages(kernel, initrd, boots.append, shell=not boots.no_shell)
