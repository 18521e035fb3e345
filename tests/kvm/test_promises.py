"""What every accelerator promises, kept on a real KVM; the others' are in tests/accelerators."""

from __future__ import annotations

from hpcore_kvm import KvmAccelerator
from hpcore_kvm.session import KvmSession

from hpcore.promises import AcceleratorSuite
from hpcore.run.accelerator import Session
from tests.support.guests import fetched_images


def lose(session: Session) -> None:
    """As when the thread of a vCPU fails."""
    assert isinstance(session, KvmSession) and session.machine is not None
    session.machine.failed("a test has broken the machine")


class TestKvm(AcceleratorSuite):
    accelerator = KvmAccelerator()
    guest = fetched_images()
    lose = staticmethod(lose)


def test_what_is_left_out_is_what_is_about_played_guests() -> None:
    assert set(TestKvm.left_out) - {"open_refuses_more_vcpus_than_max_vcpus"} == {
        "a_notification_in_a_reset_is_not_repeated",
        "the_played_guest_is_there_with_the_machine",
        "a_machine_that_is_off_can_be_reset",
    }
