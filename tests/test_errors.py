"""Every exception of hpcore is either made to be shown, or one that never leaves its room."""

from __future__ import annotations

import importlib
import pkgutil

import hpcore
from hpcore.errors import HpcoreError

KEPT_WITHIN = {
    "IllegalTransition": "the fold makes a violation of it",
    "NoSuchSlot": "the fold makes a violation of it",
    "WrongFields": "the reader makes a LogDamaged of it",
    "WrongValue": "the codec says in a LogError which field",
    "_Stopped": "a target count says in its report why it stopped",
    "YamlRefused": "the reader of YAML makes a YamlUnreadable of it",
    "AmlError": "tables of ours are wrong: a fault of hpcore",
    "DeviceTreeError": "the guest's boot makes a GuestError of it",
    "CannotRetrace": "the engines disagree: a fault of hpcore",
    "Leave": "the interpreter of GRUB's file leaves a loop, a function or a file by it",
    "Problem": "click shows it",
    "RevisionError": "the readers of protocols and of headers say where",
    "Damaged": "the source of a foreign log notes it, with what was read until there",
    "PackedDamaged": "a log is damaged there, and the source of a foreign one ends there",
    "Interrupted": "a channel that the client has broken off tells of it as of any that broke",
    "PromiseBroken": "it fails a test of an accelerator's",
    "NotJson": "the reader of requests answers with it as QEMU does",
    "QemuGone": "the monitor, or the door, ends with its QEMU",
    "_Ended": "a conversation's readers end with its client",
}
"""Those that are not made to be shown, and what becomes of them."""


def test_every_exception_is_made_to_be_shown_or_stays_within_its_room() -> None:
    others = set()
    for module in pkgutil.walk_packages(hpcore.__path__, "hpcore."):
        for value in vars(importlib.import_module(module.name)).values():
            if not isinstance(value, type) or value.__module__ != module.name:
                continue
            if issubclass(value, Exception) and not issubclass(value, HpcoreError):
                others.add(value.__name__)
    assert others == set(KEPT_WITHIN)
