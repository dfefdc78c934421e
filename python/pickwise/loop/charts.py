"""The charts of the report of a project. Needs matplotlib, from the extra ``loop``."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.page.svg import BLUE, GREEN, INK, ORANGE, canvas, clean, panels, percent, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from pickwise.loop.drift import Drift, Histogram
    from pickwise.loop.history import Round

MOST_BARS = 24
"""Classes in a chart of bars; of more the first and the last are shown."""
MOST_CELLS = 30
"""Classes in a heat map."""
_MOST_ROUNDS = 16

RATES = {"accuracy": "accuracy", "macro_f1": "macro F1", "micro_f1": "micro F1", "r2": "R²"}
"""Metrics of which more is better, and at most 1; the first that is there stands for a model."""
LOSSES = {"mae": "mean absolute error", "log_loss": "log loss"}
"""Metrics of which less is better."""


def wilson(share: float, rows: int) -> tuple[float, float]:
    """Return the Wilson 95 % interval of a share (Wilson, 1927).

    Examples
    --------
    >>> tuple(round(bound, 3) for bound in wilson(0.9, 100))
    (0.826, 0.945)
    """
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise ImportError("intervals need SciPy; install it with pip install 'pickwise[loop]'") from error
    bounds = binomtest(round(share * rows), rows).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


@styled
def draw_learning(rounds: Sequence[Round], evaluation_rows: int) -> Figure:
    """Draw how good each model is over the labels that it learnt from."""
    metrics = measured(rounds)
    figure, axes = canvas(2.9)
    for name, color, dash in zip(metrics, (BLUE, ORANGE, GREEN, INK), ("-", "--", ":", "-."), strict=False):
        there = [step for step in rounds if is_known(step.metrics.get(name))]
        labels, values = [step.labelled for step in there], [step.metrics[name] for step in there]
        axes.plot(labels, values, dash, color=color, marker="o", markersize=4, label=metrics[name])
        if name == "accuracy" and evaluation_rows:
            low, high = zip(*(wilson(value, evaluation_rows) for value in values), strict=True)
            if len(there) > 1:
                axes.fill_between(labels, low, high, color=color, alpha=0.2, linewidth=0)
            else:
                axes.vlines(labels, low, high, color=color, alpha=0.5)
    axes.set(xlabel="labelled rows", ylabel=next(iter(metrics.values())) if len(metrics) == 1 else None)
    axes.locator_params(axis="x", nbins=6, integer=True)
    if len(metrics) > 1:
        axes.legend(loc="lower right")
    return figure


def measured(rounds: Sequence[Round]) -> dict[str, str]:
    """Return the metrics that rounds have and that go into one chart, the one that stands for a model first."""
    names = {name for step in rounds for name, value in step.metrics.items() if is_known(value)}
    rates = {name: shown for name, shown in RATES.items() if name in names}
    return rates or dict(list({name: shown for name, shown in LOSSES.items() if name in names}.items())[:1])


@styled
def draw_cost(rounds: Sequence[Round], hours: Mapping[int, float]) -> Figure:
    """Draw what each round has cost on top of those before it: labels, and hours where they are known."""
    numbers = [step.number for step in rounds]
    parts = [("labels", [float(step.answered) for step in rounds])]
    if hours:
        parts.append(("hours of annotators", [hours.get(number, 0.0) for number in numbers]))
    figure, panes = panels([2.1] * len(parts), shared=True)
    for axes, (name, costs) in zip(panes, parts, strict=True):
        before = np.cumsum([0.0, *costs])[:-1]
        axes.bar(numbers, before, color=BLUE, alpha=0.3, label="rounds before")
        axes.bar(numbers, costs, bottom=before, color=BLUE, label="this round")
        axes.set(title=name, ylim=(0, 1.05 * max(sum(costs), 1e-9)))
        axes.grid(axis="x", visible=False)
    panes[0].legend(loc="upper left")
    panes[-1].set_xlabel("round")
    panes[-1].locator_params(axis="x", integer=True)
    return figure


@styled
def draw_counts(counts: Mapping[str, int]) -> Figure:
    """Draw how many labelled rows each class has, the most first."""
    order = sorted(counts, key=lambda name: -counts[name])
    figure, axes, rows = _bars(order)
    top = max(counts.values())
    for y, name in rows:
        axes.barh(y, counts[name], color=BLUE, height=0.75)
        axes.text(counts[name] + top / 80, y, f"{counts[name]:,}", va="center", fontsize=8.5)
    axes.set(xlabel="labelled rows", xlim=(0, 1.16 * max(1, top)))
    axes.locator_params(axis="x", nbins=5, integer=True)
    return figure


@styled
def draw_recall(per_class: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the recall of each class with its interval, the best first."""
    order = sorted(per_class, key=lambda name: -per_class[name]["recall"])
    figure, axes, rows = _bars(order)
    for y, name in rows:
        recall, support = per_class[name]["recall"], round(per_class[name].get("support", 0))
        axes.barh(y, recall, color=BLUE, height=0.75, alpha=0.35)
        axes.plot([recall], [y], "o", color=BLUE, markersize=4)
        if support:
            axes.hlines(y, *wilson(recall, support), color=BLUE, linewidth=1.2)
    axes.set(xlabel="accuracy within the class (recall)", xlim=(0, 1.02))
    return figure


