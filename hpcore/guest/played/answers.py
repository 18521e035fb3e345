"""What a played guest is told to answer to a notification, in place of its kernel's own answer.

An answer is one status by `_OST` and nothing else: the vCPU is neither registered nor
ejected, whatever the status says. LOST is none at all: AML has told the kernel, and nothing
there listened, as in early boot.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, mutable

from hpcore.model.acpi import Notification

LOST = None
"""The notification is lost: the guest says nothing and does nothing."""

Answer = int | None
"""A status for `_OST`, or LOST."""

Answers = Mapping[Notification, Answer | tuple[Answer, ...]]
"""What is answered to a notification: the same every time, or in turn.

Once a turn is over, and where a notification is not named, the kernel answers by itself.
"""

LARGEST_STATUS = 0xFFFF_FFFF
"""The register that `_OST` writes the status to has 32 bits."""

SILENT: Answers = {Notification.EJECT_REQUEST: LOST}
"""A guest that registers what is plugged, and never hears that it should give any back."""


def nth_answer(answers: Answers, notification: Notification, given: int) -> tuple[Answer, ...]:
    """The answer that follows `given` others, by itself; nothing where the kernel has its own."""
    wanted = answers.get(notification, ())
    return wanted[given : given + 1] if isinstance(wanted, tuple) else (wanted,)


@mutable
class AnswersOfABoot:
    """The answers that are left in one boot of the kernel; the next boot begins them anew."""

    _answers: Answers
    _given: dict[Notification, int] = field(factory=dict, init=False)

    def knows(self, notification: Notification) -> bool:
        """Whether the next `notification` has an answer that the kernel does not give itself."""
        return bool(nth_answer(self._answers, notification, self._given.get(notification, 0)))

    @property
    def given(self) -> dict[str, int]:
        """How many were given to each notification, by the notification's name."""
        return {notification_name(n): count for n, count in self._given.items()}

    @given.setter
    def given(self, counts: Mapping[str, int]) -> None:
        named = {notification_name(n): n for n in Notification}
        self._given = {named[name]: int(count) for name, count in counts.items()}

    def take(self, notification: Notification) -> Answer:
        """That answer, which is then given."""
        given = self._given.get(notification, 0)
        (answer,) = nth_answer(self._answers, notification, given)
        self._given[notification] = given + 1
        return answer


def said(answers: Answers) -> str:
    """The answers in words, as in `eject-request: 0x82`; empty for none."""
    return ", ".join(
        f"{notification_name(notification)}: {_in_turn(wanted)}"
        for notification, wanted in answers.items()
    )


def notification_name(notification: Notification) -> str:
    """A notification as scenarios name it, such as `eject-request`."""
    return notification.name.lower().replace("_", "-")


def _in_turn(wanted: Answer | tuple[Answer, ...]) -> str:
    answers = wanted if isinstance(wanted, tuple) else (wanted,)
    return ", then ".join("lost" if answer is LOST else f"{answer:#x}" for answer in answers)
