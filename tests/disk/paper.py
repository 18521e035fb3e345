"""Disks on paper: volumes that are dictionaries, for what needs no file system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from attrs import field, frozen

from hpcore.disk.choice import Choice
from hpcore.disk.find import choose
from hpcore.disk.partitions import Disk
from hpcore.disk.volume import Node, Partition, Volume
from tests.disk.making import BOOT_UUID, ROOT_UUID


@frozen
class _Named:
    path: Path = field(factory=lambda: Path("disk.img"))


class _Paper:
    """Files by their paths; text is where a symbolic link goes."""

    def __init__(self, tree: dict[str, bytes | str]) -> None:
        self.tree = tree

    def root(self) -> Node:
        return self._node("")

    def children(self, node: Node) -> Iterator[Node]:
        below = f"{node.inner}/"
        names = {p[len(below) :].split("/")[0] for p in self.tree if p.startswith(below)}
        return (self._node(below + name) for name in sorted(names))

    def child(self, node: Node, name: str) -> Node | None:
        return next((one for one in self.children(node) if one.name == name), None)

    def read(self, node: Node) -> bytes:
        return cast(bytes, self.tree[node.inner])

    def _node(self, path: str) -> Node:
        content, name = self.tree.get(path), path.rpartition("/")[2]
        size = len(content) if isinstance(content, bytes) else 0
        target = content if isinstance(content, str) else None
        is_file = isinstance(content, bytes)
        return Node(name, is_file, content is None, size, target, path)


def volume(number: int, content: str, uuid: str, tree: dict[str, Any], label: str = "") -> Volume:
    """A partition with these files; text that is no link is given as bytes or by `text`."""
    partition = Partition(
        number, number << 20, 1 << 20, content, uuid, label, f"part-{number}", f"name {number}"
    )
    return Volume("disk.img", partition, cast(Any, _Paper(tree)))


def disk(*volumes: Volume, others: tuple[Partition, ...] = ()) -> Disk:
    """A disk of these volumes, and of partitions that are not read."""
    return Disk(cast(Any, _Named()), (*(v.partition for v in volumes), *others), volumes, {})


def root(**files: str) -> Volume:
    """The root file system, partition 2: `grub_cfg=...` and what a Debian has in /boot."""
    tree: dict[str, Any] = {"/boot/vmlinuz-6.12": b"kernel", "/boot/initrd.img-6.12": b"initrd"}
    names = {"grub_cfg": "/boot/grub/grub.cfg", "grubenv": "/boot/grub/grubenv"}
    for name, text in files.items():
        tree[names.get(name, name)] = text.encode()
    return volume(2, "ext4", ROOT_UUID, tree, "root")


def boot(tree: dict[str, Any]) -> Volume:
    """A /boot on its own partition, number 1."""
    return volume(1, "xfs", BOOT_UUID, tree, "boot")


def boots(script: str, **files: str) -> Choice:
    """What a disk boots whose /boot/grub/grub.cfg is that script."""
    return choose(disk(root(grub_cfg=script, **files)))
