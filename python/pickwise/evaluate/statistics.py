"""What learning curves say, and how sure that is. Intervals need SciPy, from the extra ``evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SIGNIFICANCE = 0.05
"""The level of every test; intervals cover one minus it."""

ROUNDING = 1e-12
"""Differences below this are none: means of the same runs, in another order, differ by as much."""

_RESAMPLES = 2000


class Estimate(NamedTuple):
    """A figure with its 95 % interval.

    Attributes
    ----------
    value, low, high : float
        NaN where there is nothing to tell. A bound of ±inf is open: the curves end before it is known.
    bound : str
        "" for an estimate; ">=" where `value` is only known to be a lower bound, "<=" for an upper one.
    """

    value: float
    low: float
    high: float
    bound: str = ""


def area(labels: ArrayLike, values: ArrayLike) -> Any:
    """Return the area under a learning curve over the range of its labels (AUBC): the mean height.

    Parameters
    ----------
    labels : array of shape (points,)
        Ascending.
    values : array of shape (..., points)

    Returns
    -------
    float64 or ndarray of shape (...,)
        By the trapezoidal rule; of a single point its value.

    Examples
    --------
    >>> float(area([10, 20, 40], [0.5, 0.7, 0.8]))
    0.7
    """
    labels, values = _curve(labels, values)
    if len(labels) == 1:
        return values[..., 0]
    return ((values[..., 1:] + values[..., :-1]) / 2 * np.diff(labels)).sum(-1) / (labels[-1] - labels[0])


def normalised_area(labels: ArrayLike, values: ArrayLike, random: ArrayLike, full: float) -> Any:
    """Return how far a curve goes from that of random picks (0) to a model with all labels at once (1).

    The form is that of the Active Learning Challenge's global score, (A - A_random) / (A_max - A_random) (Guyon,
    Cawley, Dror & Lemaire, 2011). There the one end was random predictions and the other perfect ones; here they are
    what is within reach: random picks, and the model that has learnt from the whole pool.

    Parameters
    ----------
    labels : array of shape (points,)
        Ascending.
    values, random : array of shape (..., points)
        Of the strategy, and of random picks at the same labels.
    full : float
        What the model reaches with the whole pool.

    Returns
    -------
    float64 or ndarray of shape (...,)
        NaN where random picks are no worse than the whole pool.

    Examples
    --------
    >>> float(normalised_area([0, 10], [0.8, 0.8], [0.7, 0.7], full=0.9).round(12))
    0.5
    """
    base = area(labels, random)
    room = np.asarray(full - base)
    return (area(labels, values) - base) / np.where(room > 0, room, np.nan)


def labels_to(labels: ArrayLike, values: ArrayLike, level: ArrayLike) -> Any:
    """Return the number of labels at which a curve first reaches a level, interpolated linearly between its points.

    Parameters
    ----------
    labels : array of shape (points,)
        Ascending.
    values : array of shape (..., points)
    level : float or array of shape (...,)

    Returns
    -------
    float64 or ndarray of shape (...,)
        The first number of labels where the curve begins at or above the level; NaN where it never gets there.

    Examples
    --------
    >>> float(labels_to([100, 200, 300], [0.5, 0.7, 0.8], 0.75))
    250.0
    >>> float(labels_to([100, 200, 300], [0.5, 0.7, 0.8], 0.9))
    nan
    """
    labels, values = _curve(labels, values)
    level = np.broadcast_to(np.asarray(level, float), values.shape[:-1])
    reached = values >= level[..., None] - ROUNDING
    after = reached.argmax(-1)
    before = np.maximum(after - 1, 0)
    high = np.take_along_axis(values, after[..., None], -1)[..., 0]
    low = np.take_along_axis(values, before[..., None], -1)[..., 0]
    rise = np.where((after > 0) & (high > low), high - low, np.inf)
    steps = labels[after] - labels[before]
    found = labels[after] - steps * np.where(np.isfinite(rise), (high - level).clip(min=0) / rise, 0)
    return np.where(reached.any(-1), found, np.nan)[()]


def labels_to_interval(labels: ArrayLike, values: ArrayLike, level: float) -> Estimate:
    """Return `labels_to` of the mean curve with its interval: the percentile bootstrap over seeds.

    Parameters
    ----------
    labels : array of shape (points,)
        Ascending.
    values : array of shape (seeds, points)
    level : float

    Returns
    -------
    Estimate
        Where the mean curve never gets there, the last number of labels, marked as a lower bound. A single seed has no
        interval.

    Examples
    --------
    >>> labels_to_interval([0, 10], [[0.0, 0.8], [0.0, 1.0]], 0.9)
    Estimate(value=10.0, low=9.0, high=inf, bound='')
    """
    labels, values = _curve(labels, values)
    found = float(labels_to(labels, values.mean(0), level))
    many = labels_to(labels, _resampled(values)[0], level)
    low, high = _interval(np.where(np.isnan(many), np.inf, many), seeds=len(values))
    if np.isnan(found):
        return Estimate(float(labels[-1]), min(low, float(labels[-1])), np.inf, ">=")
    return Estimate(found, low, high)


def deficiency(values: ArrayLike, random: ArrayLike) -> Any:
    """Return the deficiency of a curve against random picks (Baram, El-Yaniv & Luz, 2004).

    Sum of (v_last - v) over that of (v_last - v_random), where v_last is what random picks end at: below 1 is better
    than random, and 0.5 has half as much still to learn on the way.

    Parameters
    ----------
    values, random : array of shape (..., points)
        At the same numbers of labels.

    Returns
    -------
    float64 or ndarray of shape (...,)
        NaN where random picks are, on the whole, no worse at the beginning than in the end.

    Examples
    --------
    >>> float(deficiency([0.5, 0.8, 0.9], [0.5, 0.7, 0.9]).round(12))
    0.833333333333
    """
    values, random = np.asarray(values, float), np.asarray(random, float)
    if values.shape[-1:] != random.shape[-1:]:
        raise ValueError(
            f"random: expected a curve at the same labels, with {values.shape[-1]} points, got {random.shape[-1]}; "
            "interpolate one of them"
        )
    last = random[..., -1:]
    whole = np.asarray((last - random).sum(-1))
    return (last - values).sum(-1) / np.where(whole > 0, whole, np.nan)


def savings(labels: ArrayLike, values: ArrayLike, random: ArrayLike, level: float | None = None) -> Estimate:
    """Return the share of labels saved, 1 - labels(strategy) / labels(random) at equal quality, with its interval.

    Both numbers are those at which the mean curves first reach the level; the interval is the percentile bootstrap over
    pairs of runs with the same seed. In a resample whose curve never gets there, all that is possible counts: the
    interval is as wide as what the curves leave open.

    Parameters
    ----------
    labels : array of shape (points,)
        Ascending.
    values, random : array of shape (seeds, points)
        Of the strategy and of random picks, the same seed in the same row.
    level : float, optional
        By default what random picks end at, which each resample finds anew.

    Returns
    -------
    Estimate
        Where random picks never reach the level, a lower bound, as if they did with their last label; where the
        strategy never does, an upper bound; NaN where neither does.

    Examples
    --------
    >>> runs = [[0.4, 0.6, 0.7], [0.4, 0.6, 0.7]]
    >>> savings([0, 100, 200], [[0.4, 0.7, 0.8]] * 2, runs)
    Estimate(value=0.5, low=0.5, high=0.5, bound='')
    >>> savings([0, 100, 200], [[0.4, 0.7, 0.8]] * 2, runs, level=0.75).bound
    '>='
    """
    labels, values = _curve(labels, values)
    random = _curve(labels, random)[1]
    if len(values) != len(random):
        raise ValueError(
            f"random: expected a run for each seed of the strategy, {len(values)}, got {len(random)}; leave out seeds "
            "that only one of them has"
        )
    low, high = _saved(labels, values.mean(0), random.mean(0), level)
    strategies, randoms = _resampled(values, random)
    lows, highs = _saved(labels, strategies, randoms, level)
    bounds = _interval(lows, seeds=len(values))[0], _interval(highs, seeds=len(values))[1]
    if low == high:
        return Estimate(float(low), *bounds)
    if np.isfinite(low):
        return Estimate(float(low), *bounds, ">=")
    if high < 1:
        return Estimate(float(high), *bounds, "<=")
    return Estimate(np.nan, np.nan, np.nan)


def _saved(
    labels: NDArray[np.float64], values: NDArray[np.float64], random: NDArray[np.float64], level: float | None
) -> tuple[Any, Any]:
    """Return the least and the most that may be saved: they differ where a curve ends below the level."""
    height = random[..., -1] if level is None else level
    needed, others = labels_to(labels, values, height), labels_to(labels, random, height)
    last = labels[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        least = 1 - needed / np.where(np.isnan(others), last, others)
        most = 1 - np.where(np.isnan(needed), last, needed) / others
    # Both begin above the level, with no labels at all.
    least, most = (np.where((needed == 0) & (others == 0), 0.0, bound) for bound in (least, most))
    return np.where(np.isnan(needed), -np.inf, least), np.where(np.isnan(others), 1.0, most)


def standard_error(values: ArrayLike) -> Any:
    """Return the standard error of the mean over the first axis, the seeds; NaN for a single one."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)[()]
    return values.std(0, ddof=1) / np.sqrt(len(values))


