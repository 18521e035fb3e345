"""A protocol as a value that can be written down: one revision of the series, or one's own.

A `Revision` has a name, the rules that it makes of the model's parts, and what it promises:
hpcore's invariants without those that it gives up, and others instead. It is made of plain
data (`revision_of`), as a file or the head of a log has it, and gives the same back (`plain`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import attrs
from attrs import field, frozen

from hpcore.model.effects import Step
from hpcore.model.guards import SWITCHES
from hpcore.model.invariants import BY_NAME, INVARIANTS
from hpcore.model.other_invariants import OTHERS_BY_NAME
from hpcore.model.properties import Invariants, Property
from hpcore.model.rules import BUILD, RULES, TEARDOWN, Habit, Rules, Trait
from hpcore.model.states import Owed

Path = tuple[str | int, ...]
"""Where in the plain data something stands: keys, and places in lists."""

ENDS = tuple(str(owed) for owed in (Owed.PLUG, Owed.UNPLUG, Owed.REVOKE))
"""What must eventually end, by the names that the checker has for it."""
GIVEN_UP = (*BY_NAME, *OTHERS_BY_NAME, *ENDS)
"""The promises that a protocol may not make."""
LEFT_OUT = tuple(dict.fromkeys((*SWITCHES, *map(str, Habit))))
"""The guards and habits of hpcore's own protocol that another may not have."""

LONGEST_NAME = 60
_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")
LONGEST_TEXT = 2000
MOST = 64
"""Entries of a list, and bugs of a revision."""


class RevisionError(ValueError):
    """Plain data that is no protocol. The text says what is wrong, and `path` where."""

    def __init__(self, why: str, path: Path = ()) -> None:
        super().__init__(why)
        self.why, self.path = why, path


@frozen
class Change:
    """What a bug changes of the protocol that has it."""

    plug: tuple[Step, ...] | None = None
    unplug: tuple[Step, ...] | None = None
    without: tuple[str, ...] = ()
    has: tuple[Trait, ...] = ()

    def then(self, other: Change) -> Change:
        """This change, and the `other` one after it."""
        return Change(
            other.plug or self.plug, other.unplug or self.unplug,
            tuple(dict.fromkeys((*self.without, *other.without))),
            tuple(dict.fromkeys((*self.has, *other.has))),
        )  # fmt: skip

    def of(self, rules: Rules) -> Rules:
        """`rules`, so changed."""
        for name in self.without:
            rules = rules.without(name)
        return attrs.evolve(
            rules,
            build=self.plug or rules.build,
            teardown=self.unplug or rules.teardown,
            traits=rules.traits | set(self.has),
        )


@frozen
class Bug:
    """What was reported against a revision: the change that makes it, and what that breaks.

    `needs` are options of the checker's environment without which it does not show.
    """

    name: str
    says: str
    change: Change
    breaks: tuple[str, ...]
    needs: Mapping[str, int | bool] = field(factory=dict, hash=False)


