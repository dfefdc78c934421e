"""How far the rows of a pool are from some picks, piece by piece and in any process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.coreset.embedded import Embedded
from pickwise.coreset.parts import reading, written
from pickwise.strategies import Spread, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pickwise.options import Invalid


class Radius(Embedded):
    """The state of a pass that measures the radius of a selection. Made by `CoverReducer.radius_of`.

    It holds the picks and labelled rows, and the few largest distances so far. It does not depend on how the rows were
    cut into chunks, nor on the order of merging. It pickles. One state takes one call at a time.

    Parameters
    ----------
    strategy : Spread
        Whose metric distances are by, and whose outliers are set aside.
    k : int
        How many rows were asked for.
    centers : ndarray of shape (centers, dims)
        The picks and the labelled rows.
    exclude_ids, invalid
        As in `pickwise.reducer`.

    Attributes
    ----------
    strategy : Spread
    k : int

    Examples
    --------
    >>> import pickwise as pw
    >>> reducer = pw.reducer("k_center", k=2)
    >>> reducer.update([[0.0], [1.0], [5.0], [9.0]])
    >>> left = reducer.radius_of(reducer.finish())  # rows 0 and 3
    >>> right = reducer.radius_of(reducer.finish())
    >>> left.update([[0.0], [1.0]])
    >>> right.update([[5.0], [9.0]])
    >>> left.merge(right)
    >>> left.finish()
    4.0
    """

    _magic = b"pickwise-radius-1\n"

    def __init__(
        self, strategy: Spread, k: int, centers: NDArray[Any], *, exclude_ids: Any = None, invalid: Invalid = "raise"
    ) -> None:
        super().__init__(strategy, k, exclude_ids=exclude_ids, dims=centers.shape[1], invalid=invalid)
        self._centers = centers
        self._farthest = np.full(getattr(strategy, "outliers", 0) + 1, -np.inf)

    def update(self, chunk: Any, ids: Any = None, exclude: Any = None) -> None:
        """Measure some rows.

        Parameters
        ----------
        chunk : array_like of shape (rows, dims), or path
            As for the reducer. No rows are fine.
        ids : array_like of int or str, optional
            One for each row. They matter for `exclude_ids` alone.
        exclude : array_like of bool or int, optional
            Rows of this chunk that need not be covered: a mask or positions in the chunk.

        Raises
        ------
        TypeError, ValueError
            If the chunk or the ids are refused; nothing of the chunk is taken then.
        """
        self.take(chunk, ids, exclude, name="chunk")

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
        """Measure rows that are called `name` in messages; `update`, `CoverReducer.cover` and `select` end here."""
        read = self._read(chunk, ids, exclude, name=name, positions=positions, locate=locate)
        if read is None:
            return
        part, out = read
        used = part.matrix if not out.any() else part.matrix[out == 0]
        if len(used):
            self._keep(_native.nearest(used, self._centers, self.strategy.metric)[1])
        self._count_in(part, out)

    def snapshot(self) -> Any:
        """Return what `restore` needs to undo all that follows."""
        return self._farthest, self._count, self._skipped, self._id_kind

    def restore(self, snapshot: Any) -> None:
        """Go back to what was so when the snapshot was taken."""
        self._farthest, self._count, self._skipped, self._id_kind = snapshot

    def condense(self) -> None:
        """Do nothing: the state is small."""

    def merge(self, other: Radius) -> None:
        """Take all that another one has measured; it stays as it is.

        Parameters
        ----------
        other : Radius
            Of the same picks and labelled rows.

        Raises
        ------
        TypeError
            If it is no state of this kind.
        ValueError
            If the two do not belong together, or if ids are excluded and both know their rows by position only.
        """
        self._refuse_unlike(other)
        if not np.array_equal(self._centers, other._centers):
            raise ValueError("merge: expected a radius of the same picks and labelled rows; send out copies of one")
        if other._id_kind is None:
            return
        self._check(other._id_kind, other._columns, "merge")
        if self._exclude_ids is not None and other._id_kind == self._id_kind == "position":
            raise ValueError("merge: both know their rows by position only, and ids are excluded; give ids to update")
        self._id_kind = other._id_kind
        self._keep(other._farthest)
        self._count += other._count
        self._skipped += other._skipped

    def finish(self) -> float:
        """Return the distance of the farthest row so far, outliers set aside; more may follow.

        Raises
        ------
        ValueError
            If there were no rows.
        """
        if self._count == 0:
            raise ValueError("chunks: expected the rows that the reducer has taken, got none")
        return max(0.0, float(self._farthest[0]))

    def to_bytes(self) -> bytes:
        """Return all of the state, picks included, for `from_bytes` on any machine."""
        header = self._header() | {
            "skip_invalid": self._skip_invalid,
            "rows": self._count,
            "skipped": self._skipped,
            "centers": self._centers.dtype.name,
        }
        return self._pack(header, written([self._centers, self._farthest]))

    @staticmethod
    def from_bytes(data: bytes) -> Radius:
        """Read back what `to_bytes` wrote.

        Raises
        ------
        ValueError
            If the bytes are damaged or something else.
        """
        header, state = Radius._unpack(data)
        array = reading(state)
        try:
            strategy = resolve(header["strategy"], **header["options"])
            assert isinstance(strategy, Spread)  # noqa: S101 - for the type checker
            made = Radius(
                strategy,
                header["k"],
                array(header["centers"]),
                exclude_ids=header["exclude_ids"],
                invalid="skip" if header["skip_invalid"] else "raise",
            )
            made._farthest = array()
            made._id_kind, made._count, made._skipped = header["id_kind"], header["rows"], header["skipped"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"from_bytes: expected bytes of this version of pickwise: {error}") from error
        return made

    def _keep(self, distances: NDArray[np.float64]) -> None:
        few = len(self._farthest)
        self._farthest = np.sort(np.concatenate([self._farthest, distances]))[-few:]

    def _make_of(self, matrix: NDArray[Any]) -> None:  # noqa: ARG002
        return None
