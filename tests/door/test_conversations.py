"""Clients come and go, one at a time on each monitor, and hear what they would from QEMU."""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import EventListener, QMPClient

from hpcore.door.qmp import Answers, Dialled, Monitor, Monitors, Passes, QmpError
from tests.door.rig import SECONDS, Client, Real, door, real
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

A_MACHINE = ("-machine", "virt", "-cpu", "cortex-a57", "-m", "64")


def scene(work: object) -> None:
    asyncio.run(asyncio.wait_for(work, 120))  # type: ignore[arg-type]


def test_the_next_client_is_greeted_anew_and_another_waits_for_its_turn() -> None:
    async def work() -> None:
        async with real(1) as qemu, door(qemu, qemu.paths) as before:
            path = before.fronts[0]
            first, second = await Client.ready(path), await Client.to(path)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(second.reader.readline(), 0.2)
            assert await first.ask("query-name") == {"return": {}}
            await first.close()
            assert "QMP" in await second.message()
            refused = await second.ask("query-name")
            assert isinstance(refused, dict) and refused["error"]["class"] == "CommandNotFound"
            await second.close()

    scene(work())


def test_what_a_client_sent_before_it_shut_its_side_is_answered() -> None:
    async def work() -> None:
        async with real(1) as qemu, door(qemu, qemu.paths) as before:
            client = await Client.to(before.fronts[0])
            await client.send(b"{'execute':'qmp_capabilities'} {'execute':'query-name','id':1}")
            client.writer.write_eof()
            said = await asyncio.wait_for(client.reader.read(), SECONDS)
            assert said.count(b"\r\n") == 3 and b'"id": 1' in said

    scene(work())


def test_events_come_to_every_client_that_has_negotiated_and_to_no_other() -> None:
    async def work() -> None:
        async with real(3, A_MACHINE) as qemu, door(qemu, qemu.paths) as before:
            one, two = [await Client.ready(path) for path in before.fronts[:2]]
            deaf = await Client.to(before.fronts[2])
            await deaf.line()
            before.monitors.tell("OF_OURS", {"n": 1})
            await one.send(b"{'execute':'system_reset'}")
            for client in (one, two):
                ours = await client.event("OF_OURS")
                assert ours["data"] == {"n": 1}
                assert set(ours["timestamp"]) == {"seconds", "microseconds"}  # type: ignore[call-overload]
                await client.event("RESET")
            answer = await deaf.ask("query-name")
            assert isinstance(answer, dict) and "error" in answer
            assert [line for line in deaf.heard if b"event" in line] == []

    scene(work())


def test_an_event_of_ours_does_not_overtake_the_answer_to_the_command_that_led_to_it() -> None:
    async def work() -> None:
        async with real(1) as qemu:

            async def device_del(arguments: Mapping[str, object]) -> object:
                before.monitors.tell("DEVICE_DELETED", {"device": arguments["id"]})
                await asyncio.sleep(0.05)
                return {}

            answers = Answers({"device_del": device_del})
            async with door(qemu, qemu.paths, answers) as before:
                client = await Client.ready(before.fronts[0])
                await client.send(b'{"execute":"device_del","arguments":{"id":"x"},"id":5}')
                assert await client.message() == {"return": {}, "id": 5}
                assert (await client.message())["event"] == "DEVICE_DELETED"

    scene(work())


def test_an_answer_of_ours_comes_after_the_events_that_it_made_the_real_qemu_tell() -> None:
    async def work() -> None:
        async with real(2, A_MACHINE) as qemu:
            own = await Client.ready(qemu.paths[1])

            async def stop(_arguments: Mapping[str, object]) -> object:
                await own.send(b"{'execute':'system_reset'}")
                await own.event("RESET")
                return {}

            answers = Answers({"stop": stop}, after_events=frozenset({"stop"}))
            async with door(qemu, qemu.paths[:1], answers) as before:
                client = await Client.ready(before.fronts[0])
                for _ in range(20):
                    await client.send(b"# {'execute':'stop','id':1}")
                    assert "error" in await client.message()
                    assert (await client.message())["event"] == "RESET"
                    assert await client.message() == {"return": {}, "id": 1}

    scene(work())


def test_a_handler_may_refuse_or_pass_on_or_fail_and_the_conversation_goes_on() -> None:
    async def work() -> None:
        async def refuses(_arguments: Mapping[str, object]) -> object:
            raise QmpError("no such thing", "DeviceNotFound")

        async def passes(_arguments: Mapping[str, object]) -> object:
            return Passes.ON

        async def fails(_arguments: Mapping[str, object]) -> object:
            raise ZeroDivisionError

        handlers = {"device_del": refuses, "query-name": passes, "stop": fails}
        async with real(1) as qemu, door(qemu, qemu.paths, Answers(handlers)) as before:
            client = await Client.ready(before.fronts[0])
            assert await client.ask("device_del", id="a") == {
                "error": {"class": "DeviceNotFound", "desc": "no such thing"}, "id": "a",
            }  # fmt: skip
            assert await client.ask("query-name") == {"return": {}}
            failed = await client.ask("stop")
            assert isinstance(failed, dict)
            assert failed["error"] == {
                "class": "GenericError", "desc": "hpcore failed: ZeroDivisionError",
            }  # fmt: skip
            assert await client.ask("query-name") == {"return": {}}

    scene(work())


