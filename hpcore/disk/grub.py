"""GRUB's configuration, run as GRUB runs it: up to the kernel that the default entry loads.

Source: GRUB's manual. What a script asks of the screen, the keyboard or the firmware does
nothing here.
"""

from __future__ import annotations

import contextlib
from functools import partial

import attrs
from attrs import mutable

from hpcore.disk import script
from hpcore.disk.bls import BlsEntry
from hpcore.disk.bls import entries as bls_entries
from hpcore.disk.choice import Choice, FileAt, text_of
from hpcore.disk.conditions import holds
from hpcore.disk.devices import Devices
from hpcore.disk.errors import DiskError
from hpcore.disk.interpreter import Interpreter, Leave
from hpcore.disk.menu import Entry, environment, for_linux, old_search, pick
from hpcore.disk.script import Command
from hpcore.disk.volume import Volume

MOST_ENTRIES = 1000
DEEPEST_MENU = 10

FEATURES = (
    "chainloader_bpb", "ntldr", "platform_search_hint", "default_font_path", "all_video_module",
    "menuentry_id", "menuentry_options", "200_final", "nativedisk_cmd", "timeout_style",
)  # fmt: skip
"""What GRUB 2.12 says of itself to scripts, as feature_... variables."""

OTHER_LOADERS = (
    "exit", "halt", "reboot", "fwsetup",
    "chainloader", "multiboot", "multiboot2", "xen_hypervisor", "xen_module", "xen_linux",
    "freebsd", "openbsd", "netbsd", "ntldr", "knetbsd", "kfreebsd", "kopenbsd", "plan9",
)  # fmt: skip
FAILS = (
    "false", "keystatus", "regexp", "probe", "cryptomount", "loadfont", "loopback", "smbios",
    "cpuid", "rdmsr", "getenv", "sendkey", "background_image", "verify_detached",
)  # fmt: skip
"""Commands that say no: there is no screen, no firmware, no second disk."""


@mutable
class _Loaded:
    kernel: FileAt | None = None
    arguments: tuple[str, ...] = ()
    initrds: tuple[FileAt, ...] = ()
    otherwise: str = ""


