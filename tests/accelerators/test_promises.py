"""Every accelerator keeps what every accelerator promises; kvm's are in tests/kvm.

That no promise is left out unnoticed is the last test's affair.
"""

from __future__ import annotations

from hpcore_qtest import QtestAccelerator
from hpcore_qtest.accelerator import LoongarchAccelerator, Q35Accelerator
from hpcore_tcg import TcgAccelerator

from hpcore.promises import AcceleratorSuite, kill_process
from hpcore.run.accelerator import GuestScript, Session
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


REAL, PLAYED = "the_console_ends_with_the_machine", "the_played_guest_is_there_with_the_machine"
LEFT_OUT = {
    TestPaper: {
        REAL, PLAYED, "open_refuses_more_vcpus_than_max_vcpus",
    }
}
