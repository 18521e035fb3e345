"""What a saved machine has beside its log and its stream: facts that must fit, images, sections.

A section is a device's state as JSON, in a file of its own, by the device's name and by the
version of its form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpcore.guest.boot import BootFiles
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.run.accelerator import AcceleratorError, Belongings, EffectError

BLOB, TREE = "firmware.bin", "tree.dtb"
"""The firmware and the device tree travel: their seeds are of this machine alone, and a reset
loads them again."""
KERNEL, INITRD = "kernel", "initrd"

# ----------------------------------------------------------------------------- facts


def need_running(state: State) -> None:
    """Raise AcceleratorError unless a machine with this state ran, or was paused."""
    if state.shared.phase is not Phase.RUNNING:
        raise AcceleratorError(
            f"the saved machine is {state.shared.phase}; one that runs or is paused is restored"
        )


def fact(saved: Belongings, name: str) -> str:
    """A fact of `saved`. Raises AcceleratorError where it has none of that name."""
    found = saved.facts.get(name)
    if found is None:
        raise AcceleratorError(f"the saved machine does not say what its {name} was")
    return found


def number(saved: Belongings, name: str) -> int:
    """A fact of `saved` that is a number. Raises AcceleratorError."""
    said = fact(saved, name)
    if not said.isdecimal():
        raise AcceleratorError(f"the saved machine's {name} is {said!r}, which is no number")
    return int(said)


def refuse_unlike(saved: Belongings, name: str, here: str, remedy: str) -> None:
    """Raise AcceleratorError where fact `name` was another one when the machine was saved."""
    then = fact(saved, name)
    if then != here:
        raise AcceleratorError(
            f"the machine was saved with {name} {then}, and here it is {here}: {remedy}"
        )


# ---------------------------------------------------------------------------- images


def with_images(facts: Mapping[str, str], boot: BootFiles | None) -> Belongings:
    """`facts`, and what a reset loads: by digest what is the user's, whole what is ours.

    Reads the kernel and the initrd. Raises EffectError.
    """
    if boot is None:
        return Belongings(facts)
    said = dict(facts)
    for name, path in ((KERNEL, boot.kernel), (INITRD, boot.initrd)):
        try:
            said |= {name: str(path.absolute()), f"{name}-sha256": digest(path)}
        except OSError as error:
            raise EffectError(f"{path} cannot be read: {error.strerror}") from error
    return Belongings(said, {BLOB: boot.blob, TREE: boot.tree})


def boot_files(saved: Belongings) -> BootFiles | None:
    """What a reset of `saved` loads. Raises AcceleratorError where that is not here."""
    if BLOB not in saved.files:
        return None
    paths = []
    for name in (KERNEL, INITRD):
        path = Path(fact(saved, name))
        try:
            found = digest(path)
        except OSError as error:
            raise AcceleratorError(
                f"the {name} of the saved machine: {path} cannot be read: {error.strerror}"
            ) from error
        if found != fact(saved, f"{name}-sha256"):
            raise AcceleratorError(
                f"the {name} {path} is not the one that the machine was saved with, and a reset "
                "would load it: put back that one"
            )
        paths.append(path)
    try:
        return BootFiles(saved.files[BLOB], saved.files[TREE], *paths)
    except KeyError as error:
        raise AcceleratorError(f"the saved machine has no file {error}") from None


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -------------------------------------------------------------------------- sections


def section(name: str, version: int, state: Mapping[str, object]) -> dict[str, bytes]:
    """The file of one section, as Belongings take it."""
    content = {"section": name, "version": version, "state": state}
    return {f"{name}.json": json.dumps(content, separators=(",", ":")).encode()}


def state_of(saved: Belongings, name: str, version: int) -> dict[str, Any]:
    """What the section `name` has. Raises AcceleratorError where it is none of that version."""
    data = saved.files.get(f"{name}.json")
    if data is None:
        raise AcceleratorError(f"the saved machine has no section {name}")
    with section_read(name):
        content = json.loads(data)
        said, state = content["version"], content["state"]
        if said != version:
            raise AcceleratorError(
                f"the saved machine's section {name} has version {said!r}, and this hpcore reads "
                f"version {version}: restore it with the hpcore that saved it"
            )
        return dict(state)


@contextmanager
def section_read(name: str) -> Iterator[None]:
    """What is read of the section `name` within is what belongs there, or AcceleratorError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise AcceleratorError(
            f"the saved machine's section {name} does not have what belongs there: "
            f"{type(error).__name__}: {error}"
        ) from error
