"""Selections by a score: every row by itself, in one pass, whatever the pool is."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import Rows, as_scores, row_count
from pickwise.engines import Local, as_engine
from pickwise.ids import (
    Excluded,
    Ids,
    among,
    as_excluded_ids,
    as_ids,
    count_ids,
    named,
    refuse_other_kind,
    refuse_repeated,
    slice_ids,
    take_ids,
)
from pickwise.options import Invalid, RandomState, Ties, as_seed, is_drawn, too_few
from pickwise.pools import Chunk, Part, Pool, is_list_of_pools, is_matrix_like, is_path_like, open_pool
from pickwise.pools.files import none_can_be_read
from pickwise.pools.reading import read
from pickwise.pools.records import is_table
from pickwise.progress import Progress, reporting, shifted
from pickwise.reducer import Reducer
from pickwise.report import Report
from pickwise.result import reported
from pickwise.score_sample import level_of
from pickwise.scores import valid_scores
from pickwise.strategies import PowerSampling

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import TypeVar

    from numpy.typing import NDArray

    from pickwise.engines.base import Intake, R
    from pickwise.pools.files import OnFileError
    from pickwise.result import Selection
    from pickwise.score_sample import ScoreSample
    from pickwise.strategies import Ranking, SoftRank

    S = TypeVar("S", bound=Selection)


@dataclass(frozen=True, eq=False)
class Request:
    """What `select` was asked for beside a pool, a strategy and `k`; it documents these."""

    ids: Any = None
    exclude: Any = None
    exclude_ids: Any = None
    ties: Ties = "first"
    random_state: RandomState = None
    invalid: Invalid = "raise"
    clip: bool = False
    progress: Progress = None
    probabilities: Any = None
    id: str | None = None
    filters: Any = None
    on_file_error: OnFileError = "raise"
    engine: Any = "local"
    checkpoint: Any = None

    def opened(self, pool: Any, *, committee: bool = False) -> Pool:
        """Open a pool with these columns and filters."""
        return open_pool(
            pool,
            probabilities=self.probabilities,
            id=self.id,
            filters=self.filters,
            on_file_error=self.on_file_error,
            committee=committee,
        )


@dataclass(frozen=True, eq=False)
class Ranked:
    """A pool that was read from its start to its end.

    Attributes
    ----------
    reducer : Reducer
        What has taken it.
    rows : int
        Positions in the pool.
    report : Report
    source : Source
    numbered : bool
        Whether the ids are the numbers of the pool.
    """

    reducer: Reducer
    rows: int
    report: Report
    source: Source
    numbered: bool

    def finish(self, *, clip: bool) -> Selection:
        """Return the selection, with ids as the caller knows them."""
        return self.told(self.reducer.finish(clip=clip, locate=self.source.locate))

    def finish_with_scores(self, *, clip: bool) -> tuple[Selection, NDArray[np.float64]]:
        """Return the selection, and the scores of its rows without the noise that they were drawn by."""
        best = self.reducer.finish(clip=clip, locate=self.source.locate)
        return self.told(best), self.reducer.without_noise(best)

    def told(self, selection: S) -> S:
        """Give a selection of these rows their ids, and the report."""
        return self.source.told(selection, self.report, numbered=self.numbered)


def rank(strategy: Ranking, source: Source, k: int, request: Request) -> Ranked:
    """Read a pool from its start to its end."""
    if source.rows == 0:
        raise ValueError(f"{source.name}: expected at least one row, got none")
    if source.rows is not None and k > source.rows:
        if not request.clip:
            raise too_few(k, source.rows, rows=source.rows)
        k = source.rows
    given = source.given(request.ids)
    excluded = None if request.exclude is None else Excluded.read(request.exclude, "exclude", source.rows)
    reducer = Reducer(
        strategy,
        k,
        exclude_ids=source.numbers(request.exclude_ids) if given is None else request.exclude_ids,
        ties=request.ties,
        random_state=request.random_state,
        invalid=request.invalid,
    )
    intake = Taking(
        strategy,
        given,
        excluded,
        source.name,
        sampled=None if source.pool is None else level_of(source.rows or 0) if request.filters is None else 0,
        are_own=source.is_named,
        listener=source.listener,
    )
    reducer, report = run(reducer, source, intake, request)
    source.refuse_unread(report)
    rows = source.counted(report)
    if given is not None and count_ids(given) != rows:
        raise ValueError(f"ids: expected {rows}, one for each row, got {count_ids(given)}")
    if excluded is not None:
        excluded.check(rows)
    return Ranked(reducer, rows, report, source, numbered=given is None)


@dataclass(frozen=True, eq=False)
class Taking:
    """How a `Reducer` takes the chunks of a pool; of some rows the scores are noted, from a level of the sample on."""

    strategy: Ranking
    given: Ids | None
    excluded: Excluded | None
    name: str
    sampled: int | None = None
    are_own: bool = True
    listener: Callable[[Rows, int | NDArray[np.int64]], object] | None = None

    def __call__(
        self, reducer: Reducer, part: Part, chunk: Chunk, seen: Report, report: Callable[[int], object] | None
    ) -> None:
        """Take a chunk, and note what was seen."""
        rows = borrowed(self.strategy, chunk, part, self.name)
        count = rows if isinstance(rows, int) else rows.shape[0]
        positions = reducer.rows if chunk.positions is None else chunk.positions
        skipped = reducer.take(
            rows,
            ids_at(self.given, chunk.ids, positions, count, are_own=self.are_own),
            None if self.excluded is None else self.excluded.at(positions, count),
            name=self.name,
            positions=positions if part.is_in_order else np.full(count, -1),
            report=report,
            locate=part.locate,
        )
        seen.rows += count
        if skipped:
            seen.skipped[part.name] = seen.skipped.get(part.name, 0) + skipped
        if not isinstance(rows, int):
            if self.listener is not None:
                self.listener(rows, positions)
            if self.sampled is not None:
                self._sample(rows, positions, seen.scores)
        if report is not None:
            report(count)

    def _sample(self, rows: Rows, positions: int | NDArray[np.int64], sample: ScoreSample) -> None:
        """Note the scores of a few rows, without noise."""
        if sample.level < (self.sampled or 0):
            sample.rise(self.sampled or 0)
        places, where = sample.wanted(positions, rows.shape[0])
        if len(places):
            sample.add_rows(where, rows.some(places), self._score_binary if rows.binary else self._score)

    def _score(self, matrix: NDArray[Any], *, binary: bool = False) -> NDArray[np.float64]:
        criterion = self.strategy.criterion(binary=binary)
        return matrix[:, 0].astype(np.float64) if isinstance(criterion, str) else valid_scores(matrix, criterion)

    def _score_binary(self, matrix: NDArray[Any]) -> NDArray[np.float64]:
        return self._score(matrix, binary=True)


def ids_at(
    given: Ids | None, own: Ids | None, positions: int | NDArray[np.int64], count: int, *, are_own: bool
) -> Ids | None:
    """Find the ids of so many rows: those that the caller has given for the whole pool, or the pool's own."""
    if given is None or not count:
        return own
    if own is not None and are_own:
        raise ValueError("ids: expected None, because the pool brings its own ids")
    last = positions + count - 1 if isinstance(positions, int) else int(positions[-1])
    if count_ids(given) <= last:
        raise ValueError(f"ids: expected one for each row, at least {last + 1}, got {count_ids(given)}")
    if isinstance(positions, int):
        return slice_ids(given, positions, positions + count)
    return take_ids(given, positions)


