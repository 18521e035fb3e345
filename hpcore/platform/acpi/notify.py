r"""`CTFY (index, event)`: notify the vCPU with that index.

AML's Notify takes a name, so an index must be compared its way to one. In two levels,
512 vCPUs cost at most 48 comparisons instead of 512, each some microseconds of the
guest's interpreter. For transports that read an index from a register.
"""

from __future__ import annotations

from hpcore.platform.acpi.transport import cpu_name
from hpcore.platform.aml.objects import method
from hpcore.platform.aml.statements import arg, call, equal, give, local, notify, shift_right, when

DISPATCH = "CTFY"
GROUP_BITS = 4
"""log2 of the vCPUs in one second-level method, `CTnn`."""


def notify_dispatch(possible: int) -> bytes:
    """The methods, for the scope of `\\_SB.CPUS`; an index that no vCPU has does nothing."""
    size = 1 << GROUP_BITS
    index, event, group = arg(0), arg(1), local(0)
    methods, choices = [], []
    for number, first in enumerate(range(0, possible, size)):
        notifications = (
            when(equal(index, member), notify(cpu_name(member), event), give(0))
            for member in range(first, min(first + size, possible))
        )
        name = f"CT{number:02X}"
        methods.append(method(name, *notifications, give(0), args=2))
        choices.append(when(equal(group, number), call(name, index, event), give(0)))
    choose = (shift_right(index, GROUP_BITS, group), *choices, give(0))
    return b"".join((*methods, method(DISPATCH, *choose, args=2)))
