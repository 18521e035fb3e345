"""The model checker: every order of commands, calls, faults and resets, over `decide`.

    result = prove(Environment(slots=4, guest=Guest.HOSTILE, faults=1))
    result.proven, result.states, result.counterexample

The model is the code that runs machines. Slots meet only in a small shared word; so what
one slot does is *tabulated*, by calling the real `decide` and `evolve` on each of its local
states under each word, and the engines explore the product of the tables:

    environment, guests, offers     what may come, and when: the other half of the model
    conditions                      what one slot's move may ask of the others, all of it
    start, small, tabulate, tables  the tables, and what of a state is told apart
    saturation, layers, symbolic    decision diagrams: the proof, then the shortest way
    expansion, explicit             packed states in NumPy, breadth first
    graph, liveness, drawing        small configurations, state by state
    shows, mutants, zoo, hunt       what must be possible, and what must be found
    retrace, evidence               back to stimuli, and to a log that replays

`proof.prove` is the way in. A plain search over whole machines, in the tests, is what all
this is held against.
"""

from hpcore.check.proof import ENGINES, prove
from hpcore.check.result import CheckError, Counterexample, Progress, Result
from hpcore.check.world.environment import Environment, EnvironmentRefused
from hpcore.check.world.guests import Guest

__all__ = [
    "ENGINES",
    "CheckError",
    "Counterexample",
    "Environment",
    "EnvironmentRefused",
    "Guest",
    "Progress",
    "Result",
    "prove",
]
