"""GRUB's configurations: which entry boots, and with what."""

from __future__ import annotations

import re

import pytest

from hpcore.disk.errors import DiskError
from hpcore.disk.find import choose
from hpcore.disk.volume import Partition
from tests.disk.making import BOOT_UUID, ROOT_UUID
from tests.disk.paper import boot, boots, disk, root, volume

DEBIAN = f"""\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${{saved_entry}}"
fi

if [ x"${{feature_menuentry_id}}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option

function savedefault {{
  if [ -z "${{boot_once}}" ]; then
    saved_entry="${{chosen}}"
    save_env saved_entry
  fi
}}
function load_video {{
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop
  fi
}}
if loadfont unicode ; then
  set gfxmode=auto
fi
terminal_output gfxterm
if [ "${{recordfail}}" = 1 ] ; then
  set timeout=30
else
  if [ x$feature_timeout_style = xy ] ; then
    set timeout_style=menu
    set timeout=5
  fi
fi
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple' {{
\tload_video
\tinsmod gzio
\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
\tinsmod part_gpt
\tset root='hd0,gpt7'
\tif [ x$feature_platform_search_hint = xy ]; then
\t  search --no-floppy --fs-uuid --set=root --hint-efi=hd0,gpt7  {ROOT_UUID}
\telse
\t  search --no-floppy --fs-uuid --set=root {ROOT_UUID}
\tfi
\techo\t'Loading Linux 6.12 ...'
\tlinux\t/boot/vmlinuz-6.12 root=UUID={ROOT_UUID} ro  quiet console=ttyAMA0
\techo\t'Loading initial ramdisk ...'
\tinitrd\t/boot/initrd.img-6.12
}}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced' {{
\tmenuentry 'Debian GNU/Linux, with Linux 6.12' $menuentry_id_option 'gnulinux-6.12' {{
\t\tlinux\t/boot/vmlinuz-6.12 root=UUID={ROOT_UUID} ro advanced
\t\tinitrd\t/boot/initrd.img-6.12
\t}}
\tmenuentry 'Debian GNU/Linux, with Linux 6.12 (recovery mode)' --id 'gnulinux-recovery' {{
\t\tlinux\t/boot/vmlinuz-6.12 root=UUID={ROOT_UUID} ro single
\t}}
}}
if [ -f  ${{config_directory}}/custom.cfg ]; then
  source ${{config_directory}}/custom.cfg
elif [ -z "${{config_directory}}" -a -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"""
"""What Debian's grub-mkconfig writes, shortened."""

PLAIN = """\
menuentry A { linux /boot/vmlinuz-6.12 a }
menuentry B --id b { linux /boot/vmlinuz-6.12 b }
"""
WITH_ROOT = f"BOOT_IMAGE=/boot/vmlinuz-6.12 root=UUID={ROOT_UUID} ro"


def test_debians_default_entry_boots() -> None:
    choice = boots(DEBIAN)
    assert choice.title == "Debian GNU/Linux"
    assert choice.append == f"{WITH_ROOT} quiet console=ttyAMA0"
    assert choice.kernel.path == "/boot/vmlinuz-6.12"
    assert [one.path for one in choice.initrds] == ["/boot/initrd.img-6.12"]
    line = DEBIAN.splitlines().index(
        next(one for one in DEBIAN.splitlines() if one.startswith("menuentry"))
    )
    assert choice.configuration == (
        f"disk.img, partition 2 (ext4): /boot/grub/grub.cfg, line {line + 1}"
    )


@pytest.mark.parametrize(
    ("saved", "end"),
    [
        ("gnulinux-advanced>gnulinux-6.12", "advanced"),
        ("1>0", "advanced"),
        ("1>1", "single"),
        ("1", "advanced"),
        ("Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.12 (recovery mode)",
         "single"),
        ("gnulinux-gone", "quiet console=ttyAMA0"),
        ("77", "quiet console=ttyAMA0"),
    ],
)  # fmt: skip
def test_the_saved_default_is_taken_by_number_title_or_id(saved: str, end: str) -> None:
    choice = boots(DEBIAN, grubenv=f"# GRUB Environment Block\nsaved_entry={saved}\n####")
    assert choice.append == f"{WITH_ROOT} {end}"