@frozen(slots=False)
class Revision:
    """A protocol: its orders, what it has not of hpcore's, what it has beside, its promises."""

    name: str
    says: str = ""
    protocol: Change = Change()
    """What it changes of hpcore's own."""
    gives_up: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    bugs: tuple[Bug, ...] = field(default=(), repr=False)

    @cached_property
    def rules(self) -> Rules:
        """The rules that `decide` and `evolve` follow."""
        return self.protocol.of(RULES)

    @cached_property
    def promises(self) -> tuple[Property, ...]:
        """The invariants that hold under these rules."""
        own = tuple(p for p in INVARIANTS if p.name not in self.gives_up)
        return (*own, *(OTHERS_BY_NAME[name] for name in self.instead))

    @cached_property
    def invariants(self) -> Invariants:
        """The same, as they are held against states and events."""
        return Invariants(self.promises)

    def with_bug(self, bug: Bug) -> Revision:
        """This protocol with one of its bugs, and the same promises."""
        return attrs.evolve(
            self, name=f"{self.name}.{bug.name}"[:LONGEST_NAME], says=bug.says,
            protocol=self.protocol.then(bug.change), bugs=(),
        )  # fmt: skip

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step that it may ask of an accelerator."""
        return tuple(dict.fromkeys((*self.rules.build, *self.rules.teardown, Step.NOTIFY_REMOVE)))

    @property
    def plain(self) -> dict[str, Any]:
        """What `revision_of` makes this of again, its bugs left out."""
        data = {
            "name": self.name, "says": self.says, **_plain(self.protocol),
            "gives_up": list(self.gives_up), "instead": list(self.instead),
        }  # fmt: skip
        return {key: value for key, value in data.items() if value}


HPCORE = Revision("hpcore", "hpcore's own protocol.")


def _plain(change: Change) -> dict[str, Any]:
    return {
        "plug": [str(s) for s in change.plug or ()],
        "unplug": [str(s) for s in change.unplug or ()],
        "without": list(change.without), "with": [str(t) for t in change.has],
    }  # fmt: skip


# ---------------------------------------------------------------------- of plain data

_CHANGE = ("plug", "unplug", "without", "with")
_KEYS = ("name", "says", *_CHANGE, "gives_up", "instead", "bugs")
_BUG = ("says", *_CHANGE, "breaks", "needs")
NEEDS: Mapping[str, type] = {
    "slots": int, "boot": int, "faults": int, "plugged": int,
    "reset": bool, "migration": bool, "pause": bool, "power_off": bool, "power_on": bool,
}  # fmt: skip
"""Options of the checker's environment that a bug may need, each with its type."""


def revision_of(data: object, name: str = "") -> Revision:
    """The protocol that plain data says; `name` where it has none. Raises RevisionError."""
    given = _mapping(data, (), "a protocol", _KEYS)
    protocol = _change(given, ())
    bugs = _mapping(given.get("bugs", {}), ("bugs",), "bugs", None)
    if len(bugs) > MOST:
        raise RevisionError(f"there are {len(bugs)} bugs; {MOST} at most", ("bugs",))
    found = Revision(
        _name(given.get("name", name), ("name",)),
        _text(given.get("says", ""), ("says",), "says"),
        protocol,
        _words(given, "gives_up", GIVEN_UP, "promise", ()),
        _words(given, "instead", tuple(OTHERS_BY_NAME), "promise of another protocol", ()),
        tuple(_bug(key, value) for key, value in bugs.items()),
    )
    both = set(found.gives_up) & set(found.instead)
    if both:
        raise RevisionError(f"{min(both)} is given up and promised instead", ("instead",))
    return found


def _change(given: Mapping[str, Any], path: Path) -> Change:
    plug, unplug = _order(given, "plug", path), _order(given, "unplug", path)
    _refuse_bad_orders(plug, unplug, path)
    traits = _words(given, "with", tuple(map(str, Trait)), "trait", path)
    return Change(
        plug, unplug, _words(given, "without", LEFT_OUT, "guard or habit", path),
        tuple(Trait(word) for word in traits),
    )  # fmt: skip


_LAST = {Step.PARK, Step.HALT}


def _refuse_bad_orders(
    plug: tuple[Step, ...] | None, unplug: tuple[Step, ...] | None, path: Path
) -> None:
    """Orders that lead nowhere are none; whether one is right is for the checker to say."""
    if plug is not None and not {Step.REALIZE, Step.ENABLE} <= set(plug):
        raise RevisionError(
            "a plug without 'realize' and 'enable' never ends", (*path, "plug")
        )
    if unplug is not None and len(_LAST & set(unplug)) != 1:
        raise RevisionError("an unplug has one of 'park' and 'halt'", (*path, "unplug"))
    halts = Step.HALT in (unplug or TEARDOWN)
    if not path and halts != (Step.WAKE in (plug or BUILD)):
        one, other = ("unplug", "plug") if halts else ("plug", "unplug")
        has, lacks = ("halt", "wake") if halts else ("wake", "halt")
        raise RevisionError(
            f"the {one} has '{has}', and the {other} no '{lacks}': a vCPU would be used once",
            (*path, one),
        )


