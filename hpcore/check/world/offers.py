"""One stimulus that may come, and on what terms."""

from __future__ import annotations

from attrs import frozen

from hpcore.check.world.conditions import ANYHOW, Needs
from hpcore.model.stimuli import Stimulus


@frozen
class Offer:
    """`stimulus` may come if the other slots are as `needs` says.

    `fault` is 1 for what only a faulty accelerator does; it is counted if it changes
    anything.
    """

    stimulus: Stimulus
    needs: Needs = ANYHOW
    fault: int = 0
