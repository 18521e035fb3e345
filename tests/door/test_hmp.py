"""The human monitor's lines about vCPUs, as QMP's `human-monitor-command` has them."""

from __future__ import annotations

from pathlib import Path

from tests.door.rig import Client
from tests.door.vm import DRIVER, Vm, play
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu


async def said(client: Client, line: str) -> str:
    answer = await client.ask("human-monitor-command", {"command-line": line})
    assert isinstance(answer, dict)
    return str(answer["return"])


def test_a_vcpu_is_plugged_and_unplugged_by_lines(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        line = f"device_add {DRIVER},id=x,socket-id=0x2,cluster-id=0,core-id=0,thread-id=0"
        assert await said(vm.client, line) == ""
        await vm.registered(2)
        assert await said(vm.client, line) == ("Error: cpu(id2=2:0:0:0) with arch-id 2 exist\r\n")
        assert await said(vm.client, f"device_add {DRIVER},id=y,socket-id=one") == (
            "Error: Invalid parameter type for 'socket-id', expected: integer\r\n"
        )
        assert await said(vm.client, ' device_del  "x" ') == ""
        await vm.client.event("DEVICE_DELETED")
        assert await said(vm.client, "device_del x") == "Error: Device 'x' not found\r\n"

    play(scene, tmp_path)


def test_infos_show_the_vcpus_that_are_there(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        first = await said(vm.client, "info cpus")
        assert first.startswith("* CPU #0: thread_id=") and first.count("\r\n") == 2
        await vm.add(3)
        await vm.registered(3)
        lines = (await said(vm.client, "info  cpus")).splitlines()
        assert [line[2:8] for line in lines] == ["CPU #0", "CPU #1", "CPU #3"]
        assert (await said(vm.client, "info hotpluggable-cpus")).startswith(
            "Hotpluggable CPUs:\r\n"
            f'  type: "{DRIVER}"\r\n'
            '  vcpus_count: "1"\r\n'
            '  qom_path: "/machine/peripheral/vcpu3"\r\n'
            "  CPUInstance Properties:\r\n"
            '    socket-id: "3"\r\n    cluster-id: "0"\r\n'
            '    core-id: "0"\r\n    thread-id: "0"\r\n'
            f'  type: "{DRIVER}"\r\n'
            '  vcpus_count: "1"\r\n'
            "  CPUInstance Properties:\r\n"
            '    socket-id: "2"\r\n'
        )
        powers = await said(vm.client, "info cpus-powerstate")
        assert powers.startswith(
            "CPUs Power State Info:\r\n  CPU ID: 0\r\n    socket-id: 0\r\n    cluster-id: 0\r\n"
        )
        assert powers.endswith('    admin-state: "enabled"\r\n    oper-state: "off"\r\n')
        assert f"vcpu3 (child<{DRIVER}>)\r\n" in await said(
            vm.client, "qom-list /machine/peripheral"
        )
        typed = await said(vm.client, "qom-get /machine/peripheral/vcpu3 type")
        assert typed == f'"{DRIVER}"\r\n'

    play(scene, tmp_path)


def test_the_machine_is_stopped_and_let_go_on_by_lines(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        for stop, cont in (("stop", "cont"), ("s", "c")):
            assert await said(vm.client, stop) == ""
            assert vm.machine.state.shared.paused
            assert await said(vm.client, cont) == ""
            assert not vm.machine.state.shared.paused
        assert await said(vm.client, "system_reset") == ""
        for line in ("migrate tcp:0:1", "savevm x", "loadvm x"):
            assert (await said(vm.client, line)).startswith("Error: hpcore cannot do this: on this")

    play(scene, tmp_path)


def test_what_is_no_such_line_is_the_real_qemus(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        for line in (
            "", "info status", "stop now", "cont now", "info cpus 0", "device_del", "nosuch",
            f"device_add {DRIVER},help", "device_add", "device_del nobody",
            "qom-get /machine nosuch",
        ):  # fmt: skip
            real = await vm.commands._real.execute("human-monitor-command", {"command-line": line})
            assert await said(vm.client, line) == real, line
        assert not vm.machine.state.shared.paused
        for arguments in ({"command-line": 5}, {"command-line": "stop", "x": 1}):
            answer = await vm.client.ask("human-monitor-command", arguments)
            assert isinstance(answer, dict) and "error" in answer

    play(scene, tmp_path)
