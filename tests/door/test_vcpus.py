"""What clients ask of vCPUs, and are answered and told: libvirt, Kata, a QMP script."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from hpcore.model.acpi import Notification, OstStatus
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase, SlotState
from tests.door.rig import Client
from tests.door.vm import DRIVER, Vm, play
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

AT_ONCE = 0.25
"""Seconds that Kata's runtime-rs waits for an answer."""
CORES = MachineConfig.of(cpus=1, maxcpus=4)


def error(description: str, class_: str = "GenericError") -> dict[str, object]:
    return {"error": {"class": class_, "desc": description}}


async def returned(client: Client, command: str, arguments: object = None) -> Any:
    answer = await client.ask(command, arguments)
    assert isinstance(answer, dict) and "return" in answer, answer
    return answer["return"]


def open_files() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())


async def path_of(client: Client, index: int) -> str:
    """Where the real QEMU has a vCPU that clients are shown."""
    cpus = await returned(client, "query-cpus-fast")
    return str(next(cpu["qom-path"] for cpu in cpus if cpu["cpu-index"] == index))


# ------------------------------------------------------------- plugs and unplugs


def test_a_vcpu_is_plugged_and_unplugged_as_libvirt_does_it(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        assert await vm.add(2) == {"return": {}}
        ost = await vm.client.event("ACPI_DEVICE_OST")
        assert ost["data"] == {
            "info": {"device": "vcpu2", "slot": "2", "slot-type": "CPU", "source": 1, "status": 0}
        }
        await vm.registered(2)
        assert await vm.client.ask("device_del", {"id": "vcpu2"}) == {"return": {}}
        deleted = await vm.client.event("DEVICE_DELETED")
        assert deleted["data"] == {"device": "vcpu2", "path": "/machine/peripheral/vcpu2"}
        assert await vm.client.ask("device_del", {"id": "vcpu2"}) == error(
            "Device 'vcpu2' not found", "DeviceNotFound"
        )

    play(scene, tmp_path)


def test_events_go_to_the_clients_of_every_monitor(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        other = await Client.ready(vm.more)
        await vm.add(3)
        for client in (vm.client, other):
            assert "vcpu3" in str(await client.event("ACPI_DEVICE_OST"))
        await other.close()

    play(scene, tmp_path)


def test_an_unplug_that_the_guest_refuses_is_told(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        await vm.add(2)
        await vm.client.event("ACPI_DEVICE_OST")
        assert await vm.client.ask("device_del", {"id": "vcpu2"}) == {"return": {}}
        ost = await vm.client.event("ACPI_DEVICE_OST")
        assert "'source': 3, 'status': 130" in str(ost["data"])
        refused = await vm.client.event("DEVICE_UNPLUG_GUEST_ERROR")
        assert refused["data"] == {"device": "vcpu2", "path": "/machine/peripheral/vcpu2"}
        assert await path_of(vm.client, 2) == "/machine/peripheral/vcpu2"

    play(scene, tmp_path, notified={Notification.EJECT_REQUEST: OstStatus.DEVICE_BUSY})


WRONG: list[tuple[dict[str, object], str]] = [
    ({"id": "x", "socket-id": 9}, "Invalid socket-id 9 specified, correct range 0:3"),
    ({"id": "x", "socket-id": 0}, "cpu(id0=0:0:0:0) with arch-id 0 exist"),
    ({"id": "x", "socket-id": "1"}, "Invalid parameter type for 'socket-id', expected: integer"),
    ({"id": "x", "socket-id": 1 << 40}, "Parameter 'socket-id' expects int32_t"),
    ({"id": "x", "numa": 1}, f"Property '{DRIVER}.numa' not found"),
    ({"id": "x", "node-id": 0}, f"Property '{DRIVER}.node-id' not found"),
    ({"id": "", "socket-id": 2}, "Parameter 'id' is missing; name the vCPU, such as id=cpu4"),
    ({"socket-id": 2}, "Parameter 'id' is missing; name the vCPU, such as id=cpu4"),
    ({"id": "a b", "socket-id": 2}, "Parameter 'id' expects an identifier, not 'a b'"),
    ({"id": 7, "socket-id": 2}, "Invalid parameter type for 'id', expected: string"),
    ({"id": "taken", "socket-id": 2}, "Duplicate device ID 'taken'"),
    ({"driver": "max-arm-cpu", "id": "x"}, f"Invalid CPU type, expected cpu type: '{DRIVER}'"),
    ({"driver": "nosuch", "id": "x"}, "'nosuch' is not a valid device model name"),
]  # fmt: skip


def test_a_wrong_device_add_is_refused_in_qemus_words(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        for arguments, desc in WRONG:
            given = {"driver": DRIVER, **arguments}
            assert await vm.client.ask("device_add", given) == error(desc), given
            assert [slot.index for slot in vm.machine.slots if slot.id] == [0, 1]
        missing = error("Parameter 'driver' is missing")
        assert await vm.client.ask("device_add", {"id": "x"}) == missing

    play(scene, tmp_path, qemu_has=("-device", "virtio-rng-pci,id=taken"))


MISSHAPEN: list[tuple[str, object, str, str]] = [
    ("device_del", {}, "Parameter 'id' is missing", "GenericError"),
    ("device_del", {"id": 5}, "Invalid parameter type for 'id', expected: string", "GenericError"),
    ("device_del", {"id": "vcpu2", "x": 1}, "Parameter 'x' is unexpected", "GenericError"),
    ("device_del", {"id": "cpu0"}, "Device 'cpu0' not found", "DeviceNotFound"),
    ("stop", {"x": 1}, "Parameter 'x' is unexpected", "GenericError"),
    ("cont", {"x": 1}, "Parameter 'x' is unexpected", "GenericError"),
    ("system_reset", {"x": 1}, "Parameter 'x' is unexpected", "GenericError"),
    ("query-cpus-fast", {"x": 1}, "Parameter 'x' is unexpected", "GenericError"),
    ("qom-list", {}, "Parameter 'path' is missing", "GenericError"),
    ("qom-get", {"path": "/machine/peripheral/vcpu2"}, "Parameter 'property' is missing",
     "GenericError"),
    ("human-monitor-command", {}, "Parameter 'command-line' is missing", "GenericError"),
]  # fmt: skip


def test_what_has_a_wrong_shape_is_refused_by_the_real_qemu(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        await vm.add(2)
        for command, arguments, desc, class_ in MISSHAPEN:
            assert await vm.client.ask(command, arguments) == error(desc, class_), command
        shared = vm.machine.state.shared
        assert shared.phase is Phase.RUNNING and not shared.paused

    play(scene, tmp_path)


def test_a_cold_booted_vcpu_is_never_unplugged(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        path = await path_of(vm.client, 1)
        assert await vm.client.ask("device_del", {"id": path}) == error(
            "Hot-unplug of cold-booted CPU not supported!"
        )

    play(scene, tmp_path)


def test_an_id_is_one_devices_alone_and_a_path_names_it_too(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        await vm.add(2, "both")
        assert await vm.add(3, "both") == error("Duplicate device ID 'both'")
        rng = {"driver": "virtio-rng-pci", "id": "both"}
        assert await vm.client.ask("device_add", rng) == error("Duplicate device ID 'both'")
        await vm.registered(2)
        path = {"id": "/machine/peripheral/both"}
        assert await vm.client.ask("device_del", path) == {"return": {}}
        await vm.client.event("DEVICE_DELETED")
        assert "does not support hotplugging" in str(await vm.client.ask("device_add", rng))

    play(scene, tmp_path)


def test_many_plugs_and_unplugs_lose_nothing_and_leave_nothing_open(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        async def cycle() -> None:
            assert await vm.add(2) == {"return": {}}
            await vm.client.event("ACPI_DEVICE_OST")
            assert await vm.client.ask("device_del", {"id": "vcpu2"}) == {"return": {}}
            await vm.client.event("DEVICE_DELETED")

        await cycle()
        opened, tasks = len(open_files()), len(asyncio.all_tasks())
        for _ in range(200):
            await cycle()
        assert len(open_files()) <= opened
        assert len(asyncio.all_tasks()) <= tasks + 2

    play(scene, tmp_path)


# ------------------------------------------------------------------ what is listed


def test_hotpluggable_vcpus_are_listed_from_the_highest_and_the_free_have_no_path(
    tmp_path: Path,
) -> None:
    async def scene(vm: Vm) -> None:
        await vm.add(2)
        listed = await returned(vm.client, "query-hotpluggable-cpus")
        assert [cpu["props"]["socket-id"] for cpu in listed] == [3, 2, 1, 0]
        assert listed[0] == {
            "props": {"socket-id": 3, "cluster-id": 0, "core-id": 0, "thread-id": 0},
            "vcpus-count": 1, "type": DRIVER,
        }  # fmt: skip
        assert listed[1]["qom-path"] == "/machine/peripheral/vcpu2"
        fast = await returned(vm.client, "query-cpus-fast")
        assert [cpu["cpu-index"] for cpu in fast] == [0, 1, 2]
        paths = {cpu["qom-path"] for cpu in listed if "qom-path" in cpu}
        assert paths == {cpu["qom-path"] for cpu in fast}  # libvirt joins the two by it
        threads = Path(f"/proc/{vm.qemu.process.pid}/task")
        assert all((threads / str(cpu["thread-id"])).exists() for cpu in fast)
        assert {cpu["target"] for cpu in fast} == {"aarch64"}

    play(scene, tmp_path)


def test_power_states_are_those_of_the_series(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        await vm.add(2)
        await vm.machine.until(lambda s: s.slots[2].enabled, "the vCPU")
        states = await returned(vm.client, "query-cpus-power-state")
        assert states[0]["admin-state"] == "enabled" and states[0]["oper-state"] == "on"
        assert states[2]["admin-state"] == "enabled"
        assert states[2]["qom-path"] == "/machine/peripheral/vcpu2"
        path = states[3].pop("qom-path")
        assert path.startswith("/machine/unattached/")
        assert states[3] == {
            "id": 3, "socket-id": 3, "cluster-id": 0, "core-id": 0, "thread-id": 0,
            "vcpus-count": 1, "admin-state": "disabled", "oper-state": "off",
        }  # fmt: skip

    play(scene, tmp_path)


def test_virt_can_hotplug_vcpus_and_no_other_machine(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        listed = await returned(vm.client, "query-machines")
        can = {machine["name"] for machine in listed if machine["hotpluggable-cpus"]}
        virt = {m["name"] for m in listed if m["name"].startswith("virt")}
        assert can == virt and "virt-7.2" in can

    play(scene, tmp_path)


def test_the_ospm_status_is_what_the_guest_said_last(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        await vm.add(2)
        await vm.client.event("ACPI_DEVICE_OST")
        status = await returned(vm.client, "query-acpi-ospm-status")
        vcpus = [entry for entry in status if entry["slot-type"] == "CPU"]
        assert vcpus[1] == {"slot": "1", "slot-type": "CPU", "source": 0, "status": 0}
        assert vcpus[2] == {
            "device": "vcpu2", "slot": "2", "slot-type": "CPU", "source": 1, "status": 0,
        }  # fmt: skip

    play(scene, tmp_path)


def test_a_plugged_vcpu_is_in_the_object_tree(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        ask = vm.client
        assert {"name": "vcpu3", "type": f"child<{DRIVER}>"} not in await returned(
            ask, "qom-list", {"path": "/machine/peripheral"}
        )
        await vm.add(3)
        listed = await returned(ask, "qom-list", {"path": "/machine/peripheral"})
        assert {"name": "vcpu3", "type": f"child<{DRIVER}>"} in listed
        here = {"path": "/machine/peripheral/vcpu3"}
        assert await returned(ask, "qom-get", {**here, "property": "type"}) == DRIVER
        names = {entry["name"] for entry in await returned(ask, "qom-list", here)}
        assert {"realized", "mp-affinity"} <= names
        child = {"path": "/machine/peripheral", "property": "vcpu3"}
        assert await returned(ask, "qom-get", child) == "/machine/peripheral/vcpu3"
        wrong = {**here, "property": "realized", "value": 5}
        assert await ask.ask("qom-set", wrong) == error(
            "Invalid parameter type for 'realized', expected: boolean"
        )
        gone = await ask.ask("qom-list", {"path": "/machine/peripheral/nobody"})
        assert "not found" in str(gone)

    play(scene, tmp_path)


# ----------------------------------------------------------------- the whole machine


def test_stop_and_cont_hold_a_plug_back_and_let_it_go_on(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        for _ in range(2):  # QEMU's succeed, too, where there is nothing to do
            assert await vm.client.ask("stop") == {"return": {}}
        assert vm.machine.state.shared.paused
        began = time.monotonic()
        assert await vm.add(2) == {"return": {}}
        assert time.monotonic() - began < AT_ONCE
        assert await path_of(vm.client, 2) == "/machine/peripheral/vcpu2"
        for _ in range(2):
            assert await vm.client.ask("cont") == {"return": {}}
        await vm.client.event("ACPI_DEVICE_OST")
        await vm.registered(2)

    play(scene, tmp_path)


def test_an_unplug_right_after_the_plug_waits_a_moment_for_it(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        await vm.client.ask("stop")
        await vm.add(2)
        other = await Client.ready(vm.more)
        began = time.monotonic()
        asked = asyncio.create_task(other.ask("device_del", {"id": "vcpu2"}))
        await vm.client.ask("cont")
        assert await asked == {"return": {}}
        assert time.monotonic() - began < AT_ONCE
        await vm.client.event("DEVICE_DELETED")
        await vm.client.ask("stop")
        await vm.add(2)  # and one that can't end before a cont
        began = time.monotonic()
        answer = await other.ask("device_del", {"id": "vcpu2"})
        assert answer == error(
            "Device 'vcpu2' is still being plugged; try again when that has ended"
        )
        assert time.monotonic() - began < 2 * AT_ONCE
        await other.close()

    play(scene, tmp_path)


def test_a_reset_keeps_what_is_plugged(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        await vm.add(2)
        await vm.registered(2)
        assert await vm.client.ask("system_reset") == {"return": {}}
        assert await vm.client.ask("cont") == {"return": {}}  # waits for the reset's end
        assert vm.machine.state.slots[2].registered

    play(scene, tmp_path)


def test_before_the_first_cont_plugs_are_accepted_and_the_guest_boots_with_them(
    tmp_path: Path,
) -> None:
    async def scene(vm: Vm) -> None:
        assert await vm.client.ask("stop") == {"return": {}}
        assert await vm.client.ask("system_reset") == {"return": {}}
        await vm.client.event("RESET")  # the real QEMU's
        began = time.monotonic()
        assert await vm.add(3) == {"return": {}}
        assert time.monotonic() - began < AT_ONCE
        assert await path_of(vm.client, 3) == "/machine/peripheral/vcpu3"
        assert await vm.client.ask("cont") == {"return": {}}
        assert vm.machine.state.shared.phase is Phase.RUNNING
        await vm.registered(3)

    play(scene, tmp_path, boots=False)


def test_two_clients_that_say_cont_at_once_boot_the_machine_once(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        other = await Client.ready(vm.more)
        answers = await asyncio.gather(vm.client.ask("cont"), other.ask("cont"))
        assert all(answer == {"return": {}} for answer in answers)
        await other.close()

    play(scene, tmp_path, boots=False)


def test_what_would_send_the_machines_state_is_refused(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        for command in ("migrate", "migrate-incoming", "snapshot-save", "snapshot-load"):
            answer = await vm.client.ask(command, {"uri": "tcp:127.0.0.1:1"})
            assert "does not travel with" in str(answer) and "GenericError" in str(answer)

    play(scene, tmp_path)


# ------------------------------------------------------------------------------ Kata


def test_katas_go_runtime_plugs_and_unplugs(tmp_path: Path) -> None:
    """Its machine has a socket for each vCPU, and it names them all by core-id 0."""

    async def scene(vm: Vm) -> None:
        for n in range(2):
            listed = await returned(vm.client, "query-hotpluggable-cpus")
            free = next(cpu for cpu in listed if not cpu.get("qom-path"))
            command = (
                b'{"arguments":{"core-id":%d,"driver":"%s","id":"cpu-%d"},"execute":"device_add"}'
                % (free["props"]["core-id"], free["type"].encode(), n)
            )
            await vm.client.send(command)
            assert await vm.client.answer() == {"return": {}}
            await vm.machine.until(lambda s: sum(x.registered for x in s.slots) > n + 2, "it")  # noqa: B023
        await vm.client.send(b'{"arguments":{"id":"cpu-1"},"execute":"device_del"}')
        deleted = await vm.client.event("DEVICE_DELETED")
        assert deleted["data"]["device"] == "cpu-1"  # type: ignore[index]

    play(scene, tmp_path)


def test_katas_runtime_rs_plugs_and_unplugs_within_its_timeout(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        async def timed(command: str, arguments: object = None) -> Any:
            began = time.monotonic()
            answer = await returned(vm.client, command, arguments)
            assert time.monotonic() - began < AT_ONCE
            return answer

        for _ in range(2):
            listed = await timed("query-hotpluggable-cpus")
            free = next(cpu for cpu in reversed(listed) if "qom-path" not in cpu)
            props = {n: free["props"][n] for n in ("core-id", "socket-id", "thread-id")}
            id_ = f"cpu-{props['core-id']}"
            await timed("device_add", {"driver": free["type"], "id": id_, **props})
        await vm.registered(2)
        listed = await timed("query-hotpluggable-cpus")
        last = next(cpu for cpu in listed if "qom-path" in cpu)
        assert last["props"]["core-id"] == 2
        await timed("device_del", {"id": "cpu-2"})
        await vm.machine.until(lambda s: s.slots[2].lifecycle is SlotState.PARKED, "the unplug")
        fast = await timed("query-cpus-fast")
        assert [cpu["qom-path"] for cpu in fast][1:] == ["/machine/peripheral/cpu-1"]

    play(scene, tmp_path, CORES)
