"""What may come next in a line that is being typed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hpcore.cli.prompt.words import PROMPT, STEPS, WORDS
from hpcore.guest.played.hostile import ARGUMENTS
from hpcore.model.config import MachineConfig
from hpcore.model.machines import SlotState
from hpcore.model.states import State
from hpcore.model.topology import PROPS
from hpcore.scenario import values as sc
from hpcore.scenario.read_steps import MODIFIERS

_LAST_WORD = re.compile(r"[^\s{}\[\],:]*\Z")
_VERB = re.compile(r"\s*(?:-\s+)?(?P<in_braces>\{\s*)?(?P<verb>[a-z]+)(?P<colon>:?)\s+(?P<rest>.*)")
_KEYS: dict[str, tuple[str, ...]] = {
    "plug": ("id", *PROPS),
    "unplug": ("id", "force"),
    "scale": ("to", "undo"),
    "shell": ("line", "prints"),
    "expect": (*sc.MASKS, "slots"),
    "call": tuple(ARGUMENTS),
    "repeat": ("times", "steps"),
}
"""What may stand before a colon in a step's braces."""


def last_word(text: str) -> str:
    """The word that is being typed at the end of `text`; "" where one is to begin."""
    found = _LAST_WORD.search(text)
    return found[0] if found else ""


def completions(text: str, config: MachineConfig, state: State) -> dict[str, str]:
    """What can be typed in place of the last word of `text`, each with a few words on it."""
    word = last_word(text)
    return {name: says for name, says in _next(text, config, state) if name.startswith(word)}


def _next(text: str, config: MachineConfig, state: State) -> Iterable[tuple[str, str]]:
    found = _VERB.fullmatch(text)
    if found is None:
        if re.fullmatch(r"\s*[a-z]*", text):
            return _described(WORDS)
        return _described(STEPS) if re.fullmatch(r"\s*(-\s+)?\{?\s*[a-z]*", text) else ()
    verb, rest = found["verb"], found["rest"]
    if verb == "help":
        return _described(WORDS)
    if verb in PROMPT:
        return ()
    inside = rest.count("{") - rest.count("}")
    if inside <= 0:
        if found["in_braces"] and "," in rest:
            return ((name, "") for name in MODIFIERS) if _begins(rest) else ()
        return _operands(verb, config, state) if not re.search(r"\s\S*\Z", rest) else ()
    if _begins(rest):
        if verb == "expect" and inside > 1:
            return _present(state)
        return ((key, "") for key in _KEYS.get(verb, ()))
    if verb == "expect" and inside > 1:
        return ((str(one), "") for one in SlotState)
    if verb == "unplug" and re.search(r"\bid:\s+\S*\Z", rest):
        return _plugged(state)
    return ()


def _begins(rest: str) -> bool:
    """Whether a key is to come in braces: after the first brace, or after a comma."""
    return re.search(r"[{,]\s*[^\s{}\[\],:]*\Z", rest) is not None


def _described(words: dict[str, tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return ((name, says) for name, (_typed, says) in words.items())


def _operands(verb: str, config: MachineConfig, state: State) -> Iterable[tuple[str, str]]:
    match verb:
        case "plug":
            return _free(config, state)
        case "unplug":
            return _plugged(state)
        case "scale":
            topology = config.topology
            return ((str(n), "") for n in range(topology.cpus, topology.maxcpus + 1))
        case "online" | "offline":
            return _present(state)
    return ()


def _free(config: MachineConfig, state: State) -> Iterable[tuple[str, str]]:
    for index, slot in enumerate(state.slots):
        if slot.id is None and not slot.busy:
            props = config.topology.props(index)
            yield str(index), ", ".join(f"{name} {n}" for name, n in props.items() if n)


def _plugged(state: State) -> Iterable[tuple[str, str]]:
    for index, slot in enumerate(state.slots):
        if slot.id and not slot.cold:
            yield slot.id, f"vCPU {index}, {slot.lifecycle}"


def _present(state: State) -> Iterable[tuple[str, str]]:
    for index, slot in enumerate(state.slots):
        if slot.id:
            yield slot.id, f"vCPU {index}, {slot.lifecycle}"
