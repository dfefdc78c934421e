"""Predictions of which an item has several, or none: the boxes of an image, the tokens of a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from pickwise.arrays import as_scores, stacked
from pickwise.options import one_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Aggregation: TypeAlias = Literal["mean", "max", "sum", "top3"]

_TOP = 3


def aggregate(scores: Any, offsets: Any, how: Aggregation = "mean") -> NDArray[np.float64]:
    """Make one score for each item out of those of its predictions.

    An item without predictions scores 0: there is nothing in it to be unsure of. Where it should not be selected, pass
    ``exclude=np.diff(offsets) == 0`` to `top_k`, above all if scores can be negative.

    Parameters
    ----------
    scores : array_like of shape (predictions,)
        float16, bfloat16, float32 or float64, the predictions of an item side by side. NaN makes the score of its item
        NaN, which `top_k` refuses or, with ``invalid="skip"``, passes over.
    offsets : array_like of int of shape (items + 1,)
        Item ``i`` has the predictions ``offsets[i]`` up to and without ``offsets[i + 1]``, as in Arrow's lists: from 0
        to the number of predictions, never falling.
    how : {"mean", "max", "sum", "top3"}
        The mean of an item's scores, the highest of them, their sum, or the mean of the highest three (of all, where
        there are fewer). The sum favours items that have many predictions, the highest those that have a doubtful one.

    Returns
    -------
    ndarray of float64 of shape (items,)

    Raises
    ------
    TypeError
        If the scores are no floats, or the offsets no integers.
    ValueError
        If the offsets do not fit the scores, or `how` is none of these.

    See Also
    --------
    top_k : Select items by these scores.

    Notes
    -----
    One pass over the scores, in NumPy; three passes for "top3". Mean, maximum and sum are compared by [1]_ for the
    boxes of an image.

    References
    ----------
    .. [1] C.-A. Brust, C. Käding and J. Denzler. Active learning for deep object detection. VISAPP 2019.

    Examples
    --------
    >>> import pickwise as pw
    >>> boxes = [[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]]  # class probabilities of each box
    >>> offsets = [0, 2, 2, 3]  # two boxes are of the first image, none of the second, one of the third
    >>> images = pw.aggregate(pw.margin(boxes), offsets, how="mean")
    >>> images.round(2)
    array([0.6, 0. , 0.6])
    >>> pw.top_k(pw.aggregate(pw.margin(boxes), offsets, how="max"), 1, ids=["cat.jpg", "sky.jpg", "dog.jpg"]).ids
    array(['cat.jpg'], dtype=object)
    """
    one_of(how, "how", ("mean", "max", "sum", "top3"))
    rows = as_scores(scores, "scores")
    values = stacked(rows.blocks(), rows.shape, rows.dtype)[:, 0].astype(np.float64, copy=False)
    bounds = _as_offsets(offsets, len(values))
    counts = np.diff(bounds)
    # Of an empty item reduceat would take the first score of the next one, or fail behind the last.
    some = counts > 0
    starts, counts = bounds[:-1][some], counts[some]
    out = np.zeros(len(some))
    if len(starts) == 0:
        return out
    if how == "max":
        out[some] = np.maximum.reduceat(values, starts)
    elif how == "top3":
        out[some] = _sum_of_highest(values, starts, counts) / np.minimum(counts, _TOP)
    else:
        sums = np.add.reduceat(values, starts)
        out[some] = sums if how == "sum" else sums / counts
    return out


def _sum_of_highest(
    values: NDArray[np.float64], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Add up the highest scores of each item, one after the other."""
    values = values.copy()
    items = np.repeat(np.arange(len(starts)), counts)
    total = np.zeros(len(starts))
    for taken in range(_TOP):
        highest = np.maximum.reduceat(values, starts)
        total += np.where(taken < counts, highest, 0)
        # Of those that are as high, the first of each item has been taken.
        places = np.flatnonzero(values == highest[items])
        values[places[np.diff(items[places], prepend=-1) > 0]] = -np.inf
    return total


def _as_offsets(x: Any, predictions: int) -> NDArray[np.int64]:
    array = np.asarray(x)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"offsets: expected a 1-D array of integers, got {array.ndim}-D of {array.dtype}")
    offsets = array.astype(np.int64, copy=False)
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != predictions:
        ends = "none" if len(offsets) == 0 else f"{offsets[0]} to {offsets[-1]}"
        raise ValueError(f"offsets: expected them to go from 0 to {predictions}, the number of scores, got {ends}")
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if len(falls):
        at = int(falls[0])
        raise ValueError(f"offsets: expected them never to fall, got {offsets[at]} before {offsets[at + 1]} at {at}")
    return offsets
