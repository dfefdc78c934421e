"""What comes out: the rows to label, best first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from pickwise.frames import pandas_frame, polars_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import polars as pl
    from matplotlib.figure import Figure
    from numpy.typing import DTypeLike, NDArray

    from pickwise.explanation import Explanation
    from pickwise.report import Report
    from pickwise.strategies import Strategy

_ROWS_SHOWN = 5


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """The rows that a strategy chose, best first. It cannot be changed.

    ``len`` counts the rows, iteration goes over their ids, and ``np.asarray`` gives the ids.

    Attributes
    ----------
    ids : ndarray of shape (k,)
        int64, or objects of type `str` where the ids are strings; the positions where none were given.
    indices : ndarray of int64 of shape (k,)
        Positions in the pool. After a merge: in the stream of the reducer that took the row.
    scores : ndarray of float64 of shape (k,)
        Higher = more worth labelling.
    strategy : Strategy
        How they were chosen.
    skipped : int
        Invalid rows that were passed over.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]], k=2, ids=["a", "b", "c"])
    Selection of 2 rows by Margin(from_logits=False, temperature=1.0, task='multiclass', how='mean')
      id  index     score
       b      1         1
       c      2       0.6
    """

    ids: NDArray[Any]
    indices: NDArray[np.int64]
    scores: NDArray[np.float64]
    strategy: Strategy
    skipped: int = 0
    # Rows of the pool for `explain`. Not an argument, so that `replace` drops what may no longer fit.
    _kept: NDArray[Any] | None = field(default=None, init=False)
    _report: Report | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        for array in (self.ids, self.indices, self.scores):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.ids.tolist())

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if dtype is not None and np.dtype(dtype) != self.ids.dtype:
            if copy is False:
                raise ValueError(f"ids of type {self.ids.dtype} cannot be viewed as {np.dtype(dtype)} without a copy")
            return self.ids.astype(dtype)
        return self.ids.copy() if copy else self.ids

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Selection)  # noqa: S101 - for the type checker
        return (
            (self.strategy, self.skipped) == (other.strategy, other.skipped)
            and np.array_equal(self.ids, other.ids)
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.scores, other.scores)
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"_kept": self._kept, "_report": self._report}
        return Selection, (self.ids, self.indices, self.scores, self.strategy, self.skipped), state

    def __repr__(self) -> str:
        skipped = f", {self.skipped} invalid skipped" if self.skipped else ""
        shown = zip(self.ids.tolist(), self.indices.tolist(), self.scores.tolist(), strict=True)
        rows = [
            (str(i), str(index), f"{score:.6g}")
            for (i, index, score), _ in zip(shown, range(_ROWS_SHOWN), strict=False)
        ]
        table = [("id", "index", "score"), *rows]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        widths[2] = max(widths[2], 8)
        lines = [
            "  ".join(["", *(cell.rjust(width) for cell, width in zip(row, widths, strict=True))]) for row in table
        ]
        more = [f"  … {len(self) - len(rows)} more"] if len(self) > len(rows) else []
        about = f"{type(self).__name__} of {len(self)} rows by {self.strategy}{self._figures()}{skipped}"
        return "\n".join([about, *lines, *more])

    def _figures(self) -> str:
        """Tell what there is to tell beside the rows."""
        return ""

    @property
    def report(self) -> Report | None:
        """What was seen of a pool that was read in chunks: rows, files, time, scores; None for one in memory."""
        return self._report

    def explain(self, probabilities: Any = None, *, classes: Any = None, top: int = 3) -> Explanation:
        """Tell why each row was picked: its score, its most probable classes and, of a `Cover`, its distance.

        Parameters
        ----------
        probabilities : array_like of shape (rows, classes), (rows,) or (members, rows, classes), optional
            The pool that the rows were selected from, in memory, row for row, of which the selected ones are looked at;
            1-D is *P(y=1)*. Logits where the strategy has ``from_logits=True``, else probabilities; of a committee the
            mean is shown. By default what `select` has kept: a copy of the rows that it selected from an array or table
            in memory, up to 10,000 of them and a million numbers (100,000 where the numbers of a row lie apart). Of
            files, streams and reducers nothing is kept: read the rows at `indices`, or pass the pool here, as
            ``numpy.load(path, mmap_mode="r")``, to see the classes. After a merge `indices` are not those of one pool.
        classes : sequence of str, optional
            The names of the classes, two for *P(y=1)*. By default their numbers.
        top : int
            How many classes are shown, the most probable first.

        Returns
        -------
        Explanation
            Rank, id, index and score of each row; then what else is known.

        Raises
        ------
        TypeError, ValueError
            If the probabilities are none, or too few for these rows, and if `classes` are not as many as there are.

        Examples
        --------
        >>> import pickwise as pw
        >>> pool = [[0.9, 0.1, 0.0], [0.25, 0.5, 0.25], [0.5, 0.375, 0.125]]
        >>> pw.select(pool, k=2).explain(classes=["cat", "dog", "owl"], top=2)
        Explanation of 2 rows by Margin(from_logits=False, temperature=1.0, task='multiclass', how='mean')
          rank  id  index  score  class_1  p_1  class_2    p_2
             1   2      2  0.875      cat  0.5      dog  0.375
             2   1      1   0.75      dog  0.5      cat   0.25
        """
        from pickwise.explanation import explain

        return explain(self, probabilities, classes, top)

    def plot(self, embeddings: Any, labelled: Any = None, *, sample: int = 10_000) -> Figure:
        """Draw the selected rows over the pool, projected to the two directions in which it is widest.

        Parameters
        ----------
        embeddings : array_like of shape (rows, dims), or path
            The pool that the rows were selected from, row for row.
        labelled : array_like, optional
            Labelled rows to be drawn as well, as `k_center` takes them.
        sample : int
            The most rows of the pool that are drawn, every so many; the directions are found from these.

        Returns
        -------
        matplotlib.figure.Figure
            One panel; a `Cover` has a second one, with the distance at each pick.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from pickwise.plot import draw

        return draw(self, embeddings, labelled, sample)

    def to_polars(self) -> pl.DataFrame:
        """Return a Polars DataFrame with the columns ``id``, ``index`` and ``score``, best first.

        Raises
        ------
        ImportError
            If Polars is not installed.
        """
        return polars_frame({"id": self.ids, "index": self.indices, "score": self.scores})

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas DataFrame with the columns ``id``, ``index`` and ``score``, best first.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return pandas_frame({"id": self.ids, "index": self.indices, "score": self.scores})


