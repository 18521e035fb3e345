"""The model checker: every order of commands, calls, faults and resets, over `decide`.

    >>> from hpcore.check import Environment, prove
    >>> from hpcore.model.properties import always
    >>> small = Environment(slots=2, faults=0, reset=False, migration=False, power_off=False)
    >>> prove(small).proven
    True

A property of your own, beside hpcore's, and the shortest way to break it:

    >>> from hpcore.check import PROPERTIES, say
    >>> as_booted = always(
    ...     "as_booted", "A vCPU that was not there at boot is never enabled.",
    ...     lambda index, slot, shared: slot.cold or not slot.enabled,
    ... )
    >>> result = prove(small, properties=(*PROPERTIES, as_booted))
    >>> result.violations
    ('as_booted',)
    >>> for stimulus in result.counterexample.stimuli:
    ...     print(say(stimulus))
    the accelerator has done start
    the user plugs cpu1 (core-id 1)
    the accelerator has done realize of vCPU 1
    the accelerator has done bind of vCPU 1, at affinity 0x1
    the accelerator has done wire of vCPU 1
    the accelerator has done enable of vCPU 1

The model is the code that runs machines. Slots meet only in a small common part; so what
one slot does is *tabulated*, by calling the real `decide` and `evolve` on each of its local
states under each common part, and the engines explore the product of the tables:

    world       who acts and what may come when: environment, guests, conditions
    tabulated   the tables, and what of a state is told apart
    symbolic    decision diagrams: the proof, then the shortest way
    explicit    packed states in NumPy, breadth first
    graphs      small configurations, state by state: loops, and pictures
    variants    protocols that are wrong in one place, and the hunt for them
    properties  what is asked, of every kind
    sightings   where a diagram shows a violation, or what must be possible
    retrace     back to stimuli, on a whole machine
    evidence    a counterexample as a log, and a log as a start
    sweep       many checks at once

`prove` is the way in. A plain search over whole machines, in the tests, is what all this
is held against.
"""

from hpcore.check.proof import ENGINES, prove
from hpcore.check.properties import PROPERTIES
from hpcore.check.result import CheckError, Counterexample, Progress, Result
from hpcore.check.tabulated.schema import NotTabulable
from hpcore.check.world.environment import Environment, EnvironmentRefused
from hpcore.check.world.guests import GUESTS, HOSTILE, LEGACY, LINUX, GuestModel
from hpcore.check.world.words import say

__all__ = [
    "ENGINES",
    "GUESTS",
    "HOSTILE",
    "LEGACY",
    "LINUX",
    "PROPERTIES",
    "CheckError",
    "Counterexample",
    "Environment",
    "EnvironmentRefused",
    "GuestModel",
    "NotTabulable",
    "Progress",
    "Result",
    "prove",
    "say",
]
