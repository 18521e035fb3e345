"""What a machine on kvm-qemu has beside its log and QEMU's stream: the registers that hpcore plays.

The policy page does not travel: what it grants is what the registers show.
"""

from __future__ import annotations

import attrs

from hpcore.model.states import State
from hpcore.platform import hotplug_device
from hpcore.platform.hotplug_device import HotplugDevice
from hpcore.run.accelerator import Belongings
from hpcore.run.saved_parts import section, section_read, state_of

HOTPLUG = "hotplug"


def with_registers(saved: Belongings, registers: HotplugDevice) -> Belongings:
    """`saved`, and the registers as they are now."""
    own = section(HOTPLUG, hotplug_device.VERSION, registers.saved())
    return attrs.evolve(saved, files={**saved.files, **own})


def load_registers(registers: HotplugDevice, saved: Belongings, state: State) -> None:
    """Have `registers` be what `saved` has, and what the machine's log had come to after that.

    Raises AcceleratorError.
    """
    found = state_of(saved, HOTPLUG, hotplug_device.VERSION)
    with section_read(HOTPLUG):
        registers.load(found)
    registers.do_again(state)
