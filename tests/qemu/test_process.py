"""A QEMU process: sockets, last words, its end, and never a stray one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from hpcore.qemu import (
    QemuError,
    QemuProcess,
    Qmp,
    QmpRefused,
    check_socket_path,
    find_qemu,
    remove_runtime_directory,
    runtime_directory,
)
from tests.qemu.support import alive, needs_qemu, outlived, program
from tests.support.waits import until

PARENT = """
import asyncio
from pathlib import Path
from hpcore.qemu import QemuProcess, find_qemu

async def main():
    argv = [str(find_qemu().path), "-machine", "none", "-nodefaults", "-display", "none", "-S"]
    process = await QemuProcess.start(argv, Path('/nonexistent'))
    print(process.pid, flush=True)
    await process.wait()

asyncio.run(main())
"""


def bare(directory: Path) -> list[str]:
    return [
        str(find_qemu().path), "-machine", "none", "-nodefaults", "-display", "none",
        "-qmp", f"unix:{directory / 'qmp'},server=on,wait=off",
    ]  # fmt: skip


def test_an_occupied_socket_path_is_refused_before_qemu_starts() -> None:
    async def run() -> None:
        directory = runtime_directory()
        taken = directory / "qmp"
        taken.write_text("")
        with pytest.raises(QemuError, match=f"{taken} is occupied"):
            await QemuProcess.start(["/nonexistent"], directory, [taken])
        remove_runtime_directory(directory)

    asyncio.run(run())


def test_a_dangling_symlink_occupies_a_path_too(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(QemuError, match="is occupied"):
        check_socket_path(path)


def test_a_path_too_long_for_a_socket_is_refused_with_its_length() -> None:
    with pytest.raises(QemuError, match="has 151 bytes; a unix socket takes 107"):
        check_socket_path(Path("/" + "x" * 150))


def test_a_program_that_is_not_there_is_named() -> None:
    async def run() -> None:
        with pytest.raises(QemuError, match="/nonexistent/qemu cannot be started"):
            await QemuProcess.start(["/nonexistent/qemu"], Path("/nonexistent"))

    asyncio.run(run())


def test_a_program_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    async def run() -> None:
        fake = program(tmp_path / "qemu", "echo the machine is on fire >&2; exit 7")
        process = await QemuProcess.start([fake], tmp_path / "own", [tmp_path / "qmp"])
        with pytest.raises(QemuError, match="exit status 7 and said: the machine is on fire"):
            await process.connect(tmp_path / "qmp")
        await process.close()

    asyncio.run(run())


def test_a_qemu_that_runs_as_another_user_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sockets are that user's. Root may use them all, so the refusal is made up here."""

    async def refuse(_loop: object, _sock: object, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    async def run() -> None:
        process = await QemuProcess.start([program(tmp_path / "qemu", "sleep 60")], tmp_path)
        monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", refuse)
        try:
            with pytest.raises(QemuError, match=r"runs as another user(.|\n)*set-uid"):
                await process.connect(tmp_path / "qmp")
        finally:
            await process.close()

    asyncio.run(run())


def test_of_endless_stderr_only_the_end_is_kept(tmp_path: Path) -> None:
    async def run() -> None:
        fake = program(tmp_path / "qemu", "yes filler | head -c 1000000 >&2; echo the end >&2")
        process = await QemuProcess.start([fake], tmp_path / "own")
        await process.wait()
        assert process.last_words.endswith("the end")
        assert len(process.last_words) < 20_000
        await process.close()

    asyncio.run(run())


@needs_qemu
def test_close_ends_and_reaps_qemu_and_removes_its_directory() -> None:
    async def run() -> None:
        directory = runtime_directory()
        process = await QemuProcess.start(bare(directory), directory, [directory / "qmp"])
        await process.connect(directory / "qmp")
        await process.close()
        await process.close()
        gone.extend([Path(f"/proc/{process.pid}"), directory])

    gone: list[Path] = []
    asyncio.run(run())
    assert [path for path in gone if path.exists()] == []


def test_a_qemu_that_ignores_sigterm_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hpcore.qemu.process.END_SECONDS", 0.2)

    async def run() -> None:
        fake = program(tmp_path / "qemu", "trap '' TERM; echo up >&2; while :; do sleep 1; done")
        process = await QemuProcess.start([fake], tmp_path / "own")
        await until(lambda: "up" in process.last_words, "the trap is set")
        await process.close()
        assert not alive(process.pid)

    asyncio.run(run())


@needs_qemu
def test_no_qemu_outlives_a_parent_killed_with_kill_9() -> None:
    pid = outlived(PARENT)
    asyncio.run(until(lambda: not alive(pid), "QEMU is gone"))


@needs_qemu
def test_qmp_answers_refuses_and_tells_events_in_order() -> None:
    async def run() -> None:
        events: list[str] = []
        directory = runtime_directory()
        process = await QemuProcess.start(bare(directory), directory, [directory / "qmp"])
        try:
            qmp = await Qmp.connect(process, directory / "qmp", lambda name, _: events.append(name))
            status = await qmp.execute("query-status")
            assert isinstance(status, dict) and status["running"] is True
            with pytest.raises(QmpRefused) as refused:
                await qmp.execute("no-such-command")
            assert refused.value.error_class == "CommandNotFound"
            await qmp.execute("stop")
            await qmp.execute("cont")
            await until(lambda: len(events) == 2, "both events")
            assert events == ["STOP", "RESUME"]
            await qmp.close()
            await qmp.close()
        finally:
            await process.close()

    asyncio.run(run())


@needs_qemu
def test_a_qemu_that_hangs_is_named_at_the_deadline_and_one_that_dies_with_its_end() -> None:
    async def run() -> None:
        directory = runtime_directory()
        process = await QemuProcess.start(bare(directory), directory, [directory / "qmp"])
        try:
            qmp = await Qmp.connect(process, directory / "qmp", lambda _name, _data: None)
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(QemuError, match=r"did not answer query-status within 0\.1 s"):
                await qmp.execute("query-status", seconds=0.1)
            call = asyncio.create_task(qmp.execute("query-status"))
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(QemuError, match=r"gone before it answered .* SIGKILL"):
                await call
            with pytest.raises(QemuError, match="gone"):
                await qmp.execute("query-status")
            await qmp.close()
        finally:
            await process.close()

    asyncio.run(run())


@pytest.mark.parametrize(("strangers", "greets"), [(1, True), (2, True), (3, False)])
def test_an_event_that_comes_before_the_greeting_costs_a_connection_not_the_machine(
    strangers: int, greets: bool, tmp_path: Path
) -> None:
    # QEMU does so once in thousands of starts: the server here does it when told to
    met = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        if met <= strangers:
            writer.write(b'{"timestamp": {}, "event": "EARLY"}\n')
        writer.write(b'{"QMP": {"version": {}, "capabilities": []}}\n')
        while command := await reader.read(65536):  # ends in no newline
            answer = {"return": {"met": True}, "id": json.loads(command).get("id")}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    async def run() -> None:
        fake = program(tmp_path / "qemu", "sleep 60")
        process = await QemuProcess.start([fake], tmp_path / "own")
        server = await asyncio.start_unix_server(serve, tmp_path / "qmp")
        try:
            if greets:
                qmp = await Qmp.connect(process, tmp_path / "qmp", lambda _name, _data: None)
                assert await qmp.execute("query-status") == {"met": True}
                await qmp.close()
            else:
                with pytest.raises(QemuError, match=r"does not answer: .* having said .*EARLY"):
                    await Qmp.connect(process, tmp_path / "qmp", lambda _name, _data: None)
        finally:
            server.close()
            await process.close()

    asyncio.run(run())



def test_a_greeting_of_garbage_is_told_so_that_a_terminal_can_show_it(tmp_path: Path) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"\\u001b[2J": "\x1b]0;mine\x07\xc2\x9b"}\n\x1b[31m\xff\n')
        writer.close()

    async def run() -> None:
        fake = program(tmp_path / "qemu", r"printf 'stop\033[2J\nand\trest' >&2; sleep 60")
        process = await QemuProcess.start([fake], tmp_path / "own")
        await until(lambda: "rest" in process.last_words)
        server = await asyncio.start_unix_server(serve, tmp_path / "qmp")
        try:
            with pytest.raises(QemuError, match="does not answer") as error:
                await Qmp.connect(process, tmp_path / "qmp", lambda _name, _data: None)
        finally:
            server.close()
            await process.close()
        words = str(error.value)
        assert all(c.isprintable() or c in "\n\t" for c in words), ascii(words)
        assert words.endswith("stop\\x1b[2J\nand\trest")
        assert r"\x1b" in words.partition("; stop")[0]

    asyncio.run(run())