def borrowed(strategy: Ranking, chunk: Chunk, part: Part, name: str) -> Rows | int:
    """Borrow what a chunk holds, or only count it where the strategy needs no more."""
    matrix = chunk.matrix
    if isinstance(matrix, (int, Rows)):
        return matrix
    if strategy.is_of_committee:
        try:
            return strategy.read(matrix, name)
        except ValueError as error:
            where = 0 if chunk.positions is None else chunk.positions
            first = where if isinstance(where, int) else int(where[0])
            raise ValueError(f"{name}: from {part.locate(first)} on: {error}") from None
    if not strategy.needs_matrix:
        return len(matrix)
    values = matrix[:, 0] if matrix.shape[1] < strategy.min_classes else matrix
    return strategy.read(values, name, allow_empty=True)


def run(reducer: R, source: Source, intake: Intake, request: Request) -> tuple[R, Report]:
    """Let a reducer take a pool, on the engine and with the checkpoint that were asked for."""
    engine = as_engine(request.engine)
    if source.listener is not None and not isinstance(engine, Local):
        raise ValueError(
            "max_per_class: expected engine='local', as predicted classes are not collected from elsewhere; pass the "
            "classes as groups, with max_per_group"
        )
    parts: Sequence[Part] = source.parts
    before = Report()
    checkpoint = begun = None
    if request.checkpoint is not None:
        from pickwise.checkpoint import Checkpoint, describe

        checkpoint = Checkpoint(request.checkpoint, describe(reducer, source, request))
        found = checkpoint.load()
        if found is not None:
            state, before = found
            begun = type(reducer).from_bytes(state)
            parts = checkpoint.left(parts)
    # What failed before a checkpoint is tried again.
    before.failed = dict(source.failed)
    done = sum(part.rows or 0 for part in source.parts) - sum(part.rows or 0 for part in parts)

    def save(ended: Sequence[Part], state: R, seen: Report) -> None:
        if checkpoint is not None:
            checkpoint.save(ended, state, lambda: before.with_more(seen))

    size = sum(part.size or 0 for part in source.parts) or None
    with reporting(request.progress, source.rows, size=size, start=done) as report:
        reducer, seen = engine.reduce(
            reducer,
            parts,
            intake,
            ahead=source.reads_ahead,
            skip_failed=request.on_file_error == "skip" or source.skips_failed,
            report=shifted(report, done),
            at_end=None if checkpoint is None else save,
            begun=begun,
        )
    before.merge(seen)
    if request.filters is not None and before.files and not before.rows:
        rows = source.counted(before)
        raise ValueError(f"filters: expected at least one row that passes, got none of the {rows} rows of the pool")
    return reducer, before


