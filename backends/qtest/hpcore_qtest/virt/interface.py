"""What a slot has of the GIC, as hpcore knows it."""

from __future__ import annotations

from attrs import define


@define
class Interface:
    """Whose redistributor a slot has, whether it is wired, and shut again."""

    frame: int | None = None
    wired: bool = False
    shut: bool = False

    @property
    def usable(self) -> bool:
        """Whether interrupts reach the vCPU."""
        return self.wired and not self.shut
