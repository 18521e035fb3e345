"""The names that classes of the model have in a log: theirs, in snake_case."""

from __future__ import annotations

import re


def snake_case(cls: type) -> str:
    """The name of `cls` in a log: `StepBegun` is step_begun."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
