"""The charts of simulations. Needs matplotlib, from the extra ``evaluate``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from pickwise.evaluate import statistics
from pickwise.evaluate.simulation import BASELINE
from pickwise.page.svg import AMBER, BLUE, GREEN, INK, ORANGE, PURPLE, SKY, WIDTH, canvas, clean, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pickwise.evaluate.comparison import DatasetComparison
    from pickwise.evaluate.simulation import Practice, Runs
    from pickwise.evaluate.statistics import Estimate

_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)
_DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), "-.", (0, (1.2, 1.2)))
_MARKERS = "os^DvPX<>*hp"
_MOST_MARKERS = 8
_MOST_CELLS = 14


class Look(NamedTuple):
    """How a strategy is drawn: by colour, dash and marker, any of which tells it from its neighbours."""

    color: str
    dash: Any
    marker: str


Looks: TypeAlias = "Mapping[str, Look]"


def looks(strategies: Sequence[str]) -> dict[str, Look]:
    """Return how each strategy is drawn, the same in all charts.

    Examples
    --------
    >>> looks(["random", "margin"])["margin"].marker
    'o'
    """
    others = [name for name in strategies if name != BASELINE]
    found = {
        name: Look(
            _COLORS[i % len(_COLORS)],
            _DASHES[(i + i // len(_COLORS)) % len(_DASHES)],
            _MARKERS[i % len(_MARKERS)],
        )
        for i, name in enumerate(others)
    }
    return {name: found.get(name, Look(INK, (0, (4, 2)), ".")) for name in strategies}


@styled
def draw_curves(runs: Runs, metric: str, shown: Looks) -> Figure:
    """Draw mean curves with bands of one standard error over seeds to either side."""
    names = [clean(name, 24) for name in runs.strategies]
    columns = 3 if max(map(len, names)) <= 12 else 2
    figure, axes = canvas(3.4 + 0.17 * math.ceil(len(names) / columns))
    step = max(1, math.ceil(len(runs.labels) / _MOST_MARKERS))
    for place, (strategy, name) in enumerate(zip(runs.strategies, names, strict=True)):
        look, values = shown[strategy], runs.of(strategy)
        mean, error = values.mean(0), statistics.standard_error(values)
        axes.plot(
            runs.labels,
            mean,
            color=look.color,
            linestyle=look.dash,
            linewidth=1.5,
            marker=look.marker,
            markersize=4.5,
            markevery=(place % step, step),
            label=name,
        )
        axes.fill_between(runs.labels, mean - error, mean + error, color=look.color, alpha=0.13, linewidth=0)
    axes.set(xlabel="labelled rows", ylabel=clean(metric, 30))
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="outside lower center", ncols=columns, handlelength=3.2, columnspacing=1.2, fontsize=8.5)
    return figure


@styled
def draw_savings(savings: Mapping[str, Estimate], shown: Looks) -> Figure:
    """Draw the share of labels saved with its interval, the most first; an arrow is an end that is open."""
    told = {name: one for name, one in savings.items() if math.isfinite(one.value)}
    order = sorted(told, key=lambda name: -told[name].value)
    figure, axes = _rows(order)
    axes.axvline(0, color=INK, linewidth=0.8)
    least = min(0.0, *(_finite(one.low, one.value) for one in told.values()))
    most = max(0.0, *(one.high if one.high < 1 else one.value for one in told.values()))
    margin = 0.12 * max(most - least, 0.01)
    for y, name in enumerate(order):
        one, look = told[name], shown[name]
        low = one.value - margin if math.isinf(one.low) else _finite(one.low, one.value)
        high = one.value + margin if one.high >= 1 else _finite(one.high, one.value)
        axes.hlines(y, low, high, color=look.color, linewidth=2)
        if math.isinf(one.low):
            axes.plot(low, y, "<", color=look.color, markersize=5)
        if one.high >= 1:
            axes.plot(high, y, ">", color=look.color, markersize=5)
        fill = "none" if one.bound else "full"
        axes.plot(one.value, y, look.marker, color=look.color, markersize=7, fillstyle=fill)
    axes.set(xlabel="labels saved against random", xlim=(least - 1.3 * margin, most + 1.3 * margin))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.6g} %")
    axes.locator_params(axis="x", nbins=6, steps=[1, 2, 5, 10])
    return figure


def _finite(value: float, other: float) -> float:
    return value if math.isfinite(value) else other


@styled
def draw_practice(practices: Mapping[str, Practice], shown: Looks) -> Figure:
    """Draw what selections cost and what batches are like, as far as it was measured."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    titles = {"seconds": "selection", "diversity": "diversity", "balance": "balance"}
    parts = {key: title for key, title in titles.items() if _known(practices, key)}
    order = list(practices)
    figure = Figure(figsize=(WIDTH, 0.8 + 0.24 * len(order)))
    panes = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, (key, title) in zip(panes, parts.items(), strict=True):
        values = [getattr(practices[name], key) for name in order]
        for y, (name, value) in enumerate(zip(order, values, strict=True)):
            axes.plot(value, y, shown[name].marker, color=shown[name].color, markersize=6)
        if key == "seconds":
            _spread_seconds(axes, [value for value in values if value > 0])
            axes.xaxis.set_major_formatter(EngFormatter("s", sep=" "))
        else:
            axes.locator_params(axis="x", nbins=2)
        axes.margins(x=0.15)
        axes.set_title(title)
        axes.tick_params(axis="y", length=0)
    _name_rows(panes[0], order)
    return figure


