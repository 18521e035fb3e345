"""What an accelerator says of itself where it says nothing, and what every session says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.model.acpi import Notification
from hpcore.run import accelerator, gate
from hpcore.run.accelerator import Capabilities, GuestImages, GuestScript


def test_an_accelerator_that_says_nothing_of_itself_can_all_and_runs_the_guest() -> None:
    assert Capabilities() == Capabilities(
        unavailable=None, no_hotplug=None, max_vcpus=512, plays_guest=False, modelled={},
        differs={}, versions={},
    )  # fmt: skip


def test_a_guest_that_boots_has_a_shell_and_no_command_line_of_its_own() -> None:
    images = GuestImages(Path("Image"), Path("initrd"))
    assert (images.append, images.shell) == ("", True)


@pytest.mark.parametrize(
    ("guest", "says"),
    [
        (GuestScript(), "linux (played)"),
        (GuestScript("silent"), "silent (played)"),
        (GuestScript(append="maxcpus=1"), "linux (played)"),
    ],
)
def test_a_guest_that_is_played_is_said_to_be(guest: GuestScript, says: str) -> None:
    assert str(guest) == says
    assert (guest.answers, GuestScript().kind, GuestScript().append) == ({}, "linux", "")


def test_the_answers_of_a_played_guest_are_said_with_it() -> None:
    guest = GuestScript("silent", answers={Notification.EJECT_REQUEST: (0x82,)})
    begins, ends = str(guest).split("; ")
    assert begins == "silent (played"
    assert "0x82" in ends and ends.endswith(")")


def test_what_every_session_says_to_what_comes_at_the_wrong_time() -> None:
    assert accelerator.NO_GUEST == "there is no guest to start: the session was opened without one"
    assert accelerator.NEVER_WIRED.format(3) == "vCPU 3 is to be enabled and was never wired"
    assert gate.NO_MACHINE_YET == "there is no machine yet: CREATE_VCPUS comes first"
    assert gate.CREATED_ONCE == "the vCPUs exist already; they are created once"
    assert gate.GIC_FIRST == "the GIC is not initialised yet: INIT_GIC comes first"
    assert gate.GIC_ONCE == "the GIC is initialised already; it is initialised once"
    assert gate.NO_SUCH_VCPU.format(4, 3) == "there is no vCPU 4; the machine has 0 to 3"
    assert gate.ENDED == "the machine was ended"
