"""Every small change of the register block is noticed, the same way every time.

A mutant is an edit of the block's source, carried out on a copy. Most are caught by the
recordings; the others name the judge that catches them.
"""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest
from attrs import frozen

from hpcore.platform import hotplug_registers
from tests.conformance import judges
from tests.conformance.judges import JUDGES, Judge, answers_as_qemu_did

SOURCE = inspect.getsource(hotplug_registers)


@frozen
class Mutant:
    """`old` becomes `new`, and `judge` is to notice."""

    name: str
    old: str
    new: str
    judge: Judge = answers_as_qemu_did


MUTANTS = (
    # what the flags show
    Mutant("enabled_is_shown_as_insert", "(slot.enabled, Flag.ENABLED)",
           "(slot.enabled, Flag.INSERT)"),
    Mutant("remove_is_not_shown", "(slot.remove, Flag.REMOVE)", "(False, Flag.REMOVE)"),
    Mutant("firmware_is_shown_a_bit_lower", "FIRMWARE = 1 << 4  #", "FIRMWARE = 1 << 3  #"),
    Mutant("not_on_arm_alone", "(self._arm, Flag.PRESENT)", "(True, Flag.PRESENT)"),
    Mutant("not_present_on_arm", "(self._arm, Flag.PRESENT)", "(False, Flag.PRESENT)",
           judges.every_arm_vcpu_is_present),
    Mutant("present_only_if_enabled", "(self._arm, Flag.PRESENT)",
           "(self._arm and slot.enabled, Flag.PRESENT)", judges.every_arm_vcpu_is_present),
    # what a store to the flags does
    Mutant("remove_is_cleared_along_with_insert", "elif value & Store.CLEAR_REMOVE",
           "if value & Store.CLEAR_REMOVE"),
    Mutant("an_eject_takes_the_firmware_bit_along", "elif value & Store.FIRMWARE",
           "if value & Store.FIRMWARE"),
    Mutant("remove_is_never_cleared", "was, slot.remove = slot.remove, False",
           "was, slot.remove = slot.remove, slot.remove"),
    Mutant("clearing_sets", "was, slot.insert = slot.insert, False",
           "was, slot.insert = slot.insert, True"),
    Mutant("an_eject_clears_remove", "            self._host.eject_asked(index)",
           "            slot.remove = False; self._host.eject_asked(index)"),
    Mutant("an_eject_needs_a_request", "elif value & Store.EJECT:",
           "elif value & Store.EJECT and slot.remove:"),
    Mutant("firmware_removes_what_is_not_there", "slot.enabled and slot.hotpluggable",
           "slot.hotpluggable"),
    Mutant("firmware_removes_the_boot_vcpu", "slot.enabled and slot.hotpluggable",
           "slot.enabled"),
    Mutant("the_eject_bit_is_another", "EJECT = 1 << 3", "EJECT = 1 << 5"),
    Mutant("a_clear_of_no_insert_is_heard", """if was:
                self._host.insert_cleared""", """if True:
                self._host.insert_cleared""", judges.a_host_hears_what_the_guest_asks_for),
    Mutant("a_cleared_remove_is_not_heard", "self._host.remove_cleared(index)", "pass",
           judges.a_host_hears_what_the_guest_asks_for),
    # selector
    Mutant("a_bad_selector_reads_another_slot", """if self._selector >= len(self.slots):
            return 0
        slot = self.slots[self._selector]""",
           "slot = self.slots[self._selector % len(self.slots)]"),
    Mutant("a_bad_selector_keeps_the_old_one", """if offset == SELECTOR:
            self._selector = value""", """if offset == SELECTOR:
            self._selector = value if value < len(self.slots) else self._selector"""),
    Mutant("a_bad_selector_takes_a_command", """elif self._selector >= len(self.slots):
            return""", """elif self._selector >= len(self.slots):
            self._command = value if offset == COMMAND else self._command""",
           judges.nothing_but_a_selector_is_taken_while_no_slot_is_selected),
    # commands
    Mutant("an_unknown_command_is_kept", "value > max(RegisterCommand)", "value > 0xFF"),
    Mutant("an_unknown_command_is_the_first", """if value > max(RegisterCommand):
            return""", """if value > max(RegisterCommand):
            value = 0"""),
    Mutant("the_search_begins_behind_the_selected", "(self._selector + step) % count",
           "(self._selector + step + 1) % count"),
    Mutant("the_search_does_not_wrap", "for step in range(count):",
           "for step in range(count - self._selector):"),
    Mutant("the_search_begins_at_the_first", "(self._selector + step) % count", "step"),
    Mutant("the_search_looks_for_insert_alone",
           "return self.insert or self.remove or self.firmware", "return self.insert"),
    Mutant("the_search_passes_over_firmware",
           "return self.insert or self.remove or self.firmware",
           "return self.insert or self.remove", judges.a_host_hears_that_no_slot_has_an_event),
    Mutant("a_search_that_finds_none_selects_the_first", "        self._host.events_exhausted()",
           "        self._selector = 0; self._host.events_exhausted()"),
    Mutant("a_search_that_finds_one_is_the_last", "self._selector = index\n                return",
           "self._selector = index\n                break",
           judges.a_host_hears_that_no_slot_has_an_event),
    Mutant("the_search_is_that_of_every_command",
           "if value == RegisterCommand.NEXT_WITH_EVENT:\n            self._find_next()",
           "self._find_next()"),
    # data
    Mutant("the_data_are_read_under_any_command",
           "if offset == DATA and self._command == RegisterCommand.NEXT_WITH_EVENT",
           "if offset == DATA and self._command != RegisterCommand.ARCH_ID"),
    Mutant("the_high_half_of_the_arch_id_is_its_low_half", "self._arch_ids[self._selector] >> 32",
           "self._arch_ids[self._selector] & 0xFFFF_FFFF"),
    Mutant("the_arch_id_has_32_bits", "self._arch_ids[self._selector] >> 32", "0",
           judges.an_arch_id_has_64_bits),
    Mutant("source_and_status_change_places", "slot.source = value", "slot.status = value"),
    Mutant("a_status_sends_the_source_off", "slot.source, value)", "value, slot.source)"),
    Mutant("a_status_is_sent_before_it_is_stored", """slot.status = value
            self._host.ost_reported(index, slot.source, value)""",
           """self._host.ost_reported(index, slot.source, value)
            slot.status = value""", judges.a_host_is_told_after_the_fact),
    # accesses
    Mutant("a_load_is_not_cut_to_its_size", "self._read(start) & (1 << 8 * width) - 1",
           "self._read(start)", judges.an_access_has_no_more_than_its_size),
    Mutant("accesses_are_not_split_by_alignment", "width > end - offset or offset % width",
           "width > end - offset"),
    Mutant("the_registers_are_bytes", "WIDEST = 4", "WIDEST = 1"),
    Mutant("an_access_is_8_bytes_wide", "WIDEST = 4", "WIDEST = 8"),
    Mutant("a_wide_load_has_its_first_piece_last", "value |= piece << 8 * (start - offset)",
           "value |= piece << 8 * (offset + size - start - width)"),
    Mutant("a_wide_store_stores_the_same_everywhere", "value >> 8 * (start - offset) &",
           "value &", judges.a_wide_store_acts_on_each_register_where_it_starts),
)  # fmt: skip


def module_of(source: str, name: str) -> ModuleType:
    """The block's module with another source."""
    module = ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.__name__)
def test_the_block_itself_is_found_without_fault(judge: Judge) -> None:
    judge(hotplug_registers)
    judge(module_of(SOURCE, "unchanged"))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_small_change_is_noticed(mutant: Mutant) -> None:
    assert SOURCE.count(mutant.old) == 1, f"{mutant.name} does not apply once"
    changed = module_of(SOURCE.replace(mutant.old, mutant.new), mutant.name)
    with pytest.raises(AssertionError):
        mutant.judge(changed)


def test_the_mutants_are_many_and_mostly_seen_in_what_qemu_did() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 40
    assert sum(mutant.judge is answers_as_qemu_did for mutant in MUTANTS) >= 25
