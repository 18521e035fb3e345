"""hpcore's side of the interposer, with the interposer played over a real socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import define, field
from hpcore_kvm_qemu import wire
from hpcore_kvm_qemu.policy import Heard, Policy
from hpcore_kvm_qemu.wire import Message
from hypothesis import given
from hypothesis import strategies as st

from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.psci import PsciStatus
from hpcore.model.stimuli import CpuOffSeen, CpuOnCalled, EjectCalled, GuestCall
from hpcore.platform.hotplug_registers import FLAGS, SELECTOR, Flag, Store
from hpcore.qemu.errors import QemuError

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
VM = 11
ON_PENDING = -5
"""PSCI's answer while another call of the same vCPU is under way; the core has no such thing."""


@define
class Interposer:
    """The other end: what the C in QEMU does, as far as hpcore sees it."""

    sock: socket.socket
    event: int
    page: int = -1

    def tell(self, kind: int, vcpu: int = 0, *numbers: int) -> None:
        values = (*numbers, 0, 0, 0, 0)[:4]
        self.sock.send(wire.MESSAGE.pack(kind, vcpu, *(n & (1 << 64) - 1 for n in values)))

    async def ask(self, kind: int, vcpu: int = 0, *numbers: int) -> int:
        self.tell(kind, vcpu, *numbers)
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 64), 10)
        answered, _, value = wire.ANSWER.unpack(data)
        assert answered == kind
        return int(value)

    async def greet(self, version: int = wire.VERSION) -> None:
        hello = wire.MESSAGE.pack(Message.HELLO, 0, version, os.getpid(), 0, 0)
        socket.send_fds(self.sock, [hello], [self.event])
        loop = asyncio.get_running_loop()
        there = asyncio.Event()
        loop.add_reader(self.sock, there.set)
        await asyncio.wait_for(there.wait(), 10)
        loop.remove_reader(self.sock)
        data, pages, _, _ = socket.recv_fds(self.sock, 64, 1)
        if data:
            assert wire.ANSWER.unpack(data) == (Message.HELLO, 0, wire.VERSION)
            (self.page,) = pages

    async def set_up(self, vcpus: int = CONFIG.possible) -> None:
        """As QEMU makes its machine."""
        await self.greet()
        self.tell(Message.VM, 0, VM)
        for index in range(vcpus):
            self.tell(Message.VCPU, index, VM)

    def interrupts(self) -> int:
        try:
            return int.from_bytes(os.read(self.event, 8), "little")
        except BlockingIOError:
            return 0


@define
class World:
    """A policy, what it was told of, and the played interposer."""

    policy: Policy
    qemu: Interposer
    calls: list[GuestCall] = field(factory=list)
    resets: int = 0
    ended: list[str] = field(factory=list)
    over: asyncio.Event = field(factory=asyncio.Event)

    def hear(self) -> None:
        self.policy.hear(Heard(self.calls.append, self._reset, self._end))

    def _reset(self) -> None:
        self.resets += 1

    def _end(self, why: str) -> None:
        self.ended.append(why)
        self.over.set()

    async def until_ended(self) -> str:
        await self.over.wait()
        return self.ended[0]


