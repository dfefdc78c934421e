"""What the states over embeddings have in common: which rows of a chunk count."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import as_points
from pickwise.coreset.parts import Part
from pickwise.ids import Excluded, among, as_ids
from pickwise.options import Invalid, one_of
from pickwise.points import invalid
from pickwise.state import State, begins, id_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pickwise.strategies import Spread


class Embedded(State):
    """The part of a state that is about rows of embeddings.

    Attributes
    ----------
    strategy : Spread
    k : int
    """

    strategy: Spread

    def __init__(self, strategy: Spread, k: int, *, exclude_ids: Any, dims: int | None, invalid: Invalid) -> None:
        super().__init__(k, exclude_ids)
        self.strategy = strategy
        self._dims = dims
        self._skip_invalid = one_of(invalid, "invalid", ("raise", "skip")) == "skip"
        self._count = self._skipped = 0

    @property
    def rows(self) -> int:
        """How many rows were taken."""
        return self._count

    @property
    def skipped(self) -> int:
        """How many invalid rows were passed over."""
        return self._skipped

    def _read(
        self,
        chunk: Any,
        ids: Any,
        exclude: Any,
        *,
        name: str,
        positions: int | NDArray[np.int64] | None,
        locate: Callable[[int], str] | None,
    ) -> tuple[Part, NDArray[np.uint8]] | None:
        """Check a chunk; mark its rows that are excluded and, by another number, invalid. None where it is empty."""
        matrix = as_points(chunk, name, allow_empty=True)
        count = len(matrix)
        given = None if ids is None else as_ids(ids, "ids", count)
        mask = None if exclude is None else Excluded.read(exclude, "exclude", count).between(0, count)
        if count == 0:
            return None
        where = begins(name, positions, locate)
        self._check(id_kind(given), self._make_of(matrix), where)
        if self._dims not in (None, matrix.shape[1]):
            raise ValueError(f"{where}: expected {self._dims} dimensions (columns), got {matrix.shape[1]}")
        first = self._count if positions is None else positions
        part = Part(matrix, np.arange(first, first + count) if isinstance(first, int) else first, given)
        return part, self._left_out(part, mask, name, locate)

    def _count_in(self, part: Part, out: NDArray[np.uint8]) -> None:
        """Settle that a chunk has been taken."""
        self._id_kind, self._columns = id_kind(part.ids), self._make_of(part.matrix)
        self._count += len(out)
        self._skipped += int((out == _INVALID).sum())

    @abstractmethod
    def _make_of(self, matrix: NDArray[Any]) -> Any:
        """Say what all chunks must have in common."""

    def _left_out(
        self, part: Part, exclude: NDArray[np.uint8] | None, name: str, locate: Callable[[int], str] | None
    ) -> NDArray[np.uint8]:
        matrix = part.matrix
        out = np.zeros(len(matrix), np.uint8)
        if exclude is not None:
            out[exclude != 0] = _EXCLUDED
        if self._exclude_ids is not None:
            out[among(part.known_by, self._exclude_ids) != 0] = _EXCLUDED
        bad = np.flatnonzero((invalid(matrix, self.strategy.metric) != 0) & (out == 0))
        if len(bad) and not self._skip_invalid:
            row = matrix[bad[0]].astype(np.float64)
            column = int(np.argmin(np.isfinite(row)))
            what = (
                "is zero, so it has no direction" if np.isfinite(row).all() else f"has {row[column]} in column {column}"
            )
            where = f"row {bad[0]}" if locate is None else locate(int(part.position[bad[0]]))
            raise ValueError(
                f"{name}: {where} {what}; {len(bad)} of {len(matrix)} rows are invalid; exclude such rows, or "
                "pass invalid='skip'"
            )
        out[bad] = _INVALID
        return out


_EXCLUDED, _INVALID = 1, 2
