"""What every accelerator promises, as tests that any accelerator's authors can run.

    from hpcore.promises import AcceleratorSuite

    class TestHvf(AcceleratorSuite):
        accelerator = HvfAccelerator()

Run under pytest, this is a test a promise, by name. Without a test runner:

    for promise in promises_of(Subject(HvfAccelerator())):
        promise.hold(subject)       # raises PromiseBroken, which says what was promised

What an accelerator cannot do is read off its capabilities, and what its tests do not give
(a guest to boot, a way to break the machine) is left out by name: nothing is skipped
silently. The suite needs hpcore alone; pytest is what usually runs it.

By file, in the order of a machine's life: `opening` (probe and open), `creation`, `steps`,
`resets`, `endings`, and `guests`, where hpcore's own core drives the machine. `promise` has
what a promise is, `rig` the session without a core that they all use.
"""

from hpcore.promises.promise import Promise, PromiseBroken, Subject
from hpcore.promises.rig import SessionRig
from hpcore.promises.suite import PROMISES, AcceleratorSuite, kill_process, promises_of

__all__ = [
    "PROMISES",
    "AcceleratorSuite",
    "Promise",
    "PromiseBroken",
    "SessionRig",
    "Subject",
    "kill_process",
    "promises_of",
]
