"""Which strategies differ by more than chance. Needs SciPy, from the extra ``evaluate``."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pickwise.evaluate.statistics import SIGNIFICANCE, differences, standard_error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Friedman(NamedTuple):
    """Friedman's test of whether all strategies are alike.

    Attributes
    ----------
    statistic : float
        Chi-square with one degree of freedom fewer than there are strategies, corrected for ties.
    p : float
    """

    statistic: float
    p: float


def significant_signs(values: ArrayLike) -> NDArray[np.int8]:
    """Return who beats whom: the two-sided paired t-test over seeds at 0.05.

    Parameters
    ----------
    values : array of shape (strategies, seeds, ...)
        Higher = better; the same seed in the same place.

    Returns
    -------
    ndarray of int8 of shape (strategies, strategies, ...)
        At [i, j] 1 where i is significantly better than j, -1 where it is worse, else 0. One seed shows nothing.

    Examples
    --------
    >>> significant_signs([[0.8, 0.9, 0.85], [0.6, 0.72, 0.64]]).tolist()
    [[0, 1], [-1, 0]]
    """
    from scipy.stats import t

    values = np.asarray(values, float)
    count, seeds = values.shape[:2]
    signs = np.zeros((count, count, *values.shape[2:]), np.int8)
    if seeds < 2:
        return signs
    critical = t.ppf(1 - SIGNIFICANCE / 2, seeds - 1)
    for i, j in itertools.combinations(range(count), 2):
        gaps = differences(values[i], values[j])
        mean = gaps.mean(0)
        # Not a quotient: without any spread, a difference in all seeds alike is significant, and none is not.
        signs[i, j] = np.where(np.abs(mean) > critical * standard_error(gaps), np.sign(mean), 0)
        signs[j, i] = -signs[i, j]
    return signs


def penalties(values: ArrayLike) -> NDArray[np.float64]:
    """Return the pairwise penalty matrix of one dataset (Ash et al., 2020); those of several datasets add up.

    Parameters
    ----------
    values : array of shape (strategies, seeds, budgets)
        Higher = better; the same seed in the same place. Leave out the initial labels, which all strategies share.

    Returns
    -------
    ndarray of float64 of shape (strategies, strategies)
        At [i, j] the share of budgets at which i is significantly better than j: the row tells how often a strategy
        beats others, the column how often it is beaten.

    Examples
    --------
    >>> better, worse = [[0.8, 0.7], [0.9, 0.7], [0.85, 0.7]], [[0.6, 0.7], [0.72, 0.7], [0.64, 0.7]]
    >>> penalties([better, worse]).tolist()
    [[0.0, 0.5], [0.0, 0.0]]
    """
    beats = significant_signs(values) == 1
    return np.asarray(beats.sum(-1) / max(1, beats.shape[-1]))


def wilcoxon(values: ArrayLike, others: ArrayLike) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test of pairs; those without a difference are left out.

    Parameters
    ----------
    values, others : array of shape (pairs,)

    Returns
    -------
    float
        1 where no pair differs, NaN where one is unknown. Of n pairs it is never below 2 / 2^n: five cannot be
        significant at 0.05.

    Examples
    --------
    >>> wilcoxon([1.0, 2.0, 3.0, 4.0, 5.5], [0.5, 1.1, 1.8, 2.5, 3.0])
    0.0625
    """
    from scipy import stats

    gaps = differences(np.asarray(values, float), np.asarray(others, float))
    gaps = gaps[gaps != 0]
    if np.isnan(gaps).any():
        return float("nan")
    return float(stats.wilcoxon(gaps).pvalue) if len(gaps) else 1.0


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p-values corrected for that there are several, by Holm's step-down method (1979).

    Parameters
    ----------
    p : array of shape (tests,)
        NaN for a test that could not be made.

    Returns
    -------
    ndarray of float64 of shape (tests,)

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, 0.005]).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return corrected


def wilcoxon_holm(values: ArrayLike) -> NDArray[np.float64]:
    """Return `wilcoxon` of each pair of strategies, corrected by `holm` for all of them.

    Parameters
    ----------
    values : array of shape (strategies, pairs)
        A column is a dataset and a seed, which all strategies have in common.

    Returns
    -------
    ndarray of float64 of shape (strategies, strategies)
        Symmetric, with 1 on the diagonal.

    Examples
    --------
    >>> wilcoxon_holm([[3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6]]).tolist()
    [[1.0, 0.03125], [0.03125, 1.0]]
    """
    values = np.asarray(values, float)
    pairs = list(itertools.combinations(range(len(values)), 2))
    matrix = np.ones((len(values), len(values)))
    for (i, j), p in zip(pairs, holm([wilcoxon(values[i], values[j]) for i, j in pairs]), strict=True):
        matrix[i, j] = matrix[j, i] = p
    return matrix


def mean_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Return the mean rank of each strategy over datasets, 1 = the best; ties share their ranks.

    Parameters
    ----------
    values : array of shape (datasets, strategies)
        Higher = better.

    Returns
    -------
    ndarray of float64 of shape (strategies,)

    Examples
    --------
    >>> mean_ranks([[0.9, 0.8, 0.8], [0.7, 0.9, 0.6]]).tolist()
    [1.5, 1.75, 2.75]
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(-_complete(values), axis=1).mean(0))


def critical_difference(strategies: int, datasets: int) -> float:
    """Return by how much mean ranks must differ to be significant at 0.05: Nemenyi's test (Demšar, 2006).

    Parameters
    ----------
    strategies : int
        At least 2.
    datasets : int

    Returns
    -------
    float
        q sqrt(k (k + 1) / (6 N)), where q is the studentised range of k strategies over sqrt(2).

    Examples
    --------
    >>> round(critical_difference(strategies=4, datasets=14), 2)
    1.25
    """
    from scipy.stats import studentized_range

    q = studentized_range.ppf(1 - SIGNIFICANCE, strategies, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(strategies * (strategies + 1) / (6 * datasets)))


def friedman(values: ArrayLike) -> Friedman:
    """Test whether all strategies are alike over datasets (Friedman, 1937).

    Parameters
    ----------
    values : array of shape (datasets, strategies)
        Higher = better.

    Returns
    -------
    Friedman
        NaN with fewer than 3 strategies or 2 datasets, or where all are tied everywhere.

    Examples
    --------
    >>> friedman([[3, 2, 1], [3, 2, 1], [3, 2, 1]]).statistic
    6.0
    """
    from scipy.stats import friedmanchisquare

    values = _complete(values)
    if values.shape[0] < 2 or values.shape[1] < 3 or (values == values[:, :1]).all():
        return Friedman(np.nan, np.nan)
    statistic, p = friedmanchisquare(*values.T)
    return Friedman(float(statistic), float(p))


def _complete(values: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(values, float)
    if np.isnan(values).any():
        raise ValueError(
            f"values: expected a number for every dataset and strategy, got {np.isnan(values).sum()} NaN; leave out "
            "those datasets or strategies"
        )
    return values
