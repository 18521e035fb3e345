"""What the core asks of an accelerator.

A *step* acts on one vCPU slot and is answered with `Done` or `Failed`; at most
one is under way for a slot. A *machine step* acts on the whole machine, likewise
one at a time. An *answer* settles a guest's call, or re-arms a line; nothing is
reported back for it, and an accelerator that cannot carry one out is lost.

`decide` returns effects, the controller executes them after their events are in
the log, and the accelerator knows nothing else of the protocol.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Step(StrEnum):
    """An effect on one slot. The order in which they come is `rules`, not this list."""

    REALIZE = "realize"  # unpark: reset the vCPU, start its thread, powered off
    BIND = "bind"  # find the GICC whose GICR_TYPER affinity is the slot's mp-affinity
    WIRE = "wire"  # connect SGIs, PPIs and the timer; the redistributor awake
    ENABLE = "enable"  # _STA says enabled; CPU_ON is granted from here on
    NOTIFY_INSERT = "notify_insert"  # set the insert bit, raise the GED: device check
    NOTIFY_REMOVE = "notify_remove"  # set the remove bit, raise the GED: eject request
    DISABLE = "disable"  # _STA says not enabled, event bits cleared, CPU_ON denied
    POWER_OFF = "power_off"  # take the vCPU from the guest by force
    UNWIRE = "unwire"  # disconnect the interrupts; the redistributor asleep
    UNBIND = "unbind"  # let go of the GICC
    STOP = "stop"  # stop and join the thread
    RELEASE = "release"  # destroy the vCPU's address space
    PARK = "park"  # keep the bare vCPU for the next plug
    WAKE = "wake"  # its thread, which was halted, goes on; powered off
    OPEN = "open"  # the registers of its GICC can be reached again
    SHUT = "shut"  # the registers of its GICC can be reached no more; it stays wired
    HALT = "halt"  # keep the vCPU with its thread, out of use, for the next plug


OTHERS_STEPS = frozenset({Step.WAKE, Step.OPEN, Step.SHUT, Step.HALT})
"""The steps that hpcore's own protocol has not: revisions that keep a vCPU whole have them."""


NOTIFICATIONS = frozenset({Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE})
"""The steps that tell the guest of something, whose answer comes by ACPI."""


class MachineStep(StrEnum):
    """An effect on the whole machine."""

    CREATE_VCPUS = "create_vcpus"  # all possible ones, before the GIC is initialised
    INIT_GIC = "init_gic"  # sized for all possible vCPUs, once
    START = "start"  # vCPU 0 enters the kernel
    RESET = "reset"  # system_reset, as the user asks for it
    RESTART = "restart"  # after a reset: restore what is plugged, vCPU 0 enters the kernel
    PAUSE = "pause"
    RESUME = "resume"
    POWER_DOWN = "power_down"  # end the machine
    MIGRATE = "migrate"  # carry the whole state to the destination
    SAVE = "save"  # write the whole state to a file, and go on


CARRYING = frozenset({MachineStep.MIGRATE, MachineStep.SAVE})
"""The steps that carry the whole state away, while which nothing else is begun."""


@frozen
class RunStep:
    """Execute `step` on `slot`; answer with `Done` or `Failed`."""

    step: Step
    slot: int


@frozen
class RunMachineStep:
    """Execute `step`; answer with `MachineDone` or `MachineFailed`.

    `enabled` lists the slots that are plugged, for `START` and `RESTART`: the boot count
    that the firmware is told, and what must be in place before the guest runs.
    """

    step: MachineStep
    enabled: tuple[int, ...] = ()


@frozen
class AnswerCpuOn:
    """Answer the PSCI CPU_ON that vCPU `caller` made for `slot`.

    `granted` powers `slot` on at `entry` with `context` in x0; otherwise the caller gets
    `status`, a PSCI return code (Arm DEN0022, 5.2.2). Only where the accelerator leaves
    the decision to the core; see `CpuOnCalled.verdict`.
    """

    slot: int
    caller: int
    granted: bool
    status: int
    entry: int = 0
    context: int = 0


@frozen
class Reassert:
    """Put `_STA` of `slot` back to enabled: the guest's `_EJ0` was refused."""

    slot: int


@frozen
class RaiseGed:
    """Raise the GED's line again: a scan ended with event bits still set."""


Effect = RunStep | RunMachineStep | AnswerCpuOn | Reassert | RaiseGed
