"""Lines of a log: events, and the stimuli that they answer, to and from plain fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

import orjson

from hpcore.log.errors import EventRefused
from hpcore.log.forms import Decode, Form, WrongFields
from hpcore.log.kinds import WrongValue
from hpcore.log.versions import Fields
from hpcore.model.events import EVENTS
from hpcore.model.stimuli import STIMULI

ENVELOPE = ("seq", "t", "event", "sum")
"""Fields of every line."""

BATCH = "batch"
"""Field of the second and later lines of one decision: the seq of its first line."""
ANSWERS = "answers"
"""Field of the first line of a decision: the stimulus that the decision answers."""
HEARD = "heard"
"""Field of the first line of a decision: how far the accelerator had been heard by then, as
a number of the accelerator's own."""
COUNTED = "counted"
"""Field of the first line of a decision: how many decisions the line stands for, this one and
those like it right before. None of them changed the state."""
GROUP = "group"
"""Field of a line that was written in one write with decisions before its own: the seq of the
first line of that write."""

_TAKEN_OUT = (BATCH, ANSWERS, HEARD, COUNTED, GROUP)

STIMULUS = "stimulus"
"""The name of a stimulus, among its fields."""

Encode = Callable[[Any, int, float], Fields]


class Codec:
    """Encodes and decodes the events of `events` and the stimuli of `stimuli`.

    Both map the log's names to classes. Raises TypeError for a class or a field that a log
    cannot hold; no event may have a field with the name of one of a line's own.
    """

    def __init__(
        self, events: Mapping[str, type], stimuli: Mapping[str, type] | None = None
    ) -> None:
        self._events = {
            name: Form("event", name, cls, ENVELOPE, reserved=_TAKEN_OUT)
            for name, cls in events.items()
        }
        self._stimuli = {
            name: Form("stimulus", name, cls, (STIMULUS,))
            for name, cls in (stimuli or {}).items()
        }

    @cached_property
    def _encoders(self) -> dict[type, Encode]:
        """Made for who writes; a reader needs none."""
        return {
            f.cls: f.encoder(("seq", "t"), seq="seq", t="t", event=repr(f.name))
            for f in self._events.values()
        }

    @cached_property
    def _stimulus_encoders(self) -> dict[type, Callable[[Any], Fields]]:
        return {f.cls: f.encoder((), stimulus=repr(f.name)) for f in self._stimuli.values()}

    def encode(self, event: object, seq: int, t: float) -> Fields:
        """A line's fields for `event`, without sum. Raises EventRefused."""
        try:
            return self._encoders[type(event)](event, seq, t)
        except KeyError:
            raise EventRefused(f"a log holds no {type(event).__name__}: {event!r}") from None
        except WrongValue:
            raise EventRefused(_why_not(self._events, event)) from None

    def encode_stimulus(self, stimulus: object) -> Fields:
        """The fields of `stimulus`. Raises EventRefused."""
        try:
            return self._stimulus_encoders[type(stimulus)](stimulus)
        except KeyError:
            raise EventRefused(
                f"a log holds no stimulus {type(stimulus).__name__}: {stimulus!r}"
            ) from None
        except WrongValue:
            raise EventRefused(_why_not(self._stimuli, stimulus)) from None

    def dump(self, fields: Fields) -> bytes:
        """`fields` as JSON. Raises EventRefused for what JSON cannot hold."""
        try:
            return orjson.dumps(fields)
        except TypeError:  # too long an integer or a lone surrogate
            for name, value in fields.items():
                try:
                    orjson.dumps(value)
                except TypeError as error:
                    raise EventRefused(
                        f"event {fields['event']}: {name} is {value!r}, which no log can "
                        f"hold: {error}"
                    ) from None
            raise

    def knows(self, name: object) -> bool:
        """Whether there is an event of that name."""
        return isinstance(name, str) and name in self._events

    def decoders(self, ignore_unknown: bool = False, fill: bool = False) -> dict[str, Decode]:
        """For each event's name, what makes an event of a line's fields.

        BATCH, ANSWERS, HEARD, COUNTED and GROUP have been taken out of them. The functions raise
        WrongFields. `ignore_unknown` lets them pass over fields that they do not know, and `fill`
        gives missing fields their class's default. A look-up raises KeyError for an unknown name.
        """
        return _Decoders(self._events, ignore_unknown, fill)

    def stimulus_decoder(
        self, ignore_unknown: bool = False, fill: bool = False
    ) -> Callable[[object], Any]:
        """What makes a stimulus of the value of ANSWERS; likewise."""
        decoders = _Decoders(self._stimuli, ignore_unknown, fill)

        def decode(value: Any) -> Any:
            try:
                decoder = decoders[value[STIMULUS]]
            except (TypeError, LookupError):
                raise WrongFields(f"it answers an unknown stimulus: {value!r}") from None
            return decoder(value)

        return decode


class _Decoders(dict[str, Decode]):
    """Decoders by name, each made when it is first asked for: few logs have every event."""

    def __init__(self, forms: Mapping[str, Form], ignore_unknown: bool, fill: bool) -> None:
        super().__init__()
        self._forms, self._ignore_unknown, self._fill = forms, ignore_unknown, fill

    def __missing__(self, name: str) -> Decode:
        form = self._forms[name]
        relaxed = self._ignore_unknown or self._fill
        made = form.relaxed(self._ignore_unknown, self._fill) if relaxed else form.decoder()
        self[name] = made
        return made


def _why_not(forms: Mapping[str, Form], value: object) -> str:
    form = next(form for form in forms.values() if form.cls is type(value))
    return form.why_not_encoded(value)


@cache
def model_codec() -> Codec:
    """The codec of hpcore's own events and stimuli."""
    return Codec(EVENTS, STIMULI)
