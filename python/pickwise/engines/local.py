"""In this process: one reducer takes part after part, in order, while a thread reads and decodes ahead."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pickwise.engines.base import Engine, Intake, R
from pickwise.pools.files import reason
from pickwise.pools.reading import Clock, is_of_model, read
from pickwise.progress import shifted
from pickwise.report import Report
from pickwise.score_sample import ScoreSample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pickwise.pools import Part


class Local(Engine):
    """The engine of this process."""

    def reduce(
        self,
        reducer: R,
        parts: Sequence[Part],
        intake: Intake,
        *,
        ahead: bool,
        skip_failed: bool,
        report: Callable[[int], object] | None,
        at_end: Callable[[Sequence[Part], R, Report], object] | None,
        begun: R | None = None,
    ) -> tuple[R, Report]:
        """Let a reducer take all rows; see `Engine.reduce`."""
        reducer = reducer if begun is None else begun
        seen, clock, done = Report(), Clock(), 0
        with closing(read(parts, ahead=ahead, clock=clock)) as items:
            one = _OnePart(reducer, intake, skip_failed)
            for part, item in items:
                began = time.perf_counter()
                one.take(part, item, shifted(report, done))
                ended = one.end(part, seen.scores.level) if item is None or isinstance(item, Exception) else None
                if ended is not None:
                    seen.merge(ended)
                    # Rows that a filter or an error left out are done, too.
                    done += ended.rows if part.rows is None else part.rows
                    if report is not None:
                        report(done)
                seen.scoring += time.perf_counter() - began
                if ended is not None and ended.files and at_end is not None:
                    seen.reading = clock.seconds
                    at_end([part], reducer, seen)
        seen.reading = clock.seconds
        return reducer, seen


class _OnePart:
    """What has been done of a part; undone if it fails and failed parts are left out."""

    def __init__(self, reducer: Any, intake: Intake, skip_failed: bool) -> None:
        self._reducer = reducer
        self._intake = intake
        self._skip_failed = skip_failed
        self._seen = Report()
        self._error: Exception | None = None
        self._before: Any = None
        self._is_new = True

    def take(self, part: Part, item: Any, report: Callable[[int], object] | None) -> None:
        """Take a batch, or note an error."""
        if self._error is not None or item is None:
            return
        if self._is_new:
            self._is_new = False
            self._before = self._reducer.snapshot() if self._skip_failed else None
        try:
            if isinstance(item, Exception):
                raise item
            chunk = part.chunk(item)
        except (ValueError, TypeError, OSError) as error:
            if not self._skip_failed or is_of_model(error):
                raise
            self._error = error
            self._reducer.restore(self._before)
            return
        self._intake(self._reducer, part, chunk, self._seen, shifted(report, self._seen.rows))

    def end(self, part: Part, level: int) -> Report:
        """Tell what was seen of a part, and begin the next one, with a sample of scores of a level."""
        seen, error = self._seen, self._error
        self._seen = Report(scores=ScoreSample(level))
        self._error, self._before, self._is_new = None, None, True
        if error is not None:
            return Report(failed={part.name: reason(error, part.name)})
        seen.files, seen.size = 1, part.size or 0
        return seen
