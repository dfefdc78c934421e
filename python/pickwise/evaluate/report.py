"""Simulations in one HTML file, to be read anywhere: no script, no network. Needs Jinja2, matplotlib and SciPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pickwise import page
from pickwise.evaluate import charts
from pickwise.evaluate.comparison import compare_datasets
from pickwise.evaluate.simulation import BASELINE, SHOWN, Simulation, count
from pickwise.evaluate.tables import in_percent
from pickwise.loop.settings import write_whole
from pickwise.page import ABSENT, Chart, Table, Tile, svg

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from matplotlib.figure import Figure

    from pickwise.evaluate.comparison import DatasetComparison
    from pickwise.evaluate.tables import ResultTable


class Section(NamedTuple):
    """A dataset in the report."""

    name: str
    curves: Chart
    savings: Chart
    practice: Chart
    table: Table
    pairs: Table
    others: list[Chart]
    protocol: Table


def write_report(simulations: Simulation | Mapping[str, Simulation], path: str | os.PathLike[str]) -> Path:
    """Write a report of simulations, wholly or not at all.

    Parameters
    ----------
    simulations : Simulation or mapping of str to Simulation
        Of one dataset, or of several by name; several are compared with each other, too.
    path : path
        The ``.html`` file; one that is there is replaced.

    Returns
    -------
    Path
        The file. For the same simulations it is the same, byte for byte, where the libraries are.

    Raises
    ------
    ValueError
        If there are no simulations, or no metric that all of them have.
    ImportError
        If Jinja2, matplotlib or SciPy is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pickwise.evaluate.curves import Curve
    >>> labels, heights = np.array([10, 20, 30]), np.array([0.5, 0.6, 0.7])
    >>> curves = [
    ...     Curve(strategy=name, seed=seed, labels=labels, metrics={"accuracy": heights + gain})
    ...     for name, gain in (("margin", 0.1), ("random", 0.0))
    ...     for seed in range(2)
    ... ]
    >>> file = write_report(Simulation(tuple(curves), {"name": "letter"}), Path(tempfile.mkdtemp()) / "report.html")
    >>> file.read_text(encoding="utf-8")[:15]
    '<!doctype html>'
    """
    place = Path(path)
    write_whole(place, render(simulations).encode("utf-8", "replace"))
    return place


def render(simulations: Simulation | Mapping[str, Simulation]) -> str:
    """Return the report of simulations as the text of a page; see `write_report`."""
    several = simulations if isinstance(simulations, Mapping) else {_name(simulations): simulations}
    if not several:
        raise ValueError("simulations: expected one or more, got none")
    metric = _common_metric(several)
    strategies = list(dict.fromkeys(name for one in several.values() for name in one.strategies))
    looks = charts.looks(strategies)
    sections = [_section(name, one, metric, looks, f"d{i}") for i, (name, one) in enumerate(several.items())]
    compared = _comparison(several, metric)
    return page.render(
        Path(__file__).with_name("report.html.jinja"),
        title=sections[0].name if len(sections) == 1 else f"{len(strategies)} strategies on {len(sections)} datasets",
        lead=_lead(several, metric),
        tiles=list(_tiles(several, metric, compared)),
        sections=sections,
        ranks=_chart(charts.draw_ranks(compared, looks), "ranks", _RANKS) if compared else None,
        penalties=_chart(charts.draw_penalties(compared), "penalties", _penalty_text(compared)) if compared else None,
        standing=_table(compared.table()) if compared else None,
        saved=_savings_table(several, metric, compared) if compared else None,
        environment=page.pairs("environment", _environments(several)),
    )


_RANKS = (
    "Mean ranks by area under the curve. A thick bar on the right is beside strategies whose ranks differ by less than "
    "the critical difference (CD) of Nemenyi's test at 0.05: they may do so by chance."
)


def _penalty_text(found: DatasetComparison) -> str:
    return (
        "On how many datasets the strategy of the row is significantly better than that of the column (paired t-test "
        "over seeds at 0.05, at each number of labels, each dataset counting 1). The last row is how often each is "
        f"beaten, on average: less is better, {len(found.datasets)} is the most."
    )


def _name(simulation: Simulation) -> str:
    return str(simulation.about.get("name", "simulation"))


def _common_metric(simulations: Mapping[str, Simulation]) -> str:
    for metric in next(iter(simulations.values())).metrics:
        if all(metric in one.metrics for one in simulations.values()):
            return metric
    raise ValueError("simulations: expected a metric that all of them have, got none; measure them alike")


def _lead(simulations: Mapping[str, Simulation], metric: str) -> str:
    seeds = sorted({seed for one in simulations.values() for seed in one.seeds})
    return (
        f"Which strategy saves labels? Judged by {SHOWN.get(metric, metric)} on held-out rows; "
        f"{count(len(seeds), 'seed')} ({_ranges(seeds)})."
    )


def _ranges(numbers: list[int]) -> str:
    """Write numbers, those in a row by the first and the last."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]} to {part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _tiles(simulations: Mapping[str, Simulation], metric: str, compared: DatasetComparison | None) -> Iterator[Tile]:
    shown = SHOWN.get(metric, metric)
    if compared:
        best = int(np.argmin(compared.ranks))
        note = f"{svg.clean(compared.strategies[best], 30)}, of {len(compared.strategies)} strategies"
        yield Tile("best mean rank", f"{compared.ranks[best]:.2f}", note)
    else:
        runs = next(iter(simulations.values())).runs(metric)
        areas = runs.areas.mean(1)
        best = int(np.argmax(areas))
        note = f"{svg.clean(runs.strategies[best], 30)}; area under the curve"
        yield Tile(f"best mean {shown}", f"{areas[best]:.3f}", note)
    saved = [
        (one.value, name, dataset, one)
        for dataset, simulation in simulations.items()
        for name, one in _savings(simulation, metric).items()
        if math.isfinite(one.value) and one.value > 0
    ]
    if saved:
        value, name, dataset, one = max(saved, key=lambda it: it[0])
        sign = {"": "", ">=": "≥ ", "<=": "≤ "}[one.bound]
        where = f" on {svg.clean(dataset, 30)}" if compared else ""
        yield Tile("most labels saved", f"{sign}{100 * value:.0f} %", f"by {svg.clean(name, 30)}{where}")
    yield Tile("runs", f"{sum(len(one.curves) for one in simulations.values()):,}", "of a strategy with a seed")
    shares = [one.practice(name).share for one in simulations.values() for name in one.strategies]
    known = [share for share in shares if math.isfinite(share)]
    if known:
        yield Tile("time for selecting", f"{100 * np.mean(known):.1f} %", "the rest is the model's")


