"""Rows that are kept: put together, put in order, written down."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pickwise.ids import Ids, joined, take_ids
from pickwise.ids import in_order as ids_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray


class Part(NamedTuple):
    """Rows that are kept: their embeddings, positions in the stream, ids, and how many rows each stands for."""

    matrix: NDArray[Any]
    position: NDArray[np.int64]
    ids: Ids | None
    weights: NDArray[np.float64] | None = None

    @property
    def known_by(self) -> Ids:
        """The ids, or the positions where there are none."""
        return self.position if self.ids is None else self.ids

    def take(self, rows: NDArray[np.int64]) -> Part:
        """Copy some rows."""
        ids = None if self.ids is None else take_ids(self.ids, rows)
        weights = None if self.weights is None else self.weights[rows]
        return Part(self.matrix[rows], self.position[rows], ids, weights)

    def seed(self, seed: int) -> int:
        """Make a seed of another, that no other rows have."""
        import hashlib

        hashed = hashlib.blake2b(str(seed).encode(), digest_size=8)
        for array in (self.known_by,) if isinstance(self.known_by, np.ndarray) else self.known_by:
            hashed.update(np.ascontiguousarray(array).data)
        return int.from_bytes(hashed.digest()) >> 1

    def arrays(self) -> list[NDArray[Any]]:
        """List what is there, in the order in which `read` asks for it."""
        ids = () if self.ids is None else (self.ids,) if isinstance(self.ids, np.ndarray) else self.ids
        return [self.matrix, self.position, *ids, *(() if self.weights is None else (self.weights,))]

    @staticmethod
    def read(array: Callable[..., NDArray[Any]], dtype: str, kind: str, *, weighted: bool) -> Part:
        """Read back what `arrays` listed, by a function that gives one after the other."""
        matrix, position = array(dtype), array()
        ids = None if kind == "position" else array() if kind == "integer" else (array(), array())
        return Part(matrix, position, ids, array() if weighted else None)


def held(parts: Sequence[Part]) -> int:
    """Count rows."""
    return sum(len(part.position) for part in parts)


def stacked(parts: Sequence[Part]) -> Part:
    """Put parts one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return _beside(np.concatenate([part.matrix for part in parts]), parts)


def in_order(parts: Sequence[Part]) -> Part:
    """Put parts together, rows sorted by their ids, which ties are broken by."""
    order = ids_in_order(joined([part.known_by for part in parts]))
    if (order[1:] > order[:-1]).all():
        return stacked(parts)
    # Each row goes to its place at once: a shard may be too large for two copies.
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    matrix = np.empty((len(order), parts[0].matrix.shape[1]), parts[0].matrix.dtype)
    start = 0
    for part in parts:
        stop = start + len(part.position)
        matrix[place[start:stop]] = part.matrix
        start = stop
    others = _beside(np.empty((len(order), 0)), parts).take(order)
    return others._replace(matrix=matrix)


def _beside(matrix: NDArray[Any], parts: Sequence[Part]) -> Part:
    """Put what belongs to the rows of a matrix one behind the other."""
    ids = [part.ids for part in parts if part.ids is not None]
    weights = None
    if any(part.weights is not None for part in parts):
        weights = np.concatenate([np.ones(len(p.position)) if p.weights is None else p.weights for p in parts])
    return Part(matrix, np.concatenate([part.position for part in parts]), joined(ids) if ids else None, weights)


def written(arrays: Iterable[NDArray[Any]]) -> bytes:
    """Write arrays one behind the other."""
    file = io.BytesIO()
    for array in arrays:
        # A .npy file has no name for bfloat16.
        plain = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
        np.lib.format.write_array(file, plain, allow_pickle=False)
    return file.getvalue()


def reading(data: bytes) -> Callable[..., NDArray[Any]]:
    """Return a function that reads the arrays that were written, one a call; bfloat16 by its name."""
    file = io.BytesIO(data)

    def array(dtype: str = "") -> NDArray[Any]:
        read: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if dtype != "bfloat16":
            return read
        from ml_dtypes import bfloat16

        return read.view(bfloat16)

    return array
