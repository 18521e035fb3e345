"""What a check asks unless it is told otherwise: hpcore's own properties, of every kind.

The *always* ones are the model's invariants. The *sometimes* ones must be able to happen,
or the search explored nothing; one is not asked of an environment whose options leave it
out by name: a reset without resets, a plug without slots to plug. Anything else that
cannot happen fails. The *eventually* ones are named after what is owed.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable

from hpcore.check.result import CheckError
from hpcore.check.tabulated.start import TOTAL
from hpcore.check.world.environment import Environment
from hpcore.model import events as ev
from hpcore.model.effects import MachineStep
from hpcore.model.fold import TRANSITION
from hpcore.model.invariants import INVARIANTS
from hpcore.model.other_invariants import OTHER_INVARIANTS
from hpcore.model.properties import Kind, Property, eventually, sometimes
from hpcore.model.psci import PsciStatus
from hpcore.model.states import Owed

Properties = tuple[Property, ...]


def _has_hot(e: Environment) -> bool:
    return e.slots > e.boot


SOMETIMES: tuple[Property, ...] = (
    sometimes(
        "a_plug_completes", "A device_add ends enabled and notified.",
        lambda event: isinstance(event, ev.PlugCompleted), _has_hot,
    ),
    sometimes(
        "an_eject_completes", "A device_del ends in DEVICE_DELETED.",
        lambda event: isinstance(event, ev.UnplugCompleted), _has_hot,
    ),
    sometimes(
        "the_guest_ejects", "The guest gives a vCPU back by _EJ0.",
        lambda event: isinstance(event, ev.EjectAccepted), _has_hot,
    ),
    sometimes(
        "a_command_is_refused", "A command is answered with a refusal.",
        lambda event: isinstance(event, ev.Refused) and event.stimulus == "DeviceAdd",
    ),
    sometimes(
        "cpu_on_is_denied", "A CPU_ON is answered with DENIED.",
        lambda event: isinstance(event, ev.CpuOnDenied) and event.status == PsciStatus.DENIED,
        _has_hot,
    ),
    sometimes(
        "the_machine_is_reset", "The machine is reset.",
        lambda event: isinstance(event, ev.MachineWasReset), lambda e: e.reset,
    ),
    sometimes(
        "the_machine_migrates", "A migration completes.",
        lambda event: isinstance(event, ev.MachineStepDone) and event.step is MachineStep.MIGRATE,
        lambda e: e.migration,
    ),
    sometimes(
        "the_machine_is_restored", "A machine that was saved is restored.",
        lambda event: isinstance(event, ev.Restored), lambda e: e.save,
    ),
    sometimes(
        "an_effect_fails", "An effect on a slot fails, and the machine goes on.",
        lambda event: isinstance(event, ev.StepFailed), lambda e: _has_hot(e) and e.faults > 0,
    ),
)  # fmt: skip

EVENTUALLY: tuple[Property, ...] = (
    eventually(
        str(Owed.PLUG), "Every device_add that is accepted ends, but not in a pause.",
        lambda index, slot, shared: slot.command is Owed.PLUG and not shared.paused,
    ),
    eventually(
        str(Owed.UNPLUG), "Every device_del that is accepted ends, but not in a pause.",
        lambda index, slot, shared: slot.command is Owed.UNPLUG and not shared.paused,
    ),
    eventually(
        str(Owed.REVOKE), "Every device_del by force that is accepted ends, but not in a pause.",
        lambda index, slot, shared: slot.command is Owed.REVOKE and not shared.paused,
    ),
)  # fmt: skip

PROPERTIES: Properties = (*INVARIANTS, *SOMETIMES, *EVENTUALLY)

SHIPPED: frozenset[Property] = frozenset((*PROPERTIES, *OTHER_INVARIANTS))
"""All that come with hpcore, those that other protocols promise among them. Of these it is known
what they read; of any other it is not."""

_ASKED_OF = {
    "on_state": ("index", "slot", "shared"),
    "on_event": ("change",),
    "shows": ("event",),
    "possible": ("environment",),
    "owes": ("index", "slot", "shared"),
    "on_machine": ("state",),
}
"""What each function of a property is called with."""


def of_kind(properties: Iterable[Property], kind: Kind) -> Properties:
    """Those of one kind."""
    return tuple(p for p in properties if p.kind is kind)


def asked_in(environment: Environment, properties: Iterable[Property], kind: Kind) -> Properties:
    """Those of one kind that `environment` and its guest do not leave out."""
    return tuple(
        p for p in of_kind(properties, kind)
        if p.name not in environment.guest.leaves_out and p.possible(environment)
    )  # fmt: skip


def refuse_unfit(properties: Properties, *, tables: bool = False) -> None:
    """Raises CheckError for properties that cannot be held, and says why.

    `tables` says that they are to be held against tables of slots; else it is of whole machines.
    """
    names = Counter(p.name for p in properties)
    names.update((TRANSITION, TOTAL))
    for p in properties:
        if p.on_decision is not None and p not in SHIPPED:
            raise CheckError(
                f"the property {p.name} looks at whole decisions, which hpcore's own alone may: "
                "give it on_state or on_event"
            )
        if p.on_machine is not None and tables:
            raise CheckError(
                f"the property {p.name} looks at the whole machine, and here each slot is taken by "
                "itself: ask it of a sequence, hpcore check SCENARIO --property FILE"
            )
        if names[p.name] > 1:
            raise CheckError(f"two properties are called {p.name}; give each a name of its own")
        for name, wanted in _ASKED_OF.items():
            function = getattr(p, name)
            if function is not None and not _takes(function, len(wanted)):
                raise CheckError(
                    f"the property {p.name} cannot be held: its {name} must take "
                    f"({', '.join(wanted)}). A property looks at one slot and the shared "
                    "part, never at two slots; in a sequence, with whole=True, at the machine's "
                    "state"
                )


def _takes(function: object, arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*range(arguments))  # type: ignore[arg-type]
    except TypeError:
        return False
    except ValueError:  # of a builtin nothing is known
        return callable(function)
    return True