@contextmanager
def world(path: Path) -> Iterator[World]:
    policy = Policy(CONFIG, path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    event = os.eventfd(0, os.EFD_NONBLOCK)
    qemu = Interposer(sock, event)
    try:
        sock.connect(str(path))
        sock.setblocking(False)
        policy.expect(os.getpid())
        found = World(policy, qemu)
        found.hear()
        yield found
    finally:
        policy.close()
        sock.close()
        os.close(event)
        if qemu.page >= 0:
            os.close(qemu.page)


def played(tmp_path: Path, play: Callable[[World], Awaitable[None]]) -> None:
    async def work() -> None:
        with world(tmp_path / "socket") as found:
            await asyncio.wait_for(play(found), 30)

    asyncio.run(work())


def block(world: World, register: int) -> int:
    """The address of a hotplug register."""
    return world.policy.hotplug.regions[0][0] + register


def test_it_is_enforced_once_all_vcpus_of_one_vm_are_the_interposers(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        assert not w.policy.enforced
        await w.qemu.set_up(CONFIG.possible - 1)
        w.policy.drain()
        assert not w.policy.enforced
        w.qemu.tell(Message.VCPU, CONFIG.possible - 1, VM + 1)  # of another VM, without the filter
        w.policy.drain()
        assert not w.policy.enforced
        w.qemu.tell(Message.VCPU, CONFIG.possible - 1, VM)
        w.policy.drain()
        assert w.policy.enforced

    played(tmp_path, play)


def test_a_vm_that_is_made_anew_has_no_vcpus_of_the_one_before(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        w.policy.drain()
        assert w.policy.enforced
        w.qemu.tell(Message.VM, 0, VM)
        w.policy.drain()
        assert not w.policy.enforced

    played(tmp_path, play)


def test_a_start_is_consented_to_with_all_vcpus_alone(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        assert await w.qemu.ask(Message.START, 0, VM, os.getpid(), CONFIG.possible - 1) == 0
        assert await w.qemu.ask(Message.START, 0, VM, os.getpid(), CONFIG.possible) == 1

    played(tmp_path, play)


def test_the_page_grants_the_first_vcpu_from_the_start_and_no_other(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.greet()
        granted = os.pread(w.qemu.page, CONFIG.possible, wire.GRANTED_AT)
        assert granted == bytes([1, 0, 0, 0])

    played(tmp_path, play)


def test_a_vcpu_is_granted_as_long_as_it_is_shown_enabled(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.greet()
        for step, granted in ((Step.ENABLE, True), (Step.DISABLE, False)):
            w.policy.hotplug.apply(step, 2)
            w.policy.show(2)
            assert w.policy.page.granted(2) is granted
        w.policy.hotplug.apply(Step.ENABLE, 3)
        w.policy.show_all()
        assert [w.policy.page.granted(n) for n in range(4)] == [True, False, False, True]

    played(tmp_path, play)


def test_an_eject_takes_the_grant_before_the_guests_store_is_answered(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        w.policy.hotplug.apply(Step.ENABLE, 2)
        w.policy.show(2)
        await w.qemu.ask(Message.WRITE, 0, block(w, SELECTOR), 4, 2)
        await w.qemu.ask(Message.WRITE, 0, block(w, FLAGS), 1, Store.EJECT)
        assert not w.policy.page.granted(2)
        assert w.calls == [EjectCalled(2)]

    played(tmp_path, play)


def test_what_the_guest_reads_is_what_the_registers_say(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        w.policy.hotplug.apply(Step.ENABLE, 2)
        await w.qemu.ask(Message.WRITE, 0, block(w, SELECTOR), 4, 2)
        assert await w.qemu.ask(Message.READ, 0, block(w, FLAGS), 1) & Flag.ENABLED
        await w.qemu.ask(Message.WRITE, 0, block(w, SELECTOR), 4, 3)
        assert not await w.qemu.ask(Message.READ, 0, block(w, FLAGS), 1) & Flag.ENABLED

    played(tmp_path, play)


@pytest.mark.parametrize(
    ("affinity", "status", "heard"),
    [
        (2, PsciStatus.SUCCESS, [CpuOnCalled(2, 1, 0x1000, 7, verdict=True)]),
        (3, PsciStatus.DENIED, [CpuOnCalled(3, 1, 0x1000, 7, verdict=False)]),
        (2, PsciStatus.ALREADY_ON, []),
        (2, ON_PENDING, []),
        (9, PsciStatus.INVALID_PARAMETERS, []),
        (1 << 40, PsciStatus.DENIED, []),
    ],
)
def test_the_pages_verdict_on_a_call_is_handed_on(
    tmp_path: Path, affinity: int, status: int, heard: list[GuestCall]
) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        w.qemu.tell(Message.CPU_ON, 1, affinity, 0x1000, 7, int(status))
        w.qemu.tell(Message.CPU_OFF, 1)
        w.policy.drain()
        assert w.calls == [*heard, CpuOffSeen(1)]

    played(tmp_path, play)


def test_a_reset_is_handed_on_and_the_machine_runs_on_by_the_next_word_alone(
    tmp_path: Path,
) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()

        def allowed() -> int:
            return int.from_bytes(os.pread(w.qemu.page, 4, wire.ALLOWED_AT), "little")

        assert allowed() == 0
        w.policy.let_run()
        assert allowed() == 1
        os.pwrite(w.qemu.page, struct.pack("<I", 1), wire.RESETS_AT)
        w.qemu.tell(Message.RESET, 0, 1)
        w.policy.drain()
        assert (w.resets, allowed()) == (1, 1)
        w.policy.let_run()
        assert allowed() == 2

    played(tmp_path, play)


def test_the_event_device_raises_the_interrupt_of_qemus_eventfd(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        assert w.qemu.interrupts() == 0
        w.policy.hotplug.apply(Step.NOTIFY_INSERT, 2)
        assert w.qemu.interrupts() == 1

    played(tmp_path, play)


def test_an_eventfd_that_takes_nothing_harms_nobody(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        reads, writes = os.pipe()
        w.qemu.event = writes
        await w.qemu.greet()
        os.close(reads)
        w.policy.hotplug.raise_ged()
        os.close(writes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interposer, "interrupts", lambda _self: 0)
        played(tmp_path, play)


def test_more_than_a_buffer_holds_is_drained_in_turns(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        told = 0
        while told < 2000:
            try:
                w.qemu.tell(Message.CPU_OFF, 1)
                told += 1
            except BlockingIOError:
                w.policy.drain()
        w.policy.drain()
        assert w.calls == [CpuOffSeen(1)] * told

    played(tmp_path, play)


def test_the_end_of_the_link_is_told_once_to_whoever_hears_later_too(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        w.qemu.sock.close()
        assert await w.until_ended() == "QEMU closed it"
        later: list[str] = []
        w.policy.hear(Heard(w.calls.append, lambda: None, later.append))
        assert (w.ended, later) == (["QEMU closed it"], ["QEMU closed it"])
        w.policy.hotplug.raise_ged()  # nobody is there: nothing happens

    played(tmp_path, play)


WRONG = {
    "no message": b"x",
    "half a message": wire.MESSAGE.pack(Message.CPU_OFF, 0, 0, 0, 0, 0)[:-1],
    "more than a message": wire.MESSAGE.pack(Message.CPU_OFF, 0, 0, 0, 0, 0) + b"x",
    "an unknown kind": wire.MESSAGE.pack(99, 0, 0, 0, 0, 0),
    "a second greeting": wire.MESSAGE.pack(Message.HELLO, 0, wire.VERSION, 0, 0, 0),
    "a load of no size": wire.MESSAGE.pack(Message.READ, 0, 1 << 63, 1 << 63, 0, 0),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_no_message_ends_the_link_or_is_answered(tmp_path: Path, data: bytes) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        w.qemu.sock.send(data)
        w.policy.drain()
        if not w.ended:
            assert wire.ANSWER.unpack(w.qemu.sock.recv(64))[0] == Message.READ

    played(tmp_path, play)


@given(st.lists(st.binary(max_size=80) | st.builds(
    wire.MESSAGE.pack,
    st.integers(0, 20), st.integers(0, 2**32 - 1), *(st.integers(0, 2**64 - 1),) * 4,
), max_size=20))  # fmt: skip
def test_whatever_qemus_process_says_no_vcpu_is_granted_by_it(
    tmp_path_factory: pytest.TempPathFactory, packets: list[bytes]
) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        for data in packets:
            try:
                w.qemu.sock.send(data or b"\0")
            except OSError:
                break
        for _ in range(3):
            w.policy.drain()
            await asyncio.sleep(0)  # and what the loop has of it
        assert [w.policy.page.granted(n) for n in range(4)] == [True, False, False, False]

    played(tmp_path_factory.mktemp("policy"), play)


def test_another_version_of_the_interposer_is_refused(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.greet(wire.VERSION + 1)
        assert f"version {wire.VERSION + 1} of the link" in await w.until_ended()
        assert w.qemu.page < 0

    played(tmp_path, play)


def test_a_process_that_is_not_the_expected_one_gets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    stranger = (
        "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        f"s.settimeout(20); s.connect({str(path)!r}); raise SystemExit(len(s.recv(9)))"
    )

    async def work() -> None:
        policy = Policy(CONFIG, path)
        try:
            policy.expect(os.getpid())
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", stranger)
            assert await asyncio.wait_for(process.wait(), 30) == 0  # it was hung up
            assert not policy.enforced
        finally:
            policy.close()

    asyncio.run(work())


def test_a_thread_of_another_process_is_never_signalled(tmp_path: Path) -> None:
    async def play(w: World) -> None:
        await w.qemu.set_up()
        victim = await asyncio.create_subprocess_exec("sleep", "60")
        try:
            os.pwrite(w.qemu.page, struct.pack("<I", victim.pid), wire.SEEN_AT + wire.SEEN.size)
            assert w.policy.seen(1).tid == victim.pid
            w.policy.kick(os.getpid(), 1)
        finally:
            victim.kill()
            assert await victim.wait() == -signal.SIGKILL  # and by no other signal before

    played(tmp_path, play)


def test_a_socket_that_cannot_be_is_named(tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(QemuError, match="nowhere"):
            Policy(CONFIG, tmp_path / "nowhere" / "socket")

    asyncio.run(work())
