"""Who runs in the machine of a sequence, and what it may do next.

`PlayedLinux` is what `hpcore run` plays (`hpcore.guest.played`), as a value: one boot of a
kernel that takes events, works them off, and does nothing of its own accord. Of several
things to work off it takes any one first, where Linux takes the oldest. `Anyhow` is a guest
model of the checker, which acts whenever it likes, and need not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import attrs
from attrs import field, frozen

from hpcore.check.world.guests import GuestModel
from hpcore.guest.played import LOST, Answers
from hpcore.guest.played.answers import SILENT, nth_answer
from hpcore.guest.played.command_line import cpu_limits
from hpcore.guest.played.linux import BUSY, INVALID, NO_SUCH_FILE, NOT_PERMITTED, not_written
from hpcore.guest.protocol import Masks
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.acpi import MadtFlag, Notification, OstSource, OstStatus
from hpcore.model.effects import MachineStep
from hpcore.model.psci import PsciStatus
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import Slot, State

Told = tuple[int, Notification]
"""A vCPU, and what the guest was told of it."""


@frozen(cache_hash=True)
class Kernel:
    """One boot of a guest: what it remembers. A guest model of the checker remembers nothing.

    `booting` is the next vCPU that it tries, None once it has booted. `told` is what it has
    still to work off, `at` how far it is with the first of them, `registered` the vCPUs that
    it shows as enabled, `given` how many of the chosen answers it has given.
    """

    booting: int | None = None
    told: tuple[Told, ...] = ()
    at: int = 0
    registered: frozenset[int] = frozenset()
    given: tuple[tuple[Notification, int], ...] = ()

    @property
    def idle(self) -> bool:
        """Whether it has booted, and done what was to be done."""
        return self.booting is None and not self.told


Made = st.Stimulus | str | None
"""What comes of a word of the guest's user: a call, an error in the guest's words, or nothing."""


class Act(NamedTuple):
    """One thing that a guest may do: a call, or nothing that the machine sees (`says` then)."""

    stimulus: st.Stimulus | None
    kernel: Kernel
    says: str = ""


class SequenceGuest(Protocol):
    """A guest in a sequence."""

    @property
    def name(self) -> str:
        """How it is called."""

    @property
    def prompt(self) -> bool:
        """Whether it does at last what it has to do; one that need not may be idle for ever."""

    def acts(self, state: State, kernel: Kernel) -> Iterator[Act]:
        """What it may do next, of its own accord."""

    def after(self, kernel: Kernel, event: ev.Event) -> Kernel:
        """What it remembers once `event` has happened."""

    def masks(self, state: State, kernel: Kernel) -> Masks:
        """What it shows of its CPUs."""

    def power(self, state: State, kernel: Kernel, cpu: int, *, on: bool) -> Made:
        """What its user's word makes it do: a call, an error's text, or nothing."""


@frozen
class PlayedLinux:
    """Linux as it is played, with the kernel's arguments and the answers of a scenario.

    `legacy` takes none but those that the MADT says are enabled. `rules` are those of which the
    ACPI tables are made.
    """

    append: str = ""
    answers: Answers = field(factory=dict, hash=False)
    legacy: bool = False
    name: str = "played linux"
    prompt: bool = True
    rules: Rules = RULES

    @classmethod
    def of(
        cls, kind: str, append: str, answers: Answers, rules: Rules = RULES
    ) -> PlayedLinux:
        """The one of that kind, as `hpcore.guest.played.make_guest` makes it."""
        told = {**SILENT, **answers} if kind == "silent" else dict(answers)
        return cls(append, told, kind == "legacy", f"played {kind}", rules=rules)

    # ------------------------------------------------------------- what it has

    def _possible(self, state: State) -> list[int]:
        usable = [i for i, slot in enumerate(state.slots) if self._takes(i, slot)]
        return usable[: cpu_limits(self.append).possible]

    def _takes(self, index: int, slot: Slot) -> bool:
        flags = self.rules.madt_flags(index, cold=slot.cold)
        return not self.legacy or MadtFlag.ENABLED in flags

    def _present(self, state: State) -> list[int]:
        possible = self._possible(state)
        return possible[:1] if cpu_limits(self.append).at_boot == 0 else possible

    def masks(self, state: State, kernel: Kernel) -> Masks:
        """As sysfs would give them."""
        online = frozenset(i for i, slot in enumerate(state.slots) if slot.powered)
        possible = frozenset(self._possible(state))
        return Masks(
            possible=possible,
            present=frozenset(self._present(state)),
            enabled=None if self.legacy else kernel.registered,
            online=online,
            offline=possible - online,
        )

    def after(self, kernel: Kernel, event: ev.Event) -> Kernel:
        """A machine that starts boots it anew; an event bit that it cleared is something told."""
        match event:
            case ev.MachineStepBegun(step=MachineStep.START | MachineStep.RESTART):
                return Kernel(booting=1)
            case ev.MachineWasReset() | ev.MachinePoweredOff() | ev.MachineLost():
                return Kernel()
            case ev.InsertCleared(slot=slot):
                return self._told(kernel, slot, Notification.DEVICE_CHECK)
            case ev.RemoveCleared(slot=slot):
                return self._told(kernel, slot, Notification.EJECT_REQUEST)
        return kernel

    def _told(self, kernel: Kernel, slot: int, what: Notification) -> Kernel:
        first, rest = kernel.told[:1], kernel.told[1:]
        if kernel.at:  # it is at work on the first
            return attrs.evolve(kernel, told=(*first, *sorted((*rest, (slot, what)))))
        return attrs.evolve(kernel, told=tuple(sorted((*kernel.told, (slot, what)))))

    # ------------------------------------------------------------- what it does

    def acts(self, state: State, kernel: Kernel) -> Iterator[Act]:
        """Boot, read the event bits, work off what it was told."""
        shared = state.shared
        if shared.paused or not shared.guest_runs:
            return
        if shared.scanning:
            yield from self._scan(state, kernel)
        elif shared.ged:
            yield Act(st.ScanStarted(), kernel)
        if kernel.booting is not None:
            yield self._boot(state, kernel, kernel.booting)
        elif kernel.at:
            yield from self._work(state, kernel, kernel.told)
        else:
            for n, told in enumerate(kernel.told):
                if any(slot == told[0] for slot, _ in kernel.told[:n]):
                    continue  # of one vCPU the insertion first
                rest = (*kernel.told[:n], *kernel.told[n + 1 :])
                yield from self._work(state, kernel, (told, *rest))

    def _scan(self, state: State, kernel: Kernel) -> Iterator[Act]:
        bits = False
        for i, slot in enumerate(state.slots):
            if slot.insert:
                yield Act(st.InsertAcked(i), kernel)
            elif slot.remove:
                yield Act(st.RemoveAcked(i), kernel)
            bits = bits or slot.insert or slot.remove
        if not bits:
            yield Act(st.ScanEnded(), kernel)

    def _boot(self, state: State, kernel: Kernel, next_cpu: int) -> Act:
        """One vCPU after the other is tried, then all are looked at (`LinuxKernel.boot`)."""
        present = self._present(state)
        for cpu in present[: cpu_limits(self.append).at_boot]:
            if cpu >= next_cpu:
                return Act(st.CpuOnCalled(cpu), attrs.evolve(kernel, booting=cpu + 1))
        there = frozenset(cpu for cpu in present if state.slots[cpu].enabled)
        booted = attrs.evolve(kernel, booting=None, registered=there)
        return Act(None, booted, "the guest has booted")

    def _work(self, state: State, kernel: Kernel, told: tuple[Told, ...]) -> Iterator[Act]:
        (cpu, what), rest = told[0], told[1:]
        done = attrs.evolve(kernel, told=rest, at=0)
        given = dict(kernel.given)
        chosen = nth_answer(self.answers, what, given.get(what, 0)) if kernel.at == 0 else ()
        if chosen:
            given[what] = given.get(what, 0) + 1
            if isinstance(self.answers[what], tuple):  # else the same for ever, and not counted
                done = attrs.evolve(done, given=tuple(sorted(given.items())))
            if chosen[0] is LOST:
                yield Act(None, done, f"the guest loses the {_NAMES[what]} of vCPU {cpu}")
            else:
                yield Act(st.OstReported(cpu, int(what), chosen[0]), done)
        elif what is Notification.DEVICE_CHECK:
            known = kernel.registered - {cpu}
            if state.slots[cpu].enabled and cpu in self._present(state):
                known |= {cpu}
            success = st.OstReported(cpu, OstSource.DEVICE_CHECK, OstStatus.SUCCESS)
            yield Act(success, attrs.evolve(done, registered=known))
        else:
            yield from self._remove(state, attrs.evolve(kernel, told=told), cpu, done)

    def _remove(self, state: State, kernel: Kernel, cpu: int, done: Kernel) -> Iterator[Act]:
        """Off, `_EJ0`, gone (`LinuxKernel.hot_remove`)."""
        slot = state.slots[cpu]
        stays = self.rules.stays(cpu, cold=slot.cold)
        refuse = {True: OstStatus.DEVICE_BUSY, False: OstStatus.FAILURE}
        alone = slot.powered and sum(s.powered for s in state.slots) == 1
        if kernel.at == 0 and (alone or (not slot.powered and stays)):
            yield Act(st.OstReported(cpu, OstSource.EJECT_REQUEST, refuse[alone]), done)
        elif kernel.at == 0 and slot.powered:
            yield Act(st.CpuOffSeen(cpu), attrs.evolve(kernel, at=1))
        elif kernel.at < 2 and stays:
            yield Act(st.OstReported(cpu, OstSource.EJECT_REQUEST, OstStatus.FAILURE), done)
        elif kernel.at < 2:
            yield Act(st.EjectCalled(cpu), attrs.evolve(kernel, at=2))
        else:
            gone = attrs.evolve(done, registered=kernel.registered - {cpu})
            yield Act(st.OstReported(cpu, OstSource.EJECT_REQUEST, OstStatus.SUCCESS), gone)

    def power(self, state: State, kernel: Kernel, cpu: int, *, on: bool) -> Made:
        """`echo 1 > cpuN/online`, or 0 (`LinuxKernel.write_online`)."""
        powered = state.slots[cpu].powered
        if cpu not in kernel.registered:
            return not_written(cpu, on, NO_SUCH_FILE)
        if on == powered:
            return None
        if on:
            return st.CpuOnCalled(cpu)
        if sum(slot.powered for slot in state.slots) == 1:
            return not_written(cpu, on, BUSY)
        return st.CpuOffSeen(cpu)


@frozen
class Anyhow:
    """A guest model of the checker: it may do what its `calls` say, at once, later or never."""

    model: GuestModel
    prompt: bool = False

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    def acts(self, state: State, kernel: Kernel) -> Iterator[Act]:
        """All that the model lets it do."""
        shared = state.shared
        for stimulus in self.model.machine_calls(shared):
            yield Act(stimulus, kernel)
        for i, slot in enumerate(state.slots):
            for stimulus in self.model.calls(i, slot, shared):
                yield Act(stimulus, kernel)

    def after(self, kernel: Kernel, event: ev.Event) -> Kernel:
        """It remembers nothing."""
        return kernel

    def masks(self, state: State, kernel: Kernel) -> Masks:
        """What an honest guest would show that knows at once what is."""
        every = frozenset(range(state.config.possible))
        online = frozenset(i for i, slot in enumerate(state.slots) if slot.powered)
        return Masks(every, every, frozenset(state.enabled), online, every - online)

    def power(self, state: State, kernel: Kernel, cpu: int, *, on: bool) -> Made:
        """The call, unless the vCPU is as wanted."""
        if state.slots[cpu].powered == on:
            return None
        return st.CpuOnCalled(cpu) if on else st.CpuOffSeen(cpu)


def denied(cpu: int, status: int) -> str:
    """What the guest's shell says of a CPU_ON that was answered with `status`."""
    return not_written(cpu, True, NOT_PERMITTED if status == PsciStatus.DENIED else INVALID)


_NAMES = {
    Notification.DEVICE_CHECK: "device check", Notification.EJECT_REQUEST: "eject request",
}  # fmt: skip