def mean_difference(values: ArrayLike, others: ArrayLike) -> Estimate:
    """Return the mean of the differences of pairs with its interval, by Student's t.

    Parameters
    ----------
    values, others : array of shape (pairs,)

    Returns
    -------
    Estimate
        A single pair has no interval.

    Examples
    --------
    >>> [round(bound, 3) for bound in mean_difference([0.8, 0.9, 0.7], [0.7, 0.7, 0.6])[:3]]
    [0.133, -0.01, 0.277]
    """
    from scipy.stats import t

    gaps = differences(np.asarray(values, float), np.asarray(others, float))
    mean = float(gaps.mean())
    reach = float(t.ppf(1 - SIGNIFICANCE / 2, len(gaps) - 1) * standard_error(gaps)) if len(gaps) > 1 else np.nan
    return Estimate(mean, mean - reach, mean + reach)


def _curve(labels: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels, values = np.asarray(labels, float), np.asarray(values, float)
    if labels.ndim != 1 or not len(labels) or (np.diff(labels) <= 0).any():
        raise ValueError(f"labels: expected numbers that ascend, got {np.array2string(labels, threshold=8)}; sort them")
    if values.shape[-1:] != labels.shape:
        raise ValueError(
            f"values: expected one for each number of labels, {len(labels)}, in the last axis, got shape {values.shape}"
        )
    return labels, values


def differences(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract, and take what is only rounding for no difference."""
    if values.shape != others.shape:
        raise ValueError(f"others: expected pairs, an array of shape {values.shape}, got {others.shape}")
    gaps = values - others
    return np.where(np.abs(gaps) < ROUNDING, 0.0, gaps)


def _resampled(*runs: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return mean curves of resampled seeds, the same seeds for all that are given."""
    seeds = len(runs[0])
    counts = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), _RESAMPLES)
    return [counts @ values / seeds for values in runs]


def _interval(many: NDArray[np.float64], *, seeds: int) -> tuple[float, float]:
    if seeds < 2 or np.isnan(many).any():
        return np.nan, np.nan
    # A quantile that is one of the values: infinities cannot be interpolated.
    low, high = np.quantile(many, [SIGNIFICANCE / 2, 1 - SIGNIFICANCE / 2], method="inverted_cdf")
    return float(low), float(high)
