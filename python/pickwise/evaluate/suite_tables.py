"""The tables of a suite: of all points, of each strategy on each dataset, and of the time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.evaluate import statistics
from pickwise.evaluate.simulation import BASELINE
from pickwise.evaluate.statistics import Estimate
from pickwise.evaluate.tables import ResultTable, in_percent, number
from pickwise.page import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pickwise.evaluate.curves import Curve
    from pickwise.evaluate.simulation import Runs, Simulation


_MODEL = ("fitting", "predicting")
_SAVED = ("saved", "saved_low", "saved_high", "saved_bound")


def tabulate_points(simulations: Mapping[str, Simulation]) -> ResultTable:
    """Make a row for each dataset, strategy and number of labels; see `SuiteResult.points`."""
    rows = []
    for name, simulation in simulations.items():
        runs = simulation.runs()
        for strategy in runs.strategies:
            values = runs.of(strategy)
            means, errors = values.mean(0), statistics.standard_error(values)
            for labels, mean, error in zip(runs.labels, means, errors, strict=True):
                rows.append((name, strategy, int(labels), float(mean), float(error), len(runs.seeds)))
    head = ("dataset", "strategy", "labels", "accuracy", "accuracy_se", "seeds")
    columns = dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))
    forms = ("", "", ",", ".4f", ".4f", "")
    shown = {
        name: [number(cell, form) if form else str(cell) for cell in columns[name]]
        for name, form in zip(head, forms, strict=True)
    }
    return ResultTable(columns, shown)


def tabulate_summary(simulations: Mapping[str, Simulation], levels: Mapping[str, Sequence[float]]) -> ResultTable:
    """Make a row for each dataset and strategy; see `SuiteResult.table`."""
    rows, shown = [], []
    for name, simulation in simulations.items():
        runs = simulation.runs()
        for i in np.argsort(-runs.areas.mean(1), kind="stable"):
            strategy = runs.strategies[i]
            reached = [_reached(runs, strategy, level) for level in levels[name]]
            row = {"dataset": name, **_summarised(simulation, runs, strategy)}
            shown.append(_shown(row, reached))
            rows.append(row | {f"{what}_{n}": one for n, it in enumerate(reached, 1) for what, one in it.items()})
    caption = (
        "Accuracy: the mean over all points of the curves, ± standard error over seeds. Labels to: the first number of "
        "labels at which the mean curve is at the level. Saved: labels against random to the same levels, interpolated."
        " Besides the model: the share of the time of the runs that is neither fitting nor predicting."
    )
    return ResultTable(_columns(rows), _columns(shown), caption)


def tabulate_times(simulations: Mapping[str, Simulation], seconds: Mapping[str, float]) -> ResultTable:
    """Make a row for each dataset, and one for all; see `SuiteResult.times`."""
    rows = [{"dataset": name, **_times(one.curves, seconds[name])} for name, one in simulations.items()]
    if len(rows) > 1:
        curves = itertools.chain.from_iterable(one.curves for one in simulations.values())
        rows.append({"dataset": "all", **_times(list(curves), sum(seconds.values()))})
    columns = _columns(rows)
    shown = {
        "dataset": columns["dataset"],
        "runs": [format(runs, ",") for runs in columns["runs"]],
        "s now": [number(one, ",.1f") for one in columns["seconds_now"]],
        "s of runs": [number(one, ",.1f") for one in columns["seconds_of_runs"]],
        **{name: [number(one, ",.1f") for one in columns[name]] for name in (*_MODEL, "selecting", "besides")},
        "besides the model, %": [number(100 * one, ".1f") for one in columns["besides_the_model"]],
    }
    caption = (
        "Seconds: now, and of all runs when they were made. Besides: measuring, and keeping books. Besides the model: "
        "the share of the runs' seconds that is neither fitting nor predicting."
    )
    return ResultTable(columns, shown, caption)


def _summarised(simulation: Simulation, runs: Runs, strategy: str) -> dict[str, Any]:
    """Tell how good a strategy is, and what it costs."""
    values, area = runs.of(strategy), runs.areas[runs.strategies.index(strategy)]
    heights = values.mean(1)
    times = _times(curve for curve in simulation.curves if curve.strategy == strategy)
    return {
        "strategy": strategy,
        "seeds": len(runs.seeds),
        "points": len(runs.labels),
        "accuracy": float(heights.mean()),
        "accuracy_se": float(statistics.standard_error(heights)),
        "area": float(area.mean()),
        "area_se": float(statistics.standard_error(area)),
        "final": float(values[:, -1].mean()),
        "seconds_a_selection": simulation.practice(strategy).seconds,
        "besides_the_model": times["besides_the_model"],
    }


def _shown(row: Mapping[str, Any], reached: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Write what people are shown of a row."""
    error = f" ± {row['accuracy_se']:.4f}" if row["seeds"] > 1 else ""
    saved = [in_percent(Estimate(*(one[name] for name in _SAVED))) for one in reached if row["strategy"] != BASELINE]
    return {
        "dataset": row["dataset"],
        "strategy": row["strategy"],
        "accuracy": number(row["accuracy"], ".4f") + error,
        "area": number(row["area"], ".4f"),
        "labels to": "; ".join(f"{one['level']:g}: {number(one['first'], ',.0f')}" for one in reached) or ABSENT,
        "saved, %": "; ".join(saved) if set(saved) - {ABSENT} else ABSENT,
        "s a selection": number(row["seconds_a_selection"], ".3g"),
        "besides the model, %": number(100 * row["besides_the_model"], ".1f"),
    }


def _reached(runs: Runs, strategy: str, level: float) -> dict[str, Any]:
    """Tell the labels to a level, at a point of the mean curve and between two, and what that saves."""
    mean = runs.of(strategy).mean(0)
    there = mean >= level - statistics.ROUNDING
    saved = Estimate(np.nan, np.nan, np.nan)
    if BASELINE in runs.strategies and strategy != BASELINE:
        saved = statistics.savings(runs.labels, runs.of(strategy), runs.of(BASELINE), level)
    return {
        "level": level,
        "first": float(runs.labels[there.argmax()]) if there.any() else np.nan,
        "labels_to": float(statistics.labels_to(runs.labels, mean, level)),
        **dict(zip(_SAVED, saved, strict=True)),
    }


def _times(curves: Iterable[Curve], now: float = np.nan) -> dict[str, Any]:
    """Add up what runs have taken."""
    curves = list(curves)
    whole = float(sum(curve.elapsed for curve in curves))
    parts = {
        name: float(sum(curve.seconds[name].sum() for curve in curves if name in curve.seconds))
        for name in (*_MODEL, "selecting")
    }
    return {
        "runs": len(curves),
        "seconds_now": now,
        "seconds_of_runs": whole,
        **parts,
        "besides": whole - sum(parts.values()),
        "besides_the_model": 1 - sum(parts[name] for name in _MODEL) / whole,
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows into columns; what a row does not have is NaN."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, np.nan) for row in rows] for name in names}
