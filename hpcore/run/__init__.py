"""Running a machine: accelerators, the controller's loop, the live machine on top of it.

    found = find("tcg")
    async with open_machine(found, MachineConfig.of(2, 4), guest, log="run.jsonl") as machine:
        await machine.boot()
        await machine.plug("core2", core_id=2)

What an accelerator is: accelerator; which are there: discovery; what they check alike:
admission; what their sessions do during a reset: gate. The loop, its one writer, and how
long it waits: controller, deadlines. What people and programs drive: machine, with the
commands under way (commands), target counts (scale, scale_plan), the slots seen from outside
(view), its guest (guest), whose console is watched (console), those who are told its events
(watchers), when it is at rest (rest), what waits no longer than it goes on (waiting), its
opening (open), and its rest in a file (saved_file, saved_parts) until it is taken up again
(saving).
A counterexample asked of an accelerator without a core: execute.

Every error is an HpcoreError: RunError and those below it for a machine that lives,
AcceleratorError for one that cannot, or does no more.
"""

from hpcore.run.accelerator import (
    Accelerator,
    AcceleratorError,
    Belongings,
    Capabilities,
    Console,
    EffectError,
    GuestImages,
    GuestScript,
    Keep,
    Report,
    RestoringAccelerator,
    SavableSession,
    Session,
    Stream,
    Writes,
)
from hpcore.run.commands import (
    CommandFailed,
    MachineCommand,
    NeverRegistered,
    Plug,
    PlugStage,
    Unplug,
)
from hpcore.run.controller import Controller, Watcher
from hpcore.run.deadlines import Patience
from hpcore.run.discovery import Found, find, look_up, probe_all
from hpcore.run.errors import CommandRefused, ProtocolBroken, RunError
from hpcore.run.gate import Gate
from hpcore.run.machine import LiveMachine
from hpcore.run.open import fit, open_machine
from hpcore.run.saved_file import SavedFileError
from hpcore.run.saving import Saved, load_saved, restore_machine
from hpcore.run.scale import ScaleFailed, ScaleRefused
from hpcore.run.scale_plan import Change, Scaled
from hpcore.run.view import SlotView

__all__ = [
    "Accelerator",
    "AcceleratorError",
    "Belongings",
    "Capabilities",
    "Change",
    "CommandFailed",
    "CommandRefused",
    "Console",
    "Controller",
    "EffectError",
    "Found",
    "Gate",
    "GuestImages",
    "GuestScript",
    "Keep",
    "LiveMachine",
    "MachineCommand",
    "NeverRegistered",
    "Patience",
    "Plug",
    "PlugStage",
    "ProtocolBroken",
    "Report",
    "RestoringAccelerator",
    "RunError",
    "SavableSession",
    "Saved",
    "SavedFileError",
    "ScaleFailed",
    "ScaleRefused",
    "Scaled",
    "Session",
    "SlotView",
    "Stream",
    "Unplug",
    "Watcher",
    "Writes",
    "find",
    "fit",
    "load_saved",
    "look_up",
    "open_machine",
    "probe_all",
    "restore_machine",
]
