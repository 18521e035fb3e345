"""Boot Loader Specification entries: their order, the default, and GRUB's reading of them."""

from __future__ import annotations

import pytest

from hpcore.disk.bls import entries
from hpcore.disk.choice import version_key
from hpcore.disk.errors import DiskError
from hpcore.disk.find import choose
from hpcore.disk.volume import Volume
from tests.disk.making import ROOT_UUID
from tests.disk.paper import boot, disk, volume


def entry(version: str, *lines: str) -> bytes:
    head = [f"title Linux {version}", f"version {version}", f"linux /vmlinuz-{version}"]
    return "\n".join(["# made by a test", "", *head, *lines]).encode()


def esp(files: dict[str, bytes], conf: str | None = None) -> Volume:
    tree = {f"/loader/entries/{name}": data for name, data in files.items()}
    if conf is not None:
        tree["/loader/loader.conf"] = conf.encode()
    return volume(1, "vfat", "ABCD-1234", tree)


THREE = {
    "a-6.9.conf": entry("6.9", "options nine"),
    "a-6.12.conf": entry("6.12", "options twelve"),
    "a-6.12~rc1.conf": entry("6.12~rc1", "options candidate"),
}


@pytest.mark.parametrize(
    ("conf", "append"),
    [
        (None, "twelve"),
        ("timeout 3\n", "twelve"),
        ("default a-6.9.conf", "nine"),
        ("#default a-6.9\ndefault\ta-6.9\n", "nine"),
        ("default *rc1*", "candidate"),
        ("default nothing-*", "twelve"),
        ("default @saved", "twelve"),
    ],
)
def test_the_default_is_the_pattern_of_loader_conf_or_else_the_newest(
    conf: str | None, append: str
) -> None:
    choice = choose(disk(esp(THREE, conf)))
    assert choice.append == append


def test_an_entry_gives_its_files_and_options_in_their_order() -> None:
    lines = ("initrd /micro /early", "initrd\t/initrd", "options root=x", "options y  z")
    data = entry("6.12", *lines)
    choice = choose(disk(esp({"a.conf": data})))
    assert (choice.title, choice.append) == ("Linux 6.12", "root=x y  z")
    assert [one.path for one in choice.initrds] == ["/micro", "/early", "/initrd"]
    assert choice.kernel.path == "/vmlinuz-6.12"
    assert choice.kernel.asked == "disk.img, partition 1 (vfat): /loader/entries/a.conf, line 5"


def test_entries_with_a_sort_key_go_before_those_without_newest_first() -> None:
    files = {
        "z-9.conf": entry("9"),
        "b-1.conf": entry("1", "sort-key b"),
        "a-2.conf": entry("2", "sort-key a"),
        "a-10.conf": entry("10", "sort-key a"),
        "y-8.conf": entry("8"),
    }
    assert [e.name for e in entries(esp(files), "/loader/entries")] == [
        "a-10", "a-2", "b-1", "z-9", "y-8",
    ]  # fmt: skip


def test_an_entry_that_has_no_tries_left_is_the_last() -> None:
    files = {
        "a-3+0-3.conf": entry("3", "options bad"),
        "a-2+1-2.conf": entry("2", "options good"),
        "a-1.conf": entry("1", "options old"),
    }
    assert choose(disk(esp(files))).append == "good"
    assert choose(disk(esp(files, "default a-3"))).append == "bad"


def test_entries_for_other_architectures_and_other_files_are_left_out() -> None:
    files = {
        "a-9.conf": entry("9", "architecture x64"),
        "a-8.conf": entry("8", "architecture aa64", "options this"),
        "a-99.txt": b"no entry",
    }
    assert choose(disk(esp(files))).append == "this"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"title X\nefi /shell.efi", r"a.conf, line 2: the entry 'X' starts an EFI program"),
        (b"title X\noptions y", r"a.conf: the entry 'X' has no line `linux`"),
        (b"\xff\xfe\0", "the entry 'a' has no line `linux`"),
        (b"title X\nlinux\n", "'X' has no line `linux`"),
    ],
)
def test_an_entry_that_boots_no_kernel_is_refused_by_its_line(data: bytes, said: str) -> None:
    with pytest.raises(DiskError, match=said):
        choose(disk(esp({"a.conf": data})))


def test_too_many_entries_are_refused() -> None:
    with pytest.raises(DiskError, match="more than 1000 entries"):
        choose(disk(esp({f"{n}.conf": b"" for n in range(1001)})))


FEDORA = b"""\
set prefix=($root)/grub2
if [ -f ${prefix}/grubenv ]; then load_env -f ${prefix}/grubenv; fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="${saved_entry}"
fi
set kernelopts="root=UUID=7 ro"
insmod blscfg
blscfg
"""


@pytest.mark.parametrize(
    ("saved", "append"), [("a-6.9", "root=UUID=7 ro nine"), ("", "root=UUID=7 ro twelve")]
)
def test_fedoras_grub_reads_the_entries_with_its_variables(saved: str, append: str) -> None:
    tree: dict[str, object] = {
        "/grub2/grub.cfg": FEDORA,
        "/grub2/grubenv": f"saved_entry={saved}\n".encode(),
        "/loader/entries/a-6.9.conf": entry("6.9", "options $kernelopts nine"),
        "/loader/entries/a-6.12.conf": entry(
            "6.12", "initrd /initrd $tuned_initrd", "options ${kernelopts} twelve"
        ),
    }
    choice = choose(disk(boot(tree)))
    assert choice.append == f"BOOT_IMAGE={choice.kernel.path} {append}"
    assert [one.path for one in choice.initrds] == ([] if saved else ["/initrd"])


def test_fedoras_grub_finds_entries_in_a_root_without_a_boot_partition() -> None:
    tree = {
        "/boot/grub2/grub.cfg": b"blscfg",
        "/boot/loader/entries/x.conf": entry("6.12").replace(b"/vm", b"/boot/vm"),
    }
    choice = choose(disk(volume(2, "ext4", ROOT_UUID, tree)))
    assert choice.kernel.path == "/boot/vmlinuz-6.12"


def test_an_entry_that_boots_no_kernel_does_not_spoil_grubs_menu() -> None:
    tree = {
        "/grub2/grub.cfg": b"blscfg",
        "/loader/entries/a-1.conf": b"title Shell\nefi /shell.efi",
        "/loader/entries/a-2.conf": entry("6.12"),
    }
    assert choose(disk(boot(tree))).title == "Linux 6.12"


def test_versions_are_in_the_order_of_their_numbers() -> None:
    order = ["6.9", "6.12~rc1", "6.12", "6.12a", "6.12.1", "6.12.10", "10"]
    assert sorted(["10", *order[:-1]], key=version_key) == order