def test_an_entry_for_the_next_boot_alone_goes_before_the_saved_one() -> None:
    grubenv = "# GRUB Environment Block\nsaved_entry=0\nnext_entry=gnulinux-advanced>1\n"
    assert boots(DEBIAN, grubenv=grubenv).append.endswith("single")


def test_a_custom_file_is_read() -> None:
    custom = {"/boot/grub/custom.cfg": "set default=mine\n" + PLAIN.replace("A {", "A --id mine {")}
    assert boots(DEBIAN, **custom).append.endswith(" a")


def test_a_boot_partition_of_its_own_is_searched_for() -> None:
    script = f"""
    set default=0
    search --no-floppy --fs-uuid --set=root {BOOT_UUID}
    menuentry 'Linux' {{ linux /vmlinuz ro ; initrd /micro.img /initrd }}
    """
    files = {"/grub/grub.cfg": script.encode(), "/vmlinuz": b"k", "/initrd": b"i"}
    choice = choose(disk(boot(files), root()))
    assert str(choice.kernel.volume.partition) == "partition 1 (xfs)"
    assert [one.path for one in choice.initrds] == ["/micro.img", "/initrd"]


@pytest.mark.parametrize(
    "stub",
    [
        f"search.fs_uuid {ROOT_UUID} root hd0,gpt2\nset prefix=($root)'/boot/grub'\n"
        "configfile $prefix/grub.cfg\n",
        f"search --no-floppy --root-dev-only --fs-uuid --set=dev {ROOT_UUID}\n"
        "set prefix=($dev)/boot/grub\nexport $prefix\nconfigfile $prefix/grub.cfg\n",
        "search --label --set root root\nsource (hd0,gpt2)/boot/grub/grub.cfg",
        "search --set=root --file /boot/vmlinuz-6.12\nconfigfile /boot/grub/grub.cfg",
        "search.fs_label root\nconfigfile /boot/grub/grub.cfg",
    ],
)
def test_the_file_on_the_efi_partition_says_where_the_configuration_is(stub: str) -> None:
    efi = volume(1, "vfat", "ABCD-1234", {"/EFI/debian/grub.cfg": stub.encode()})
    other = boot({"/grub/grub.cfg": PLAIN.encode()})
    choice = choose(disk(efi, other, root(grub_cfg=DEBIAN)))
    assert choice.append == f"{WITH_ROOT} quiet console=ttyAMA0"


def test_an_efi_file_that_leads_nowhere_is_passed_over() -> None:
    stub = b"search.fs_uuid 0000 root\nset prefix=($root)/grub\nconfigfile $prefix/grub.cfg\n"
    efi = volume(1, "vfat", "ABCD-1234", {"/EFI/old/grub.cfg": stub})
    assert choose(disk(efi, root(grub_cfg=PLAIN))).title == "A"


