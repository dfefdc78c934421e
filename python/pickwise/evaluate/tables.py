"""The tables of simulations: to be printed, and to be worked on."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.evaluate import significance, statistics
from pickwise.evaluate.simulation import BASELINE, SHOWN, count
from pickwise.evaluate.statistics import Estimate
from pickwise.page import ABSENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pickwise.evaluate.simulation import Runs, Simulation


@dataclass(frozen=True, eq=False, repr=False)
class ResultTable:
    """A table of results. Printed, it is rounded for people; as a frame it has all digits.

    Attributes
    ----------
    columns : mapping of str to sequence
        Text and numbers; NaN where there is nothing to tell.
    shown : mapping of str to sequence of str
        The same for people: an estimate and its interval in one cell.
    caption : str
        What one needs to know to read it.

    Examples
    --------
    >>> print(ResultTable({"strategy": ["margin"], "area": [0.81234]}, {"strategy": ["margin"], "area": ["0.812"]}))
    strategy   area
    margin    0.812
    """

    columns: Mapping[str, Sequence[Any]]
    shown: Mapping[str, Sequence[str]]
    caption: str = ""

    def to_pandas(self) -> Any:
        """Return it as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns))

    def to_polars(self) -> Any:
        """Return it as a Polars frame."""
        import polars as pl

        return pl.DataFrame(dict(self.columns))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __repr__(self) -> str:
        texts = [name for name, column in self.columns.items() if any(isinstance(cell, str) for cell in column)]
        columns = []
        for name, cells in self.shown.items():
            width = max(map(len, (name, *cells)))
            columns.append([cell.ljust(width) if name in texts else cell.rjust(width) for cell in (name, *cells)])
        lines = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
        return "\n".join([*lines, *([self.caption] if self.caption else [])])


