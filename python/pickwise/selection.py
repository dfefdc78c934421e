"""One verb, whatever the pool is: `select`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pickwise.arrays import Rows, as_rows, is_array_like, row_count
from pickwise.ids import Excluded, Ids, as_ids, count_ids, refuse_repeated, slice_ids
from pickwise.options import Invalid, RandomState, Ties, as_k, too_few
from pickwise.pools import is_path_like, open_pool
from pickwise.pools.table import is_table
from pickwise.progress import Progress, reporting, shifted
from pickwise.reducer import Reducer
from pickwise.result import Selection
from pickwise.strategies import Strategy, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = ["Selection", "select"]


def select(
    pool: Any,
    k: int,
    strategy: str | Strategy = "margin",
    *,
    ids: Any = None,
    exclude: Any = None,
    exclude_ids: Any = None,
    ties: Ties = "first",
    random_state: RandomState = None,
    invalid: Invalid = "raise",
    clip: bool = False,
    progress: Progress = None,
    probabilities: str | Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002 - the word that ids, exclude_ids and the command line have
) -> Selection:
    """Select the `k` rows of a pool that are most worth labelling.

    Parameters
    ----------
    pool : array_like of shape (rows, classes) or (rows,), path, table or iterable
        Class probabilities (or logits, if the strategy says so), float16, bfloat16, float32 or float64:

        - an array of NumPy, PyTorch, JAX or any library with DLPack, ``__array__`` or the Arrow PyCapsule interface,
          in memory of any layout; 1-D is *P(y=1)* of two classes;
        - a DataFrame or Arrow table;
        - a path, a glob or a folder of ``.npy`` or ``.parquet`` files;
        - an iterable of chunks, each an array or a pair of an array and its ids.
    k : int
        How many rows to select, from 1 to all.
    strategy : str or Strategy
        ``"entropy"``, ``"margin"``, ``"least_confidence"``, ``"ratio"`` or ``"random"``, or an object with options
        such as ``Entropy(from_logits=True)``.
    ids : array_like of int or str, optional
        One for each row, each different. Without them a row is known by its position.
    exclude : array_like of bool or int, optional
        Rows that must not be selected: a mask as long as the pool, or positions.
    exclude_ids : array_like of int or str, optional
        The same by id; ids that are not in the pool are fine.
    ties : {"first", "random"}
        Among equal scores: the lower id first (strings by their bytes), or in an order drawn from `random_state`.
    random_state : int, RandomState, Generator or None
        For strategy "random" and random ties.
    invalid : {"raise", "skip"}
        What to do about rows that are no probabilities: refuse the pool, or never select them and count them.
    clip : bool
        Whether fewer than `k` rows will do where there are no more.
    progress : bool or callable, optional
        True shows a bar (needs tqdm); a function is called now and then with the rows done and the rows in all, None
        if unknown.
    probabilities : str or sequence of str, optional
        For tables: columns by name or pattern (``"p_*"``), one column of lists, or one of *P(y=1)*. By default the one
        column of lists of floats, else all columns of floats.
    id : str, optional
        For tables: the column of ids.

    Returns
    -------
    Selection
        Best first. Scores are float64, and the order is that of float64 arithmetic on the given numbers.

    Raises
    ------
    TypeError
        If an argument is of a type that makes no sense, such as integer probabilities or an array on a GPU.
    ValueError
        If an argument has a value that makes no sense: an empty pool, fewer than two classes, more rows wanted than
        there are, ids that repeat or are not as many as rows; and for rows that are no probabilities, unless `invalid`
        is "skip".

    See Also
    --------
    reducer : The same piece by piece.

    Notes
    -----
    Scores and top-k are one pass over the pool, on as many threads as `get_num_threads` tells; each needs
    memory for O(k) rows, whatever the pool. The result does not depend on threads, chunks, memory layout or CPU.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> pool = np.array([[0.9, 0.05, 0.05], [0.4, 0.35, 0.25], [0.5, 0.5, 0.0], [0.8, 0.1, 0.1]])
    >>> pw.select(pool, k=2, strategy="margin").ids
    array([2, 1])
    >>> pw.select(pool, k=2, strategy="entropy", exclude=[1]).ids
    array([2, 3])
    """
    chosen = resolve(strategy)
    wanted = as_k(k)
    source = _open(pool, chosen, probabilities, id)
    if source.rows == 0:
        raise ValueError("pool: expected at least one row, got none")
    if source.rows is not None and wanted > source.rows:
        if not clip:
            raise too_few(wanted, source.rows, rows=source.rows)
        wanted = source.rows
    given = None if ids is None else as_ids(ids, "ids", source.rows)
    if given is not None:
        refuse_repeated(given, "ids")
    excluded = None if exclude is None else Excluded.read(exclude, "exclude", source.rows)
    reducer = Reducer(chosen, wanted, exclude_ids=exclude_ids, ties=ties, random_state=random_state, invalid=invalid)
    start = 0
    with reporting(progress, source.rows) as report, closing(source.pieces()) as pieces:
        for rows, own_ids in pieces:
            end = start + (rows if isinstance(rows, int) else rows.shape[0])
            reducer.take(
                rows,
                _ids_between(given, own_ids, start, end),
                None if excluded is None else excluded.between(start, end),
                name="pool",
                report=shifted(report, start),
                locate=source.locate,
            )
            start = end
            if report is not None:
                report(start)
    if given is not None and count_ids(given) != start:
        raise ValueError(f"ids: expected {start}, one for each row, got {count_ids(given)}")
    if excluded is not None:
        excluded.check(start)
    return reducer.finish(clip=clip)


@dataclass(frozen=True)
class _Source:
    """A pool as `select` reads it.

    Attributes
    ----------
    rows : int or None
        None where it is only known after reading.
    pieces : callable
        Yields rows, or only their number where the strategy needs no more, and the ids that the pool has for them.
    locate : callable or None
        Says where a row is.
    """

    rows: int | None
    pieces: Callable[[], Generator[tuple[Rows | int, Ids | None], None, None]]
    locate: Callable[[int], str] | None


def _open(pool: Any, strategy: Strategy, probabilities: str | Sequence[str] | None, id: str | None) -> _Source:  # noqa: A002
    named = probabilities is not None or id is not None
    # A frame whose columns are all of one type has nothing to choose from, and may lie in memory as a matrix.
    if is_table(pool) and not named and len(set(getattr(pool, "dtypes", ()))) == 1:
        return _from_array(pool, strategy)
    if is_array_like(pool) and not is_table(pool) and not is_path_like(pool):
        for name, value in (("probabilities", probabilities), ("id", id)):
            if value is not None:
                raise TypeError(f"{name}={value!r} names columns, but a {type(pool).__name__} has none")
        return _from_array(pool, strategy)
    opened = open_pool(pool, probabilities=probabilities, id=id)

    def pieces() -> Generator[tuple[Rows | int, Ids | None], None, None]:
        with closing(opened.chunks()) as chunks:
            for matrix, ids in chunks:
                if not strategy.needs_matrix:
                    yield len(matrix), ids
                    continue
                binary = matrix.shape[1] < strategy.min_classes
                values = matrix[:, 0] if binary else matrix
                yield as_rows(values, "pool", min_classes=strategy.min_classes, allow_empty=True), ids

    return _Source(opened.rows, pieces, opened.locate)


def _from_array(pool: Any, strategy: Strategy) -> _Source:
    rows: Rows | int
    if strategy.needs_matrix:
        rows = as_rows(pool, "pool", min_classes=strategy.min_classes)
        count = rows.shape[0]
    else:
        rows = count = row_count(pool, "pool")

    def pieces() -> Generator[tuple[Rows | int, Ids | None], None, None]:
        yield rows, None

    return _Source(count, pieces, None)


def _ids_between(given: Ids | None, own: Ids | None, start: int, stop: int) -> Ids | None:
    if given is None:
        return own
    if own is not None:
        raise ValueError("ids: expected None, because the pool brings its own ids")
    if count_ids(given) < stop:
        raise ValueError(f"ids: expected one for each row, at least {stop}, got {count_ids(given)}")
    return slice_ids(given, start, stop)
