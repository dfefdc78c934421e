"""Exact k-center on a Ray cluster: actors keep the embeddings in memory, and are asked round by round."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.coreset.embedded import Embedded
from pickwise.coreset.parts import stacked
from pickwise.engines.k_center import Shard, pick_exactly
from pickwise.engines.local import Local
from pickwise.report import Report
from pickwise.threads import num_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pickwise.coreset.parts import Part as Rows
    from pickwise.engines.base import Intake
    from pickwise.options import Invalid
    from pickwise.pools import Part
    from pickwise.result import Cover
    from pickwise.strategies import KCenter

# An actor that dies takes its rows with it: all begins anew, so many times at most.
_ATTEMPTS = 3

# Seconds after which a driver that waits looks up.
_WAIT = 0.2


class Kept(Embedded):
    """All rows of some parts, kept as they come; a reducer that takes them as others do."""

    def __init__(self, strategy: KCenter, k: int, *, exclude_ids: Any, invalid: Invalid) -> None:
        super().__init__(strategy, k, exclude_ids=exclude_ids, dims=None, invalid=invalid)
        self._parts: list[Rows] = []
        self._out: list[NDArray[np.uint8]] = []

    def take(
        self,
        chunk: Any,
        ids: Any,
        exclude: Any,
        *,
        name: str,
        positions: int | NDArray[np.int64] | None = None,
        locate: Callable[[int], str] | None = None,
    ) -> None:
        """Copy rows."""
        found = self._read(chunk, ids, exclude, name=name, positions=positions, locate=locate)
        if found is None:
            return
        part, out = found
        self._parts.append(part.take(np.arange(len(out))))
        self._out.append(out)
        self._count_in(part, out)

    def shard(self) -> Shard | None:
        """Make of all rows what is asked in rounds; None where there is none."""
        if not self._parts:
            return None
        rows = stacked(self._parts)
        self._parts = [rows]
        out = np.concatenate(self._out)
        return Shard(rows.matrix, rows.position, rows.ids, metric=self.strategy.metric, exclude=out != 0)

    def to_bytes(self) -> bytes:
        """Refuse: it is there so that rows stay where they are."""
        raise TypeError(f"{type(self).__name__}: its rows are not sent; shard() answers for them")

    def snapshot(self) -> Any:
        """Return what `restore` needs to undo all that follows."""
        return len(self._parts), self._count, self._skipped, self._id_kind, self._columns

    def restore(self, snapshot: Any) -> None:
        """Go back to what was so when the snapshot was taken."""
        count, self._count, self._skipped, self._id_kind, self._columns = snapshot
        del self._parts[count:], self._out[count:]

    def _make_of(self, matrix: NDArray[Any]) -> Any:
        return matrix.shape[1], matrix.dtype.name

    def _described(self, columns: tuple[int, str]) -> str:
        return f"{columns[0]} dimensions of {columns[1]}"


class Holder:
    """Keeps the rows of some parts; an actor."""

    def __init__(
        self, keep: Callable[[], Kept], parts: Sequence[Part], intake: Intake, *, skip_failed: bool, threads: int
    ) -> None:
        self._threads = threads
        self._error: Exception | None = None
        self._shard: Shard | None = None
        try:
            with num_threads(threads):
                kept, self._seen = Local().reduce(  # type: ignore[type-var] # it is neither merged nor sent
                    keep(), parts, intake, ahead=True, skip_failed=skip_failed, report=None, at_end=None
                )
                self._skipped = kept.skipped
                self._shard = kept.shard()
        except (ValueError, TypeError, OSError) as error:
            # What is wrong with a pool is no failure of an actor.
            self._error = error

    def seen(self) -> tuple[Report, int, bool] | Exception:
        """Tell what was seen of the parts, how many rows are invalid, and whether there are any; or what went wrong."""
        return self._error or (self._seen, self._skipped, self._shard is not None)

    def call(self, method: str, args: tuple[Any, ...]) -> Any:
        """Ask the shard."""
        with num_threads(self._threads):
            return getattr(self._shard, method)(*args)


def cover_exactly(
    ray: Any,
    strategy: KCenter,
    k: int,
    groups: Sequence[Sequence[Part]],
    intake: Intake,
    *,
    exclude_ids: Any,
    labelled: Any,
    invalid: Invalid,
    clip: bool,
    skip_failed: bool,
    num_cpus: int,
) -> tuple[Cover, Report]:
    """Pick by exact k-center, with an actor for each group of parts.

    Raises
    ------
    ray.exceptions.RayActorError
        If actors died again and again.
    """
    keep = partial(Kept, strategy, k, exclude_ids=exclude_ids, invalid=invalid)
    holder = ray.remote(Holder).options(num_cpus=num_cpus)
    for attempt in range(1, _ATTEMPTS + 1):
        actors = [
            holder.remote(keep, group, intake, skip_failed=skip_failed, threads=num_cpus) for group in groups if group
        ]
        try:
            full, skipped, seen = _with_rows(ray, actors)
            cover = _in_rounds(ray, full, strategy, k, labelled=labelled, clip=clip)
            return replace(cover, skipped=skipped), seen
        except ray.exceptions.RayActorError:
            if attempt == _ATTEMPTS:
                raise
        finally:
            for actor in actors:
                ray.kill(actor)
    raise AssertionError


def _with_rows(ray: Any, actors: Sequence[Any]) -> tuple[list[Any], int, Report]:
    """Wait until all have read their parts: those that have rows, how many rows are invalid, and what was seen."""
    total, skipped, full = Report(), 0, []
    for actor, told in zip(actors, _all(ray, [actor.seen.remote() for actor in actors]), strict=True):
        if isinstance(told, Exception):
            raise told
        seen, invalid, has_rows = told
        total.merge(seen)
        skipped += invalid
        full += [actor] if has_rows else []
    if not full:
        raise ValueError("pool: expected at least one row, got none")
    return full, skipped, total


def _in_rounds(ray: Any, actors: Sequence[Any], strategy: KCenter, k: int, *, labelled: Any, clip: bool) -> Cover:
    def ask(method: str, *args: Any) -> list[Any]:
        shared = ray.put(args)
        return _all(ray, [actor.call.remote(method, shared) for actor in actors])

    return pick_exactly(ask, k, strategy, labelled=labelled, clip=clip).cover


def _all(ray: Any, refs: Sequence[Any]) -> list[Any]:
    """Wait for answers; an interrupt is noticed soon."""
    while len(ray.wait(refs, num_returns=len(refs), timeout=_WAIT)[0]) < len(refs):
        pass
    found: list[Any] = ray.get(refs)
    return found