@dataclass
class Columns:
    """A table in the making."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    shown: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, values: Sequence[Any], title: str = "", form: str = "") -> None:
        """Add text, or numbers in a form."""
        self.columns[name] = list(values)
        self.shown[title or name] = [number(value, form) for value in values] if form else list(map(str, values))

    def add_means(self, name: str, runs: NDArray[np.float64]) -> None:
        """Add means over the last axis, the seeds, with their standard errors."""
        means, errors = runs.mean(1), statistics.standard_error(runs.T)
        self.columns |= {name: means.tolist(), f"{name}_se": errors.tolist()}
        self.shown[name] = [
            number(mean) + (f" ± {error:.3f}" if math.isfinite(error) else "")
            for mean, error in zip(means, errors, strict=True)
        ]

    def add_estimates(self, name: str, estimates: Sequence[Estimate], title: str, texts: Sequence[str]) -> None:
        """Add estimates with their intervals, and whether they are bounds."""
        self.columns[name] = [one.value for one in estimates]
        self.columns[f"{name}_low"] = [one.low for one in estimates]
        self.columns[f"{name}_high"] = [one.high for one in estimates]
        if any(one.bound for one in estimates):
            self.columns[f"{name}_bound"] = [one.bound for one in estimates]
        self.shown[title] = list(texts)

    def finish(self, caption: str) -> ResultTable:
        """Make the table."""
        return ResultTable(self.columns, self.shown, caption)


def tabulate_strategies(simulation: Simulation, metric: str, at: float | Sequence[float] | None) -> ResultTable:
    """Make the table of strategies; see `Simulation.table`."""
    runs = simulation.runs(metric)
    order = np.argsort(-runs.areas.mean(1), kind="stable")
    names = [runs.strategies[i] for i in order]
    means = runs.values.mean(1)[order]
    table = Columns()
    table.add("strategy", names)
    table.add_means("area", runs.areas[order])
    table.add_means("final", runs.values[order, :, -1])
    base = runs.of(BASELINE).mean(0) if BASELINE in names else None
    full = simulation.about.get("full", {}).get(metric)
    if base is not None and full is not None:
        normalised = statistics.normalised_area(runs.labels, means, base, full)
        table.add("normalised_area", normalised.tolist(), "normalised area", ".3f")
    if base is not None:
        _add_level(table, runs, names, None)
    for level in np.atleast_1d(np.asarray([] if at is None else at, float)).tolist():
        _add_level(table, runs, names, level)
    if base is not None:
        table.add("deficiency", statistics.deficiency(means, base).tolist(), form=".2f")
    practices = [simulation.practice(name) for name in names]
    table.add("seconds", [one.seconds for one in practices], "s a selection", ".3g")
    table.add("diversity", [one.diversity for one in practices], form=".2f")
    table.add("balance", [one.balance for one in practices], form=".3f")
    caption = (
        f"{SHOWN.get(metric, metric)}, {runs.labels[0]:,.0f} to {runs.labels[-1]:,.0f} labels; means of "
        f"{count(len(runs.seeds), 'seed')}, ± standard error, 95 % intervals in brackets."
    )
    left = sorted({curve.seed for curve in simulation.curves}.difference(runs.seeds))
    if left:
        caption += f" Left out, as not all strategies have them: seeds {', '.join(map(str, left))}."
    return table.finish(caption[0].upper() + caption[1:])


def _add_level(table: Columns, runs: Runs, names: Sequence[str], level: float | None) -> None:
    """Add the labels to a level, and what that saves; None is the level that random picks end at."""
    height = float(runs.of(BASELINE)[:, -1].mean()) if level is None else level
    needed = [statistics.labels_to_interval(runs.labels, runs.of(name), height) for name in names]
    texts = [with_interval(one, ",.0f") for one in needed]
    if level is None:
        table.add_estimates("labels_to_random", needed, f"labels to {height:.3f}", texts)
    else:
        table.add_estimates(f"labels_to_{level:g}", needed, f"labels to {level:g}", texts)
    if BASELINE not in names:
        return
    base = runs.of(BASELINE)
    saved = [statistics.savings(runs.labels, runs.of(name), base, level) for name in names]
    saved = [Estimate(0.0, 0.0, 0.0) if name == BASELINE else one for name, one in zip(names, saved, strict=True)]
    texts = [ABSENT if name == BASELINE else in_percent(one) for name, one in zip(names, saved, strict=True)]
    if level is None:
        table.add_estimates("savings", saved, "saved, %", texts)
    else:
        table.add_estimates(f"savings_at_{level:g}", saved, f"saved at {level:g}, %", texts)


def tabulate_pairs(simulation: Simulation, metric: str) -> ResultTable:
    """Make the table of pairs; see `Simulation.compare`."""
    runs = simulation.runs(metric)
    areas = runs.areas
    pairs = list(itertools.combinations(np.argsort(-areas.mean(1), kind="stable"), 2))
    gaps = [statistics.mean_difference(areas[i], areas[j]) for i, j in pairs]
    p = significance.wilcoxon_holm(areas)
    # All have the initial labels in common, so there is nothing to win.
    signs = significance.significant_signs(runs.values[..., 1:])
    table = Columns()
    table.add("strategy", [runs.strategies[i] for i, _ in pairs])
    table.add("against", [runs.strategies[j] for _, j in pairs])
    table.add_estimates("difference", gaps, "difference of areas", [with_interval(gap, "+z.4f") for gap in gaps])
    table.add("p", [float(p[i, j]) for i, j in pairs], form=".2g")
    for name, sign in (("win", 1), ("tie", 0), ("loss", -1)):
        table.add(name, [int((signs[i, j] == sign).sum()) for i, j in pairs])
    least = min(1.0, len(pairs) * 2.0 ** (1 - len(runs.seeds)))
    caption = (
        f"{SHOWN.get(metric, metric)}. p: Wilcoxon's signed-rank test over {count(len(runs.seeds), 'seed')}, corrected "
        f"by Holm for {count(len(pairs), 'pair')}"
    )
    if least > statistics.SIGNIFICANCE:
        caption += f"; of so few seeds it is never below {least:.2g}, however large the difference"
    caption += ". Win, tie and loss: numbers of labels, by the paired t-test over seeds at 0.05."
    return table.finish(caption[0].upper() + caption[1:])


def number(value: float, form: str = ".3f") -> str:
    """Write a number, or that there is none."""
    return format(value, form) if math.isfinite(value) else ABSENT


def with_interval(it: Estimate, form: str = ".3f") -> str:
    """Write an estimate with its interval, whose ends may be open."""
    if not math.isfinite(it.value):
        return ABSENT
    low, high = (format(end, form) if math.isfinite(end) else "" for end in (it.low, it.high))
    if it.bound and format(it.value, form) in (low, high):
        low = high = ""  # the bound says as much
    if low and high:
        interval = f" ({low} to {high})"
    elif low or high:
        interval = f" ({low} or more)" if low else f" ({high} or less)"
    else:
        interval = ""
    mark = {"": "", ">=": "≥ ", "<=": "≤ "}[it.bound]
    return f"{mark}{it.value:{form}}{interval}"


def in_percent(saved: Estimate) -> str:
    """Write a share as percent; that all may be saved tells nothing, so that end is open."""
    low, high = 100 * saved.low, np.inf if saved.high >= 1 else 100 * saved.high
    return with_interval(Estimate(100 * saved.value, low, high, saved.bound), "z.0f")