@pytest.mark.parametrize(
    ("script", "append"),
    [
        ("menuentry A { linux /boot/vmlinuz-6.12 'one word' \"$nothing\" a=\"b c\" }",
         '"one word"  "a=b c"'),
        ("x='1  2'\nmenuentry A { linux /boot/vmlinuz-6.12 pre$x'3' \"$x\" }", 'pre1 23 "1  2"'),
        ("menuentry A { linux /boot/vmlinuz-6.12 a\\ b \\$c \"\\$d\" e\\\nf }", '"a b" $c $d ef'),
        ("menuentry A x y { linux /boot/vmlinuz-6.12 $1 ${2} $# $@ }", "A x 3 A x y"),
        ("for n in 1 2 3; do l=\"$l$n\"; done\nmenuentry A { linux /boot/vmlinuz-6.12 $l }", "123"),
        ("while [ \"$l\" != aaa ]; do l=a$l; done\nmenuentry A { linux /boot/vmlinuz-6.12 $l }",
         "aaa"),
        ("until [ \"$l\" = aa ]; do l=a$l; done\n"
         "menuentry A { linux /boot/vmlinuz-6.12 $l }", "aa"),
        ("for n in 1 2 3; do if [ $n -eq 2 ]; then break; fi; l=$n; done\n"
         "menuentry A { linux /boot/vmlinuz-6.12 $l }", "1"),
        ("function f { l=$1; return 1; l=no; }\nif f yes; then l=wrong; fi\n"
         "menuentry A { linux /boot/vmlinuz-6.12 $l }", "yes"),
        ("if ! false; then l=yes; fi\nmenuentry A { linux /boot/vmlinuz-6.12 $l }", "yes"),
        ("if [ ! -e /boot/none -a -d /boot -o a = b ]; then l=yes; fi\n"
         "menuentry A { linux /boot/vmlinuz-6.12 $l }", "yes"),
        ("if [ 1 = 2 ]; then l=1; elif [ 2 -lt 3 ]; then l=2; else l=3; fi\n"
         "menuentry A { linux /boot/vmlinuz-6.12 $l }", "2"),
        ("eval 'l=yes'\nmenuentry A { linux /boot/vmlinuz-6.12 $l # words\n}", "yes"),
        ("set default=1\n" + PLAIN, "b"),
        ("set default=b\n" + PLAIN, "b"),
        ("set default=9999999999999999999999\n" + PLAIN, "a"),
        ("set default=A>>B\nmenuentry X { linux /boot/vmlinuz-6.12 x }\n"
         "menuentry 'A>B' { linux /boot/vmlinuz-6.12 ab }", "ab"),
        ("menuentry A { linux /boot/vmlinuz-6.12 a; linux /boot/vmlinuz-6.12 b }", "b"),
    ],
)  # fmt: skip
def test_the_language_is_understood(script: str, append: str) -> None:
    assert boots(script).append == f"BOOT_IMAGE=/boot/vmlinuz-6.12 {append}"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("menuentry W { chainloader /EFI/x.efi }",
         r"grub.cfg, line 1: the entry 'W' boots no Linux: `chainloader` in line 1"),
        ("\nmenuentry Xen {\n xen_hypervisor /xen\n}", r"`xen_hypervisor` in line 3"),
        ("menuentry Off { halt }", "`halt` in line 1"),
        ("menuentry None { echo hi }", "it has no command `linux`"),
        ("submenu Empty { echo }", "the menu 'Empty' has no entries"),
        ("menuentry A { linux }", "line 1: `linux` names no kernel"),
        ("menuentry A { linux /x\ninitrd newc:a:/b }", "line 2: .*newc"),
        ("menuentry A {\nset root=lvm/vg-root\nlinux /x\n}",
         r"line 3: /x is on \(lvm/vg-root\), which is no partition of this image; it has part"),
        ("menuentry A { linux (hd0,gpt3)/x }",
         r"\(hd0,gpt3\), and partition 3 \(LVM\) is no file system that is read"),
        ("menuentry A {", r"grub.cfg, line 1: } is missing"),
        ("if true; then\n echo", "line 2: elif or else or fi is missing"),
        ("echo }", "} has no beginning"),
        ("fi", "fi has no beginning"),
        ("echo 'a\nb", "line 1: ' begins and does not end"),
        ('\necho "a', 'line 2: " begins and does not end'),
        ("echo ${a", r"\$\{ begins and does not end"),
        ("while true; do echo; done", "line 1: it runs for more than 100000 steps"),
        ("for a in b; do\nfunction f { f }\nf\ndone", "line 2: it calls itself"),
        ("source /boot/grub/grub.cfg", "it calls itself, or includes itself, without end"),
        ("a=x\nwhile true; do a=$a$a; done", "line 2: its arguments have more than 65536"),
        ("if " * 100, "more than 50 blocks"),
        ("function f " + "{ " * 100, "more than 50 blocks"),
        ("while true; do menuentry A { x } ; done", "more than 1000 entries"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_named_with_its_line(script: str, said: str) -> None:
    lvm = Partition(3, 0, 0, "LVM")
    whole = disk(root(grub_cfg=script), others=(lvm,))
    with pytest.raises(DiskError, match=said) as caught:
        choose(whole)
    assert "disk.img, partition 2 (ext4)" in str(caught.value)


def test_a_disk_without_a_configuration_is_refused_with_what_it_has() -> None:
    luks = Partition(3, 0, 0, "LUKS, encrypted")
    efi = volume(1, "vfat", "ABCD-1234", {"/EFI/Linux/arch.efi": b"MZ"})
    with pytest.raises(DiskError) as caught:
        choose(disk(efi, root(grub_cfg="set default=0"), others=(luks,)))
    said = str(caught.value)
    for words in (
        "disk.img has no boot configuration", "partition 2 (ext4) /boot/grub/grub.cfg has no menu",
        "/EFI/Linux/arch.efi", "partition 3 (LUKS, encrypted)", "give the kernel",
    ):  # fmt: skip
        assert re.search(re.escape(words), said), said