@styled
def draw_recall_by_round(rounds: Sequence[Round]) -> Figure:
    """Draw the recall of each class in each round, as a heat map; the best class of the last round first."""
    rounds = _evenly(rounds)
    last = {name: figures.get("recall", np.nan) for name, figures in rounds[-1].per_class.items()}
    order = sorted(last, key=lambda name: -last[name] if is_known(last[name]) else 1.0)
    cells = np.array([[step.per_class.get(name, {}).get("recall", np.nan) for step in rounds] for name in order])
    figure, axes = canvas(0.75 + 0.22 * len(order))
    # Light enough at one end and dark enough at the other for numbers on it, told apart by the colour-blind too.
    axes.pcolormesh(np.ma.masked_invalid(cells), cmap="cividis", vmin=0, vmax=1)
    for (y, x), recall in np.ndenumerate(cells):
        if np.isfinite(recall):
            color = "black" if recall > 0.55 else "white"
            axes.text(x + 0.5, y + 0.5, f"{100 * recall:.0f}", ha="center", va="center", color=color, fontsize=7.5)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_yticks(np.arange(len(order)) + 0.5, [clean(name, 22) for name in order])
    axes.set_xticks(np.arange(len(rounds)) + 0.5, [str(step.number) for step in rounds])
    axes.tick_params(length=0)
    axes.set_xlabel("round")
    return figure


@styled
def draw_scores(scores: Mapping[int, NDArray[Any]]) -> Figure:
    """Draw how the scores of the probe are distributed in each round, one below the other."""
    finite = {number: values[np.isfinite(values)] for number, values in sorted(scores.items())}
    shown = _evenly([number for number, values in finite.items() if len(values)])
    edges = np.histogram_bin_edges(np.concatenate([finite[number] for number in shown]), 50)
    shares = [np.histogram(finite[number], edges)[0] / len(finite[number]) for number in shown]
    centers, top = (edges[1:] + edges[:-1]) / 2, max(share.max() for share in shares)
    figure, axes = canvas(0.8 + 0.3 * len(shown))
    highest = 0.0
    for y, share in enumerate(shares):
        color = ORANGE if y == len(shown) - 1 else BLUE
        outline = y - 1.5 * share / top  # ridges overlap by a half at most
        highest = min(highest, outline.min())
        axes.fill_between(centers, y, outline, color=color, alpha=0.3, linewidth=0, zorder=2 + y)
        axes.plot(centers, outline, color=color, linewidth=1.1, zorder=2 + y)
    axes.set_yticks(range(len(shown)), [str(number) for number in shown])
    axes.set(xlabel="score (higher: more worth labelling)", ylabel="round", ylim=(len(shown) - 0.7, highest - 0.2))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


