"""How long is waited, and how much is taken: every limit is what its page says, to the number."""

from __future__ import annotations

from hpcore.log import framing, tail
from hpcore.run import console, controller, execute, waiting


def test_the_seconds_that_are_waited_for_an_end_and_its_reason() -> None:
    assert (waiting.REASON_SECONDS, waiting.LAST_WORDS_SECONDS) == (5.0, 1.0)
    assert console.LAST_WORDS_SECONDS == 1.0
    assert execute.EFFECT_SECONDS == 120.0
    assert (controller.TICK, controller.LATEST_LOOK) == (0.1, 0.2)


def test_how_often_a_guest_may_fail_before_it_is_given_up() -> None:
    assert (console.PANICS, console.RESETS) == (2, 5)


def test_how_long_a_log_a_line_and_an_append_may_be() -> None:
    assert execute.MOST_EVENTS == 10_000
    assert (framing.MAX_LINE, framing.MAX_BATCH) == (1024 * 1024, 16 * 1024 * 1024)
    assert (framing.SUM_WIDTH, framing.TAIL, tail.SECTOR) == (16, 18, 512)
