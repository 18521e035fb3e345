"""The second lock where a vCPU's thread comes by its first CPU_ON; tests/kvm has the rest."""

from __future__ import annotations

import pytest
from hpcore_kvm.order import Order, SlotParts

from hpcore.model.effects import Step
from hpcore.promises.rig import COLD_BUILD
from hpcore.run.accelerator import EffectError


def built(deferred: bool) -> Order:
    """A slot that took all steps of a plug."""
    order = Order([SlotParts()], deferred)
    for step in COLD_BUILD:
        order.check(step, 0, on=False)
        order.done(step, 0)
    return order


@pytest.mark.parametrize("deferred", [False, True])
def test_a_thread_comes_with_realize_or_by_cpu_on(deferred: bool) -> None:
    order = built(deferred)
    assert order.slots[0].thread is not deferred
    assert order.may_run(0)
    order.runs(0)
    assert order.slots[0].thread


def test_where_threads_are_not_deferred_a_vcpu_without_one_is_not_bound() -> None:
    order = Order([SlotParts(realized=True, mapped=True)])
    with pytest.raises(EffectError, match="BIND of vCPU 0 is refused: the vCPU has no thread"):
        order.check(Step.BIND, 0, on=False)
    assert not order.may_run(0)


def test_a_deferred_thread_comes_to_no_vcpu_that_is_not_wired() -> None:
    order = built(deferred=True)
    for step in (Step.DISABLE, Step.UNWIRE):
        assert order.may_run(0)
        order.check(step, 0, on=False)
        order.done(step, 0)
    assert not order.may_run(0)
    order.done(Step.UNBIND, 0)
    order.check(Step.RELEASE, 0, on=False)
    with pytest.raises(EffectError, match="STOP of vCPU 0 is refused: the vCPU has no thread"):
        order.check(Step.STOP, 0, on=False)
