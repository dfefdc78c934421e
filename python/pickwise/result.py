"""What comes out: the rows to label, best first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import polars as pl
    from matplotlib.figure import Figure
    from numpy.typing import DTypeLike, NDArray

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
        return Selection, (self.ids, self.indices, self.scores, self.strategy, self.skipped)

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
        try:
            import polars as pl
        except ImportError as error:
            raise ImportError("to_polars needs polars; install it with pip install 'pickwise[polars]'") from error
        ids = self.ids if self.ids.dtype == np.int64 else pl.Series(self.ids.tolist(), dtype=pl.String)
        return pl.DataFrame({"id": ids, "index": self.indices, "score": self.scores})

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas DataFrame with the columns ``id``, ``index`` and ``score``, best first.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_pandas needs pandas; install it with pip install 'pickwise[pandas]'") from error
        return pd.DataFrame({"id": self.ids, "index": self.indices, "score": self.scores})


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
class Cover(Selection):
    """A selection of rows that are far from each other, in the order in which they were picked.

    It is a `Selection`, whose scores are the distances (times the weights, if there were any).

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

    distances: NDArray[np.float64] = field(kw_only=True)
    radius: float = field(kw_only=True)
    nearest: Nearest | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for array in (self.distances, *(self.nearest or ())):
            array.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        if same is not True:
            return same
        assert isinstance(other, Cover)  # noqa: S101 - for the type checker
        if self.radius != other.radius or not np.array_equal(self.distances, other.distances):
            return False
        if self.nearest is None or other.nearest is None:
            return self.nearest is other.nearest
        return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(self.nearest, other.nearest, strict=True))

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _cover, (*super().__reduce__()[1], self.distances, self.radius, self.nearest)

    def _figures(self) -> str:
        return f", radius {self.radius:.6g}"


def _cover(*fields: Any) -> Cover:
    *selection, distances, radius, nearest = fields
    return Cover(*selection, distances=distances, radius=radius, nearest=nearest)
