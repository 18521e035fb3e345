"""Those who are told every event of a machine; none of them can harm it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from hpcore.model.events import Event
from hpcore.model.states import State
from hpcore.run.controller import Watcher

_log = structlog.get_logger(__name__)


class Watchers:
    """Watchers that come and go, in the order in which they came."""

    def __init__(self) -> None:
        self._watchers: dict[object, Watcher] = {}

    def add(self, watcher: Watcher) -> Callable[[], None]:
        """Tell `watcher` every event from here on; returns what ends that."""
        key = object()
        self._watchers[key] = watcher

        def unsubscribe() -> None:
            self._watchers.pop(key, None)

        return unsubscribe

    def tell(self, event: Event, state: State) -> None:
        """Tell all of them `event`. One that raises is told nothing more."""
        for key, watcher in tuple(self._watchers.items()):
            if key not in self._watchers:
                continue  # unsubscribed by a watcher before it
            try:
                watcher(event, state)
            except Exception:
                _log.exception("watcher_raised", watcher=repr(watcher), on=repr(event))
                self._watchers.pop(key, None)
