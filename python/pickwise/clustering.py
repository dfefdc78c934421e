"""Clusters of embeddings, by scikit-learn's k-means from our own seeds."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows times clusters beyond which k-means goes by random batches of rows.
_WHOLE = 20_000_000
# Numbers up to this, and down to one over it, have squares in float32.
_SAFE = 2.0**40


def clusters_of(
    matrix: NDArray[Any], clusters: int, metric: str, seed: int, *, user: str
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Put the rows of a matrix into clusters.

    Parameters
    ----------
    matrix : ndarray of shape (rows, dims)
    clusters : int
        At most so many.
    metric : str
        Rows are scaled to length one for "cosine".
    seed : int
        Where the seeds of the clusters are drawn from.
    user : str
        The strategy that asks, for messages.

    Returns
    -------
    (ndarray of int64 of shape (rows,), ndarray of shape (clusters, dims))
        The cluster of each row, and their centres.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans, MiniBatchKMeans
    except ImportError as error:
        raise ImportError(f"{user} needs scikit-learn; install it with pip install 'pickwise[cluster]'") from error
    clusters = min(clusters, len(matrix))
    picks = _native.kmeans_plusplus(matrix, clusters, metric=metric, seed=seed)[0]
    rows = as_directions(matrix) if metric == "cosine" else _as_points(matrix)
    many = len(rows) * clusters > _WHOLE
    model = (MiniBatchKMeans if many else KMeans)(
        clusters,
        init=rows[picks],
        n_init=1,
        random_state=seed % 2**32,
        **({"batch_size": 8192, "max_no_improvement": 20} if many else {"max_iter": 100}),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct rows than clusters are fine
        labels = model.fit_predict(rows)
    return labels.astype(np.int64), model.cluster_centers_


def as_directions(matrix: NDArray[Any]) -> NDArray[Any]:
    """Scale rows to length one."""
    wide: NDArray[np.floating[Any]] = matrix.astype(np.float64 if matrix.dtype == np.float64 else np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide, dtype=np.float64))
    return np.asarray(wide / lengths[:, None], wide.dtype)


def _as_points(matrix: NDArray[Any]) -> NDArray[Any]:
    """Take rows as they are, or in the type in which their squares are numbers."""
    largest = max(-float(matrix.min()), float(matrix.max()))
    if matrix.dtype == np.float64 or not (largest == 0 or 1 / _SAFE <= largest <= _SAFE):
        return matrix.astype(np.float64, copy=False)
    return matrix.astype(np.float32, copy=False)
