"""What is measured of a model and of the batches that it learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Distances within a batch are compared with those within so many rows at most.
_MOST = 500


def measures(
    truth: NDArray[np.int64], scores: NDArray[np.float64], known: NDArray[np.int64], classes: int
) -> dict[str, float]:
    """Measure predictions.

    Parameters
    ----------
    truth : ndarray of int64 of shape (rows,)
    scores : ndarray of float64 of shape (rows, known classes)
        Probabilities, or values of a decision function: the highest is what is predicted.
    known : ndarray of int64 of shape (known classes,)
        Which class each column is of.
    classes : int
        How many there are.

    Returns
    -------
    dict of str to float
        "accuracy"; "macro_f1" over the classes of `truth`; "auc", of each class against the rest, in the mean over
        those classes; of a class that the model does not know it is a half.
    """
    predicted = known[scores.argmax(1)]
    right = predicted == truth
    present = np.unique(truth)
    hits = np.bincount(truth[right], minlength=classes)
    sizes = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes)
    f1 = 2 * hits[present] / sizes[present]
    found = {"accuracy": float(right.mean()), "macro_f1": float(f1.mean())}
    if len(present) > 1:
        found["auc"] = _auc(truth, scores, known, present)
    return found


def _auc(truth: Any, scores: Any, known: NDArray[np.int64], present: NDArray[np.int64]) -> float:
    """Average the areas under the ROC curves, each the statistic of Mann and Whitney (Fawcett 2006)."""
    column = {name: place for place, name in enumerate(known.tolist())}
    areas = []
    for name in present.tolist():
        if name not in column:
            areas.append(0.5)
            continue
        is_it, values = truth == name, scores[:, column[name]]
        # Few are of a class, so that to look the others up among them takes less than to rank all.
        own, others = np.sort(values[is_it]), values[~is_it]
        below = np.searchsorted(own, others, "left").sum() + np.searchsorted(own, others, "right").sum()
        areas.append(1 - below / (2 * len(own) * len(others)))
    return float(np.mean(areas))


def balance(labels: NDArray[np.int64], classes: int) -> float:
    """Tell how evenly labels are spread over classes: their entropy over the highest, 0 to 1."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / np.log(classes))


def diversity(embeddings: NDArray[Any] | None, batch: NDArray[np.int64], pool: NDArray[np.int64], seed: int) -> float:
    """Tell how far rows of a batch are from their nearest in it, over the same of rows drawn at random."""
    if embeddings is None or len(batch) < 2:
        return float("nan")
    some = batch[:_MOST]
    drawn = np.random.default_rng(seed).choice(pool, len(some), replace=False)
    usual = _nearest(embeddings[drawn])
    return float(_nearest(embeddings[some]) / usual) if usual > 0 else float("nan")


def _nearest(points: NDArray[Any]) -> float:
    from scipy.spatial import KDTree
    from scipy.spatial.distance import cdist

    matrix = np.asarray(points, np.float64)
    if matrix.shape[1] <= 8:
        return float(KDTree(matrix).query(matrix, 2)[0][:, 1].mean())
    distances = cdist(matrix, matrix)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(1).mean())
