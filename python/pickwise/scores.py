"""Uncertainty scores: one number a row, higher = more worth labelling.

Each function reads its input once and allocates nothing but the scores. The arithmetic is in the native part; what a
row scores depends on the row and the options alone, never on the layout, the number of threads or the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from pickwise import _native
from pickwise.arrays import Rows, as_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

Task: TypeAlias = Literal["multiclass", "multilabel"]
How: TypeAlias = Literal["mean", "max", "sum"]

SUM_TOLERANCES = {"float16": 5e-3, "bfloat16": 2e-2, "float32": 1e-3, "float64": 1e-5}
"""How far from 1 a row of probabilities may sum, by element type, as the native part has it."""


def entropy(
    probabilities: Any,
    *,
    base: float | None = None,
    normalize: bool = False,
    from_logits: bool = False,
    temperature: float = 1.0,
    task: Task = "multiclass",
    how: How = "mean",
    dtype: DTypeLike | None = None,
) -> NDArray[np.floating[Any]]:
    r"""Shannon entropy of each row, :math:`-\sum_i p_i \ln p_i`.

    Highest where all classes are equally probable; 0 where one class is certain (0·log 0 = 0).

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        float16, bfloat16, float32 or float64, in memory of any layout; 1-D is *P(y=1)* of two classes. Never written
        to.
    base : float, optional
        Base of the logarithm, above 1. By default the entropy is in nats; 2 gives bits.
    normalize : bool
        Divide by the entropy of equally probable classes, so that the scores go from 0 to 1.
    from_logits : bool
        Whether the input holds logits, to be put through a softmax (a sigmoid where 1-D or multilabel) in the same
        pass.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30; more than 1 makes them less certain. For logits only.
    task : {"multiclass", "multilabel"}
        Whether a row is one distribution over classes or an independent probability for each label.
    how : {"mean", "max", "sum"}
        For multilabel: how a row's scores, one for each label, become one.
    dtype : dtype, optional
        float64 asks for double precision whatever the input. By default float64 for float64, else float32.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64.

    Raises
    ------
    TypeError
        If the input is no array of floats on the CPU.
    ValueError
        If it has no rows or fewer than two classes, or rows that are no probabilities: values outside [0, 1], NaN, or
        a sum off by more than 5e-3 (float16), 2e-2 (bfloat16), 1e-3 (float32) or 1e-5 (float64).

    See Also
    --------
    margin, least_confidence, ratio

    Notes
    -----
    One pass over the input, on all threads. After [1]_; for active learning [2]_.

    References
    ----------
    .. [1] C. E. Shannon. A mathematical theory of communication. Bell System Technical Journal 27, 1948.
    .. [2] B. Settles. Active learning literature survey. University of Wisconsin-Madison, 2009.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.entropy([[0.2, 0.5, 0.3], [0.1, 0.7, 0.2]]).round(4)
    array([1.0297, 0.8018])
    >>> pw.entropy([[0.5, 0.5], [1.0, 0.0]], base=2)
    array([1., 0.])
    >>> pw.entropy([0.5, 0.9], normalize=True).round(3)  # 1-D: P(y=1)
    array([1.   , 0.469])
    """
    score = {"base": base, "normalize": normalize, "from_logits": from_logits, "temperature": temperature}
    return _scored("entropy", probabilities, dtype, task=task, how=how, **score)


def margin(
    probabilities: Any,
    *,
    from_logits: bool = False,
    temperature: float = 1.0,
    task: Task = "multiclass",
    how: How = "mean",
    dtype: DTypeLike | None = None,
) -> NDArray[np.floating[Any]]:
    r"""One minus the lead of the most probable class over the second, :math:`1 - (p_{(1)} - p_{(2)})`.

    1 where two classes share the lead, 0 where one is certain.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        float16, bfloat16, float32 or float64, in memory of any layout; 1-D is *P(y=1)* of two classes. Never written
        to.
    from_logits : bool
        Whether the input holds logits, to be put through a softmax (a sigmoid where 1-D or multilabel) in the same
        pass.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30; more than 1 makes them less certain. For logits only.
    task : {"multiclass", "multilabel"}
        Whether a row is one distribution over classes or an independent probability for each label.
    how : {"mean", "max", "sum"}
        For multilabel: how a row's scores, one for each label, become one.
    dtype : dtype, optional
        float64 asks for double precision whatever the input. By default float64 for float64, else float32.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `entropy` does.

    See Also
    --------
    ratio : The quotient in place of the difference.

    Notes
    -----
    One pass over the input, on all threads. After [1]_; the sign is turned, so that higher means
    more uncertain.

    References
    ----------
    .. [1] T. Scheffer, C. Decomain and S. Wrobel. Active hidden Markov models for information extraction. IDA 2001.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.margin([[0.2, 0.5, 0.3], [0.1, 0.7, 0.2]]).round(6)
    array([0.8, 0.5])
    """
    return _scored("margin", probabilities, dtype, task=task, how=how, from_logits=from_logits, temperature=temperature)


def least_confidence(
    probabilities: Any,
    *,
    from_logits: bool = False,
    temperature: float = 1.0,
    task: Task = "multiclass",
    how: How = "mean",
    dtype: DTypeLike | None = None,
) -> NDArray[np.floating[Any]]:
    r"""One minus the probability of the most probable class, :math:`1 - p_{(1)}`.

    0 where one class is certain, 1 - 1/classes where all are equally probable.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        float16, bfloat16, float32 or float64, in memory of any layout; 1-D is *P(y=1)* of two classes. Never written
        to.
    from_logits : bool
        Whether the input holds logits, to be put through a softmax (a sigmoid where 1-D or multilabel) in the same
        pass.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30; more than 1 makes them less certain. For logits only.
    task : {"multiclass", "multilabel"}
        Whether a row is one distribution over classes or an independent probability for each label.
    how : {"mean", "max", "sum"}
        For multilabel: how a row's scores, one for each label, become one.
    dtype : dtype, optional
        float64 asks for double precision whatever the input. By default float64 for float64, else float32.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `entropy` does.

    See Also
    --------
    margin, entropy

    Notes
    -----
    One pass over the input, on all threads. After [1]_, for more than two classes [2]_.

    References
    ----------
    .. [1] D. D. Lewis and W. A. Gale. A sequential algorithm for training text classifiers. SIGIR 1994.
    .. [2] A. Culotta and A. McCallum. Reducing labeling effort for structured prediction tasks. AAAI 2005.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.least_confidence([[0.2, 0.5, 0.3], [0.1, 0.7, 0.2]]).round(6)
    array([0.5, 0.3])
    """
    return _scored(
        "least_confidence", probabilities, dtype, task=task, how=how, from_logits=from_logits, temperature=temperature
    )


def ratio(
    probabilities: Any,
    *,
    from_logits: bool = False,
    temperature: float = 1.0,
    task: Task = "multiclass",
    how: How = "mean",
    dtype: DTypeLike | None = None,
) -> NDArray[np.floating[Any]]:
    r"""Probability of the second class over that of the most probable, :math:`p_{(2)} / p_{(1)}`.

    1 where two classes share the lead, 0 where one is certain. With logits it is :math:`\exp((z_{(2)} - z_{(1)}) /
    T)`, and the other classes play no part.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        float16, bfloat16, float32 or float64, in memory of any layout; 1-D is *P(y=1)* of two classes. Never written
        to.
    from_logits : bool
        Whether the input holds logits, to be put through a softmax (a sigmoid where 1-D or multilabel) in the same
        pass.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30; more than 1 makes them less certain. For logits only.
    task : {"multiclass", "multilabel"}
        Whether a row is one distribution over classes or an independent probability for each label.
    how : {"mean", "max", "sum"}
        For multilabel: how a row's scores, one for each label, become one.
    dtype : dtype, optional
        float64 asks for double precision whatever the input. By default float64 for float64, else float32.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `entropy` does.

    See Also
    --------
    margin : The difference in place of the quotient.

    Notes
    -----
    One pass over the input, on all threads. After [1]_.

    References
    ----------
    .. [1] R. Munro. Human-in-the-loop machine learning. Manning, 2021, section 3.2.3.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.ratio([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]]).round(6)
    array([0.6, 0. ])
    """
    return _scored("ratio", probabilities, dtype, task=task, how=how, from_logits=from_logits, temperature=temperature)


def native_score(name: str, *, binary: bool, task: str = "multiclass", **options: Any) -> _native.Score:
    """Describe a score to the native part; `binary` tells that the rows are 1-D *P(y=1)*."""
    if binary and task == "multilabel":
        raise ValueError("task='multilabel' needs the shape (rows, labels), got 1-D; reshape one label to (rows, 1)")
    return _native.Score(name, task="binary" if binary and task == "multiclass" else task, **options)


def min_classes(task: str) -> int:
    """Return the fewest columns that a task can have."""
    return 1 if task == "multilabel" else 2


def score_rows(
    rows: Rows,
    score: _native.Score,
    *,
    name: str,
    from_logits: bool,
    dtype: DTypeLike | None = None,
    start: int = 0,
    locate: Callable[[int], str] | None = None,
) -> NDArray[Any]:
    """Score rows already borrowed; the public functions and the command line end here.

    `start` is the position of the first row in a pool that is scored piece by piece, and `locate` says where a row of
    that pool is.
    """
    out = np.empty(rows.shape[0], score_dtype(rows.dtype, dtype))
    done, invalid = 0, None
    for count, block in rows.to_score():
        end = done + count
        found = _native.score(block, score, out[done:end], start + done, None)
        invalid = found if invalid is None else invalid if found is None else invalid.merged(found)
        done = end
    if invalid is not None:
        of = f"the first {start + done} rows" if start else f"{done} rows"
        raise invalid_rows(name, invalid, of=of, dtype=rows.dtype, from_logits=from_logits, locate=locate)
    return out


def valid_scores(matrix: NDArray[Any], score: _native.Score) -> NDArray[np.float64]:
    """Score a few rows in float64; those that are invalid score NaN."""
    out = np.empty(len(matrix))
    if _native.score(matrix, score, out) is not None:
        for row in range(len(matrix)):
            if _native.score(matrix[row : row + 1], score, out[row : row + 1]) is not None:
                out[row] = np.nan
    return out


def invalid_rows(
    name: str,
    found: _native.InvalidRows,
    *,
    of: str,
    dtype: np.dtype[Any],
    from_logits: bool,
    locate: Callable[[int], str] | None = None,
    told: str = "from_logits=True",
) -> ValueError:
    """Word what is wrong with invalid rows: the first of them, how many (`of` so many looked at), and the mend.

    That rows are logits is `told` by the caller.
    """
    where = f"row {found.row}" if locate is None else locate(found.row)
    if found.reason == "sum":
        what = f"sums to {found.value:.7g}, expected 1 within {SUM_TOLERANCES[dtype.name]:g}"
    elif found.reason == "score":
        expected = "a number" if np.isnan(found.value) else "0 or more"
        what = f"has the score {found.value:.7g}, expected {expected}"
    else:
        expected = "a number below infinity" if from_logits else "a number from 0 to 1"
        what = f"holds {found.value:.7g} in column {found.column}, expected {expected}"
    if from_logits or found.reason == "score" or not np.isfinite(found.value):
        mend = "drop or mend these rows first"
    else:
        mend = f"pass {told} for logits, or normalise the rows first"
    are = "is" if found.count == 1 else "are"
    return ValueError(f"{name}: {where} {what}; {found.count} of {of} {are} invalid; {mend}")


def _scored(name: str, probabilities: Any, dtype: DTypeLike | None, *, task: str, **options: Any) -> NDArray[Any]:
    rows = as_rows(probabilities, "probabilities", min_classes=min_classes(task))
    score = native_score(name, binary=rows.binary, task=task, **options)
    return score_rows(rows, score, name="probabilities", from_logits=options["from_logits"], dtype=dtype)


def score_dtype(given: np.dtype[Any], wanted: DTypeLike | None) -> np.dtype[Any]:
    """Return the type of the scores of numbers of a given type."""
    if wanted is None:
        return np.dtype(np.float64 if given == np.float64 else np.float32)
    dtype = np.dtype(wanted)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype}")
    return dtype