def test_an_event_of_the_real_qemus_can_be_kept_from_the_clients() -> None:
    async def work() -> None:
        answers = Answers(passes=lambda name, _data: name != "RESET")
        async with real(2, A_MACHINE) as qemu, door(qemu, qemu.paths[:1], answers) as before:
            client, direct = await Client.ready(before.fronts[0]), await Client.ready(qemu.paths[1])
            await client.ask("system_reset")
            await direct.event("RESET")
            await client.ask("query-name")
            assert [line for line in client.heard if b"RESET" in line] == []

    scene(work())


def test_an_out_of_band_command_passes_one_that_hpcore_has_not_answered() -> None:
    async def work() -> None:
        goes_on = asyncio.Event()

        async def stop(_arguments: Mapping[str, object]) -> object:
            await goes_on.wait()
            return {}

        async with real(1) as qemu, door(qemu, qemu.paths, Answers({"stop": stop})) as before:
            client = await Client.ready(before.fronts[0], ["oob"])
            await client.send(
                b"{'execute':'stop','id':1}{'execute':'query-name','id':2}"
                b"{'exec-oob':'migrate-pause','id':3}"
            )
            first = await client.message()
            assert first["id"] == 3 and "error" in first
            goes_on.set()
            assert await client.message() == {"return": {}, "id": 1}
            assert await client.message() == {"return": {}, "id": 2}

    scene(work())


def test_without_its_negotiation_an_out_of_band_command_waits_for_its_turn() -> None:
    async def work() -> None:
        async def stop(_arguments: Mapping[str, object]) -> object:
            await asyncio.sleep(0.1)
            return {}

        async with real(1) as qemu, door(qemu, qemu.paths, Answers({"stop": stop})) as before:
            client = await Client.ready(before.fronts[0])
            await client.send(b"{'execute':'stop','id':1}{'exec-oob':'migrate-pause','id':3}")
            assert await client.message() == {"return": {}, "id": 1}
            assert (await client.message())["id"] == 3

    scene(work())


def test_descriptors_reach_qemu_with_the_command_that_they_came_with() -> None:
    async def work() -> None:
        async with real(1) as qemu, door(qemu, qemu.paths) as before:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(before.fronts[0]))
                await asyncio.to_thread(descriptors_scene, sock, qemu.process.pid)

    before = len(list(Path("/proc/self/fd").iterdir()))
    scene(work())
    assert len(list(Path("/proc/self/fd").iterdir())) == before, "a descriptor was kept here"


def descriptors_scene(sock: socket.socket, pid: int) -> None:
    sock.settimeout(SECONDS)
    said = sock.makefile("rb")
    assert b"QMP" in said.readline()
    sock.sendall(b"{'execute':'qmp_capabilities'}")
    assert said.readline() == b'{"return": {}}\r\n'
    ends = [os.pipe() for _ in range(3)]

    def give(data: bytes, *descriptors: int) -> None:
        rights = array.array("i", descriptors)
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def held() -> list[int]:
        """Which pipes QEMU has an end of."""
        names = {link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()}
        return [
            n
            for n, (read, _) in enumerate(ends)
            if Path(f"/proc/self/fd/{read}").readlink() in names
        ]

    try:
        give(b"{'execute':'getfd','arguments':{'fdname':'a'}}", ends[0][0])
        assert said.readline() == b'{"return": {}}\r\n' and held() == [0]
        sock.sendall(b"{'execute':'query-name'} ")  # read together with what follows
        give(b"{'execute':'add-fd','arguments':", ends[1][0])
        sock.sendall(b"{'fdset-id':3}}")
        assert said.readline() == b'{"return": {}}\r\n'
        assert b'"fdset-id": 3' in said.readline() and held() == [0, 1]
        sock.sendall(b"{'execute':'getfd','arguments':{'fdname':'b'}}")
        assert b"No file descriptor supplied via SCM_RIGHTS" in said.readline()
        give(b"{'execute':", ends[2][0])  # a descriptor that nobody takes
    finally:
        said.close()
        for end in ends:
            os.close(end[0])
            os.close(end[1])


def test_every_client_sees_the_end_of_a_qemu_that_ends() -> None:
    async def work() -> None:
        async with real(3) as qemu, door(qemu, qemu.paths) as before:
            one, two = [await Client.ready(path) for path in before.fronts[:2]]
            await one.send(b"{'execute':'quit'}")
            for client in (one, two):
                event = await client.event("SHUTDOWN")
                assert event["data"] == {"guest": False, "reason": "host-qmp-quit"}
            assert await one.message() == {"return": {}}
            assert await one.line() == await two.line() == b""
            await asyncio.wait_for(before.monitors.left(), SECONDS)
            await qemu.process.wait()
            late = await Client.to(before.fronts[2])  # to a monitor that nobody had used
            assert await asyncio.wait_for(late.reader.read(), SECONDS) == b""

    scene(work())


