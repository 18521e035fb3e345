"""What somebody outside sees of a broken invariant: a guest, a user, a host.

Most invariants are about what cannot be seen at once, such as an order. To know what an order is
for, leave its invariant out (`hpcore check --ignore NAME`), and see what breaks after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from hpcore.check.properties import Properties
from hpcore.check.result import CheckError
from hpcore.check.tabulated.start import TOTAL
from hpcore.model.fold import TRANSITION

NOTICED: Mapping[str, str] = {
    "parked_is_inert": "the host: a vCPU that nobody has keeps a thread, memory or a GICC",
    "enabled_is_wired": "the guest: _STA says enabled, and a vCPU that it starts gets no interrupt",
    "notified_only_enabled": "the guest: it is told of a vCPU that _STA calls not enabled",
    "cpu_on_only_enabled": "the guest: CPU_ON succeeds for a vCPU that is not there, or runs",
    "online_is_enabled": "the guest: a vCPU runs that _STA calls not enabled, or one that is on is "
    "started again",
    "eject_requested_and_off": "the guest: a vCPU is taken away that it still uses",
    "eject_confirmed_first": "the guest: _STA says enabled still, and Linux prints 'Eject "
    "incomplete'",
    "cold_booted_stays": "the guest: it loses a vCPU that its tables say is there for good",
    "gicc_touched_while_bound": "the host: QEMU reads registers that belong to nobody, and aborts",
    "gicc_matches_affinity": "the guest: an interrupt for one vCPU comes to another",
    "madt_fixed": "the guest: its tables differ from those it has read at boot",
    "reset_keeps_plugged": "the user: a vCPU that was plugged is gone after a reset, or an event "
    "of the guest before reaches the next one",
    "off_keeps_plugged": "the user: a machine that is off has lost what was plugged",
    "starts_in_order": "the guest: it boots before its vCPUs are there",
    "migration_carries_all": "the user: the machine at the other end is another one",
    "no_command_lost": "the user: a command is accepted, and never ends",
    "command_ends_once": "the user: a command has two ends, or another one's",
    "commands_while_up": "the user: a command is accepted that nothing can be done about",
    "ends_undisturbed": "the user: a machine that is being ended takes a command",
    "no_notification_lost": "the guest: it never looks at an event that is there",
    "removal_not_shadowed": "the guest: it takes the insertion alone, and the removal is lost",
    "tables_say_what_is": "the guest: _STA, or the MADT, says what is not so",
    "nothing_without_base": "the host: memory is used that was freed, or a GICC without its vCPU",
    "request_withdrawn_whole": "the guest: it ejects as it was asked to, and is refused",
    "boot_vcpu_alone": "the guest: a vCPU runs that its kernel has not started",
    "ends_as_it_began": "the user: QMP reports the end of a command that was not given",
    "cpu_on_answered": "the guest: PSCI CPU_ON returns the wrong code, or never",
    "effects_follow": "the guest, or the user: what the machine waits for was never asked for",
    "success_is_true": "the user: QMP reports success of what has not been done",
    "failure_is_true": "the user: QMP reports that a vCPU stays, and it goes",
    "request_ends_with_a_word": "the user: the guest has refused, and nobody says so",
    "commands_taken": "the user: a command that is in order is refused, or nothing comes of it",
    "guest_heard": "the guest: its call has no effect",
    "outcomes_taken": "the user: an effect has failed, and nobody says so",
    "followed_or_refused": "the user, or the accelerator: what was said is passed over",
    TRANSITION: "the host: the machine comes to a state that it has no way on from",
}
"""Who notices, and what, by the name of what is broken."""


def without(properties: Properties, ignored: Iterable[str]) -> Properties:
    """`properties` but those. Raises CheckError for a name that is none of them."""
    left_out = set(ignored)
    known = {p.name for p in properties}
    for name in sorted(left_out - known):
        if name in (TRANSITION, TOTAL):
            raise CheckError(
                f"'{name}' cannot be left out: no state follows that a search could go on from"
            )
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        meant = f" Did you mean '{near[0]}'?" if near else ""
        raise CheckError(
            f"there is no property '{name}'.{meant} `hpcore model invariants` lists hpcore's own"
        )
    return tuple(p for p in properties if p.name not in left_out)
