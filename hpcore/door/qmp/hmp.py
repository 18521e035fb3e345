"""The human monitor's commands about vCPUs: lines in, text out, in QEMU's words.

Only what QEMU takes for such a command is answered here. A line with more, or less, behind
the command's name goes to the real QEMU, which says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from hpcore.door.qmp.answers import Passes, RealMonitor
from hpcore.door.qmp.qom import VcpuPaths
from hpcore.door.qmp.vcpu_lists import PERIPHERAL, VcpuLists, ask
from hpcore.errors import HpcoreError

END = "\r\n"
"""How the human monitor ends its lines, also in what QMP returns of it."""

_SENDS_STATE = frozenset({"migrate", "migrate_incoming", "savevm", "loadvm", "delvm"})
_PATHS = frozenset({"qom-list", "qom-get", "qom-set"})
_CPU_LINE = re.compile(r"[* ] CPU #([0-9]+):")
_NUMBER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_IDS = ("node-id", "socket-id", "die-id", "cluster-id", "core-id", "thread-id")


class Commands(Protocol):
    """The commands of QMP that stand behind those of the human monitor."""

    lists: VcpuLists

    async def device_add(self, arguments: Mapping[str, object]) -> object:
        """As in QMP."""

    async def device_del(self, arguments: Mapping[str, object]) -> object:
        """As in QMP."""

    async def stop(self, arguments: Mapping[str, object]) -> object:
        """As in QMP."""

    async def cont(self, arguments: Mapping[str, object]) -> object:
        """As in QMP."""

    async def system_reset(self, arguments: Mapping[str, object]) -> object:
        """As in QMP."""

    async def migrate(self, arguments: Mapping[str, object]) -> object:
        """As in QMP."""


class HumanMonitor:
    """Answers lines, of `human-monitor-command` or of a monitor with a prompt."""

    def __init__(self, commands: Commands, paths: VcpuPaths, real: RealMonitor) -> None:
        self._commands, self._lists = commands, commands.lists
        self._paths, self._real = paths, real
        self._whole: dict[str, Callable[[Mapping[str, object]], Awaitable[object]]] = {
            "stop": commands.stop, "s": commands.stop,
            "cont": commands.cont, "c": commands.cont,
            "system_reset": commands.system_reset,
        }  # fmt: skip
        self._infos: dict[str, Callable[[], Awaitable[str]]] = {
            "hotpluggable-cpus": self._hotpluggable,
            "cpus-powerstate": self._power_states,
        }

    async def command(self, arguments: Mapping[str, object]) -> object:
        """QMP's `human-monitor-command`."""
        line = arguments.get("command-line")
        if not isinstance(line, str) or set(arguments) - {"command-line", "cpu-index"}:
            return Passes.ON
        said = await self.run(line, arguments.get("cpu-index"))
        return Passes.ON if said is None else said

    async def greeting(self) -> str:
        """What QEMU tells the client of a human monitor first."""
        return await self.greeting_of(self._real)

    @staticmethod
    async def greeting_of(real: RealMonitor) -> str:
        """The same, of any QEMU."""
        version = (await ask(real, "query-version"))["qemu"]
        number = ".".join(str(version[part]) for part in ("major", "minor", "micro"))
        return f"QEMU {number} monitor - type 'help' for more information{END}"

    async def say(self, line: str, cpu: int | None) -> str:
        """What a line is answered with, by whomever."""
        said = await self.run(line, cpu)
        if said is not None:
            return said
        chosen = {} if cpu is None else {"cpu-index": cpu}
        try:
            return str(
                await ask(self._real, "human-monitor-command", {"command-line": line, **chosen})
            )
        except HpcoreError as error:
            return f"Error: {error}{END}"

    async def run(self, line: str, cpu: object = None) -> str | None:
        """What a line is answered with; None where it is the real QEMU's to answer.

        `cpu` is the index of the vCPU that the monitor has chosen, if it has.
        """
        words = line.split()
        try:
            match words:
                case [("stop" | "s" | "cont" | "c" | "system_reset") as name]:
                    return _text(await self._whole[name]({}))
                case ["device_add", options]:
                    return await self._device_add(options)
                case ["device_del", id_]:
                    return _text(await self._commands.device_del({"id": id_.strip('"')}))
                case ["info", "cpus"]:
                    return await self._cpus(line, cpu)
                case ["info", name] if name in self._infos:
                    return await self._infos[name]()
                case [name, *_] if name in _SENDS_STATE:
                    return _text(await self._commands.migrate({}))
                case [name, path, *_] if name in _PATHS:
                    return await self._qom(line, words, path)
        except HpcoreError as error:
            return f"Error: {error}{END}"
        return None

    async def _device_add(self, options: str) -> str | None:
        arguments: dict[str, object] = {}
        for n, option in enumerate(re.split(r"(?<!,),(?!,)", options)):
            name, equals, value = option.replace(",,", ",").partition("=")
            if not equals and n == 0:
                arguments["driver"] = name
            elif not equals:
                return None  # help, or a flag, which no vCPU has
            else:
                arguments[name] = int(value, 0) if _is_number(name, value) else value
        return _text(await self._commands.device_add(arguments))

    async def _cpus(self, line: str, cpu: object) -> str:
        chosen = {} if cpu is None else {"cpu-index": cpu}
        said = await ask(self._real, "human-monitor-command", {"command-line": line, **chosen})
        there = {entry["cpu-index"] for entry in await self._lists.fast()}
        return "".join(
            text for text in str(said).splitlines(keepends=True)
            if not (found := _CPU_LINE.match(text)) or int(found[1]) in there
        )  # fmt: skip

    async def _hotpluggable(self) -> str:
        lines = ["Hotpluggable CPUs:"]
        for cpu in await self._lists.hotpluggable():
            lines += [f'  type: "{cpu["type"]}"', f'  vcpus_count: "{cpu["vcpus-count"]}"']
            if "qom-path" in cpu:
                lines.append(f'  qom_path: "{cpu["qom-path"]}"')
            props = cpu["props"]
            assert isinstance(props, dict)
            lines.append("  CPUInstance Properties:")
            lines += [f'    {name}: "{props[name]}"' for name in _IDS if name in props]
        return "".join(line + END for line in lines)

    async def _power_states(self) -> str:
        lines = ["CPUs Power State Info:"]
        for cpu in await self._lists.power_states():
            lines.append(f"  CPU ID: {cpu['id']}")
            lines += [f"    {name}: {cpu[name]}" for name in _IDS[1:] if name in cpu]
            lines += [
                f"    {name}: {cpu[name]}" for name in ("node-id", "vcpus-count") if name in cpu
            ]
            lines += [f'    {n}: "{cpu[n]}"' for n in ("qom-path", "admin-state", "oper-state")]
        return "".join(line + END for line in lines)

    async def _qom(self, line: str, words: list[str], path: str) -> str | None:
        real = await self._paths.real_path(path)
        listed = words == ["qom-list", PERIPHERAL]
        if real == path and not listed:
            return None
        there = line.replace(path, real, 1)
        said = str(await ask(self._real, "human-monitor-command", {"command-line": there}))
        if listed:
            for id_, slot in self._lists.plugged.items():
                said += f"{id_} (child<{slot.driver}>){END}"
        return said


def _is_number(name: str, value: str) -> bool:
    return name in _IDS and _NUMBER.fullmatch(value) is not None and not _octal(value)


def _octal(value: str) -> bool:
    """Whether Python would refuse leading zeroes that C takes."""
    digits = value.lstrip("+-")
    return len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX"


def _text(answer: object) -> str | None:
    """Success says nothing; what is passed on is the real QEMU's to answer."""
    return None if answer is Passes.ON else ""
