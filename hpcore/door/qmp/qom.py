"""The real QEMU's object tree, in which plugged vCPUs are where a `device_add` puts them."""

from __future__ import annotations

from collections.abc import Mapping

from hpcore.door.qmp.answers import Handler, Passes, RealMonitor
from hpcore.door.qmp.vcpu_lists import PERIPHERAL, VcpuLists, ask


class VcpuPaths:
    """`qom-list`, `qom-get`, `qom-set`: paths below a plugged vCPU's are its real one's."""

    def __init__(self, lists: VcpuLists, real: RealMonitor) -> None:
        self._lists, self._real = lists, real

    def handlers(self) -> dict[str, Handler]:
        """What is answered here, by command."""
        return {"qom-list": self._list, "qom-get": self._get, "qom-set": self._set}

    async def real_path(self, path: str) -> str:
        """Where the real QEMU has what callers find at `path`."""
        inner = path.removeprefix(f"{PERIPHERAL}/")
        if inner == path:
            return path
        id_, slash, rest = inner.partition("/")
        slot = self._lists.plugged.get(id_)
        if slot is None:
            return path
        return (await self._lists.places())[slot.index].path + slash + rest

    async def _list(self, arguments: Mapping[str, object]) -> object:
        path = arguments.get("path")
        if path == PERIPHERAL and len(arguments) == 1:
            listed: list[dict[str, object]] = await ask(self._real, "qom-list", arguments)
            plugged = self._lists.plugged.items()
            return listed + [{"name": i, "type": f"child<{s.driver}>"} for i, s in plugged]
        return await self._elsewhere("qom-list", arguments)

    async def _get(self, arguments: Mapping[str, object]) -> object:
        name = arguments.get("property")
        is_child = isinstance(name, str) and name in self._lists.plugged
        if is_child and arguments == {"path": PERIPHERAL, "property": name}:
            return f"{PERIPHERAL}/{name}"  # of a child, its path
        return await self._elsewhere("qom-get", arguments)

    async def _set(self, arguments: Mapping[str, object]) -> object:
        return await self._elsewhere("qom-set", arguments)

    async def _elsewhere(self, command: str, arguments: Mapping[str, object]) -> object:
        """The real answer where the path is one that only callers know, or pass it on."""
        path = arguments.get("path")
        if not isinstance(path, str) or (real := await self.real_path(path)) == path:
            return Passes.ON
        return await ask(self._real, command, {**arguments, "path": real})
