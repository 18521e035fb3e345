"""Packages are unpacked into a root directory by the machine's own tools, and made a disk.

The disk boots by firmware, too: GRUB is on an EFI system partition.

It runs as a script, because anybody but root needs fakeroot around the whole of it, or the
disk's files would be theirs. Nothing of the packages is run here: dpkg is told that they are
unpacked, and configures them where their programs run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path

from tests.debian.files import FILES
from tests.support.tools import run_tool

MERGED = ("bin", "sbin", "lib")
"""Links into /usr, which a new Debian has from the start."""

LEFT_OUT = (
    "./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/info/*",
    "./lib/udev/hwdb.d/*", "./usr/lib/udev/hwdb.d/*",
)  # fmt: skip
"""Files that no test reads. udev's data base of hardware takes an emulated CPU a minute."""

KEPT_MODULES = (
    "virtio_blk", "virtio_scsi", "virtio_net", "net_failover", "failover", "virtio-rng",
    "virtio_balloon", "evdev", "autofs4",
)  # fmt: skip
"""The kernel's modules that a guest of ours loads. With all 1,082, each packed with xz, depmod
and mkinitramfs take an emulated CPU minutes."""

SECTOR = 512
ESP_START = 2048
ESP_SIZE = 32 << 20
ESP_NUMBER = 15
"""First on the disk and last by its number, as on Debian's cloud images: the root is number 1."""

START = ESP_START + ESP_SIZE // SECTOR
"""The root partition's first sector."""

GRUB_STUB = """\
search.fs_uuid {uuid} root
set prefix=($root)'/boot/grub'
configfile $prefix/grub.cfg
"""
"""What grub-install writes beside GRUB: the configuration is on the root, and update-grub's."""

ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
"""The type of a partition from which UEFI boots (UEFI 2.10, table "Defined GPT Partition Entry -
Partition Type GUIDs")."""

ROOT_ARM64 = "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
"""The type of a partition that is an arm64 root (the Discoverable Partitions Specification)."""

SIZE = 1600 << 20
"""Bytes of the root's file system: 500 MiB are used."""

LAST = 33
"""Sectors of the second partition table, at the end of the disk."""


def lay_out_root(root: Path, debs: list[Path]) -> None:
    """A root with `debs` unpacked, known to dpkg as such, and `FILES`."""
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    (info / "format").write_text("1\n")
    status = "".join(unpack(root, info, deb) for deb in debs)
    (root / "var/lib/dpkg/status").write_text(status)
    for module in (root / "lib/modules").rglob("*.ko*"):
        if module.name.partition(".")[0] not in KEPT_MODULES:
            module.unlink()
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    configure = root / "configure.sh"
    configure.write_bytes(Path(__file__).with_name("configure.sh").read_bytes())
    configure.chmod(0o755)


def unpack(root: Path, info: Path, deb: Path) -> str:
    """Unpack one package; what dpkg's status file has of it."""
    left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as data:
        names = subprocess.run(
            ["tar", "-x", "-v", "-C", root, "--keep-directory-symlink", *left_out],
            stdin=data.stdout, stdout=subprocess.PIPE, text=True, check=True,
        ).stdout  # fmt: skip
    assert data.returncode == 0, f"{deb} is damaged"
    control = root / "control"
    run_tool("dpkg-deb", "--control", deb, control)
    text = (control / "control").read_text()
    (package,) = re.findall(r"^Package: (\S+)$", text, re.MULTILINE)
    same = re.search(r"^Multi-Arch: same$", text, re.MULTILINE)
    prefix = f"{package}:arm64" if same else package
    state = "installed"  # it is, where there is no script that is yet to run
    for file in control.iterdir():
        if file.name == "postinst":
            state = "unpacked"
        if file.name != "control":
            file.rename(info / f"{prefix}.{file.name}")
        else:
            file.unlink()
    control.rmdir()
    listed = [line.removeprefix(".").rstrip("/") or "/." for line in names.splitlines()]
    (info / f"{prefix}.list").write_text("".join(f"{line}\n" for line in listed))
    return f"{text.strip()}\nStatus: install ok {state}\n\n"


def make_disk(root: Path, disk: Path, grub: Path) -> None:
    """A raw disk with a GUID partition table, `root` on a partition, and `grub` to boot it."""
    with disk.open("wb") as file:
        file.truncate(START * SECTOR + SIZE + LAST * SECTOR)
    table = (
        f"label: gpt\n1: start={START}, size={SIZE // SECTOR}, type={ROOT_ARM64}, name=root\n"
        f"{ESP_NUMBER}: start={ESP_START}, size={ESP_SIZE // SECTOR}, type={ESP}, name=esp\n"
    )
    script = disk.with_suffix(".sfdisk")
    script.write_text(table)
    run_tool("sh", "-c", 'sfdisk --quiet "$1" <"$2"', "sfdisk", disk, script)
    offset = f"offset={START * SECTOR}"
    identity = str(uuid.uuid4())
    run_tool(
        "mke2fs", "-q", "-t", "ext4", "-L", "root", "-U", identity, "-E", offset, "-d", root,
        disk, f"{SIZE >> 10}k",
    )  # fmt: skip
    make_boot_partition(disk, grub, identity)


def make_boot_partition(disk: Path, grub: Path, root: str) -> None:
    """`grub` where firmware looks on a disk that it has not seen before, and its stub."""
    stub = disk.with_suffix(".grub")
    stub.write_text(GRUB_STUB.format(uuid=root))
    at = f"{disk}@@{ESP_START * SECTOR}"
    geometry = ("-T", str(ESP_SIZE // SECTOR), "-h", "64", "-s", "32")
    run_tool("mformat", "-i", at, *geometry, "-v", "ESP")
    run_tool("mmd", "-i", at, "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    run_tool("mcopy", "-i", at, grub, "::/EFI/BOOT/BOOTAA64.EFI")
    run_tool("mcopy", "-i", at, stub, "::/EFI/debian/grub.cfg")


if __name__ == "__main__":
    own_root, own_disk = Path(sys.argv[1]), Path(sys.argv[2])
    lay_out_root(own_root, [Path(name) for name in sys.argv[4:]])
    make_disk(own_root, own_disk, Path(sys.argv[3]))
