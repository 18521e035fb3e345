"""What every accelerator promises, kept by an unpatched QEMU on a real KVM."""

from __future__ import annotations

import pytest
from hpcore_kvm_qemu.accelerator import KvmQemuAccelerator

from hpcore.promises import AcceleratorSuite, kill_process
from tests.support.guests import fetched_images

pytestmark = pytest.mark.long


class TestKvmQemu(AcceleratorSuite):
    accelerator = KvmQemuAccelerator()
    guest = fetched_images()
    lose = staticmethod(kill_process)


def test_what_is_left_out_is_what_is_about_played_guests() -> None:
    assert set(TestKvmQemu.left_out) - {"open_refuses_more_vcpus_than_max_vcpus"} == {
        "a_notification_in_a_reset_is_not_repeated",
        "the_played_guest_is_there_with_the_machine",
        "a_machine_that_is_off_can_be_reset",
    }