def test_the_door_dials_out_and_again_once_the_client_has_gone() -> None:
    async def work() -> None:
        async with real(1) as qemu:
            listening = socket.create_server(("127.0.0.1", 0))
            listening.setblocking(False)
            front = Dialled(lambda: socket.create_connection(listening.getsockname()), 0.01)
            monitors = Monitors((Monitor(front, qemu.paths[0]),))
            serving = asyncio.create_task(monitors.serve(Answers(), qemu.gone))
            for _ in range(2):
                sock, _ = await asyncio.get_running_loop().sock_accept(listening)
                client = Client(*await asyncio.open_connection(sock=sock))
                assert "QMP" in await client.message()
                await client.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            listening.close()

    scene(work())


def test_a_pretty_monitor_stays_pretty() -> None:
    async def work() -> None:
        async def stop(_arguments: Mapping[str, object]) -> object:
            return {"a": [], "b": {}, "c": [1, {"d": "\u20ac"}]}

        async with (
            real(1, options=",pretty=on") as qemu,
            door(qemu, qemu.paths, Answers({"stop": stop}), pretty=True) as before,
        ):
            client = await Client.to(before.fronts[0])
            await client.send(b"{'execute':'qmp_capabilities'}{'execute':'stop','id':{}}")
            client.writer.write_eof()
            said = await asyncio.wait_for(client.reader.read(), SECONDS)
            assert said.endswith(
                b'{\r\n    "return": {\r\n    }\r\n}\r\n'  # QEMU's own; the rest is ours
                b'{\r\n    "return": {\r\n        "a": [\r\n        ],\r\n        "b": {\r\n'
                b'        },\r\n        "c": [\r\n            1,\r\n            {\r\n'
                b'                "d": "\\u20AC"\r\n            }\r\n        ]\r\n    },\r\n'
                b'    "id": {\r\n    }\r\n}\r\n'
            )  # fmt: skip

    scene(work())


def test_qemus_own_python_client_is_served() -> None:
    async def work() -> None:
        async with real(1, A_MACHINE) as qemu, door(qemu, qemu.paths) as before:
            client = QMPClient("test")
            await client.connect(str(before.fronts[0]))
            with client.listener(("STOP", "RESET")) as heard:
                assert isinstance(heard, EventListener)
                status = await client.execute("query-status")
                assert isinstance(status, dict) and status["status"] == "prelaunch"
                await client.execute("system_reset")
                assert (await heard.get())["event"] == "RESET"
            await client.disconnect()

    scene(work())


def test_qmp_shell_is_served() -> None:
    async def work() -> None:
        async with real(1) as qemu, door(qemu, qemu.paths) as before:
            shell = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).parent / "qmp-shell"), str(before.fronts[0]),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            said, _ = await asyncio.wait_for(
                shell.communicate(b"query-status\ndevice_del id=nobody\n"), SECONDS
            )
            assert b'"status": "prelaunch"' in said and b"'nobody' not found" in said

    scene(work())


def test_the_real_qemu_may_be_slow_to_listen(tmp_path: Path) -> None:
    async def work() -> None:
        async with real(1) as qemu:
            late = tmp_path / "late"
            async with door(Real(qemu.process, [late]), [late]) as before:
                client = await Client.to(before.fronts[0])
                await asyncio.sleep(0.05)
                late.symlink_to(qemu.paths[0])
                assert "QMP" in await client.message()

    scene(work())


def test_a_monitor_outlives_a_time_without_free_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        async with real(1) as qemu, door(qemu, qemu.paths) as before:
            loop = asyncio.get_running_loop()
            failing: dict[str, Callable[..., Awaitable[Any]]] = {
                "sock_accept": loop.sock_accept,
                "sock_connect": loop.sock_connect,
            }
            failed = []

            def fails_once(name: str) -> Callable[..., Awaitable[Any]]:
                async def call(*arguments: Any) -> Any:
                    if name in failed:
                        return await failing[name](*arguments)
                    failed.append(name)
                    raise OSError(errno.EMFILE, "Too many open files")

                return call

            first = await Client.ready(before.fronts[0])
            for name in failing:
                monkeypatch.setattr(loop, name, fails_once(name))
            await first.close()
            with socket.socket(socket.AF_UNIX) as refused:  # its monitor is not reached
                refused.connect(str(before.fronts[0]))
                refused.setblocking(False)
                assert await asyncio.wait_for(loop.sock_recv(refused, 100), SECONDS) == b""
            assert failed == ["sock_accept", "sock_connect"]
            client = await Client.ready(before.fronts[0])
            assert await client.ask("query-name") == {"return": {}}

    scene(work())
