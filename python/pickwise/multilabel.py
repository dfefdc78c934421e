"""Scores of rows that may have several labels at once, by the losses that one-against-all classifiers may incur."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.arrays import BLOCK_BYTES, Rows, as_numpy, as_rows
from pickwise.scores import invalid_rows, native_score, score_dtype, score_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import DTypeLike, NDArray


def max_loss(
    probabilities: Any, *, from_logits: bool = False, temperature: float = 1.0, dtype: DTypeLike | None = None
) -> NDArray[np.floating[Any]]:
    r"""Loss of a row if its most probable label is the only one it has.

    :math:`L_k = \sum_l \max(0, 1 - m_{kl} f_l)`, k the most probable label, :math:`f = 2p - 1`, and :math:`m_{kl}` 1
    for l = k, else -1. With probabilities this is :math:`2 (1 + \sum_l p_l - 2 p_k)`: high where other labels are
    probable too, or none is.

    Parameters
    ----------
    probabilities : array_like of shape (rows, labels)
        The probability of each label by itself: float16, bfloat16, float32 or float64, in memory of any layout. Never
        written to.
    from_logits : bool
        Whether the input holds logits, to be put through a sigmoid first.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30; more than 1 makes them less certain. For logits only.
    dtype : dtype, optional
        The type of the scores, float32 or float64. By default float64 for float64, else float32.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, from 0 to 2 * labels - 2 (to 2 for one label).

    Raises
    ------
    TypeError
        If the input is no array of floats on the CPU.
    ValueError
        If it has no rows or no labels, is 1-D, or holds values outside [0, 1] or NaN.

    See Also
    --------
    mean_max_loss, mmc
    entropy, margin, least_confidence : With ``task="multilabel"``: by each label, then joined.

    Notes
    -----
    One pass over the input, in NumPy, a block of about 4 MB at a time, in float64. After [1]_, where f are the outputs
    of support vector machines.

    References
    ----------
    .. [1] X. Li, L. Wang and E. Sung. Multilabel SVM active learning for image classification. ICIP 2004.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.max_loss([[1.0, 0.0, 0.0], [0.75, 0.75, 0.0], [0.25, 0.0, 0.0]])
    array([0. , 2. , 1.5])
    """
    return _scored("max_loss", probabilities, dtype, from_logits=from_logits, temperature=temperature)


def mean_max_loss(
    probabilities: Any, *, from_logits: bool = False, temperature: float = 1.0, dtype: DTypeLike | None = None
) -> NDArray[np.floating[Any]]:
    r"""Mean loss of a row over the labels that are predicted, each taken as the only one it has.

    :math:`\frac1{|R|} \sum_{k \in R} L_k`, with R the labels whose probability is above 1/2 (where there are none, the
    most probable), and :math:`L_k` as in `max_loss`.

    Parameters
    ----------
    probabilities : array_like of shape (rows, labels)
        As in `max_loss`.
    from_logits, temperature, dtype
        As in `max_loss`.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, from 0 to 2 * labels - 2 (to 2 for one label).

    Raises
    ------
    TypeError, ValueError
        As `max_loss` does.

    See Also
    --------
    max_loss : By the most probable label alone.

    Notes
    -----
    The cost is that of `max_loss`. After [1]_, who find the predicted labels by thresholds on labelled rows.

    References
    ----------
    .. [1] X. Li, L. Wang and E. Sung. Multilabel SVM active learning for image classification. ICIP 2004.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.mean_max_loss([[1.0, 0.0, 0.0], [1.0, 0.75, 0.0], [0.25, 0.0, 0.0]])
    array([0. , 2. , 1.5])
    """
    return _scored("mean_max_loss", probabilities, dtype, from_logits=from_logits, temperature=temperature)


def mmc(
    probabilities: Any,
    counts: Any = None,
    *,
    from_logits: bool = False,
    temperature: float = 1.0,
    dtype: DTypeLike | None = None,
) -> NDArray[np.floating[Any]]:
    r"""Loss of a row if its `counts` most probable labels are the ones it has: maximum loss reduction.

    :math:`\sum_l (1 - \hat y_l f_l) / 2`, with :math:`f = 2p - 1` and :math:`\hat y_l` 1 for the `counts` most probable
    labels, else -1: the sum of 1 - p over the former and of p over the latter. High where the number of labels and
    their probabilities contradict each other.

    Parameters
    ----------
    probabilities : array_like of shape (rows, labels)
        As in `max_loss`.
    counts : array_like of int of shape (rows,), optional
        How many labels each row has, from 0 to all, as predicted by a model of their number. By default those whose
        probability is above 1/2; the score is then that of `least_confidence` with ``task="multilabel", how="sum"``.
    from_logits, temperature, dtype
        As in `max_loss`.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, from 0 to labels; without `counts` to labels / 2.

    Raises
    ------
    TypeError
        As `max_loss` does, and if `counts` are no integers.
    ValueError
        As `max_loss` does, and if `counts` are not one for each row, or out of range.

    See Also
    --------
    max_loss, mean_max_loss

    Notes
    -----
    Without `counts` one native pass; with them a sort of each row, in NumPy, a block of about 4 MB at a time, in
    float64. After [1]_, where f are the outputs of support vector machines, and `counts` come from a logistic
    regression on the sorted probabilities.

    References
    ----------
    .. [1] B. Yang, J.-T. Sun, T. Wang and Z. Chen. Effective multi-label active learning for text classification. KDD
       2009.

    Examples
    --------
    >>> import pickwise as pw
    >>> p = [[0.75, 0.5, 0.25], [1.0, 1.0, 0.0]]
    >>> pw.mmc(p)
    array([1., 0.])
    >>> pw.mmc(p, counts=[1, 1])  # the second row is sure of two labels, and should have one
    array([1., 1.])
    """
    rows = as_rows(probabilities, "probabilities", min_classes=1)
    options: dict[str, Any] = {"from_logits": from_logits, "temperature": temperature}
    if counts is None:
        score = native_score("least_confidence", binary=rows.binary, task="multilabel", how="sum", **options)
        return score_rows(rows, score, name="probabilities", from_logits=from_logits, dtype=dtype)
    wanted = _as_counts(counts, *rows.shape)
    return _reduced(rows, lambda p, start: _contradiction(p, wanted[start : start + len(p)]), dtype, **options)


def losses(name: str, rows: Rows, *, from_logits: bool, temperature: float) -> Rows:
    """Score rows block by block as they are read, for strategies; rows that are no probabilities score NaN."""
    step = _step(rows)

    def scored() -> Iterator[NDArray[np.float64]]:
        for _, p, found in _probabilities(rows, from_logits=from_logits, temperature=temperature):
            if found is not None:
                p[~((p >= 0) & (p <= 1)).all(1)] = np.nan
            yield _LOSSES[name](p).reshape(-1, 1)

    whole = rows.whole and rows.shape[0] <= step
    return Rows((rows.shape[0], 1), np.dtype(np.float64), binary=True, whole=whole, _blocks=scored)


def _scored(name: str, probabilities: Any, dtype: DTypeLike | None, **options: Any) -> NDArray[Any]:
    rows = as_rows(probabilities, "probabilities", min_classes=1)
    return _reduced(rows, lambda p, _: _LOSSES[name](p), dtype, **options)


def _reduced(
    rows: Rows,
    score: Callable[[NDArray[np.float64], int], NDArray[np.float64]],
    dtype: DTypeLike | None,
    *,
    from_logits: bool,
    temperature: float,
) -> NDArray[Any]:
    """Score all rows, or refuse them in the words of the other scores."""
    out = np.empty(rows.shape[0], score_dtype(rows.dtype, dtype))
    invalid = None
    for start, p, found in _probabilities(rows, from_logits=from_logits, temperature=temperature):
        invalid = found if invalid is None else invalid if found is None else invalid.merged(found)
        if invalid is None:
            out[start : start + len(p)] = score(p, start)
    if invalid is not None:
        of = f"{rows.shape[0]} rows"
        raise invalid_rows("probabilities", invalid, of=of, dtype=rows.dtype, from_logits=from_logits)
    return out


def _probabilities(
    rows: Rows, *, from_logits: bool, temperature: float
) -> Iterator[tuple[int, NDArray[np.float64], _native.InvalidRows | None]]:
    """Yield where a block starts, its probabilities, and what is invalid in it; those are not from 0 to 1."""
    check = native_score(
        "least_confidence", binary=rows.binary, task="multilabel", from_logits=from_logits, temperature=temperature
    )
    step = _step(rows)
    ignored = np.empty(min(step, rows.shape[0]), score_dtype(rows.dtype, None))
    start = 0
    for block in rows.blocks():
        for begin in range(0, len(block), step):
            part = block[begin : begin + step]
            found = _native.score(part, check, ignored[: len(part)], start, None)
            # In one order in memory, or the order of summation would be that of the caller's array.
            p = np.array(part, np.float64, order="C")
            yield start, _sigmoid(p, temperature) if from_logits else p, found
            start += len(part)


def _sigmoid(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        logits /= -temperature
        np.exp(logits, out=logits)
        logits += 1
    return np.reciprocal(logits, out=logits)


def _step(rows: Rows) -> int:
    return max(1, BLOCK_BYTES // (8 * rows.shape[1]))


def _max_loss(p: NDArray[np.float64]) -> NDArray[np.float64]:
    # As f is from -1 to 1, no term falls below 0: label k adds 2(1 - p_k), each of the others 2 p_l.
    return _loss(p, p.max(1))


def _mean_max_loss(p: NDArray[np.float64]) -> NDArray[np.float64]:
    predicted = p > 0.5
    count = predicted.sum(1)
    mean = np.where(count > 0, np.where(predicted, p, 0).sum(1) / np.maximum(count, 1), p.max(1))
    return _loss(p, mean)


def _loss(p: NDArray[np.float64], only: NDArray[np.float64]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = p.sum(1)
    scores += 1
    scores -= 2 * only
    scores *= 2
    return scores


def _contradiction(p: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    p.sort(axis=1)
    labels = p.shape[1]
    among = np.arange(labels) >= labels - counts[:, None]
    scores: NDArray[np.float64] = np.where(among, 1 - p, p).sum(1)
    return scores


_LOSSES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "max_loss": _max_loss,
    "mean_max_loss": _mean_max_loss,
}


def _as_counts(x: Any, rows: int, labels: int) -> NDArray[np.int64]:
    array = np.asarray(x) if isinstance(x, (list, tuple)) else as_numpy(x, "counts")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"counts: expected a 1-D array of integers, got {array.ndim}-D of {array.dtype}")
    if len(array) != rows:
        raise ValueError(f"counts: expected {rows}, one for each row of probabilities, got {len(array)}")
    outside = (array < 0) | (array > labels)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(f"counts: row {row} has {array[row]}, expected from 0 to {labels}, the number of labels")
    return array.astype(np.int64, copy=False)
