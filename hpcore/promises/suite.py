"""The promises as tests: what a test class of an accelerator derives from."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import ClassVar

from hpcore.promises import creation, endings, guests, opening, resets, steps
from hpcore.promises.promise import Promise, Subject
from hpcore.promises.waits import SECONDS
from hpcore.run.accelerator import Accelerator, GuestImages, GuestScript, Session
from hpcore.run.deadlines import Patience

PROMISES: tuple[Promise, ...] = tuple(
    promise
    for file in (opening, creation, steps, resets, endings, guests)
    for promise in file.PROMISES.made
)
"""All that accelerators promise, from `probe` to the guest."""


def promises_of(subject: Subject) -> Iterator[Promise]:
    """Those that `subject` has to keep, by what it can do and what its tests gave."""
    return (promise for promise in PROMISES if promise.applies(subject))


def kill_process(session: Session) -> None:
    """Kill the process that runs the guest: how most machines are lost. For `lose`."""
    assert session.process_id is not None, "the machine has been created"
    assert session.process_id != os.getpid(), "the guest runs in this very process"
    os.kill(session.process_id, signal.SIGKILL)


class AcceleratorSuite:
    """A test a promise, for pytest or any runner that takes methods `test_...` of a class.

        class TestHvf(AcceleratorSuite):
            accelerator = HvfAccelerator()
            guest = GuestImages(Path("Image"), Path("initramfs.cpio"))
            lose = staticmethod(kill_process)

    All of these are those of `Subject`; without `guest` and `lose`, the promises about guests
    and losses are left out. `left_out` names what is left out, so that a test can say that
    this is all that was meant to be.
    """

    accelerator: ClassVar[Accelerator | None] = None
    guest: ClassVar[GuestImages | GuestScript | None] = None
    lose: ClassVar[staticmethod[[Session], None] | None] = None
    seconds: ClassVar[float] = SECONDS
    patience: ClassVar[Patience] = Patience()

    left_out: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Give the class a test for each promise that its accelerator has to keep."""
        super().__init_subclass__(**kwargs)
        if cls.accelerator is None:  # a class in between, for several accelerators
            return
        subject = Subject(cls.accelerator, cls.guest, cls.lose, cls.seconds, cls.patience)
        kept = tuple(promises_of(subject))
        cls.left_out = tuple(promise.name for promise in PROMISES if promise not in kept)
        for promise in kept:
            setattr(cls, f"test_{promise.name}", _test(promise, subject))


def _test(promise: Promise, subject: Subject) -> Callable[[AcceleratorSuite], None]:
    def test(self: AcceleratorSuite) -> None:
        promise.hold(subject)

    test.__name__ = f"test_{promise.name}"
    test.__doc__ = promise.says
    return test
