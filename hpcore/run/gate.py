"""Which steps a machine takes now, and what becomes of those that it does not take.

Every session gives the same answers at the same moments, so they are written here once:

- Before CREATE_VCPUS and INIT_GIC are done, a step is refused with an EffectError.
- Between a reset and RESTART, a notification counts as done. What it would have told the
  guest is dropped by the reset anyway, and RESTART tells the guest all that is plugged.
- Between a reset and RESTART, every other step waits, and is carried out after RESTART.
- From PAUSE to RESUME, a step waits, and is carried out after RESUME.
- A machine that its guest has powered off is as one that was reset: RESET is taken, and
  reported, and RESTART, which comes after RESUME, starts the guest anew.
- Once the machine is gone, whatever waits and whatever comes raises AcceleratorError with
  the reason.

A session tells its gate what happened to the machine, and asks it before every effect:

    gate = Gate(config.possible)
    gate.check(effect.step)                   # before a step of the machine
    gate.created()                            # CREATE_VCPUS is done
    gate.open()                               # INIT_GIC is done, or RESTART
    while await gate.admits(step, slot):      # before a step of a slot
        ...
    gate.shut()                               # the machine was reset, or powered off
    gate.pause()                              # PAUSE is being done
    gate.resume()                             # RESUME is done, or PAUSE has failed
    gate.end("QEMU is gone")                  # the machine is lost, or was ended

A gate does no more than that. In which order a session carries out the steps that were
admitted, and when it reports the reset, is the session's own affair: accelerators differ
in what they can promise there.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from hpcore.model.effects import NOTIFICATIONS, MachineStep, Step
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.run.accelerator import AcceleratorError, EffectError

NO_MACHINE_YET = "there is no machine yet: CREATE_VCPUS comes first"
CREATED_ONCE = "the vCPUs exist already; they are created once"
GIC_FIRST = "the GIC is not initialised yet: INIT_GIC comes first"
GIC_ONCE = "the GIC is initialised already; it is initialised once"
NO_SUCH_VCPU = "there is no vCPU {}; the machine has 0 to {}"
ENDED = "the machine was ended"
"""What every session says to a step at the wrong time."""


class Stage(Enum):
    """How far the machine has come."""

    NEW = auto()  # CREATE_VCPUS is to come
    CREATED = auto()  # INIT_GIC is to come
    OPEN = auto()  # steps are taken
    SHUT = auto()  # the machine was reset; RESTART is to come
    GONE = auto()  # and does not come back


_STAGES = {
    Phase.DEFINED: Stage.NEW,
    Phase.CREATED: Stage.CREATED,
    Phase.RESETTING: Stage.SHUT,
    Phase.OFF: Stage.SHUT,
}
"""Where a machine stands that has come so far; at any other phase it takes steps."""

NEEDS_GIC = frozenset({MachineStep.START, MachineStep.RESET, MachineStep.RESTART})


class Gate:
    """One machine's gate. All of it is used in the thread of the event loop."""

    def __init__(self, possible: int) -> None:
        """`possible` is how many vCPUs the machine has; a step of another one is refused."""
        self._possible = possible
        self._stage = Stage.NEW
        self._paused = False
        self._why: str | None = None
        self._news = asyncio.Event()  # set while nothing waits: steps are taken, or it is gone

    @property
    def stage(self) -> Stage:
        """How far the machine has come."""
        return self._stage

    @property
    def is_open(self) -> bool:
        """Whether the machine is there, and not between a reset and RESTART."""
        return self._stage is Stage.OPEN

    @property
    def takes_steps(self) -> bool:
        """Whether a step of a slot is carried out now: the gate is open, in no pause."""
        return self._stage is Stage.OPEN and not self._paused

    @property
    def gone(self) -> str | None:
        """Why the machine is gone; None while it is not."""
        return self._why

    # ------------------------------------------------------- what happened to the machine

    def created(self) -> None:
        """CREATE_VCPUS is done."""
        if self._stage is Stage.NEW:
            self._stage = Stage.CREATED

    def stands(self, state: State) -> None:
        """A machine is taken up again, which stands as `state` says."""
        self._stage = _STAGES.get(state.shared.phase, Stage.OPEN)
        self._paused = state.shared.paused and state.shared.phase is not Phase.OFF
        self._tell()

    def open(self) -> None:
        """INIT_GIC is done, or RESTART: what waited goes on, in the order in which it came."""
        if self._stage is not Stage.GONE:
            self._stage = Stage.OPEN
            self._tell()

    def shut(self) -> None:
        """The machine was reset: steps wait for RESTART.

        A machine whose INIT_GIC is still to come refuses its steps as before.
        """
        if self._stage is Stage.OPEN:
            self._stage = Stage.SHUT
            self._tell()

    def pause(self) -> None:
        """The machine's time stands still: steps wait for RESUME."""
        self._paused = True
        self._tell()

    def resume(self) -> None:
        """The machine's time passes: what waited for that goes on."""
        self._paused = False
        self._tell()

    def end(self, why: str) -> bool:
        """The machine is gone, and whoever waits is told `why`.

        False where it was gone before; then the first reason stays.
        """
        if self._why is not None:
            return False
        self._stage, self._why = Stage.GONE, why
        self._tell()
        return True

    def _tell(self) -> None:
        """Have whoever waits look again, and whoever comes wait if there is still a reason."""
        self._news.set()
        if self._stage is not Stage.GONE and not self.takes_steps:
            self._news.clear()

    # ------------------------------------------------------------ what is asked before

    def require_present(self) -> None:
        """Raises AcceleratorError where the machine is gone."""
        if self._why is not None:
            raise AcceleratorError(self._why)

    def require_created(self) -> None:
        """Raises AcceleratorError where the machine is gone, EffectError where it is to come."""
        self.require_present()
        if self._stage is Stage.NEW:
            raise EffectError(NO_MACHINE_YET)

    def check(self, step: MachineStep) -> None:
        """Raises EffectError where a step of the machine comes at the wrong time.

        And AcceleratorError where the machine is gone. POWER_DOWN is right at any time.
        """
        if step is MachineStep.POWER_DOWN:
            self.require_present()
            return
        if step is MachineStep.CREATE_VCPUS:
            self.require_present()
            if self._stage is not Stage.NEW:
                raise EffectError(CREATED_ONCE)
            return
        self.require_created()
        if step is MachineStep.INIT_GIC and self._stage is not Stage.CREATED:
            raise EffectError(GIC_ONCE)
        if step in NEEDS_GIC and self._stage is Stage.CREATED:
            raise EffectError(f"{step.name} is refused: {GIC_FIRST}")

    async def admits(self, step: Step, slot: int) -> bool:
        """Wait until `step` of `slot` may be carried out, and say that it may.

        It returns without giving way to other tasks where nothing is to be waited for. A
        session that gives way afterwards, to wait for a lock, asks `takes_steps` again once
        it has it, and comes back here if not.

        False where the step counts as done: a notification that was asked for during a
        reset. Raises EffectError where the step comes before INIT_GIC or the machine has no
        such vCPU, and AcceleratorError once the machine is gone.
        """
        while True:
            self.require_created()
            if self._stage is Stage.CREATED:
                raise EffectError(f"{step.name} of vCPU {slot} is refused: {GIC_FIRST}")
            if not 0 <= slot < self._possible:
                raise EffectError(NO_SUCH_VCPU.format(slot, self._possible - 1))
            if self.takes_steps:
                return True
            if self._stage is Stage.SHUT and step in NOTIFICATIONS:
                return False
            await self._news.wait()
