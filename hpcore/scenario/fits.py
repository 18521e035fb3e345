"""Whether a machine and its guest can do what a scenario asks, found before either is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hpcore.model.config import MachineConfig
from hpcore.run.accelerator import AcceleratorError, GuestImages, GuestScript
from hpcore.run.discovery import Found
from hpcore.scenario import values as sc

_IN_THE_SHELL = (
    sc.OnlineStep, sc.OfflineStep, sc.ShellStep, sc.RebootStep, sc.PowerOffStep,
)  # fmt: skip


def need_hotplug(scenario: sc.Scenario, config: MachineConfig, found: Found) -> None:
    """Raise AcceleratorError where `scenario` plugs into a machine that has no hotplug."""
    if config.no_hotplug is None:
        return
    cpus = config.topology.cpus
    plug = _first(scenario.steps, lambda s: s.fails is None and _plugs(s.step, cpus))
    if plug is not None:
        raise AcceleratorError(
            f"{_where(plug)} of the scenario {scenario.name} plugs a vCPU, and "
            f"'{found.name}' has no hotplug here: {config.no_hotplug}"
        )


def need_shell(scenario: sc.Scenario, guest: GuestImages | GuestScript) -> None:
    """Raise AcceleratorError where `scenario` asks for a shell that `guest` does not have."""
    if isinstance(guest, GuestScript) or guest.shell:
        return
    line = _first(scenario.steps, lambda line: asks_the_shell(line.step))
    if line is not None:
        raise AcceleratorError(
            f"{_where(line)} of the scenario {scenario.name}, `{line.text}`, is done by the "
            "guest's shell, and this guest is run without one (--no-shell): leave the step out, "
            "or boot a guest that has a shell"
        )


def need_carrying(scenario: sc.Scenario, found: Found) -> None:
    """Raise AcceleratorError where `scenario` migrates or saves, and `found` can't do that."""
    can = found.capabilities
    for kind, does, why in (
        (sc.MigrateStep, "migrates", can.no_migration),
        (sc.SaveStep, "saves", can.no_save),
    ):
        lines = (s for s in _all(scenario.steps) if s.fails is None and isinstance(s.step, kind))
        line = next(lines, None)
        if why is not None and line is not None:
            raise AcceleratorError(
                f"{_where(line)} of the scenario {scenario.name} {does} the machine, which "
                f"'{found.name}' does not: {why}"
            )


def asks_the_shell(step: sc.ScenarioStep) -> bool:
    """Whether a guest that is not played takes `step` by its shell."""
    return isinstance(step, _IN_THE_SHELL) or (isinstance(step, sc.ExpectStep) and bool(step.masks))


def _plugs(step: sc.ScenarioStep, cpus: int) -> bool:
    """Whether `step` is to plug a vCPU, where `cpus` are cold-booted."""
    return isinstance(step, sc.PlugStep) or (isinstance(step, sc.ScaleStep) and step.to > cpus)


def _first(lines: tuple[sc.Line, ...], wanted: Callable[[sc.Line], bool]) -> sc.Line | None:
    return next((line for line in _all(lines) if wanted(line)), None)


def _all(lines: tuple[sc.Line, ...]) -> Iterator[sc.Line]:
    for line in lines:
        yield line
        if isinstance(line.step, sc.RepeatStep):
            yield from _all(line.step.steps)


def _where(line: sc.Line) -> str:
    return f"step {line.number}" if line.at is None else f"line {line.at}"
