"""Rows that are far apart, from a pool that need not fit into memory: piece by piece, by core-sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.coreset import CoverReducer
from pickwise.engines import Local, as_engine
from pickwise.ids import Excluded
from pickwise.pools import is_matrix_like
from pickwise.pools.npy import NpyPool
from pickwise.ranking import Source, ids_at, run
from pickwise.strategies import KCenter

if TYPE_CHECKING:
    from collections.abc import Callable

    from pickwise.coreset import Radius
    from pickwise.engines import Engine
    from pickwise.ids import Ids
    from pickwise.pools import Chunk, Part
    from pickwise.ranking import Request
    from pickwise.report import Report
    from pickwise.result import Cover
    from pickwise.strategies import Spread


def open_stream(pool: Any, request: Request) -> Source | None:
    """Open a pool of embeddings that is read piece by piece; None where it is in memory, or in a file to be mapped."""
    if is_matrix_like(pool, request.probabilities, request.id):
        return None
    opened = request.opened(pool)
    is_here = isinstance(as_engine(request.engine), Local) and request.checkpoint is None
    if isinstance(opened, NpyPool) and opened.is_one_array and is_here:
        return None
    return Source(opened.rows, opened.parts, opened)


def cover(strategy: Spread, source: Source, k: int, request: Request, labelled: Any) -> Cover:
    """Select rows that are far apart, in one pass; and another one for their true radius, unless it is known."""
    excluded = None if request.exclude is None else Excluded.read(request.exclude, "exclude", source.rows)
    given = source.given(request.ids)
    reducer = CoverReducer(
        strategy,
        k,
        exclude_ids=source.numbers(request.exclude_ids) if given is None else request.exclude_ids,
        labelled=labelled,
        random_state=request.random_state,
        invalid=request.invalid,
    )
    intake = Embedding(given, excluded, are_own=source.is_named)
    engine = as_engine(request.engine)
    if isinstance(strategy, KCenter) and engine.is_exact:
        return _cover_exactly(engine, strategy, source, k, request=request, intake=intake, labelled=labelled)
    with engine.connected(source.parts):
        reducer, report = run(reducer, source, intake, request)
        source.refuse_unread(report)
        if excluded is not None:
            excluded.check(source.counted(report))
        found = reducer.finish(clip=request.clip, locate=source.locate)
        if not reducer.is_exact and source.can_be_read_again:
            radius, again = run(reducer.radius_of(found), source, intake, replace(request, checkpoint=None))
            found = replace(found, radius=radius.finish())
            report.add_pass(again)
    return source.told(found, report, numbered=given is None)


def _cover_exactly(
    engine: Engine, strategy: KCenter, source: Source, k: int, *, request: Request, intake: Embedding, labelled: Any
) -> Cover:
    for name, value in (("checkpoint", request.checkpoint), ("random_state", request.random_state)):
        if value is not None:
            raise ValueError(f"{name}: expected None with exact=True, got {value!r}")
    found, report = engine.cover(
        strategy,
        k,
        source.parts,
        intake,
        exclude_ids=source.numbers(request.exclude_ids) if intake.given is None else request.exclude_ids,
        labelled=labelled,
        invalid=request.invalid,
        clip=request.clip,
        skip_failed=request.on_file_error == "skip",
    )
    return source.told(found, report, numbered=intake.given is None)


@dataclass(frozen=True, eq=False)
class Embedding:
    """How a state over embeddings takes the chunks of a pool."""

    given: Ids | None
    excluded: Excluded | None
    are_own: bool

    def __call__(
        self,
        reducer: CoverReducer | Radius,
        part: Part,
        chunk: Chunk,
        seen: Report,
        report: Callable[[int], object] | None,
    ) -> None:
        """Take a chunk, and note what was seen."""
        count = len(chunk.matrix)
        positions = reducer.rows if chunk.positions is None else chunk.positions
        mask = None if self.excluded is None else self.excluded.at(positions, count)
        before = reducer.skipped
        reducer.take(
            chunk.matrix,
            ids_at(self.given, chunk.ids, positions, count, are_own=self.are_own),
            None if mask is None else mask != 0,
            name="pool",
            positions=positions if part.is_in_order else np.full(count, -1),
            locate=part.locate,
        )
        seen.rows += count
        if reducer.skipped > before:
            seen.skipped[part.name] = seen.skipped.get(part.name, 0) + reducer.skipped - before
        if report is not None:
            report(count)