def _section(name: str, simulation: Simulation, metric: str, looks: charts.Looks, prefix: str) -> Section:
    practices = {each: simulation.practice(each) for each in simulation.strategies}
    return Section(
        name=svg.clean(name, 80),
        curves=_curves(simulation, metric, looks, f"{prefix}-{metric}"),
        savings=_savings_chart(simulation, metric, looks, f"{prefix}-savings"),
        practice=_practice_chart(practices, looks, f"{prefix}-practice"),
        table=_table(simulation.table(metric)),
        pairs=_table(simulation.compare(metric)),
        others=[
            _curves(simulation, other, looks, f"{prefix}-{place}")
            for place, other in enumerate(simulation.metrics)
            if other != metric
        ],
        protocol=page.pairs("protocol", _protocol(simulation)),
    )


def _chart(figure: Figure, prefix: str, caption: str) -> Chart:
    return Chart(svg.to_svg(figure, prefix, caption), caption)


def _curves(simulation: Simulation, metric: str, looks: charts.Looks, prefix: str) -> Chart:
    shown = SHOWN.get(metric, metric)
    caption = f"Mean {shown} over the labels"
    caption += "; the bands are one standard error over seeds to either side." if len(simulation.seeds) > 1 else "."
    return _chart(charts.draw_curves(simulation.runs(metric), shown, looks), prefix, caption)


def _savings(simulation: Simulation, metric: str) -> dict[str, Any]:
    return simulation.savings(metric=metric) if BASELINE in simulation.strategies else {}


def _savings_chart(simulation: Simulation, metric: str, looks: charts.Looks, prefix: str) -> Chart:
    saved = {name: one for name, one in _savings(simulation, metric).items() if math.isfinite(one.value)}
    if not saved:
        return Chart(None, "Labels saved are told against a strategy called random, which was not among these.")
    level = simulation.runs(metric).of(BASELINE)[:, -1].mean()
    caption = f"Labels saved on the way to what random ends at ({SHOWN.get(metric, metric)} {level:.3f}), with 95 % "
    caption += "intervals."
    if any(one.bound for one in saved.values()):
        caption += " A hollow marker is a bound: the curve ends before."
    if any(math.isinf(one.low) or one.high >= 1 for one in saved.values()):
        caption += " An arrow is an end that is not known."
    return _chart(charts.draw_savings(saved, looks), prefix, caption)


def _practice_chart(practices: Mapping[str, Any], looks: charts.Looks, prefix: str) -> Chart:
    if not charts.has_practice(practices):
        return Chart(None, "Neither the time of selections nor what batches are like was measured.")
    caption = (
        "Seconds a selection takes; how far rows of a batch are from each other, against a random batch (1); how "
        "evenly the labelled rows are spread over the classes (1: evenly)."
    )
    return _chart(charts.draw_practice(practices, looks), prefix, caption)


def _table(table: ResultTable) -> Table:
    texts = {name for name, column in table.columns.items() if any(isinstance(cell, str) for cell in column)}
    head = list(table.shown)
    rows = [[svg.clean(cell, 60) for cell in row] for row in zip(*table.shown.values(), strict=True)]
    return Table(head, rows, table.caption, frozenset(head) - texts)


def _comparison(simulations: Mapping[str, Simulation], metric: str) -> DatasetComparison | None:
    shared = set.intersection(*(set(one.strategies) for one in simulations.values()))
    return compare_datasets(simulations, metric) if len(simulations) > 1 and len(shared) > 1 else None


def _savings_table(simulations: Mapping[str, Simulation], metric: str, compared: DatasetComparison) -> Table:
    saved = {name: _savings(one, metric) for name, one in simulations.items()}
    rows = [
        [svg.clean(name, 60), *(in_percent(each[name]) if name in each else ABSENT for each in saved.values())]
        for _, name in sorted(zip(compared.ranks, compared.strategies, strict=True))
        if name != BASELINE
    ]
    head = ["strategy", *(svg.clean(name, 40) for name in simulations)]
    caption = "Labels saved against random on the way to what it ends at, in percent, with 95 % intervals."
    return Table(head, rows if any(saved.values()) else [], caption, frozenset(head[1:]))


def _environments(simulations: Mapping[str, Simulation]) -> dict[str, Any]:
    """Return the environment of all, once if it is the same."""
    found = {name: one.about.get("environment") or {} for name, one in simulations.items()}
    first = next(iter(found.values()))
    return dict(first) if all(one == first for one in found.values()) else found


def _protocol(simulation: Simulation) -> dict[str, Any]:
    told = {name: value for name, value in simulation.about.items() if name not in ("name", "environment")}
    return told | {"seeds": _ranges(list(simulation.seeds))}
