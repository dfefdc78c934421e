"""Why each row was picked: its score beside its most probable classes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from pickwise import _native, arrow
from pickwise.arrays import BLOCK_BYTES, as_numpy, as_rows, is_array_like, row_count, stacked
from pickwise.frames import pandas_frame, polars_frame
from pickwise.options import as_count
from pickwise.pools import is_matrix_like, is_path_like, open_pool
from pickwise.result import Batch, Selection
from pickwise.scores import min_classes, native_score
from pickwise.strategies import Given, Joint, Margin, Random, Spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray

    from pickwise.strategies import Strategy

P = ParamSpec("P")

# Fetching rows costs about as much as the whole selection at a hundred thousand rows, or at a million numbers that do
# not lie side by side.
_MOST_ROWS = 10_000
_MOST_NUMBERS = 1_000_000
_MOST_SCATTERED = 100_000

_ROWS_SHOWN = 5


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """A table of the selected rows, best first, made by `Selection.explain`.

    ``len`` counts the rows, iteration goes over them as dicts.

    Attributes
    ----------
    columns : dict of str to ndarray of shape (k,)
        ``"rank"`` (from 1), ``"id"``, ``"index"``, ``"score"``; of a `Batch` ``"distance"``, to the nearest labelled
        row or earlier pick; then ``"class_1"``, ``"p_1"`` and so on, the most probable classes (their numbers, or
        names) and their probabilities, if these are known.
    strategy : Strategy
        How the rows were chosen.

    Examples
    --------
    >>> import pickwise as pw
    >>> selection = pw.select([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2]], k=2)
    >>> next(iter(selection.explain(top=1)))
    {'rank': 1, 'id': 1, 'index': 1, 'score': 0.8, 'class_1': 0, 'p_1': 0.5}
    """

    columns: dict[str, NDArray[Any]]
    strategy: Strategy

    def __post_init__(self) -> None:
        for column in self.columns.values():
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.columns["rank"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        columns = [column.tolist() for column in self.columns.values()]
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*columns, strict=True))

    def __repr__(self) -> str:
        cells = [[name, *map(_cell, column[:_ROWS_SHOWN].tolist())] for name, column in self.columns.items()]
        widths = [max(map(len, column)) for column in cells]
        lines = [
            "  ".join(["", *(cell.rjust(width) for cell, width in zip(row, widths, strict=True))])
            for row in zip(*cells, strict=True)
        ]
        more = [f"  … {len(self) - _ROWS_SHOWN} more"] if len(self) > _ROWS_SHOWN else []
        about = f"{type(self).__name__} of {len(self)} rows by {self.strategy}"
        return "\n".join([about, *lines, *more])

    def to_polars(self) -> pl.DataFrame:
        """Return a Polars DataFrame with the same columns.

        Raises
        ------
        ImportError
            If Polars is not installed.
        """
        return polars_frame(self.columns)

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas DataFrame with the same columns.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return pandas_frame(self.columns)


def explain(selection: Selection, probabilities: Any, classes: Any, top: Any) -> Explanation:
    """Make the table; `Selection.explain` says what the arguments are."""
    columns = {
        "rank": np.arange(1, len(selection) + 1),
        "id": selection.ids,
        "index": selection.indices,
        "score": selection.scores,
    }
    if isinstance(selection, Batch):
        columns["distance"] = selection.distances
    most = as_count(top, "top", least=1)
    given = probabilities is not None
    parts = _given(selection, probabilities) if given else _kept(selection)
    best = [_most_probable(p, most) for p in parts]
    if best:
        width = best[0][2]
        names = None if classes is None else _as_names(classes, width)
        order, values = np.concatenate([part[0] for part in best]), np.concatenate([part[1] for part in best])
        for rank in range(min(most, width)):
            place = order[:, rank].copy()
            columns[f"class_{rank + 1}"] = place if names is None else names[place]
            columns[f"p_{rank + 1}"] = values[:, rank].copy()
    elif classes is not None and len(selection):
        raise ValueError(
            "classes: expected probabilities with them, as this selection has kept none; pass the pool's rows as well"
        )
    return Explanation(columns, selection.strategy)


def keeping_rows(select: Callable[P, Selection]) -> Callable[P, Selection]:
    """Let a selection keep a copy of the rows that it took from a pool in memory, for `Selection.explain`."""

    @wraps(select)
    def selecting(*args: P.args, **options: P.kwargs) -> Selection:
        selection = select(*args, **options)
        pool = args[0] if args else options["pool"]
        beside = options.get("embeddings") is not None
        with suppress(Exception):  # what select took is never refused here
            kept = _rows_to_keep(selection, pool, beside, options.get("probabilities"), options.get("id"))
            object.__setattr__(selection, "_kept", kept)
        return selection

    return selecting


def _rows_to_keep(
    selection: Selection,
    pool: Any,
    beside: bool,
    probabilities: Any,
    id: Any,  # noqa: A002
) -> NDArray[Any] | None:
    """Copy the selected rows of a pool, as `_rows_at` returns them, if that takes no time to speak of."""
    strategy = selection.strategy
    if (
        isinstance(_scoring(strategy), Given)
        or (isinstance(strategy, Joint) and not beside)
        or _needs(strategy) == "targets"
    ):
        return None
    if len(selection) > _MOST_ROWS or is_path_like(pool) or not is_array_like(pool):
        return None
    scoring = _scoring(strategy)
    numbers, scattered = _numbers(pool, scoring.is_of_committee)
    if len(selection) * numbers > (_MOST_SCATTERED if scattered else _MOST_NUMBERS):
        return None
    columns = probabilities, id
    return _rows_at(pool, selection.indices, "pool", scoring, committee=scoring.is_of_committee, columns=columns)


def _numbers(pool: Any, committee: bool) -> tuple[int, bool]:
    """Tell how many numbers a row of a pool has, as far as it is known at once, and whether they lie apart."""
    if isinstance(pool, (list, tuple)):
        return (sum(_numbers(member, False)[0] for member in pool), False) if committee else (np.size(pool[0]), False)
    shape = getattr(pool, "shape", (0, 1))
    strides = getattr(pool, "strides", None)
    scattered = len(shape) > 1 and isinstance(strides, tuple) and strides[-1] != pool.itemsize
    return int(np.prod(shape)) // max(1, shape[1 if committee else 0]), scattered


def _rows_at(
    pool: Any,
    indices: NDArray[np.int64],
    name: str,
    scoring: Any,
    *,
    committee: bool,
    columns: tuple[Any, Any] = (None, None),
) -> NDArray[Any]:
    """Copy rows of a pool, of shape (k,), (k, classes) or, of a committee, (members, k, classes)."""
    if committee:
        members = pool if isinstance(pool, (list, tuple)) else as_numpy(pool, name)
        together = np.stack([_rows_at(member, indices, name, scoring, committee=False) for member in members])
        if together.ndim != 3:
            raise ValueError(f"{name}: expected members of the shape (rows, classes), got votes")
        return together
    some = _taken(pool, indices, name)
    if hasattr(some, "columns") and not is_matrix_like(some, *columns):
        opened = open_pool(some, probabilities=columns[0], id=columns[1])
        matrix = np.concatenate([np.array(chunk.matrix) for chunk in opened.chunks()])
        return matrix[:, 0] if matrix.shape[1] == 1 else matrix
    rows = as_rows(some, name, min_classes=min_classes(_task(scoring)))
    matrix = stacked(rows.blocks(), rows.shape, rows.dtype)
    return matrix[:, 0] if rows.binary else matrix


def _taken(pool: Any, indices: NDArray[np.int64], name: str) -> Any:
    if isinstance(pool, (list, tuple)):
        return [pool[index] for index in indices.tolist()]
    if hasattr(pool, "iloc"):  # pandas
        return pool.iloc[indices]
    if arrow.is_arrow(pool):
        return pool.take(indices) if hasattr(pool, "take") else pool[indices]  # pyarrow and Polars
    return as_numpy(pool, name)[indices]


def _given(selection: Selection, pool: Any) -> Iterator[NDArray[np.float64]]:
    """Yield the probabilities of the selected rows of a pool that was passed, a block at a time."""
    name, indices = "probabilities", selection.indices
    if not len(indices):
        return
    if is_path_like(pool):
        raise TypeError(f"{name}: expected an array, got a path; pass numpy.load(path, mmap_mode='r') for a .npy file")
    depth = _depth(pool)
    if depth not in (1, 2, 3):
        forms = "(rows, classes), (rows,) or (members, rows, classes)"
        raise ValueError(f"{name}: expected the shape {forms}, got {depth}-D")
    committee = depth == 3
    rows = row_count(pool[0] if committee else pool, name)
    needed = int(indices.max()) + 1
    if rows < needed:
        raise ValueError(
            f"{name}: expected the rows of the pool, at least {needed} as row {needed - 1} is selected, got {rows}"
        )
    scoring = _scoring(selection.strategy)
    # Where the strategy has not looked at them, they may also be of labels that are independent.
    task = "multilabel" if isinstance(scoring, (Given, Random)) or _is_blind(selection.strategy) else None
    numbers = max(1, _numbers(pool, committee)[0])
    step = max(1, BLOCK_BYTES // (8 * numbers))
    for start in range(0, len(indices), step):
        some = indices[start : start + step]
        raw = _rows_at(pool, some, name, scoring, committee=committee)
        found = _invalid(raw, scoring, task)
        if found is not None:
            raise _refused(found, name, int(some[found.row]), from_logits=getattr(scoring, "from_logits", False))
        yield _as_probabilities(raw, scoring)


def _kept(selection: Selection) -> list[NDArray[np.float64]]:
    """Return the probabilities of the rows that the selection has kept, if that is what they are."""
    raw = selection._kept  # noqa: SLF001 - it is there for this
    scoring = _scoring(selection.strategy)
    if raw is None or not len(selection) or _invalid(raw, scoring, None) is not None:
        return []
    return [_as_probabilities(raw, scoring)]


def _depth(pool: Any) -> int:
    """Count the dimensions of an array-like: 3 for a committee."""
    if isinstance(pool, (list, tuple)):
        return 1 + (_depth(pool[0]) if len(pool) else 0)
    if np.isscalar(pool):
        return 0
    if arrow.is_arrow(pool) and not hasattr(pool, "shape"):
        return 2  # or 1: what comes in columns is told apart where it is read
    shape = getattr(pool, "shape", None)
    return as_numpy(pool, "probabilities").ndim if shape is None else len(shape)


def _scoring(strategy: Strategy) -> Any:
    """Return the strategy that reads the pool, where it is an option of another."""
    while hasattr(strategy, "ranking"):
        strategy = strategy.ranking
    # Of a pool that lies beside embeddings nothing else is known than that it holds probabilities.
    return Margin() if isinstance(strategy, Joint) else strategy


def _task(scoring: Any) -> str:
    return str(getattr(scoring, "task", "multiclass"))


def _is_blind(strategy: Strategy) -> bool:
    if isinstance(strategy, Spread):
        return strategy.prefilter is None
    return isinstance(strategy, Joint) and strategy.needs not in ("scores", "predictions")


def _needs(strategy: Strategy) -> str | None:
    return strategy.needs if isinstance(strategy, Joint) else None


def _invalid(raw: NDArray[Any], scoring: Any, task: str | None) -> _native.InvalidRows | None:
    """Look for a row that is none of probabilities, or logits."""
    options: dict[str, Any] = {"from_logits": getattr(scoring, "from_logits", False)}
    kind = "binary" if raw.ndim == 1 else task or _task(scoring)
    score = native_score("margin", binary=False, task=kind, **options)
    for matrix in raw if raw.ndim == 3 else [raw.reshape(len(raw), -1)]:
        out = np.empty(len(matrix), np.float64 if raw.dtype == np.float64 else np.float32)
        found = _native.score(matrix, score, out, 0, None)
        if found is not None:
            return found
    return None


def _refused(found: _native.InvalidRows, name: str, row: int, *, from_logits: bool) -> ValueError:
    if found.reason == "sum":
        what, mend = f"sums to {found.value:.7g}, expected 1", "pass the pool that the rows were selected from"
    elif from_logits:
        what, mend = f"holds {found.value:.7g} in column {found.column}, expected a logit", "drop or mend these rows"
    else:
        what = f"holds {found.value:.7g} in column {found.column}, expected a number from 0 to 1"
        mend = "put logits through a softmax first"
    return ValueError(f"{name}: row {row}, which is selected, {what}; {mend}")


def _as_probabilities(raw: NDArray[Any], scoring: Any) -> NDArray[np.float64]:
    """Put logits through what the strategy puts them through, and take the mean of a committee."""
    p = raw.astype(np.float64)
    if getattr(scoring, "from_logits", False):
        p /= getattr(scoring, "temperature", 1.0)
        if p.ndim == 1 or _task(scoring) == "multilabel":
            with np.errstate(over="ignore"):
                p = 1 / (1 + np.exp(-p))
        else:
            p = np.exp(p - p.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
    if p.ndim == 1:
        return np.stack([1 - p, p], axis=1)
    return np.asarray(p.mean(0) if p.ndim == 3 else p)


def _most_probable(p: NDArray[np.float64], top: int) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Find the most probable classes of each row, of several the lower first; and tell how many classes there are."""
    order = np.argsort(-p, axis=1, kind="stable")[:, :top].astype(np.int64, copy=False)
    return order, np.take_along_axis(p, order, axis=1), p.shape[1]


def _as_names(classes: Any, width: int) -> NDArray[Any]:
    if isinstance(classes, (str, bytes)) or not hasattr(classes, "__iter__"):
        raise TypeError(f"classes: expected the names of {width} classes, got {classes!r}")
    names = list(classes)
    if len(names) != width:
        raise ValueError(f"classes: expected {width} names, one for each class, got {len(names)}")
    return np.array([str(name) for name in names], dtype=object)


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
