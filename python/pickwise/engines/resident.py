"""Exact k-center on a Ray cluster: actors keep the embeddings in memory, and are asked round by round."""

from __future__ import annotations

from dataclasses import replace
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

    def __init__(self, kept: Kept, parts: Sequence[Part], intake: Intake, skip_failed: bool, threads: int) -> None:
        self._threads = threads
        with num_threads(threads):
            kept, self._seen = Local().reduce(
                kept, parts, intake, ahead=True, skip_failed=skip_failed, report=None, at_end=None
            )
            self._skipped = kept.skipped
            self._shard = kept.shard()

    def seen(self) -> tuple[Report, int, bool]:
        """Tell what was seen of the parts, how many rows are invalid, and whether there are any."""
        return self._seen, self._skipped, self._shard is not None

    def call(self, method: str, args: tuple[Any, ...]) -> Any:
        """Ask the shard."""
        with num_threads(self._threads):
            return getattr(self._shard, method)(*args)


def cover_exactly(
    ray: Any,
    kept: Kept,
    groups: Sequence[Sequence[Part]],
    intake: Intake,
    *,
    labelled: Any,
    clip: bool,
    skip_failed: bool,
    num_cpus: int,
) -> tuple[Cover, Report]:
    """Pick by exact k-center what `kept` is asked for, with an actor for each group of parts.

    Raises
    ------
    ray.exceptions.RayActorError
        If actors died again and again.
    """
    for attempt in range(_ATTEMPTS):
        holder = ray.remote(Holder).options(num_cpus=num_cpus)
        actors = [holder.remote(kept, group, intake, skip_failed, num_cpus) for group in groups]
        try:
            return _asked(ray, actors, kept, labelled=labelled, clip=clip)
        except ray.exceptions.RayActorError as error:
            # What a constructor has raised will be raised again.
            if isinstance(error, ray.exceptions.ActorDiedError) and "creation task" in str(error):
                raise
            if attempt == _ATTEMPTS - 1:
                raise
        finally:
            for actor in actors:
                ray.kill(actor)
    raise AssertionError("unreachable")


def _asked(ray: Any, actors: Sequence[Any], kept: Kept, *, labelled: Any, clip: bool) -> tuple[Cover, Report]:
    total, skipped, full = Report(), 0, []
    for actor, (seen, invalid, has_rows) in zip(
        actors, ray.get([actor.seen.remote() for actor in actors]), strict=True
    ):
        total.merge(seen)
        skipped += invalid
        full += [actor] if has_rows else []
    if not full:
        raise ValueError("pool: expected at least one row, got none")

    def ask(method: str, *args: Any) -> list[Any]:
        shared = ray.put(args)
        found: list[Any] = ray.get([actor.call.remote(method, shared) for actor in full])
        return found

    found = pick_exactly(ask, kept.k, kept.strategy, labelled=labelled, clip=clip)  # type: ignore[arg-type]
    return replace(found.cover, skipped=skipped), total
