"""Every accelerator keeps what every accelerator promises; kvm's are in tests/kvm.

That no promise is left out unnoticed is the last test's affair.
"""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest
from hpcore_qtest import QtestAccelerator
from hpcore_qtest.accelerator import LoongarchAccelerator, Q35Accelerator
from hpcore_tcg import TcgAccelerator

from hpcore.promises import PROMISES, AcceleratorSuite, Subject, kill_process, promises_of
from hpcore.run.accelerator import Capabilities, GuestScript, Session
from tests.qemu.support import needs_qemu
from tests.qtest.native import needs_hotplugging
from tests.support.command import needs_guest
from tests.support.guests import fetched_images
from tests.support.paper import PaperAccelerator, PaperSession
from tests.support.played import PlayedAccelerator, PlayedSession


def lose(session: Session) -> None:
    """What no process of its own can be killed for."""
    assert isinstance(session, PaperSession | PlayedSession)
    session.lose("it broke")


class TestPaper(AcceleratorSuite):
    accelerator = PaperAccelerator()
    lose = staticmethod(lose)


class TestPlayed(AcceleratorSuite):
    accelerator = PlayedAccelerator()
    guest = GuestScript()
    lose = staticmethod(lose)


@needs_qemu
class TestQtest(AcceleratorSuite):
    accelerator = QtestAccelerator()
    guest = GuestScript()
    lose = staticmethod(kill_process)


@needs_qemu
@needs_hotplugging
class TestLoongarch(AcceleratorSuite):
    accelerator = LoongarchAccelerator()
    guest = GuestScript()
    lose = staticmethod(kill_process)


@needs_qemu
@needs_hotplugging
class TestQ35(AcceleratorSuite):
    accelerator = Q35Accelerator()
    guest = GuestScript()
    lose = staticmethod(kill_process)


@needs_qemu
@needs_guest
class TestTcg(AcceleratorSuite):
    accelerator = TcgAccelerator()
    guest = fetched_images()
    lose = staticmethod(kill_process)


PLAYED = {
    "a_notification_in_a_reset_is_not_repeated", "the_played_guest_is_there_with_the_machine",
    "a_machine_that_is_off_can_be_reset",
}  # fmt: skip
REAL = {"the_console_ends_with_the_machine"}
ANY_GUEST = {
    "a_guest_takes_a_vcpu_and_gives_it_back", "a_guest_is_heard_after_what_it_answers",
    "a_guest_finds_after_a_reset_what_was_plugged_before",
    "a_guest_finds_at_boot_what_was_plugged_before", "a_guest_that_went_off_boots_after_a_reset",
    "a_paused_guest_answers_when_it_goes_on",
}  # fmt: skip
AS_MANY_AS_THE_MODEL = {"open_refuses_more_vcpus_than_max_vcpus"}

LEFT_OUT: dict[type[AcceleratorSuite], set[str]] = {
    TestPaper: PLAYED | REAL | ANY_GUEST | AS_MANY_AS_THE_MODEL,
    TestPlayed: REAL | AS_MANY_AS_THE_MODEL,
    TestQtest: REAL | AS_MANY_AS_THE_MODEL,
    TestLoongarch: REAL,
    TestQ35: REAL,
    TestTcg: PLAYED | AS_MANY_AS_THE_MODEL,
}


@needs_guest
@needs_hotplugging
@pytest.mark.parametrize("suite", LEFT_OUT, ids=lambda suite: suite.__name__)
def test_no_promise_is_left_out_but_for_what_the_accelerator_is_not(
    suite: type[AcceleratorSuite],
) -> None:
    assert set(suite.left_out) == LEFT_OUT[suite]
    tests = {name.removeprefix("test_") for name in vars(suite) if name.startswith("test_")}
    assert tests | set(suite.left_out) == {promise.name for promise in PROMISES}


def test_an_accelerator_without_hotplug_is_held_to_the_rest() -> None:
    class NoHotplug(PlayedAccelerator):
        def probe(self) -> Capabilities:
            return attrs.evolve(super().probe(), no_hotplug="not here")

    subject = Subject(NoHotplug(), GuestScript(), lose)
    kept = list(promises_of(subject))
    assert not any("plug" in promise.name or "guest_takes" in promise.name for promise in kept)
    assert len(kept) > len(PROMISES) / 2
    for promise in kept:
        promise.hold(subject)


def test_the_suite_needs_no_pytest() -> None:
    """An accelerator's users have hpcore alone."""
    program = "import sys; sys.modules['pytest'] = None; import hpcore.promises"
    subprocess.run([sys.executable, "-c", program], check=True)
