"""QEMU's command line as a list of options, and back.

Source: softmmu/vl.c, lookup_opt, and qemu-options.hx for which options take a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from hpcore.errors import HpcoreError

WITHOUT_VALUE = frozenset((
    "h", "help", "version", "audio-help", "S", "s", "alt-grab", "async-teardown", "ctrl-grab",
    "curses", "daemonize", "enable-fips", "enable-kvm", "enable-sync-profile", "full-screen",
    "mem-prealloc", "no-acpi", "no-fd-bootchk", "no-hpet", "no-kvm", "no-kvm-irqchip", "no-quit",
    "no-reboot", "no-shutdown", "no-user-config", "nodefaults", "nodefconfig", "nographic",
    "old-param", "one-insn-per-tb", "only-migratable", "portrait", "preconfig", "sdl",
    "semihosting", "show-cursor", "singlestep", "snapshot", "usb", "win2k-hack", "xen-attach",
    "xen-domid-restrict",
))  # fmt: skip
"""All other options of QEMU 7.2 to 10 take a value."""

DISK = "hda"
"""What a word without a dash names: the first disk."""


class ArgumentRefused(HpcoreError):
    """An argument of QEMU's that cannot work here; the text names it, and what to do instead."""

    def __init__(self, argument: str, why: str) -> None:
        super().__init__(f"{argument}: {why}")


@frozen
class Option:
    """One option, its name without the dash, and its value where it takes one."""

    name: str
    value: str | None = None

    @property
    def text(self) -> str:
        """Its value, which it is known to have."""
        assert self.value is not None, f"-{self.name} takes a value"
        return self.value

    def __str__(self) -> str:
        return f"-{self.name}" if self.value is None else f"-{self.name} {self.value}"


class Options:
    """A command line without its program. What is read of it is asked by name."""

    def __init__(self, options: Iterable[Option]) -> None:
        self._options = tuple(options)

    @classmethod
    def of(cls, words: Sequence[str]) -> Options:
        """The options in `words`. Raises ArgumentRefused where the last one lacks its value."""
        return cls(_options(words))

    def __iter__(self) -> Iterator[Option]:
        return iter(self._options)

    def has(self, *names: str) -> bool:
        """Whether one of them was given."""
        return any(option.name in names for option in self._options)

    def all(self, *names: str) -> list[str]:
        """The values of every option of these names, in their order."""
        return [option.text for option in self._options if option.name in names]

    def last(self, *names: str) -> str | None:
        """The value that counts where an option is given more than once."""
        values = self.all(*names)
        return values[-1] if values else None

    def without(self, names: Iterable[str]) -> Options:
        """All but those of these names."""
        left = frozenset(names)
        return Options(option for option in self._options if option.name not in left)

    def words(self) -> list[str]:
        """As they stand on a command line."""
        return [
            word
            for option in self._options
            for word in (f"-{option.name}", option.value)
            if word is not None
        ]


def _options(words: Sequence[str]) -> Iterator[Option]:
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            yield Option(DISK, word)
            continue
        name = word.removeprefix("-").removeprefix("-")  # QEMU takes one dash or two
        if name in WITHOUT_VALUE:
            yield Option(name)
        elif (value := next(rest, None)) is not None:
            yield Option(name, value)
        else:
            raise ArgumentRefused(word, "requires an argument")