_NOT_IN = {
    "plug": frozenset({*TEARDOWN, Step.SHUT, Step.HALT, Step.NOTIFY_REMOVE}),
    "unplug": frozenset({*BUILD, Step.OPEN, Step.WAKE, Step.NOTIFY_REMOVE}),
}


def _order(given: Mapping[str, Any], key: str, path: Path) -> tuple[Step, ...] | None:
    if key not in given:
        return None
    steps = tuple(str(step) for step in Step if step not in _NOT_IN[key])
    words = _words(given, key, steps, f"step of a {key}" if key == "plug" else "step of an unplug",
                   path)  # fmt: skip
    if not words:
        raise RevisionError(f"{key} has no step", (*path, key))
    return tuple(Step(word) for word in words)


def _bug(name: object, value: object) -> Bug:
    path: Path = ("bugs", str(name))
    given = _mapping(value, path, f"the bug {name}", _BUG)
    needs = _mapping(given.get("needs", {}), (*path, "needs"), "needs", tuple(NEEDS))
    for key, option in needs.items():
        if type(option) is not NEEDS[key]:
            kind = "true or false" if NEEDS[key] is bool else "a whole number"
            raise RevisionError(f"{key} is {option!r}; it must be {kind}", (*path, "needs", key))
    breaks = _words(given, "breaks", (*BY_NAME, *OTHERS_BY_NAME), "invariant", path)
    if not breaks:
        raise RevisionError(f"the bug {name} breaks nothing: give it 'breaks'", path)
    says = _text(given.get("says", ""), (*path, "says"), "says")
    return Bug(_name(name, path), says, _change(given, path), breaks, dict(needs))


def _mapping(
    value: object, path: Path, what: str, keys: Iterable[str] | None
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RevisionError(f"{what} must be a mapping (key: value)", path)
    for key in value:
        if not isinstance(key, str):
            raise RevisionError(f"{what} has the key {key!r}, which is no text", path)
        if keys is not None:
            _known(key, tuple(keys), f"key of {what}", (*path, key))
    return value


def _words(
    given: Mapping[str, Any], key: str, known: tuple[str, ...], what: str, path: Path
) -> tuple[str, ...]:
    """The list at `key`: words that are known, each once."""
    value, here = given.get(key, []), (*path, key)
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise RevisionError(f"{key} must be a list", here)
    if len(value) > MOST:
        raise RevisionError(f"{key} has {len(value)} entries; {MOST} at most", here)
    for n, word in enumerate(value):
        _known(word, known, what, (*here, n))
        if word in value[:n]:
            raise RevisionError(f"'{word}' stands there twice", (*here, n))
    return tuple(str(word) for word in value)


def _known(word: object, known: tuple[str, ...], what: str, path: Path) -> None:
    if isinstance(word, str) and word in known:
        return
    close = get_close_matches(str(word), known, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
    raise RevisionError(f"'{str(word)[:LONGEST_NAME]}' is no {what}; {hint}", path)


def _name(value: object, path: Path) -> str:
    name = _text(value, path, "name")
    if not _NAME.fullmatch(name):
        raise RevisionError(
            f"{name[:LONGEST_NAME]!r} is no name: letters, digits, '-', '_' and '.', "
            f"{LONGEST_NAME} of them at most", path,
        )  # fmt: skip
    return name


def _text(value: object, path: Path, what: str) -> str:
    if not isinstance(value, str):
        raise RevisionError(f"{what} must be text", path)
    if len(value) > LONGEST_TEXT:
        raise RevisionError(f"{what} is longer than {LONGEST_TEXT} characters", path)
    return str(value)
