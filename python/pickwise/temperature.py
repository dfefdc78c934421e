"""How sure a model may be: temperature scaling."""

from __future__ import annotations

from typing import Any

import numpy as np

from pickwise.arrays import as_numpy, as_rows, stacked

_LEAST, _MOST = 0.05, 20.0
_STEPS = 60


def fit_temperature(logits: Any, labels: Any) -> float:
    r"""Find the temperature at which a model is as sure of labelled rows as it is right.

    It minimises the mean of :math:`-\ln \mathrm{softmax}(z / T)_y` over the rows. Strategies take it beside logits,
    such as ``Margin(from_logits=True, temperature=...)``.

    Parameters
    ----------
    logits : array_like of shape (rows, classes)
        What the model makes of rows that it was not trained on (held out, or by cross-validation): logits, or
        logarithms of probabilities.
    labels : array_like of int of shape (rows,)
        The class of each row, from 0.

    Returns
    -------
    float
        From 0.05 to 20. Above 1 where the model is too sure of itself.

    Raises
    ------
    TypeError, ValueError
        If the logits are no finite numbers, or the labels no classes of theirs.

    Notes
    -----
    After [1]_. The loss has one minimum in the logarithm of T, which golden sections find; 60 passes over the rows.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger. On calibration of modern neural networks. ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> logits = np.array([[4.0, 0.0]] * 3 + [[0.0, 4.0]])  # of four rows, one is mistaken
    >>> round(pw.fit_temperature(logits, [0, 0, 0, 0]), 2)
    3.64
    """
    rows = as_rows(logits, "logits")
    if rows.binary:
        raise ValueError("logits: expected the shape (rows, classes), got 1-D; stack those of the two classes")
    z = stacked(rows.blocks(), rows.shape, rows.dtype).astype(np.float64)
    if not np.isfinite(z).all():
        raise ValueError("logits: expected finite numbers; of probabilities pass np.log(np.maximum(p, 1e-12))")
    y = as_numpy(labels, "labels")
    if y.shape != (len(z),):
        raise ValueError(f"labels: expected the shape ({len(z)},), one for each row, got {y.shape}")
    if y.dtype.kind == "f" and (np.isfinite(y) & (y == np.floor(y))).all():
        y = y.astype(np.int64)
    if y.dtype.kind not in "iu":
        raise TypeError(f"labels: expected integers, got {y.dtype}")
    if y.min() < 0 or y.max() >= z.shape[1]:
        raise ValueError(f"labels: expected classes from 0 to {z.shape[1] - 1}, got {y.min()} to {y.max()}")
    z -= z.max(1, keepdims=True)
    own = z[np.arange(len(z)), y]

    def loss(log_temperature: float) -> float:
        t = np.exp(log_temperature)
        return float((np.log(np.exp(z / t).sum(1)) - own / t).mean())

    return float(np.exp(_lowest(loss, np.log(_LEAST), np.log(_MOST))))


def _lowest(loss: Any, low: float, high: float) -> float:
    """Find where a function with one minimum has it, by golden sections."""
    part = (np.sqrt(5) - 1) / 2
    a, b = high - part * (high - low), low + part * (high - low)
    at_a, at_b = loss(a), loss(b)
    for _ in range(_STEPS):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - part * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + part * (high - low)
            at_b = loss(b)
    return (low + high) / 2