def _spread_seconds(axes: Axes, seconds: Sequence[float]) -> None:
    """Take a logarithmic axis where times lie far apart."""
    from matplotlib.ticker import LogLocator, NullLocator

    if seconds and max(seconds) > 20 * min(seconds):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=3))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.locator_params(axis="x", nbins=2)


def _known(practices: Mapping[str, Practice], key: str) -> bool:
    return any(math.isfinite(getattr(one, key)) for one in practices.values())


def has_practice(practices: Mapping[str, Practice]) -> bool:
    """Whether there is anything for `draw_practice` to draw."""
    return any(_known(practices, key) for key in ("seconds", "diversity", "balance"))


@styled
def draw_ranks(found: DatasetComparison, shown: Looks) -> Figure:
    """Draw mean ranks, and bars beside those that do not differ significantly: a critical-difference diagram.

    Demšar's has the names to both sides of one axis, where long ones leave no room for it on a phone.
    """
    order = np.argsort(found.ranks, kind="stable")
    ranks, count, difference = found.ranks[order], len(order), found.critical_difference
    figure, axes = _rows([found.strategies[i] for i in order])
    for y, (i, rank) in enumerate(zip(order, ranks, strict=True)):
        look = shown[found.strategies[i]]
        axes.plot(rank, y, look.marker, color=look.color, markersize=7)
        axes.text(rank + 0.04 * count, y, f"{rank:.2f}", va="center", fontsize=8.5)
    axes.errorbar(1 + difference / 2, -1, xerr=difference / 2, color=INK, linewidth=1.2, capsize=3)
    axes.text(1 + difference + 0.03 * count, -1, f"CD {difference:.2f}", va="center", fontsize=8.5)
    bars = count + 0.14 * count + 0.035 * count * np.arange(count)
    cliques = _cliques(ranks, difference)
    for x, (start, stop) in zip(bars, cliques, strict=False):
        axes.vlines(x, start - 0.25, stop + 0.25, color=INK, linewidth=3)
    right = max(bars[len(cliques)], 1 + difference + 0.2 * count)
    axes.set(xlabel="mean rank (1: the best)", xlim=(1 - 0.04 * count, right), ylim=(count - 0.4, -1.6))
    axes.set_xticks(range(1, count + 1))
    axes.spines["bottom"].set_bounds(1, count)
    return figure


def _cliques(ranks: Any, difference: float) -> list[tuple[int, int]]:
    """Return the first and the last of each group, among sorted ranks, that none is significantly apart in."""
    found: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        stop = int(np.searchsorted(ranks, ranks[start] + difference, side="left")) - 1
        if stop > start and (not found or stop > found[-1][1]):
            found.append((start, stop))
    return found


@styled
def draw_penalties(found: DatasetComparison) -> Figure:
    """Draw how often strategies beat each other, the one that is beaten least first, and that on average."""
    matrix, count = found.penalties, len(found.strategies)
    order = np.argsort(matrix.sum(0), kind="stable")
    mean = matrix.sum(0) / max(1, count - 1)
    cells = np.vstack([matrix[np.ix_(order, order)], mean[order]])
    names = [clean(found.strategies[i], 22) for i in order]
    figure, axes = canvas(1.3 + 0.27 * count)
    # The last row, the mean, is set apart by a gap.
    edges = np.array([*range(count + 1), count + 0.25, count + 1.25])
    spaced = np.vstack([cells[:-1], np.full(count, np.nan), cells[-1]])
    top = len(found.datasets)
    axes.pcolormesh(np.arange(count + 1), edges, np.ma.masked_invalid(spaced), cmap="cividis", vmin=0, vmax=top)
    for (y, x), value in np.ndenumerate(cells):
        height = y + 0.5 if y < count else count + 0.75
        if y != x:
            color = "black" if value > 0.55 * top else "white"
            size = 7.5 if count <= _MOST_CELLS else 5
            axes.text(x + 0.5, height, f"{value:.1f}", ha="center", va="center", color=color, fontsize=size)
    axes.set_ylim(count + 1.25, 0)
    axes.grid(visible=False)
    axes.set_yticks([*(np.arange(count) + 0.5), count + 0.75], [*names, "mean"])
    axes.set_xticks(np.arange(count) + 0.5, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _rows(names: Sequence[str]) -> tuple[Figure, Axes]:
    """Make room for a row a strategy."""
    figure, axes = canvas(0.75 + 0.25 * len(names))
    _name_rows(axes, names)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [clean(name, 22) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
