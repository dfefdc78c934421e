"""What a simulation has found: curves, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pickwise.evaluate import statistics
from pickwise.evaluate.curves import METRICS

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from pickwise.evaluate.curves import Curve
    from pickwise.evaluate.statistics import Estimate
    from pickwise.evaluate.tables import ResultTable

BASELINE = "random"
"""The strategy that others are measured against."""

SHOWN = {"accuracy": "accuracy", "macro_f1": "macro F1", "auc": "AUC"}


class Runs(NamedTuple):
    """A metric of all strategies at the same numbers of labels.

    Attributes
    ----------
    strategies : tuple of str
    seeds : tuple of int
        Those that all strategies have.
    labels : ndarray of float64 of shape (points,)
        All numbers of labels at which a strategy was measured and that all of them came to.
    values : ndarray of float64 of shape (strategies, seeds, points)
        Interpolated linearly where a strategy was not measured.
    """

    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    labels: NDArray[np.float64]
    values: NDArray[np.float64]

    def of(self, strategy: str) -> NDArray[np.float64]:
        """Return the values of a strategy, of shape (seeds, points)."""
        found: NDArray[np.float64] = self.values[self.strategies.index(strategy)]
        return found

    def select(self, strategies: tuple[str, ...]) -> Runs:
        """Return those of some strategies, in that order."""
        places = [self.strategies.index(name) for name in strategies]
        return self._replace(strategies=strategies, values=self.values[places])

    @property
    def areas(self) -> NDArray[np.float64]:
        """Areas under the curves, of shape (strategies, seeds)."""
        return np.asarray(statistics.area(self.labels, self.values))


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    """What strategies have done on a dataset whose labels are known.

    Attributes
    ----------
    curves : tuple of Curve
        One for each strategy and seed.
    about : dict
        What was run, for the report: names and values of any kind. Of these the report knows "name" (of the data),
        "environment" (a dict: versions, CPUs) and "full" (a dict: what the model reaches with the whole pool, by
        metric).

    Raises
    ------
    ValueError
        If there are no curves, two of the same strategy and seed, or no seed that all strategies have.

    Examples
    --------
    >>> from pickwise.evaluate.curves import Curve
    >>> labels = np.array([20, 40, 60])
    >>> heights = {"margin": [0.5, 0.7, 0.8], "random": [0.5, 0.6, 0.7]}
    >>> result = Simulation(
    ...     tuple(
    ...         Curve(strategy=name, seed=seed, labels=labels, metrics={"accuracy": np.array(curve) + seed / 100})
    ...         for name, curve in heights.items()
    ...         for seed in range(3)
    ...     )
    ... )
    >>> result
    Simulation of 2 strategies, 3 seeds, 20 to 60 labels
    strategy  area           final          labels to 0.710    saved, %         ...
    >>> result.savings(level=0.68)["margin"]
    Estimate(value=0.3..., low=0.3..., high=0.3..., bound='')
    """

    curves: tuple[Curve, ...]
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.curves:
            raise ValueError("curves: expected one or more, got none; run at least one strategy with one seed")
        seen = set()
        for curve in self.curves:
            if (curve.strategy, curve.seed) in seen:
                raise ValueError(
                    f"curves: expected one for each strategy and seed, got two of {curve.strategy!r} with seed "
                    f"{curve.seed}; leave one out or rename it"
                )
            seen.add((curve.strategy, curve.seed))
        if not self.seeds:
            raise ValueError("curves: expected a seed that all strategies have, got none; run them with the same seeds")
        if self._span[0] > self._span[1]:
            raise ValueError("curves: expected numbers of labels that all have in common, got none; run them alike")

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies, in the order of the curves."""
        return tuple(dict.fromkeys(curve.strategy for curve in self.curves))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that all strategies have; other runs are in no figure."""
        of = [{curve.seed for curve in self.curves if curve.strategy == name} for name in self.strategies]
        return tuple(sorted(set.intersection(*of)))

    @property
    def metrics(self) -> tuple[str, ...]:
        """What all runs were measured by."""
        found = set.intersection(*(set(curve.metrics) for curve in self.curves))
        return tuple(name for name in METRICS if name in found) + tuple(sorted(found.difference(METRICS)))

    @property
    def _span(self) -> tuple[int, int]:
        """The numbers of labels at which all begin and end."""
        curves = self._kept()
        return max(int(curve.labels[0]) for curve in curves), min(int(curve.labels[-1]) for curve in curves)

    def _kept(self) -> list[Curve]:
        seeds = set(self.seeds)
        return [curve for curve in self.curves if curve.seed in seeds]

    def runs(self, metric: str = "accuracy") -> Runs:
        """Return a metric of all strategies and seeds at the same numbers of labels.

        Parameters
        ----------
        metric : str

        Returns
        -------
        Runs

        Raises
        ------
        ValueError
            If not all runs have the metric.
        """
        if metric not in self.metrics:
            raise ValueError(f"metric: expected one of {', '.join(self.metrics)}, got {metric!r}")
        first, last = self._span
        curves = {(curve.strategy, curve.seed): curve for curve in self._kept()}
        labels = np.unique(np.concatenate([curve.labels for curve in curves.values()]))
        labels = labels[(labels >= first) & (labels <= last)].astype(float)
        values = [
            [np.interp(labels, curves[name, seed].labels, curves[name, seed].metrics[metric]) for seed in self.seeds]
            for name in self.strategies
        ]
        return Runs(self.strategies, self.seeds, labels, np.array(values))

    def savings(self, level: float | None = None, metric: str = "accuracy") -> dict[str, Estimate]:
        """Return the share of labels that each strategy saves against random picks; see `statistics.savings`.

        Parameters
        ----------
        level : float, optional
            Of the metric; by default what random picks end at.
        metric : str

        Returns
        -------
        dict of str to Estimate
            Of all strategies but random.

        Raises
        ------
        ValueError
            If there is no strategy called "random".
        """
        if BASELINE not in self.strategies:
            raise ValueError(
                f"strategies: expected {BASELINE!r} among them to measure the others against, got "
                f"{', '.join(self.strategies)}; simulate it too"
            )
        runs = self.runs(metric)
        return {
            name: statistics.savings(runs.labels, runs.of(name), runs.of(BASELINE), level)
            for name in self.strategies
            if name != BASELINE
        }

    def table(self, metric: str = "accuracy", at: float | Sequence[float] | None = None) -> ResultTable:
        """Return a row for each strategy, the largest area first.

        Parameters
        ----------
        metric : str
        at : float or sequence of float, optional
            Levels to tell the labels to, beside the one that random picks end at.

        Returns
        -------
        ResultTable
            Means over seeds: the area under the curve and the last value with their standard errors; the labels at
            which the mean curve reaches each level, and the share saved against random, with 95 % intervals; the
            deficiency against random; seconds of a selection; diversity of the batches; balance of the classes.
        """
        from pickwise.evaluate.tables import tabulate_strategies

        return tabulate_strategies(self, metric, at)

    def practice(self, strategy: str) -> Practice:
        """Return what batches of a strategy are like and cost.

        Parameters
        ----------
        strategy : str

        Returns
        -------
        Practice
        """
        curves = [curve for curve in self._kept() if curve.strategy == strategy]
        selecting = [curve.seconds.get("selecting", np.empty(0))[:-1] for curve in curves]
        spent = sum(float(sum(values.sum() for values in curve.seconds.values())) for curve in curves)
        own = float(sum(values.sum() for values in selecting))
        return Practice(
            seconds=_mean(selecting),
            share=own / spent if spent else np.nan,
            diversity=_mean([curve.diversity for curve in curves]),
            balance=_mean([curve.balance for curve in curves]),
        )

    def compare(self, metric: str = "accuracy") -> ResultTable:
        """Return a row for each pair of strategies.

        Parameters
        ----------
        metric : str

        Returns
        -------
        ResultTable
            The mean difference of areas with its 95 % interval (Student's t over seeds); p of Wilcoxon's signed-rank
            test over seeds, corrected for all pairs by Holm; at how many numbers of labels the first is significantly
            better, no different and worse (paired t-test over seeds at 0.05).
        """
        from pickwise.evaluate.tables import tabulate_pairs

        return tabulate_pairs(self, metric)

    def plot(self, metric: str = "accuracy") -> Figure:
        """Draw the mean curves, with bands of one standard error over seeds to either side.

        Parameters
        ----------
        metric : str

        Returns
        -------
        matplotlib.figure.Figure
        """
        from pickwise.evaluate import charts

        return charts.draw_curves(self.runs(metric), SHOWN.get(metric, metric), charts.looks(self.strategies))

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write it all as one HTML file; see `pickwise.evaluate.report.write_report`.

        Parameters
        ----------
        path : path

        Returns
        -------
        Path
        """
        from pickwise.evaluate.report import write_report

        return write_report(self, path)

    def to_pandas(self) -> Any:
        """Return all curves as a pandas frame: a row for each strategy, seed and number of labels."""
        import pandas as pd

        return pd.DataFrame(self._long())

    def to_polars(self) -> Any:
        """Return all curves as a Polars frame: a row for each strategy, seed and number of labels."""
        import polars as pl

        return pl.DataFrame(self._long())

    def _long(self) -> dict[str, NDArray[Any]]:
        metrics = dict.fromkeys(name for curve in self.curves for name in curve.metrics)
        seconds = dict.fromkeys(name for curve in self.curves for name in curve.seconds)
        parts = [
            {
                "strategy": np.full(len(curve.labels), curve.strategy),
                "seed": np.full(len(curve.labels), curve.seed),
                "labels": curve.labels,
                **{name: _filled(curve.metrics.get(name), curve) for name in metrics},
                **{f"{name}_seconds": _filled(curve.seconds.get(name), curve) for name in seconds},
                "balance": _filled(curve.balance, curve),
                "diversity": _filled(curve.diversity, curve),
            }
            for curve in self.curves
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def __repr__(self) -> str:
        first, last = self._span
        title = (
            f"Simulation of {count(len(self.strategies), 'strategy', 'strategies')}, "
            f"{count(len(self.seeds), 'seed')}, {first:,} to {last:,} labels"
        )
        return f"{title}\n{self.table(self.metrics[0])}" if self.metrics else title


class Practice(NamedTuple):
    """What a strategy is like in use; NaN where it was not measured.

    Attributes
    ----------
    seconds : float
        Of a selection, on average.
    share : float
        Of the time of the runs that went into selections, and not into the model.
    diversity, balance : float
        Means over rounds; see `Curve`.
    """

    seconds: float
    share: float
    diversity: float
    balance: float


def _mean(parts: Sequence[NDArray[np.float64]]) -> float:
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _filled(values: NDArray[np.float64] | None, curve: Curve) -> NDArray[np.float64]:
    return np.full(len(curve.labels), np.nan) if values is None or not len(values) else values


def count(number: int, name: str, plural: str = "") -> str:
    """Write a number of things."""
    return f"{number} {name if number == 1 else plural or name + 's'}"
