"""The queue follows the project, whoever changes it: rounds begin and end, and rows are answered elsewhere."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pickwise.annotators.page.leases import Leases
    from pickwise.annotators.page.source import Source

_PACE = 0.5
# Rows that are read from the pool, and predicted, at once.
_STEP = 500


class Feed:
    """Looks at the project twice a second, in a thread of its own.

    Parameters
    ----------
    source : Source
    leases : Leases
    tell : callable, optional
        Told of what goes wrong; it is tried again.
    """

    def __init__(self, source: Source, leases: Leases, tell: Callable[[str], None] | None = None) -> None:
        self._source = source
        self._leases = leases
        self._tell = tell or (lambda _: None)
        self._since: int | None = None
        self._said: str | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.about: dict[str, Any] = {}

    def start(self) -> None:
        """Look once, and go on looking until `close`."""
        self.look()
        self._thread = threading.Thread(target=self._run, name="pickwise label: feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> bool:
        """Look whether the project has changed, read what there is to show of more rows, and tell whether of any."""
        with self._lock:
            return self._look()

    def _look(self) -> bool:
        found = self._source.look(self._since)
        if found is not None:
            if found.whole:
                self._leases.replace(found.asked)
            else:
                self._leases.update(found.asked)
            self._since = found.number
            self.about = dict(found.about)
        keys = self._leases.bare(_STEP)
        tasks = self._source.tasks(keys) if keys else []
        self._leases.give(tasks)
        return bool(tasks)

    def _run(self) -> None:
        has_more = True
        while not self._ended.wait(0 if has_more else _PACE):
            has_more = False
            try:
                has_more = self.look()
                self._said = None
            except Exception as error:  # noqa: BLE001 - the page goes on with what it has
                if str(error) != self._said:
                    self._tell(f"the queue is not up to date: {error}")
                self._said = str(error)