def draw_by_rank(strategy: SoftRank, source: Source, k: int, request: Request) -> tuple[Selection, int]:
    """Draw rows by their ranks among all rows of a pool; and tell how many rows it has."""
    if request.checkpoint is not None and is_drawn(request.random_state):
        raise TypeError(
            f"random_state: expected an integer with {strategy.name} and a checkpoint, so that the same rows are drawn "
            f"after it, got {request.random_state!r}"
        )
    seed = as_seed(request.random_state)
    # With the same seed, how random ties are broken would not be independent of the noise.
    everything = replace(request, random_state=seed ^ 1, clip=True)
    ranked = rank(strategy.ranking, source, sys.maxsize, everything)
    best = ranked.reducer.finish(clip=True)
    if len(best) < k and not request.clip:
        raise too_few(k, len(best), rows=ranked.rows, skipped=ranked.reducer.skipped)
    if len(best) == 0:
        return ranked.told(replace(best, strategy=strategy)), ranked.rows
    draw = Reducer(PowerSampling(score="given", beta=strategy.beta), k, random_state=seed)
    weights = 1 / np.arange(1, len(best) + 1)
    draw.take(as_scores(weights, "ranks"), as_ids(best.ids, "ids"), None, name="ranks")
    drawn = draw.finish(clip=True)
    drawn = replace(drawn, indices=best.indices[drawn.indices], strategy=strategy, skipped=best.skipped)
    return ranked.told(drawn), ranked.rows


