"""Guests that are played: what they do on the registers, what they know, how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from hpcore.guest.cpulist import format_cpu_list
from hpcore.guest.errors import GuestError
from hpcore.guest.played import KINDS, LOST, Answers, PlayedGuest, make_guest
from hpcore.guest.played.command_line import CpuLimits, cpu_limits
from hpcore.model import stimuli as st
from hpcore.model.acpi import Notification
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.rules import RULES, Rules, Trait
from hpcore.platform.hotplug_device import HotplugDevice

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
SECONDS = 60.0


class Bench:
    """The registers with no core behind them: what the guest does is only written down.

    CPU_ON is answered by `_STA`, which a test sets by the device's steps. The guest can't
    act while `hold` is cleared; `broken` is what every access raises.
    """

    def __init__(
        self,
        kind: str = "linux",
        append: str = "",
        config: MachineConfig = CONFIG,
        answers: Answers | None = None,
        rules: Rules = RULES,
    ) -> None:
        self.said: list[st.GuestCall] = []
        self.guest = make_guest(kind, config, append, self, answers=answers, rules=rules)
        self.device = HotplugDevice(
            config, self.said.append, self.guest.ged_interrupt, rules=rules
        )
        self.hold = asyncio.Event()
        self.hold.set()
        self.broken: str | None = None
        for slot in range(config.topology.cpus):
            self.device.apply(Step.ENABLE, slot)

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        await self.hold.wait()
        if self.broken is not None:
            raise OSError(self.broken)

    async def read(self, address: int, size: int) -> int:
        await self._turn()
        return self.device.read(address, size)

    async def write(self, address: int, size: int, value: int) -> None:
        await self._turn()
        self.device.write(address, size, value)

    async def cpu_on(self, caller: int, cpu: int) -> int:
        await self._turn()
        self.said.append(st.CpuOnCalled(cpu, caller, verdict=self.device.enabled(cpu)))
        return 0 if self.device.enabled(cpu) else -3

    async def cpu_off(self, cpu: int) -> None:
        await self._turn()
        self.said.append(st.CpuOffSeen(cpu))

    async def system_reset(self) -> None:
        await self._turn()
        self.said.append(st.ResetSeen())
        self.guest.stop()
        asyncio.get_running_loop().call_soon(self.guest.start)

    async def system_off(self) -> None:
        self.said.append(st.PowerOffSeen())
        self.guest.stop()

    async def booted(self) -> PlayedGuest:
        self.guest.start()
        await self.guest.wait_ready(SECONDS)
        self.said.clear()
        return self.guest

    async def plug(self, slot: int) -> None:
        self.device.apply(Step.ENABLE, slot)
        self.device.apply(Step.NOTIFY_INSERT, slot)
        await self.guest.idle(SECONDS)

    async def masks(self) -> str:
        found = await self.guest.masks()
        sets = (found.possible, found.present, found.enabled or (), found.online, found.offline)
        return " ".join(format_cpu_list(cpus) or "-" for cpus in sets)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """An async test as a plain one, with an end."""

    def plain() -> None:
        asyncio.run(asyncio.wait_for(test(), 4 * SECONDS))

    plain.__name__, plain.__doc__ = test.__name__, test.__doc__
    return plain


# ------------------------------------------------------------------ by other rules

COLD_CAN_GO = Rules(traits=frozenset({Trait.COLD_BOOTED_CAN_GO}))


@run
async def test_what_was_there_at_boot_is_given_back_where_its_tables_have_an_ej0() -> None:
    for rules, calls in ((RULES, []), (COLD_CAN_GO, [st.EjectCalled(1)])):
        bench = Bench(rules=rules)
        await bench.booted()
        bench.device.apply(Step.NOTIFY_REMOVE, 1)
        await bench.guest.idle(SECONDS)
        assert [call for call in bench.said if isinstance(call, st.EjectCalled)] == calls
        assert bench.device.enabled(1) is not bool(calls)


@run
async def test_a_kernel_before_6_11_takes_what_the_madt_says_is_enabled_alone() -> None:
    for rules, masks in ((RULES, "0-1 0-1 - 0-1 -"), (COLD_CAN_GO, "0 0 - 0 -")):
        bench = Bench("legacy", rules=rules)
        await bench.booted()
        assert await bench.masks() == masks


# ---------------------------------------------------------------------------- boot


@pytest.mark.parametrize(
    ("append", "tried", "masks"),
    [
        ("", [1, 2, 3], "0-3 0-3 0-1 0-1 2-3"),
        ("quiet maxcpus=1", [], "0-3 0-3 0-1 0 1-3"),
        ("maxcpus=3 maxcpus=2", [1], "0-3 0-3 0-1 0-1 2-3"),
        ("nosmp", [], "0-3 0 0 0 1-3"),
        ("nr_cpus=1", [], "0 0 0 0 -"),
        ("nr_cpus=3 nr_cpus=4", [1, 2], "0-2 0-2 0-1 0-1 2"),
    ],
)
def test_linux_brings_up_what_its_command_line_lets_it(
    append: str, tried: list[int], masks: str
) -> None:
    async def main() -> None:
        bench = Bench(append=append)
        bench.guest.start()
        await bench.guest.wait_ready(SECONDS)
        assert [s.slot for s in bench.said if isinstance(s, st.CpuOnCalled)] == tried
        assert await bench.masks() == masks

    asyncio.run(main())


def test_the_last_word_on_the_command_line_counts_and_what_is_inits_does_not() -> None:
    assert cpu_limits("") == CpuLimits(None, None)
    assert cpu_limits("nr_cpus=2 nr_cpus=8 nosmp maxcpus=3") == CpuLimits(2, 3)
    assert cpu_limits("maxcpus=4 nr_cpus=8 x maxcpus=2") == CpuLimits(8, 2)
    assert cpu_limits("maxcpus=x nr_cpus=0 nosmp") == CpuLimits(None, 0)
    assert cpu_limits("quiet -- maxcpus=2") == CpuLimits(None, None)


# ------------------------------------------------------------------ plug and unplug


@run
async def test_linux_registers_what_is_plugged_and_gives_it_back() -> None:
    bench = Bench()
    guest = await bench.booted()
    await bench.plug(2)
    assert bench.said == [
        st.ScanStarted(), st.InsertAcked(2), st.ScanEnded(), st.OstReported(2, 1, 0),
    ]  # fmt: skip
    assert await bench.masks() == "0-3 0-3 0-2 0-1 2-3"
    await guest.online(2)
    await guest.online(2)  # once more changes nothing
    assert await bench.masks() == "0-3 0-3 0-2 0-2 3"
    bench.said.clear()
    bench.device.apply(Step.NOTIFY_REMOVE, 2)
    await guest.idle(SECONDS)
    assert bench.said == [
        st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded(), st.OstReported(2, 3, 0x84),
        st.CpuOffSeen(2), st.EjectCalled(2), st.OstReported(2, 3, 0),
    ]  # fmt: skip
    assert await bench.masks() == "0-3 0-3 0-1 0-1 2-3"


@run
async def test_linux_refuses_to_give_its_last_vcpu_as_busy() -> None:
    bench = Bench(append="maxcpus=1")
    guest = await bench.booted()
    await bench.plug(2)
    await guest.online(2)
    await guest.offline(0)
    bench.said.clear()
    bench.device.apply(Step.NOTIFY_REMOVE, 2)
    await guest.idle(SECONDS)
    assert bench.said[3:] == [st.OstReported(2, 3, 0x84), st.OstReported(2, 3, 0x82)]
    with pytest.raises(GuestError, match=r"cpu2/online: write error: Device or resource busy"):
        await guest.offline(2)
    assert await bench.masks() == "0-3 0-3 0-2 2 0-1,3"


@run
async def test_both_bits_of_a_vcpu_are_taken_in_one_scan_and_neither_is_lost() -> None:
    bench = Bench()
    await bench.booted()
    bench.device.apply(Step.ENABLE, 3)
    bench.hold.clear()
    bench.device.apply(Step.NOTIFY_INSERT, 3)
    bench.device.apply(Step.NOTIFY_REMOVE, 3)
    bench.hold.set()
    await bench.guest.idle(SECONDS)
    words = [s for s in bench.said if isinstance(s, st.OstReported | st.EjectCalled)]
    assert words == [
        st.OstReported(3, 1, 0), st.OstReported(3, 3, 0x84), st.EjectCalled(3),
        st.OstReported(3, 3, 0),
    ]  # fmt: skip


@run
async def test_an_interrupt_before_or_during_the_boot_is_taken_after_it() -> None:
    for before in (True, False):
        bench = Bench()
        bench.device.apply(Step.ENABLE, 2)
        if before:
            bench.device.apply(Step.NOTIFY_INSERT, 2)
        bench.guest.start()
        await asyncio.sleep(0)
        if not before:
            bench.device.apply(Step.NOTIFY_INSERT, 2)
        await bench.guest.idle(SECONDS)
        assert bench.said[-1] == st.OstReported(2, 1, 0)
        assert bench.said.count(st.OstReported(2, 1, 0)) == 1


@run
async def test_what_is_not_enabled_is_not_there_to_be_brought_up() -> None:
    bench = Bench()
    guest = await bench.booted()
    with pytest.raises(GuestError, match=r"can't create .*/cpu3/online: nonexistent directory"):
        await guest.online(3)
    await bench.plug(2)
    bench.device.apply(Step.DISABLE, 2)  # by force, say: the guest has not been told
    with pytest.raises(GuestError, match=r"cpu2/online: write error: Operation not permitted"):
        await guest.online(2)


@pytest.mark.parametrize(
    ("append", "masks"), [("nr_cpus=3", "0-2 0-2 0-1 0-1 2"), ("nosmp", "0-3 0 0 0 1-3")]
)
def test_what_the_kernel_has_no_room_for_is_answered_with_success_and_never_there(
    append: str, masks: str
) -> None:
    async def main() -> None:
        bench = Bench(append=append)
        guest = await bench.booted()
        await bench.plug(3)
        assert bench.said[-1] == st.OstReported(3, 1, 0)
        assert await bench.masks() == masks
        with pytest.raises(GuestError, match=r"cpu3/online: nonexistent directory"):
            await guest.online(3)
        bench.said.clear()
        bench.device.apply(Step.NOTIFY_REMOVE, 3)
        await guest.idle(SECONDS)
        assert bench.said[3:] == [
            st.OstReported(3, 3, 0x84), st.EjectCalled(3), st.OstReported(3, 3, 0),
        ]  # fmt: skip
        assert await bench.masks() == masks

    asyncio.run(main())


@run
async def test_a_kernel_before_6_11_answers_and_never_has_what_is_plugged() -> None:
    bench = Bench("legacy")
    guest = await bench.booted()
    assert await bench.masks() == "0-1 0-1 - 0-1 -"
    assert (await guest.masks()).enabled is None
    await bench.plug(2)
    with pytest.raises(GuestError, match=r"cpu2/online: nonexistent directory"):
        await guest.online(2)
    bench.device.apply(Step.NOTIFY_REMOVE, 2)
    await guest.idle(SECONDS)
    assert [s for s in bench.said if not isinstance(s, st.ScanStarted | st.ScanEnded)] == [
        st.InsertAcked(2), st.OstReported(2, 1, 0), st.RemoveAcked(2),
        st.OstReported(2, 3, 0x84), st.EjectCalled(2), st.OstReported(2, 3, 0),
    ]  # fmt: skip
    assert await bench.masks() == "0-1 0-1 - 0-1 -"


# ------------------------------------------------------------ answers that are chosen


def told(bench: Bench) -> list[st.OstReported | st.EjectCalled]:
    return [s for s in bench.said if isinstance(s, st.OstReported | st.EjectCalled)]


@run
async def test_a_silent_guest_takes_the_event_registers_vcpus_and_gives_none_back() -> None:
    bench = Bench("silent")
    guest = await bench.booted()
    await bench.plug(2)
    assert await bench.masks() == "0-3 0-3 0-2 0-1 2-3"
    bench.said.clear()
    for _ in range(2):
        bench.device.apply(Step.NOTIFY_REMOVE, 2)
        await guest.idle(SECONDS)
    assert bench.said == 2 * [st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded()]
    await guest.online(2)
    assert await bench.masks() == "0-3 0-3 0-2 0-2 3"


@run
async def test_a_chosen_status_is_all_that_is_answered() -> None:
    failure = {Notification.DEVICE_CHECK: 0x1, Notification.EJECT_REQUEST: 0x82}
    bench = Bench(answers=failure)
    guest = await bench.booted()
    await bench.plug(2)
    bench.device.apply(Step.NOTIFY_REMOVE, 2)
    await guest.idle(SECONDS)
    assert told(bench) == [st.OstReported(2, 1, 0x1), st.OstReported(2, 3, 0x82)]
    assert await bench.masks() == "0-3 0-3 0-1 0-1 2-3"  # it did not register the vCPU


@run
async def test_answers_in_turn_are_given_once_in_every_boot_and_then_the_kernels_own() -> None:
    bench = Bench(answers={Notification.EJECT_REQUEST: (LOST, 0x80)})
    guest = await bench.booted()
    for _ in range(2):
        await bench.plug(2)
        bench.said.clear()
        for _ in range(3):
            bench.device.apply(Step.NOTIFY_REMOVE, 2)
            await guest.idle(SECONDS)
        assert told(bench) == [
            st.OstReported(2, 3, 0x80),
            st.OstReported(2, 3, 0x84), st.EjectCalled(2), st.OstReported(2, 3, 0),
        ]  # fmt: skip
        await guest.reboot(SECONDS)


@run
async def test_a_chosen_answer_of_a_silent_guest_is_given_in_place_of_its_silence() -> None:
    bench = Bench("silent", answers={Notification.EJECT_REQUEST: 0x1})
    guest = await bench.booted()
    bench.device.apply(Step.NOTIFY_REMOVE, 2)
    await guest.idle(SECONDS)
    assert told(bench) == [st.OstReported(2, 3, 0x1)]


# ------------------------------------------------------------------- how it ends


@run
async def test_a_reboot_starts_the_kernel_anew_with_what_is_enabled() -> None:
    bench = Bench()
    guest = await bench.booted()
    await bench.plug(3)
    await guest.online(3)
    await guest.offline(1)
    bench.said.clear()
    await guest.reboot(SECONDS)
    assert bench.said[0] == st.ResetSeen()
    assert await bench.masks() == "0-3 0-3 0-1,3 0-1,3 2"


@run
async def test_what_was_asked_of_a_guest_ends_with_it() -> None:
    bench = Bench()
    guest = await bench.booted()
    await bench.plug(2)
    bench.hold.clear()
    asked = asyncio.ensure_future(guest.online(2))
    await asyncio.sleep(0.01)
    guest.stop()
    with pytest.raises(GuestError, match="was reset, or ended"):
        await asked
    with pytest.raises(GuestError, match="has not booted"):
        await guest.masks()
    with pytest.raises(GuestError, match=r"did not boot within 0\.05 s"):
        await guest.wait_ready(0.05)


@run
async def test_a_machine_that_is_gone_ends_the_guest_with_its_words() -> None:
    bench = Bench()
    guest = await bench.booted()
    bench.broken = "QEMU has died"
    bench.device.apply(Step.NOTIFY_INSERT, 2)
    for _ in range(2):
        with pytest.raises(GuestError, match="can't reach its machine: QEMU has died"):
            await guest.idle(SECONDS)
    with pytest.raises(GuestError, match="QEMU has died"):
        await guest.online(1)
    bench.broken = None
    await bench.booted()
    bench.broken = "it is slow"
    with pytest.raises(GuestError, match="it is slow"):
        await guest.reboot(SECONDS)


@run
async def test_a_guest_powers_off() -> None:
    bench = Bench()
    guest = await bench.booted()
    assert await guest.run("uname -a") is None
    await guest.power_off()
    assert bench.said == [st.PowerOffSeen()]
    with pytest.raises(GuestError, match="has not booted"):
        await guest.power_off()


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'bsd' is no guest that is played; there are linux"):
        make_guest("bsd", CONFIG, "", Bench())
    assert KINDS[0] == "linux"


# ------------------------------------------------------------------- saved, and going on


@pytest.mark.parametrize("kind", KINDS)
def test_two_guests_of_one_that_was_saved_do_the_same(kind: str) -> None:
    async def went_on(registers: str, known: str) -> tuple[list[st.GuestCall], str]:
        bench = Bench(kind)
        bench.device.load(json.loads(registers))
        bench.guest.go_on(json.loads(known))
        assert bench.guest.times_ready == 0 and bench.guest.at_rest
        masks = await bench.masks()
        await bench.guest.online(2)
        bench.device.apply(Step.NOTIFY_REMOVE, 2)
        await bench.guest.idle(SECONDS)
        return bench.said, masks

    @run
    async def test() -> None:
        bench = Bench(kind)
        await bench.booted()
        if kind != "legacy":
            await bench.plug(2)
        saved = json.dumps(bench.device.saved()), json.dumps(bench.guest.saved())
        once, again = await went_on(*saved), await went_on(*saved)
        assert once == again
        assert once[1] == await bench.masks()

    if kind == "legacy":
        with pytest.raises(GuestError, match="nonexistent directory"):
            test()
    else:
        test()


@run
async def test_a_guest_that_does_something_is_not_saved() -> None:
    bench = Bench()
    with pytest.raises(GuestError, match="in the middle of something"):
        bench.guest.saved()  # it has not booted
    guest = await bench.booted()
    bench.device.apply(Step.ENABLE, 2)
    bench.hold.clear()
    asked = asyncio.create_task(guest.offline(1))
    await asyncio.sleep(0)
    with pytest.raises(GuestError, match="in the middle of something"):
        guest.saved()
    bench.hold.set()
    await guest.comes_to_rest(SECONDS)
    assert guest.saved()["online"] == [0]
    await asked
