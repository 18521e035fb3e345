"""The shell client, with a real local sh behind it and with scripted consoles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcore.guest.errors import GuestError
from hpcore.guest.shell import (
    BUFFER_LIMIT,
    GuestGoneError,
    GuestRestartedError,
    GuestTimeoutError,
    Shell,
    ShellResult,
)
from tests.guest.consoles import ScriptedConsole, local_shell

T = TypeVar("T")

KERNEL_MESSAGE = b"[   12.345678] CPU3: Booted secondary processor 0x0000000003\r\n"


def with_sh(body: Callable[[Shell], Awaitable[T]], **options: bool | int) -> T:
    async def main() -> T:
        async with local_shell(**options) as console:  # type: ignore[arg-type]
            shell = Shell(console)
            await shell.wait_ready(10)
            return await body(shell)

    return asyncio.run(main())


def with_script(script: Callable[[str], Iterable[bytes]], *, ends: bool = True) -> ShellResult:
    async def main() -> ShellResult:
        return await Shell(ScriptedConsole(script, ends=ends)).run("x", within=10)

    return asyncio.run(main())


@pytest.mark.parametrize("pty", [False, True], ids=["pipes", "pty that echoes"])
def test_a_line_gives_its_output_and_status(pty: bool) -> None:
    async def body(shell: Shell) -> list[ShellResult]:
        lines = ["echo one; echo two", "printf three", "true", "false", "(exit 42)", "echo >&2 e"]
        return [await shell.run(line, within=10) for line in lines]

    assert with_sh(body, pty=pty) == [
        ShellResult("one\ntwo\n", 0),
        ShellResult("three", 0),
        ShellResult("", 0),
        ShellResult("", 1),
        ShellResult("", 42),
        ShellResult("e\n", 0),
    ]


def test_directory_and_variables_stay() -> None:
    async def body(shell: Shell) -> ShellResult:
        await shell.run("cd /dev; x='a  b'")
        return await shell.run('echo "$PWD $x"')

    assert with_sh(body) == ShellResult("/dev a  b\n", 0)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=80))
@settings(max_examples=25)
def test_any_text_in_quotes_comes_back(text: str) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    assert with_sh(lambda shell: shell.run(f"printf %s {quoted}")).output == text


def test_an_error_of_syntax_stays_within_its_line() -> None:
    async def body(shell: Shell) -> tuple[ShellResult, ShellResult]:
        return await shell.run("echo 'open"), await shell.run("echo still here")

    wrong, right = with_sh(body)
    assert wrong.status != 0
    assert right == ShellResult("still here\n", 0)


def test_reads_of_one_byte_are_enough() -> None:
    result = with_sh(lambda shell: shell.run("echo slow; (exit 3)"), piece=1)
    assert result == ShellResult("slow\n", 3)


def test_lines_run_one_at_a_time() -> None:
    async def body(shell: Shell) -> list[ShellResult]:
        return await asyncio.gather(*(shell.run(f"echo {number}") for number in range(5)))

    assert [result.output for result in with_sh(body)] == [f"{n}\n" for n in range(5)]


@pytest.mark.parametrize("pty", [False, True], ids=["pipes", "pty"])
def test_after_a_timeout_the_next_line_gets_its_own_output(pty: bool) -> None:
    async def body(shell: Shell) -> ShellResult:
        with pytest.raises(GuestTimeoutError, match=r"over 0.2 s for the end of `echo early"):
            await shell.run("echo early; sleep 1; echo late", within=0.2)
        return await shell.run("echo mine", within=10)

    assert with_sh(body, pty=pty) == ShellResult("mine\n", 0)


def test_a_line_that_is_cancelled_is_interrupted_in_the_guest() -> None:
    """Or the next line would wait until this one has ended."""

    class Silent:
        def __init__(self) -> None:
            self.typed = b""

        def write(self, data: bytes) -> None:
            self.typed += data

        async def read(self) -> bytes:
            await asyncio.Event().wait()
            return b""

    async def main() -> bytes:
        console = Silent()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Shell(console).run("sleep 9")
        return console.typed

    assert asyncio.run(main()).endswith(b"\x03\n")


def test_a_line_that_ends_the_shell_is_told_and_the_next_one_runs() -> None:
    async def body(shell: Shell) -> ShellResult:
        before = shell.times_ready
        with pytest.raises(GuestRestartedError, match="anew while `exit 5`"):
            await shell.run("exit 5", within=10)
        assert shell.times_ready == before + 1
        return await shell.run("echo back", within=10)

    assert with_sh(body) == ShellResult("back\n", 0)


def test_a_new_shell_that_another_line_has_met_is_not_waited_for_again() -> None:
    async def body(shell: Shell) -> ShellResult:
        since = shell.times_ready
        waiting = [asyncio.create_task(shell.run("exit 5", within=10))]
        await asyncio.sleep(0)  # the line is under way when the wait begins
        await shell.wait_ready(10)
        await shell.wait_ready(10, since)
        (restarted,) = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(restarted, GuestRestartedError)
        return await shell.run("echo back", within=10)

    assert with_sh(body) == ShellResult("back\n", 0)


def test_a_line_that_a_restart_swallowed_is_told_at_once() -> None:
    def reset(tag: str) -> Iterable[bytes]:
        return KERNEL_MESSAGE, b"\nhpcore-guest-ready uptime=1.5\n", f"<hp-end-{tag}:0>".encode()

    with pytest.raises(GuestRestartedError, match="anew while `x`"):
        with_script(reset, ends=False)


def test_more_output_than_the_buffer_keeps_its_end() -> None:
    async def body(shell: Shell) -> tuple[ShellResult, ShellResult]:
        long = await shell.run("head -c 3000000 /dev/zero | tr '\\0' x; echo END", within=30)
        return long, await shell.run("echo short")

    long, short = with_sh(body)
    assert long.truncated
    assert long.output.endswith("xEND\n")
    assert BUFFER_LIMIT * 0.9 < len(long.output) <= BUFFER_LIMIT
    assert short == ShellResult("short\n", 0)


def test_a_machine_that_ends_is_told_with_its_last_words() -> None:
    with pytest.raises(GuestGoneError, match="Kernel panic"):
        with_script(lambda tag: [f"<hp-begin-{tag}>\n".encode(), b"Kernel panic - not syncing"])


def test_a_flood_without_an_end_times_out() -> None:
    class Flood(ScriptedConsole):
        async def read(self) -> bytes:
            await asyncio.sleep(0)
            return b"x" * 4096

    with pytest.raises(GuestTimeoutError):
        asyncio.run(Shell(Flood(lambda _tag: ())).run("x", within=0.1))


def test_a_late_marker_of_another_line_is_not_mistaken() -> None:
    result = with_script(
        lambda tag: [
            f"<hp-end-{tag.replace('-1', '-0')}:9>\n".encode(),
            f"<hp-begin-{tag}>\r\nout\r\n<hp-end-{tag}:0>\r\n".encode(),
        ]
    )
    assert result == ShellResult("out\n", 0)


@given(st.data())
@settings(max_examples=200)
def test_kernel_messages_may_fall_anywhere(data: st.DataObject) -> None:
    def script(tag: str) -> list[bytes]:
        stream = f"<hp-begin-{tag}>\r\nfirst\r\nsecond\r\n<hp-end-{tag}:17>\r\n".encode()
        places = data.draw(st.lists(st.integers(0, len(stream) - 2), max_size=6))
        for place in sorted(places, reverse=True):
            stream = stream[:place] + KERNEL_MESSAGE + stream[place:]
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]

    result = with_script(script)
    assert result.status == 17
    assert result.without_kernel_messages == "first\nsecond\n"


def test_the_ready_marker_is_found_behind_boot_messages() -> None:
    async def main() -> None:
        console = ScriptedConsole(lambda _tag: ())
        console.write(b"")
        boot = [KERNEL_MESSAGE * 3, b"hpcore-gu", KERNEL_MESSAGE, b"est-ready uptime=1.5\r\n"]
        console._chunks.extend(boot)
        await Shell(console).wait_ready(10)

    asyncio.run(main())


@pytest.mark.parametrize("line", ["a\nb", "a\rb", "a\x03", "a\0"])
def test_what_is_not_one_line_is_refused(line: str) -> None:
    with pytest.raises(GuestError, match="not one line"):
        asyncio.run(Shell(ScriptedConsole(lambda _tag: ())).run(line))


def test_a_line_longer_than_the_tty_takes_is_refused() -> None:
    with pytest.raises(GuestError, match="too long"):
        asyncio.run(Shell(ScriptedConsole(lambda _tag: ())).run("echo " + "x" * 4000))