@dataclass(frozen=True, eq=False)
class Source:
    """A pool as it is read.

    Attributes
    ----------
    rows : int or None
        None where it is only known after reading.
    parts : sequence of Part
    pool : Pool or None
        None for rows in memory.
    name : str
        What the caller's argument is called, for messages.
    listener : callable or None
        Is shown all rows, and their positions.
    """

    rows: int | None
    parts: Sequence[Part]
    pool: Pool | None = None
    name: str = "pool"
    listener: Callable[[Rows, int | NDArray[np.int64]], object] | None = None

    @classmethod
    def of(cls, rows: Rows | int, name: str = "pool") -> Source:
        """Read rows that are there already, or only count them."""
        part = _InMemory(rows)
        return cls(part.rows, [part], name=name)

    @property
    def reads_ahead(self) -> bool:
        """Whether a thread reads it."""
        return self.pool is not None and self.pool.reads_ahead

    @property
    def skips_failed(self) -> bool:
        """Whether files that cannot be read are left out, whatever else was asked for."""
        return self.pool is not None and self.pool.skips_failed

    @property
    def failed(self) -> dict[str, str]:
        """Files that were left out when it was opened."""
        return {} if self.pool is None else self.pool.failed

    @property
    def can_be_read_again(self) -> bool:
        """Whether there is more than one pass."""
        return self.pool is None or self.pool.can_be_read_again

    def refuse_unread(self, report: Report) -> None:
        """Raise a `ValueError` if every file has failed."""
        if report.failed and not report.files:
            raise none_can_be_read(self.name, report.failed)

    def locate(self, position: int) -> str:
        """Say where the row at a position is."""
        return f"row {position}" if self.pool is None else self.pool.locate(position)

    def counted(self, report: Report) -> int:
        """Tell how many positions it has, after it was read."""
        if self.rows is not None:
            return self.rows
        rows = [part.rows for part in self.parts]
        return report.rows if None in rows else sum(part or 0 for part in rows)

    def given(self, ids: Any) -> Ids | None:
        """Read ids that the caller has given for all rows."""
        if ids is None:
            return None
        given = as_ids(ids, "ids", self.rows)
        refuse_repeated(given, "ids")
        return given

    def numbers(self, exclude_ids: Any) -> Any:
        """Turn ids of rows as the caller knows them into those in the chunks."""
        numbering = None if self.pool is None else self.pool.numbering
        if numbering is None or exclude_ids is None:
            return exclude_ids
        some = as_excluded_ids(exclude_ids, "exclude_ids")
        if some is None:
            return None
        refuse_other_kind(some, strings=True)
        return numbering.numbers(list(some))

    @property
    def is_named(self) -> bool:
        """Whether rows have ids of their own, which are no numbers of ours."""
        return self.pool is not None and self.pool.numbering is None

    def named(self, ids: Ids) -> NDArray[Any]:
        """Show ids in chunks as the caller knows them."""
        numbering = None if self.pool is None else self.pool.numbering
        return named(ids) if numbering is None or not isinstance(ids, np.ndarray) else numbering.ids(ids)

    def chunks(self) -> Generator[tuple[Part, Chunk], None, None]:
        """Read it from its start."""
        with closing(read(self.parts, ahead=self.reads_ahead)) as items:
            for part, item in items:
                if isinstance(item, Exception):
                    raise item
                if item is not None:
                    yield part, part.chunk(item)

    def told(self, selection: S, report: Report | None, *, numbered: bool = True) -> S:
        """Give a selection the ids that the caller knows, and the report of a pool that was read in chunks."""
        if self.pool is None:
            return selection
        if numbered and self.pool.numbering is not None and selection.ids.dtype != object:
            selection = replace(selection, ids=self.pool.numbering.ids(selection.ids))
        return reported(selection, report)


class _InMemory(Part):
    """Rows that are there already."""

    def __init__(self, rows: Rows | int) -> None:
        self._given = rows
        self.rows = rows if isinstance(rows, int) else rows.shape[0]

    def batches(self) -> Generator[Chunk, None, None]:
        """Hand them over."""
        yield Chunk(self._given, None, None)

    def chunk(self, batch: Chunk) -> Chunk:
        """Return them as they are."""
        return batch


def open_source(pool: Any, strategy: Ranking, request: Request) -> Source:
    """Open whatever a pool is."""
    if strategy.is_of_committee:
        if not (isinstance(pool, Pool) or is_path_like(pool) or is_table(pool) or is_list_of_pools(pool)):
            refuse_files(pool, request)
            for name, value in (("probabilities", request.probabilities), ("id", request.id)):
                if value is not None:
                    raise TypeError(f"{name}: expected None with a committee in memory, which has no columns to choose")
            return Source.of(strategy.read(pool, "pool"))
    elif is_matrix_like(pool, request.probabilities, request.id) and (request.filters is None or not is_table(pool)):
        refuse_files(pool, request)
        if strategy.needs_matrix:
            return Source.of(strategy.read(pool, "pool"))
        return Source.of(row_count(pool, "pool"))
    opened = request.opened(pool, committee=strategy.is_of_committee)
    return Source(opened.rows, opened.parts, opened)


def refuse_files(pool: Any, request: Request) -> None:
    """Refuse what is only for pools that are read in chunks."""
    if request.filters is not None:
        raise TypeError(f"filters: expected None with a {type(pool).__name__}, which has no columns to look at")
    if request.checkpoint is not None:
        raise TypeError(f"checkpoint: expected None with a {type(pool).__name__}; it is for pools of files")
    if not isinstance(as_engine(request.engine), Local):
        raise TypeError(
            f"engine: expected 'local' with a {type(pool).__name__}, which is in the memory of this process; others "
            "take files and Ray datasets"
        )


def left_out(rows: int, ids: Ids | None, request: Request) -> NDArray[np.bool_] | None:
    """Mark the rows that must not be selected, by position or by id."""
    mask = None if request.exclude is None else Excluded.read(request.exclude, "exclude", rows).between(0, rows)
    some = as_excluded_ids(request.exclude_ids, "exclude_ids")
    if some is not None:
        refuse_other_kind(some, strings=isinstance(ids, tuple))
        found = among(np.arange(rows) if ids is None else ids, some)
        mask = found if mask is None else mask | found
    return None if mask is None else mask != 0
