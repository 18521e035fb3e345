"""The bugs of the research branch, each as a change of the rules, and what catches it.

They were observed with that branch, built and run, or are the orders that its authors
say they had to get right. A bug is here if these rules can have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from hpcore.check.result import CheckError
from hpcore.check.variants.mutants import MUTANTS, Mutant
from hpcore.model.effects import Step
from hpcore.model.rules import RULES, Rules


class UnknownMutant(CheckError):
    """There is no mutant of that name."""


def _bug(name: str, peer: str, rules: Rules, *caught_by: str, **asks: Any) -> Mutant:
    return Mutant(name, rules, caught_by=frozenset(caught_by), peer=peer, asks=asks)


def _order(name: str) -> Rules:
    return MUTANTS[name].rules


_BUGS = (
    _bug(
        "space_freed_under_thread",
        "1: the address space is freed on unplug while the vCPU thread still uses it, "
        "and freed again",
        _order("release_before_stop"),
        "eject_in_order",
    ),
    _bug(
        "another_slots_resource",
        "2: an unplug clears the last slot's context, not its own; here, another vCPU's GICC",
        RULES.without("bind_matches_affinity"),
        "gicc_matches_affinity",
        faults=1,
    ),
    _bug(
        "removal_lost",
        "3: device_add and device_del before the guest looks: the insertion hides the removal",
        RULES.without("remove_waits_for_insert"),
        "removal_not_shadowed",
    ),
    _bug(
        "stale_removal",
        "4: an eject leaves the remove flag, and the next vCPU is born with it",
        RULES.without("disable_clears_events"),
        "notified_only_enabled",
    ),
    _bug(
        "cold_booted_ejected",
        "5: the guest ejects a cold-booted vCPU, and it is carried out",
        RULES.without("eject_not_cold_booted").without("eject_was_requested"),
        "cold_booted_stays", "eject_requested_and_off",
    ),
    _bug(
        "migration_makes_cold",
        "6: after migration a plugged vCPU counts as cold-booted and stays for ever",
        RULES.without("migration_keeps_hotpluggable"),
        "migration_carries_all", "madt_fixed",
        migration=True,
    ),
    _bug(
        "used_unrealized",
        "7: a vCPU that is created and not realized is used (its SVE lengths are not final)",
        _order("bind_before_realize"),
        "built_in_order", "gicc_touched_while_bound", "parked_is_inert",
    ),
    _bug(
        "notified_before_gic",
        "8: the guest is notified before the GIC is ready for the vCPU",
        Rules(build=(
            Step.REALIZE, Step.BIND, Step.NOTIFY_INSERT, Step.WIRE, Step.ENABLE,
        )),
        "built_in_order", "notified_only_enabled",
    ),
    _bug(
        "ejected_before_offline",
        "8: a vCPU is ejected while it runs",
        RULES.without("eject_powered_off"),
        "eject_requested_and_off", "transition",
    ),
    _bug(
        "granted_while_disabled",
        "8: PSCI CPU_ON is granted for a vCPU that is not enabled",
        RULES.without("cpu_on_enabled"),
        "cpu_on_only_enabled", "transition",
    ),
    _bug(
        "gicc_used_unbound",
        "8: the registers of an unbound GICC are touched",
        _order("unbind_before_unwire"),
        "gicc_touched_while_bound", "eject_in_order", "transition",
    ),
    _bug(
        "created_after_gic",
        "8: a vCPU is created once the VGIC is initialised",
        RULES.without("machine_new"),
        "vcpus_before_gic", "one_step_at_a_time", "transition",
    ),
    Mutant(
        "gicv2_hotplug",
        RULES.without("hotplug_supported"),
        clean="possible vCPUs are capped before a GICv2 machine starts; it has no vacant slot",
        peer="9: a GICv2 machine aborts, because the hotplug code takes a GICv3 for granted",
    ),
)  # fmt: skip

KNOWN_BUGS: Mapping[str, Mutant] = {bug.name: bug for bug in _BUGS}
ALL: Mapping[str, Mutant] = {**MUTANTS, **KNOWN_BUGS}
"""Everything that `--mutant` knows."""


def find_mutant(name: str) -> Mutant:
    """The mutant of that name. Raises UnknownMutant, with the name that was perhaps meant."""
    found = ALL.get(name)
    if found is not None:
        return found
    near = get_close_matches(name, ALL, n=1, cutoff=0.5)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    raise UnknownMutant(
        f"there is no mutant '{name}'.{meant} `hpcore check --mutants` tries all {len(ALL)}"
    )