@styled
def draw_drift(drift: Drift) -> Figure:
    """Draw the scores, the classes that moved most and the distances to labelled rows, before and after."""
    moved = min(len(drift.classes), _MOST_MOVED)
    parts: list[tuple[str, float, Callable[[Axes], None]]] = [
        ("score", 1.6, functools.partial(_steps, histogram=drift.score_histogram))
    ]
    if drift.classes:
        parts.append(("predicted classes", 0.3 + 0.21 * moved, functools.partial(_moves, drift=drift)))
    if drift.distance_histogram is not None:
        steps = functools.partial(_steps, histogram=drift.distance_histogram)
        parts.append(("distance to the nearest labelled row", 1.6, steps))
    figure, panes = panels([height + 0.6 for _, height, _ in parts])
    for axes, (title, _, draw) in zip(panes, parts, strict=True):
        draw(axes)
        axes.set_title(title)
    panes[0].legend(loc="best")
    return figure


_MOST_MOVED = 12


def _steps(axes: Axes, histogram: Histogram) -> None:
    axes.stairs(histogram.before, histogram.edges, color=BLUE, label="before", linewidth=1.4)
    axes.stairs(histogram.after, histogram.edges, color=ORANGE, label="after", fill=True, alpha=0.35)
    axes.yaxis.set_major_formatter(percent())
    axes.locator_params(axis="y", nbins=4)


def _moves(axes: Axes, drift: Drift) -> None:
    before, after = np.array(drift.shares_before), np.array(drift.shares_after)
    most = np.argsort(-np.abs(after - before), kind="stable")[:_MOST_MOVED]
    places = np.arange(len(most))
    axes.hlines(places, before[most], after[most], color=INK, alpha=0.4, linewidth=1.5)
    axes.plot(before[most], places, "o", color=BLUE, markersize=6, fillstyle="none", label="before")
    axes.plot(after[most], places, "o", color=ORANGE, markersize=6, label="after")
    axes.set_yticks(places, [clean(drift.classes[i], 22) for i in most])
    axes.set(xlim=(0, None), ylim=(len(most) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(percent())
    axes.locator_params(axis="x", nbins=5)
    axes.tick_params(axis="y", length=0)


def is_known(value: float | None) -> bool:
    """Whether something was measured, and is a number: the recall of a class without rows, for one, is none."""
    return value is not None and math.isfinite(value)


def has_finite(scores: NDArray[Any]) -> bool:
    """Whether there is anything to draw."""
    return bool(np.isfinite(scores).any())


def _bars(order: Sequence[str]) -> tuple[Figure, Axes, list[tuple[int, str]]]:
    """Make room for a bar a class, and tell which goes where; of many there are the first and the last."""
    rows = list(enumerate(order))
    ticks = [(y, clean(name, 22)) for y, name in rows]
    if len(order) > MOST_BARS:
        half = MOST_BARS // 2
        rows = [*rows[:half], *((half + 1 + y, name) for y, name in enumerate(order[-half:]))]
        ticks = [(y, clean(name, 22)) for y, name in rows]
        ticks.insert(half, (half, f"… {len(order) - 2 * half} more …"))
    figure, axes = canvas(0.7 + 0.21 * len(ticks))
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.set_ylim(len(ticks) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    return figure, axes, rows


def _evenly(steps: Sequence[Any]) -> list[Any]:
    """Return so many as a chart can show, the first and the last among them."""
    if len(steps) <= _MOST_ROUNDS:
        return list(steps)
    return [steps[i] for i in np.linspace(0, len(steps) - 1, _MOST_ROUNDS).round().astype(int)]
