"""Neighbours of all rows by usearch: nearly all of them, for pools that are too large to compare all rows with all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.clustering import as_directions
from pickwise.threads import get_num_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

# usearch looks at so many candidates at least, for neighbours that are hardly ever missed.
_CANDIDATES = 128


def approximate_neighbours(
    matrix: NDArray[Any], metric: str, nearest: int, *, user: str
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]:
    """Find neighbours of all rows of a matrix, in single precision.

    Parameters
    ----------
    matrix : ndarray of shape (rows, dims)
    metric : str
    nearest : int
        How many for each row.
    user : str
        The strategy that asks, for messages.

    Returns
    -------
    (ndarray of int64 of shape (rows + 1,), ndarray of uint32, ndarray of float64)
        Where those of a row begin, the neighbours, and their distances. No row is its own neighbour.

    Raises
    ------
    ImportError
        If usearch is not installed.
    """
    try:
        from usearch.index import Index
    except ImportError as error:
        raise ImportError(
            f"{user} with approximate=True needs usearch; install it with pip install 'pickwise[approximate]'"
        ) from error
    rows = len(matrix)
    x = np.ascontiguousarray(as_directions(matrix) if metric == "cosine" else matrix, np.float32)
    candidates = max(_CANDIDATES, 2 * nearest)
    index = Index(ndim=x.shape[1], metric="l2sq", dtype="f32", expansion_add=candidates, expansion_search=candidates)
    threads = get_num_threads()
    index.add(np.arange(rows, dtype=np.uint64), x, threads=threads, copy=False)
    counts, found, distances = [], [], []
    for begin in range(0, rows, 1 << 16):
        some = x[begin : begin + (1 << 16)]
        matches: Any = index.search(some, nearest + 1, threads=threads)
        keys = np.asarray(matches.keys).astype(np.int64).reshape(len(some), -1)
        there = np.arange(keys.shape[1]) < np.asarray(matches.counts).reshape(-1, 1)
        own = keys == np.arange(begin, begin + len(some))[:, None]
        kept = there & ~own
        # Where a row was not found by itself, its last neighbour is one too many.
        kept &= np.cumsum(kept, 1) <= nearest
        counts.append(kept.sum(1))
        found.append(keys[kept].astype(np.uint32))
        distances.append(np.asarray(matches.distances, np.float64).reshape(keys.shape)[kept])
    squared = np.maximum(np.concatenate(distances), 0.0)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return starts, np.concatenate(found), _in_unit(squared, metric)


def _in_unit(squared: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    if metric == "euclidean":
        return np.sqrt(squared)
    return squared / 2 if metric == "cosine" else squared
