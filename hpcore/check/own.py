"""Properties and guests out of a user's Python file, with words for whatever is wrong in it.

    @always
    def on_means_wired(index, slot, shared):
        \"""A vCPU that is powered on has its interrupts wired.\"""
        return not slot.powered or slot.gicc == "wired"

The file is run as it is: it is the user's own code. What it raises, when it is read or when
a property of it is asked, is a CheckError that says where. How long it takes, `own_calls` knows.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
from attrs import frozen

from hpcore.check.own_calls import CALLS
from hpcore.check.properties import PROPERTIES, Properties, refuse_unfit
from hpcore.check.result import CheckError
from hpcore.check.world.guests import GuestModel
from hpcore.model.properties import Property
from hpcore.model.states import Shared, Slot
from hpcore.model.stimuli import STIMULI, Stimulus

_STIMULI = tuple(STIMULI.values())
_ASKS = ("on_state", "on_event", "on_machine", "shows", "possible", "owes")
_OF_A_GUEST = ("name", "reads_registered", "leaves_out", "calls", "machine_calls")


def properties_in(path: Path) -> Properties:
    """The properties that stand in the module of a file. Raises CheckError."""
    module = _module(path)
    found = {id(v): v for v in vars(module).values() if isinstance(v, Property)}
    own = tuple(p for p in found.values() if p not in PROPERTIES)
    if not own:
        raise CheckError(
            f"{path}: there is no property in it; decorate a function with @always, @sometimes "
            "or @eventually of hpcore.model.properties"
        )
    refuse_unfit((*PROPERTIES, *own))
    return tuple(_with_words(p, path) for p in own)


def guest_in(words: str) -> GuestModel:
    """The guest that `FILE.py:Class` names, made without arguments. Raises CheckError."""
    file, _, name = words.rpartition(":")
    if not file or not name.isidentifier():
        raise CheckError(
            f"'{words}' is no guest: name one that hpcore has, or a class as in mine.py:MyGuest"
        )
    path = Path(file)
    module = _module(path)
    cls = getattr(module, name, None)
    if not inspect.isclass(cls):
        known = [n for n, v in vars(module).items()
                 if inspect.isclass(v) and v.__module__ == module.__name__]  # fmt: skip
        raise CheckError(
            f"{path}: there is no class {name} in it; those that there are: "
            f"{', '.join(known) or 'none'}"
        )
    try:
        guest = CALLS.make(f"the making of {name}", str(path), _made, cls)
    except (Exception, SystemExit) as error:  # an exit with 0 would be a proof
        raise CheckError(
            f"{path}: {name} cannot be made, or is no value: {_in_words(error, path)}. Make it a "
            "frozen attrs class whose fields all have a value"
        ) from error
    missing = [member for member in _OF_A_GUEST if not hasattr(guest, member)]
    if missing:
        raise CheckError(
            f"{path}: {name} has no {', no '.join(missing)}; hpcore.check.GuestModel says what "
            "a guest has"
        )
    return _Worded(guest, str(path))


def _made(cls: type) -> Any:
    guest = cls()
    hash(guest)
    return guest


def _module(path: Path) -> ModuleType:
    if path.is_dir():
        raise CheckError(f"{path}: it is a directory; name a Python file in it")
    if not path.is_file():
        raise CheckError(f"{path}: there is no such file")
    if path.suffix != ".py":
        raise CheckError(f"{path}: it must be Python, and be named so: *.py")
    name = f"hpcore_own_{path.stem}"
    spec = spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path)))
    assert spec is not None and spec.loader is not None, "a source file has a loader"
    module = module_from_spec(spec)
    sys.modules[name] = module  # attrs and pickle look a class's module up
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        CALLS.make("the file", str(path), spec.loader.exec_module, module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise CheckError(f"{path} cannot be read: {_in_words(error, path)}") from error
    finally:
        sys.dont_write_bytecode = written
    return module


def _in_words(error: BaseException, path: Path) -> str:
    """An error of the user's code: where in the file, of which kind, and what it says."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}".rstrip(": ")


def _with_words(p: Property, path: Path) -> Property:
    """The same property, which says what is wrong with it where its function raises."""
    asks: dict[str, Any] = {
        name: _worded(function, p.name, path)
        for name in _ASKS if (function := getattr(p, name)) is not None
    }  # fmt: skip
    return attrs.evolve(p, **asks)


def _worded(function: Callable[..., Any], name: str, path: Path) -> Callable[..., Any]:
    what, file = f"the property {name}", str(path)

    def asked(*arguments: Any) -> Any:
        try:
            return CALLS.make(what, file, function, *arguments)
        except (Exception, SystemExit) as error:  # as above
            raise CheckError(
                f"{path}: the property {name} cannot be asked: {_in_words(error, path)}"
            ) from error

    return asked


@frozen
class _Worded:
    """A user's guest, whose errors are told in words."""

    guest: GuestModel
    path: str

    @property
    def name(self) -> str:
        return self.guest.name

    @property
    def reads_registered(self) -> bool:
        return self.guest.reads_registered

    @property
    def leaves_out(self) -> frozenset[str]:
        return frozenset(self.guest.leaves_out)

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[Stimulus]:
        return self._asked(lambda: self.guest.calls(index, slot, shared))

    def machine_calls(self, shared: Shared) -> Iterator[Stimulus]:
        return self._asked(lambda: self.guest.machine_calls(shared))

    def _asked(self, ask: Callable[[], Iterable[Stimulus]]) -> Iterator[Stimulus]:
        try:
            made = CALLS.make(f"the guest {self.guest.name}", self.path, lambda: tuple(ask()))
        except (Exception, SystemExit) as error:  # as above
            raise CheckError(
                f"{self.path}: the guest {self.guest.name} cannot be asked: "
                f"{_in_words(error, Path(self.path))}"
            ) from error
        for each in made:
            if not isinstance(each, _STIMULI):
                raise CheckError(
                    f"{self.path}: the guest {self.guest.name} makes {each!r:.60}, which is no "
                    "call; hpcore.model.stimuli.GuestCall says which there are"
                )
        yield from made