class Grub(Interpreter):
    """One run of GRUB over the volumes of a disk."""

    def __init__(self, devices: Devices, home: Volume, directory: str) -> None:
        super().__init__()
        device = devices.name(home)
        self.devices = devices
        self.variables = {
            "root": device, "prefix": f"({device}){directory}", "cmdpath": f"({device})/EFI/BOOT",
            "grub_cpu": "arm64", "grub_platform": "efi",
            **{f"feature_{name}": "y" for name in FEATURES},
        }  # fmt: skip
        self.entries: list[Entry] = []
        self._loaded = _Loaded()
        self.commands = {
            "set": self._set, "unset": self._unset, "test": self._test, "[": self._bracket,
            "search": self._search, "load_env": self._load_env,
            "search.fs_uuid": lambda args: self._search(["--fs-uuid", *old_search(args)]),
            "search.fs_label": lambda args: self._search(["--label", *old_search(args)]),
            "search.file": lambda args: self._search(["--file", *old_search(args)]),
            "source": self._source, ".": self._source, "configfile": self._configfile,
            "normal": self._configfile, "eval": self._eval, "blscfg": self._blscfg,
            "linux": self._linux, "linux16": self._linux, "linuxefi": self._linux,
            "initrd": self._initrd, "initrd16": self._initrd, "initrdefi": self._initrd,
            "return": lambda args: self._leave("return", args),
            "break": lambda args: self._leave("break", args),
            "continue": lambda args: self._leave("continue", args),
            **{name: partial(self._other, name) for name in OTHER_LOADERS},
            **{name: lambda _args: False for name in FAILS},
        }  # fmt: skip

    # --- from a file to a choice

    def run(self, volume: Volume, path: str) -> None:
        """Run a configuration file; its menu is in `entries` then."""
        with contextlib.suppress(Leave):
            self._run_file(volume, path)

    def choose(self) -> Choice:
        """What the default entry boots. Raises DiskError where that is no Linux."""
        wanted = self.variables.get("default", "")
        for _ in range(DEEPEST_MENU):
            entry, wanted = pick(self.entries, wanted)
            if entry.bls is not None:
                return self._bls(entry.bls)
            self.variables["chosen"] = entry.title
            self.entries, self._loaded = [], _Loaded()
            self.file = entry.file
            with contextlib.suppress(Leave):
                self.call(entry.body, entry.arguments)
            if not entry.submenu:
                return self._choice(entry)
            if not self.entries:
                raise DiskError(f"{entry.where}: the menu {entry.title!r} has no entries")
        raise DiskError(f"{entry.where}: more than {DEEPEST_MENU} menus in each other")

    def _choice(self, entry: Entry) -> Choice:
        loaded = self._loaded
        if loaded.kernel is None or loaded.otherwise:
            why = loaded.otherwise or "it has no command `linux`"
            raise DiskError(
                f"{entry.where}: the entry {entry.title!r} boots no Linux: {why}; choose another "
                "default in the guest (grub-set-default), or give the kernel yourself"
            )
        path, *words = loaded.arguments
        append = " ".join([f"BOOT_IMAGE={path}", *map(for_linux, words)])
        return Choice(entry.where, entry.title, loaded.kernel, loaded.initrds, append)

    def _run_file(self, volume: Volume, path: str) -> bool:
        before = self.file
        self.file = volume.said(path)
        statements = script.parse(text_of(volume, path), self.file)
        try:
            return self.call(statements, self.arguments)
        except Leave as leave:
            if leave.what != "return":
                raise
            return leave.status
        finally:
            self.file = before

    # --- commands

    def entry(self, submenu: bool, arguments: list[str], command: Command) -> bool:
        title, ident = "", ""
        rest = list(arguments)
        positional: list[str] = []
        while rest:
            word = rest.pop(0)
            option, equals, value = word.partition("=")
            if option in ("--class", "--users", "--hotkey", "--id", "--source"):
                value = value if equals else (rest.pop(0) if rest else "")
                ident = value if option == "--id" else ident
            elif not word.startswith("--"):
                positional.append(word)
        title = positional[0] if positional else ""
        self._add(
            Entry(
                f"{self.file}, line {command.line}", title, ident or title, submenu,
                command.block or (), self.file, tuple(positional),
            )
        )  # fmt: skip
        return True

    def _add(self, entry: Entry) -> None:
        if len(self.entries) >= MOST_ENTRIES:
            raise self.wrong(f"its menu has more than {MOST_ENTRIES} entries")
        self.entries.append(entry)

    def _set(self, arguments: list[str]) -> bool:
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if equals:
                self.variables[name] = value
        return True

    def _unset(self, arguments: list[str]) -> bool:
        for name in arguments:
            self.variables.pop(name, None)
        return True

    def _bracket(self, arguments: list[str]) -> bool:
        return self._test(arguments[:-1] if arguments[-1:] == ["]"] else arguments)

    def _test(self, arguments: list[str]) -> bool:
        return holds(arguments, self._look)

    def _look(self, kind: str, path: str) -> bool:
        volume, inner = self.devices.find(path, self.variables.get("root", ""))
        if volume is None:
            return False
        if kind == "-s":
            return bool(volume.size(inner))
        return (kind != "-d" and volume.is_file(inner)) or (
            kind != "-f" and volume.is_directory(inner)
        )

    def _search(self, arguments: list[str]) -> bool:
        by, variable, wanted = "file", "", ""
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            option, equals, value = word.partition("=")
            if option in ("-s", "--set"):
                variable = value if equals else "root"
            elif option in ("-u", "--fs-uuid"):
                by = "uuid"
            elif option in ("-l", "--label"):
                by = "label"
            elif option in ("-p", "--part-uuid", "--partuuid"):
                by = "part_uuid"
            elif option == "--hint" and not equals:
                rest = rest[1:]
            elif not word.startswith("-"):
                wanted = word
        found = self.devices.search(by, wanted)
        if found is None:
            return False
        if variable:
            self.variables[variable] = self.devices.name(found)
        return True

    def _load_env(self, arguments: list[str]) -> bool:
        path, names = "", []
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            if word in ("-f", "--file"):
                path = rest.pop(0) if rest else ""
            elif word.startswith("--file="):
                path = word.removeprefix("--file=")
            elif not word.startswith("-"):
                names.append(word)
        path = path or f"{self.variables.get('prefix', '')}/grubenv"
        volume, inner = self.devices.find(path, self.variables.get("root", ""))
        if volume is None or not volume.is_file(inner):
            return False
        for name, value in environment(text_of(volume, inner)).items():
            if not names or name in names:
                self.variables[name] = value
        return True

    def _source(self, arguments: list[str]) -> bool:
        path = arguments[0] if arguments else f"{self.variables.get('prefix', '')}/grub.cfg"
        volume, inner = self.devices.find(path, self.variables.get("root", ""))
        if volume is None or not volume.is_file(inner):
            return False
        return self._run_file(volume, inner)

    def _configfile(self, arguments: list[str]) -> bool:
        """A new menu; where it has entries, nothing of the old script is run any more."""
        before, self.entries = self.entries, []
        status = self._source(arguments)
        if self.entries:
            raise Leave("configfile")
        self.entries = before
        return status

    def _eval(self, arguments: list[str]) -> bool:
        return self.call(script.parse(" ".join(arguments), self.where), self.arguments)

    def _blscfg(self, _arguments: list[str]) -> bool:
        """The entries of the Boot Loader Specification, as in Fedora's GRUB."""
        own = self.variables.get("blsdir")
        base = f"({self.variables.get('boot') or self.variables.get('root', '')})"
        for directory in [own] if own else ["/loader/entries", "/boot/loader/entries"]:
            where = directory if directory.startswith("(") else base + directory
            volume, inner = self.devices.find(where, "")
            found = bls_entries(volume, inner) if volume is not None else []
            for entry in found:
                place = entry.volume.said(entry.path)
                self._add(Entry(place, entry.title, entry.name, False, (), place, (), entry))
            if found:
                return True
        return False

    def _bls(self, entry: BlsEntry) -> Choice:
        """What an entry boots; the variables in it are those of the script."""
        choice = entry.choice()
        self.file, self.line = entry.volume.said(entry.path), 0
        words = [f"BOOT_IMAGE={choice.kernel.path}", *map(for_linux, self._in_text(choice.append))]
        initrds = tuple(
            FileAt(at.volume, path, at.asked)
            for at in choice.initrds
            for path in self._in_text(at.path)
        )
        return attrs.evolve(choice, initrds=initrds, append=" ".join(words))

    def _in_text(self, text: str) -> list[str]:
        """The words of a line, as if it were one of the script's."""
        statements = script.parse(f"words {text}", self.file)
        first = statements[0] if statements else None
        return self.words(first.words)[1:] if isinstance(first, Command) else []

    def _linux(self, arguments: list[str]) -> bool:
        if not arguments:
            raise self.wrong("`linux` names no kernel")
        self._loaded.kernel = self._file_at(arguments[0])
        self._loaded.arguments = tuple(arguments)
        self._loaded.initrds = ()
        return True

    def _initrd(self, arguments: list[str]) -> bool:
        if any(word.startswith("newc:") for word in arguments):
            raise self.wrong("an initrd that GRUB puts together (newc:) is not read")
        files = [word for word in arguments if not word.startswith("--")]
        self._loaded.initrds = tuple(self._file_at(word) for word in files)
        return True

    def _file_at(self, path: str) -> FileAt:
        root = self.variables.get("root", "")
        volume, inner = self.devices.find(path, root)
        if volume is None:
            device = path.partition(")")[0] + ")" if path.startswith("(") else f"({root})"
            raise DiskError(f"{self.where}: {path} is on {device}, {self.devices.why_not(device)}")
        return FileAt(volume, inner, self.where)

    def _other(self, name: str, _arguments: list[str]) -> bool:
        self._loaded.otherwise = f"`{name}` in line {self.line}"
        raise Leave("exit")

    def _leave(self, what: str, arguments: list[str]) -> bool:
        raise Leave(what, status=not arguments or arguments[0] == "0")
