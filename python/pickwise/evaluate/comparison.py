"""Strategies over several datasets. Needs SciPy, from the extra ``evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pickwise.evaluate import significance
from pickwise.evaluate.simulation import BASELINE, SHOWN
from pickwise.evaluate.tables import Columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pickwise.evaluate.significance import Friedman
    from pickwise.evaluate.simulation import Simulation
    from pickwise.evaluate.tables import ResultTable


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DatasetComparison:
    """How strategies compare over datasets.

    Attributes
    ----------
    metric : str
    strategies : tuple of str
        Those that all datasets have.
    datasets : tuple of str
    areas : ndarray of float64 of shape (datasets, strategies)
        Mean areas under the curves.
    ranks : ndarray of float64 of shape (strategies,)
        Mean ranks by area, 1 = the best.
    critical_difference : float
        By how much mean ranks must differ to be significant at 0.05 (Nemenyi).
    friedman : Friedman
        Whether the strategies differ at all.
    penalties : ndarray of float64 of shape (strategies, strategies)
        At [i, j] how often i is significantly better than j, in datasets: the sum over them of the share of numbers of
        labels.
    p : ndarray of float64 of shape (strategies, strategies)
        Of Wilcoxon's signed-rank tests of areas, a pair for each dataset and seed, corrected by Holm.
    signs : ndarray of int8 of shape (strategies, strategies, datasets)
        1 where the area of the one is significantly larger than that of the other, -1 where it is smaller, else 0
        (paired t-test over seeds at 0.05).
    """

    metric: str
    strategies: tuple[str, ...]
    datasets: tuple[str, ...]
    areas: NDArray[np.float64]
    ranks: NDArray[np.float64]
    critical_difference: float
    friedman: Friedman
    penalties: NDArray[np.float64]
    p: NDArray[np.float64]
    signs: NDArray[np.int8]

    def table(self) -> ResultTable:
        """Return a row for each strategy, the best mean rank first.

        Returns
        -------
        ResultTable
            Mean rank; how often it beats others and is beaten, on average (rows and columns of `penalties`); on how
            many datasets it wins against random, ties and loses, and the p of that.
        """
        order = np.argsort(self.ranks, kind="stable")
        names = [self.strategies[i] for i in order]
        others = max(1, len(names) - 1)
        table = Columns()
        table.add("strategy", names)
        table.add("mean_rank", self.ranks[order].tolist(), "mean rank", ".2f")
        table.add("beats", (self.penalties[order].sum(1) / others).tolist(), form=".2f")
        table.add("beaten", (self.penalties[:, order].sum(0) / others).tolist(), form=".2f")
        if BASELINE in names:
            base = self.strategies.index(BASELINE)
            for name, sign in (("win", 1), ("tie", 0), ("loss", -1)):
                counts = (self.signs[order, base] == sign).sum(-1)
                values = [np.nan if i == base else float(n) for i, n in zip(order, counts, strict=True)]
                table.add(name, values, form=".0f")
            p = [np.nan if i == base else float(self.p[i, base]) for i in order]
            table.add("p", p, "p against random", ".2g")
        return table.finish(
            f"By the area under the curves of {SHOWN.get(self.metric, self.metric)} on {len(self.datasets)} datasets; "
            f"mean ranks that differ by less than {self.critical_difference:.2f} may do so by chance (Nemenyi, 0.05). "
            "Beats, beaten: on how many datasets, on average over the other strategies. Win, tie and loss: datasets, "
            "against random."
        )

    def __repr__(self) -> str:
        return (
            f"DatasetComparison of {len(self.strategies)} strategies on {len(self.datasets)} datasets\n{self.table()}"
        )


def compare_datasets(simulations: Mapping[str, Simulation], metric: str = "accuracy") -> DatasetComparison:
    """Compare strategies over datasets.

    Parameters
    ----------
    simulations : mapping of str to Simulation
        By the name of the dataset.
    metric : str

    Returns
    -------
    DatasetComparison

    Raises
    ------
    ValueError
        If no two strategies are in all simulations, or a metric is not known everywhere.

    Examples
    --------
    >>> from pickwise.evaluate.curves import Curve
    >>> from pickwise.evaluate.simulation import Simulation
    >>> def simulate(gain):
    ...     return Simulation(
    ...         tuple(
    ...             Curve(strategy=name, seed=seed, labels=np.array([10, 20]), metrics={"accuracy": heights})
    ...             for name, heights in (("margin", np.array([0.5, 0.7 + gain])), ("random", np.array([0.5, 0.7])))
    ...             for seed in range(3)
    ...         )
    ...     )
    >>> found = compare_datasets({"letter": simulate(0.1), "pendigits": simulate(0.2)})
    >>> found.ranks.tolist(), found.penalties.tolist()
    ([1.0, 2.0], [[0.0, 2.0], [0.0, 0.0]])
    """
    if not simulations:
        raise ValueError("simulations: expected one or more, got none")
    first, *others = simulations.values()
    names = tuple(name for name in first.strategies if all(name in other.strategies for other in others))
    if len(names) < 2:
        raise ValueError(
            f"simulations: expected two strategies or more that are in all of them, got {len(names)}; simulate the "
            "same strategies on each dataset"
        )
    runs = [simulation.runs(metric).select(names) for simulation in simulations.values()]
    areas = np.array([one.areas.mean(1) for one in runs])
    return DatasetComparison(
        metric=metric,
        strategies=names,
        datasets=tuple(simulations),
        areas=areas,
        ranks=significance.mean_ranks(areas),
        critical_difference=significance.critical_difference(len(names), len(simulations)),
        friedman=significance.friedman(areas),
        # All have the initial labels in common, so there is nothing to win.
        penalties=np.sum([significance.penalties(one.values[..., 1:]) for one in runs], axis=0),
        p=significance.wilcoxon_holm(np.concatenate([one.areas for one in runs], axis=1)),
        signs=np.stack([significance.significant_signs(one.areas) for one in runs], axis=-1),
    )