S = TypeVar("S", bound=Selection)


def reported(selection: S, report: Report | None) -> S:
    """Give a new selection the report of what was seen."""
    object.__setattr__(selection, "_report", report)
    return selection


class Nearest(NamedTuple):
    """The nearest pick or labelled row of every row of a pool.

    Attributes
    ----------
    pick : ndarray of int64 of shape (rows,)
        0 and up: a pick, by its number in the selection. Below 0: a labelled row, -1 the first; of labelled positions
        in the pool that is the lowest.
    distance : ndarray of float64 of shape (rows,)
        NaN for rows that were excluded.
    """

    pick: NDArray[np.int64]
    distance: NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Batch(Selection):
    """A selection of rows that were chosen together, in the order in which they were picked.

    It is a `Selection`, whose scores are what each pick added when it was picked: comparable with each other only as
    far as its strategy says. Rows that had to be included come first, with the score infinity.

    Attributes
    ----------
    distances : ndarray of float64 of shape (k,)
        How far each pick was from all before it and from the labelled rows, by the metric of the strategy. Of the first
        pick, with nothing labelled, infinity.
    """

    distances: NDArray[np.float64] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.distances.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        if same is not True:
            return same
        assert isinstance(other, Batch)  # noqa: S101 - for the type checker
        return np.array_equal(self.distances, other.distances)

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        _, arguments, state = super().__reduce__()
        return _batch, (*arguments, self.distances), state


def _batch(*fields: Any) -> Batch:
    *selection, distances = fields
    return Batch(*selection, distances=distances)


@dataclass(frozen=True, eq=False, repr=False)
class Cover(Batch):
    """A selection of rows that are far from each other, in the order in which they were picked.

    It is a `Batch`, whose scores are the distances (times the weights, if there were any).

    Attributes
    ----------
    distances : ndarray of float64 of shape (k,)
        How far each pick was from all before it and from the labelled rows: by k-center, the radius before the pick. Of
        the first pick, with nothing labelled, infinity.
    radius : float
        The largest distance of a row to its nearest pick or labelled row: the radius after the last pick.
    nearest : Nearest or None
        The nearest pick or labelled row of every row, if it was asked for.
    """

    radius: float = field(kw_only=True)
    nearest: Nearest | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for array in self.nearest or ():
            array.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        if same is not True:
            return same
        assert isinstance(other, Cover)  # noqa: S101 - for the type checker
        if self.radius != other.radius:
            return False
        if self.nearest is None or other.nearest is None:
            return self.nearest is other.nearest
        return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(self.nearest, other.nearest, strict=True))

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        _, arguments, state = super().__reduce__()
        return _cover, (*arguments, self.radius, self.nearest), state

    def _figures(self) -> str:
        return f", radius {self.radius:.6g}"


def _cover(*fields: Any) -> Cover:
    *selection, distances, radius, nearest = fields
    return Cover(*selection, distances=distances, radius=radius, nearest=nearest)
