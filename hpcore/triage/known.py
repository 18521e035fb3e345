"""The bugs that are known, by what shows them: which one does a wrong step look like?

Those of the research branch stand in `hpcore.check.variants.known_bugs`, each as a change of the
rules; those of stock QEMU are shown on real QEMU by tests/qtest/test_known_flaws.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

from hpcore.check.variants.known_bugs import KNOWN_BUGS
from hpcore.foreign import Kind, Mark

CPU_C = "https://gitlab.com/qemu-project/qemu/-/blob/v10.0.0/hw/acpi/cpu.c"
SERIES = "https://lore.kernel.org/qemu-devel/?q=Support+of+Virtual+CPU+Hotplug+for+ARMv8+Arch"


@frozen
class KnownBug:
    """A bug with a name, what it does, where it is shown or was reported, and what shows it."""

    name: str
    says: str
    where: str
    shown_by: frozenset[str]


def _of_branch(name: str) -> str:
    """What a bug of the research branch does, without its number in the list there."""
    return (KNOWN_BUGS[name].peer or "").partition(": ")[2]


def _bug(name: str, says: str, where: str, *shown_by: str) -> KnownBug:
    return KnownBug(name, says, where, frozenset(shown_by))


KNOWN: tuple[KnownBug, ...] = (
    _bug("cold_booted_ejected", _of_branch("cold_booted_ejected"), SERIES,
         "eject_not_cold_booted", "cold_booted_stays"),
    _bug("ejected_before_offline", _of_branch("ejected_before_offline"), SERIES,
         "eject_powered_off"),
    _bug("unasked_eject", "the guest ejects a vCPU that it was not asked for, and QEMU carries it "
         "out", f"{CPU_C} (cpu_hotplug_wr: the eject bit is not held against a request)",
         "eject_was_requested"),
    _bug("events_kept_over_reset", "a reset keeps the event bits: the next guest is asked for what "
         "the last one was asked for", f"{CPU_C} (cpu_status: there is no reset)",
         "reset_keeps_plugged"),
    _bug("removal_lost", _of_branch("removal_lost"),
         f"{CPU_C} (build_cpus_aml: the removal is in the ElseIf of the insertion)",
         "removal_not_shadowed", "no_notification_lost"),
    _bug("stale_removal", _of_branch("stale_removal"),
         f"{CPU_C} (cpu_hotplug_wr: the eject leaves is_inserting and is_removing)",
         "notified_only_enabled"),
    _bug("plugged_before_confirmed", "a slot is plugged anew while the guest is not through with "
         "its eject: it sees _STA enabled, and takes the eject for incomplete",
         "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/drivers/acpi/"
         "scan.c (acpi_scan_hot_remove)", "eject_confirmed_first", "eject_incomplete"),
    _bug("granted_while_disabled", _of_branch("granted_while_disabled"), SERIES,
         "cpu_on_enabled", "cpu_on_only_enabled"),
    _bug("migration_makes_cold", _of_branch("migration_makes_cold"), SERIES,
         "migration_carries_all", "madt_fixed"),
    _bug("space_freed_under_thread", _of_branch("space_freed_under_thread"), SERIES,
         "eject_in_order"),
    _bug("another_slots_resource", _of_branch("another_slots_resource"), SERIES,
         "gicc_matches_affinity"),
    _bug("notified_before_gic", _of_branch("notified_before_gic"), SERIES, "built_in_order"),
    _bug("gicc_used_unbound", _of_branch("gicc_used_unbound"), SERIES,
         "gicc_touched_while_bound"),
    _bug("created_after_gic", _of_branch("created_after_gic"), SERIES, "vcpus_before_gic"),
)  # fmt: skip
"""In the order in which they are tried: what says more comes first."""

CREATIONS = _bug(
    "creations_run_out",
    "with TCG, QEMU aborts at the vCPU that is created after maxcpus: an unplug does not give back "
    "the TCG context of its vCPU",
    "https://gitlab.com/qemu-project/qemu/-/blob/v10.0.0/tcg/tcg.c (tcg_register_thread: "
    "g_assert(n < tcg_max_ctxs))",
)
MIGRATION = _bug(
    "migration_never_ends",
    "a vCPU that came by migration was unplugged and plugged again; the next migration never ends",
    "tests/qtest/test_known_flaws.py shows it on q35",
)
REFUSALS: tuple[tuple[re.Pattern[str], KnownBug], ...] = tuple(
    (re.compile(pattern), bug)
    for pattern, bug in (
        (
            r"Invalid parameter type for '[a-z]+-id', expected: integer",
            _bug("ids_as_texts", "the client gives the ids of a vCPU as texts, and this QEMU takes "
                 "integers alone",
                 "https://github.com/kata-containers/kata-containers/issues/11633"),
        ),
        (
            r"socket-id: (?:4294967295|-1)\b",
            _bug("no_such_id", "the client gives -1 for an id that this machine does not have, and "
                 "QEMU takes it for a number of 32 bits",
                 "https://github.com/kata-containers/kata-containers/issues/5228"),
        ),
        (
            r"'host-x86_64-cpu' is not a valid device model name",
            _bug("driver_of_x86", "x86's vCPU is plugged into a machine of another architecture",
                 "https://github.com/jiangcuo/pxvirt/issues/80"),
        ),
    )
)  # fmt: skip
"""What QEMU has refused, or said, by its words."""
ALL: tuple[KnownBug, ...] = (*KNOWN, CREATIONS, MIGRATION, *(bug for _, bug in REFUSALS))


def looks_like(marks: Iterable[Mark]) -> KnownBug | None:
    """The known bug that shows itself by one of `marks`, those of one step; or None."""
    names = {mark.name for mark in marks if mark.kind is not Kind.HABIT}
    return next((bug for bug in KNOWN if bug.shown_by & names), None)


def by_words(marks: Iterable[Mark]) -> KnownBug | None:
    """The known bug that QEMU's own words tell of, in a refusal or on its standard error."""
    texts = [mark.text for mark in marks if mark.kind in (Kind.REFUSED, Kind.QEMU)]
    return next((bug for pattern, bug in REFUSALS if any(map(pattern.search, texts))), None)
