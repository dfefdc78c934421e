"""A project in one HTML file, to be read anywhere: no script, no network. Needs Jinja2 and matplotlib."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pickwise import page
from pickwise.loop import charts
from pickwise.loop.history import best_round
from pickwise.loop.settings import write_whole
from pickwise.page import ABSENT, Chart, Table, Tile, svg

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from pickwise.loop.drift import Drift
    from pickwise.loop.history import Round

_MOST_ROWS = 50


class InformativeRow(NamedTuple):
    """A row that was worth labelling.

    Attributes
    ----------
    id : int or str
    round : int
        In which it was selected.
    score : float or None
        By which.
    label : object
        What it was found to be; None where there is none.
    text : object
        What there is to see of it.
    """

    id: int | str
    round: int
    score: float | None
    label: Any
    text: Any


class AnnotatorRow(NamedTuple):
    """How an annotator has answered.

    Attributes
    ----------
    name : str
    answers : int
    agreement : float or None
        The share of the answers that the label agreed with in the end.
    seconds : float or None
        The median time for an answer.
    """

    name: str
    answers: int
    agreement: float | None
    seconds: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportData:
    """What a report tells. What is not there is said not to be there.

    Attributes
    ----------
    name : str
        Of the project.
    created_at : datetime
        The time that the report bears.
    settings : mapping
        Of the project, shown as a table. What is called a password, token, secret or key is hidden.
    rounds : sequence of Round
        In order.
    evaluation_rows : int
        Rows that the metrics were measured on; 0 where that is unknown, and then there are no intervals.
    classes : sequence
        All classes, in the order of the project.
    class_counts : mapping of str to int
        Labelled rows of each class.
    scores : mapping of int to ndarray of shape (rows,)
        Scores of the probe, by round.
    informative : sequence of InformativeRow
        The first 50 are shown.
    annotators : sequence of AnnotatorRow
    kappa : float, optional
        How far annotators agree beyond chance.
    drifts : sequence of Drift
        What `compare` has found, the oldest first.
    stopped, deployed : str, optional
        Why the loop has ended, and which model is in use.
    versions : mapping of str to str
        Of libraries.
    metric : str, optional
        What models are judged by; by default the first that was measured.
    budget_left : int, optional
        Labels that may still be asked for.
    label_seconds : mapping of int to float
        The time that annotators spent, by round.
    """

    name: str
    created_at: datetime
    settings: Mapping[str, Any] = field(default_factory=dict)
    rounds: Sequence[Round] = ()
    evaluation_rows: int = 0
    classes: Sequence[Any] = ()
    class_counts: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[int, NDArray[Any]] = field(default_factory=dict)
    informative: Sequence[InformativeRow] = ()
    annotators: Sequence[AnnotatorRow] = ()
    kappa: float | None = None
    drifts: Sequence[Drift] = ()
    stopped: str | None = None
    deployed: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    metric: str | None = None
    budget_left: int | None = None
    label_seconds: Mapping[int, float] = field(default_factory=dict)

    @property
    def trained(self) -> list[Round]:
        """The rounds whose models were measured."""
        return [step for step in self.rounds if charts.measured([step])]

    @property
    def counts(self) -> dict[str, int]:
        """Labelled rows of all classes, those without any among them."""
        return {str(name): 0 for name in self.classes} | {str(name): n for name, n in self.class_counts.items()}


def write(data: ReportData, path: str | os.PathLike[str]) -> Path:
    """Write the report of a project, wholly or not at all.

    Parameters
    ----------
    data : ReportData
    path : path
        The ``.html`` file; one that is there is replaced.

    Returns
    -------
    Path
        The file. For the same data it is the same, byte for byte, where the libraries are.

    Raises
    ------
    ImportError
        If Jinja2, matplotlib or SciPy is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from datetime import UTC, datetime
    >>> data = ReportData(name="reviews", created_at=datetime(2026, 11, 26, tzinfo=UTC))
    >>> file = write(data, Path(tempfile.mkdtemp()) / "report.html")
    >>> file.read_text(encoding="utf-8")[:15]
    '<!doctype html>'
    """
    place = Path(path)
    write_whole(place, render(data).encode("utf-8", "replace"))
    return place


def render(data: ReportData) -> str:
    """Return the report of a project as the text of a page; see `write`."""
    return page.render(
        Path(__file__).with_name("report.html.jinja"),
        data=data,
        created=f"{data.created_at:%Y-%m-%d %H:%M %Z}".strip(),
        tiles=list(_tiles(data)),
        charts={name: make(data, name) for name, make in _CHARTS.items()},
        rounds=_round_table(data),
        per_class=_class_table(data),
        informative=_informative_table(data),
        annotators=_annotator_table(data),
        drifts=_drift_table(data),
        changes=[
            [svg.clean(reason, 400) for reason in drift.reasons()] or ["Nothing has changed much."]
            for drift in data.drifts
        ],
        settings=page.pairs("setting", data.settings),
        versions=page.pairs("library", data.versions),
    )


def _tiles(data: ReportData) -> Iterator[Tile]:
    labels = max((step.labelled for step in data.rounds), default=0)
    yield Tile("labelled rows", f"{labels:,}", "that the last model has learnt from" if labels else "no model yet")
    turns = [step for step in data.rounds if step.number]
    yield Tile("rounds", str(len(turns)), f"the last is {turns[-1].state}" if turns else "none has begun")
    yield _best(data)
    if data.budget_left is None:
        yield Tile("budget left", "∞", "no budget is set")
    else:
        yield Tile("budget left", f"{data.budget_left:,}", "labels may still be asked for")


def _best(data: ReportData) -> Tile:
    shown = charts.RATES | charts.LOSSES
    name = data.metric or next(iter(charts.measured(data.rounds)), "accuracy")
    rounds = [step for step in data.rounds if charts.is_known(step.metrics.get(name))]
    if not rounds:
        return Tile(f"best {shown.get(name, name)}", ABSENT, "nothing was measured")
    best = best_round(rounds, name)
    assert best is not None  # noqa: S101 - all of them were measured
    value = best.metrics[name]
    note = f"by round {best.number}"
    if name == "accuracy" and data.evaluation_rows:
        low, high = charts.wilson(value, data.evaluation_rows)
        note += f"; 95 % interval {low:.1%} to {high:.1%}"
    return Tile(f"best {shown.get(name, name)}", _rate(value, name), note)


def _chart(why_not: Callable[[ReportData], str]) -> Callable[..., Callable[[ReportData, str], Chart]]:
    """Make a chart of what draws it; where there is a reason for none, say so in its place."""

    def of(draw: Callable[[ReportData], tuple[Figure, str]]) -> Callable[[ReportData, str], Chart]:
        @functools.wraps(draw)
        def make(data: ReportData, name: str) -> Chart:
            reason = why_not(data)
            if reason:
                return Chart(None, reason)
            figure, caption = draw(data)
            return Chart(svg.to_svg(figure, name, caption), caption)

        return make

    return of


def _not_measured(data: ReportData) -> str:
    return "" if data.trained else "No model has been measured yet: that takes an evaluation set and a trained round."


@_chart(_not_measured)
def _learning(data: ReportData) -> tuple[Figure, str]:
    names = charts.measured(data.trained)
    caption = f"{' and '.join(names.values())} of the model of each round, over the rows it has learnt from."
    if "accuracy" in names and data.evaluation_rows:
        caption += f" The band is the Wilson 95 % interval of the accuracy on {data.evaluation_rows:,} evaluation rows."
    elif "accuracy" in names:
        caption += " How many evaluation rows there are is unknown, so there is no interval."
    return charts.draw_learning(data.trained, data.evaluation_rows), caption[0].upper() + caption[1:]


@_chart(lambda data: "" if any(step.answered for step in data.rounds) else "No row has been answered yet.")
def _cost(data: ReportData) -> tuple[Figure, str]:
    hours = {number: seconds / 3600 for number, seconds in data.label_seconds.items() if seconds}
    caption = f"{sum(step.answered for step in data.rounds):,} rows answered in all"
    caption += f", in {sum(hours.values()):,.1f} hours." if hours else "; how long that took was not recorded."
    return charts.draw_cost(data.rounds, hours), caption


@_chart(lambda data: "" if any(data.counts.values()) else "No row has a class yet.")
def _balance(data: ReportData) -> tuple[Figure, str]:
    counts = data.counts
    most, least = max(counts.values()), min(counts.values())
    caption = f"Labelled rows of each of {len(counts)} classes: from {least:,} to {most:,}."
    return charts.draw_counts(counts), caption


def _no_classes_measured(data: ReportData) -> str:
    return "" if any(map(_recalls, data.rounds)) else "No model has been measured class by class yet."


def _recalls(step: Round) -> dict[str, Mapping[str, float]]:
    return {str(name): figures for name, figures in step.per_class.items() if charts.is_known(figures.get("recall"))}


@_chart(_no_classes_measured)
def _recall(data: ReportData) -> tuple[Figure, str]:
    last = [step for step in data.rounds if _recalls(step)][-1]
    caption = (
        f"The share of the evaluation rows of each class that the model of round {last.number} gets right, with its "
        "Wilson 95 % interval."
    )
    return charts.draw_recall(_recalls(last)), caption


def _no_heat_map(data: ReportData) -> str:
    rounds = [step for step in data.rounds if _recalls(step)]
    if len(rounds) < 2:
        return "Classes over rounds are shown from the second measured round on."
    if len(_recalls(rounds[-1])) > charts.MOST_CELLS:
        return f"Classes over rounds are shown where there are {charts.MOST_CELLS} classes or fewer."
    return ""


@_chart(_no_heat_map)
def _recall_by_round(data: ReportData) -> tuple[Figure, str]:
    rounds = [step for step in data.rounds if _recalls(step)]
    return charts.draw_recall_by_round(rounds), "The same over the rounds, in percent."


@_chart(
    lambda data: (
        ""
        if any(map(charts.has_finite, data.scores.values()))
        else "No scores of the probe were kept: rounds write them."
    )
)
def _scores(data: ReportData) -> tuple[Figure, str]:
    return (
        charts.draw_scores(data.scores),
        "How the scores of the probe, a fixed sample of the pool, are distributed in each round.",
    )


@_chart(lambda data: "" if data.drifts else "The pool has not been replaced yet, so there is nothing to compare.")
def _drift(data: ReportData) -> tuple[Figure, str]:
    before, after = data.drifts[-1].rows
    caption = f"The last comparison: samples of {before:,} rows before and {after:,} after."
    return charts.draw_drift(data.drifts[-1]), caption


_CHARTS = {
    "learning": _learning,
    "cost": _cost,
    "balance": _balance,
    "recall": _recall,
    "recall-by-round": _recall_by_round,
    "scores": _scores,
    "drift": _drift,
}


def _round_table(data: ReportData) -> Table:
    shown = charts.RATES | charts.LOSSES
    found = {name for step in data.rounds for name in step.metrics}
    metrics = [*(name for name in shown if name in found), *sorted(found - shown.keys())]
    numbers = ["round", "asked", "answered", "labelled", *(shown.get(name, name.replace("_", " ")) for name in metrics)]
    rows = [
        [
            str(step.number),
            f"{step.asked:,}",
            f"{step.answered:,}",
            f"{step.labelled:,}" if step.labelled else ABSENT,
            *(_rate(step.metrics.get(name), name) for name in metrics),
            step.state.value,
            svg.clean(step.strategy.get("strategy", step.strategy.get("name", ABSENT)), 40),
        ]
        for step in data.rounds
    ]
    caption = "All rounds." if rows else "No round has begun."
    if "uncertainty" in found:
        caption += " Agreement (kappa) to uncertainty are of the probe, a fixed sample of the pool."
    return Table([*numbers, "state", "strategy"], rows, caption, frozenset(numbers))


def _class_table(data: ReportData) -> Table:
    last: Mapping[str, Mapping[str, float]] = next(
        (step.per_class for step in reversed(data.rounds) if step.per_class), {}
    )
    figures = {str(name): value for name, value in last.items()}
    columns = ("precision", "recall", "f1", "support")
    names = [*data.counts, *(name for name in figures if name not in data.counts)]
    rows = [
        [
            svg.clean(name, 80),
            f"{data.counts.get(name, 0):,}",
            *(_rate(figures.get(name, {}).get(column), column) for column in columns),
        ]
        for name in names
    ]
    caption = "All classes, in the order of the project." if rows else "No classes are known yet."
    return Table(["class", "labelled", *columns], rows, caption, frozenset({"labelled", *columns}))


def _informative_table(data: ReportData) -> Table:
    rows = [
        [
            svg.clean(row.id, 40),
            str(row.round),
            ABSENT if row.score is None else f"{row.score:.4g}",
            ABSENT if row.label is None else svg.clean(row.label, 40),
            svg.clean("" if row.text is None else row.text, 240),
        ]
        for row in data.informative[:_MOST_ROWS]
    ]
    head = ["row", "round", "score", "label", "text"]
    told = [place for place in range(len(head)) if any(row[place] not in ("", ABSENT) for row in rows)]
    caption = "The rows of the highest scores, of each round." if rows else "No labelled row has a score yet."
    shown = [[row[place] for place in told] for row in rows]
    return Table([head[place] for place in told], shown, caption, frozenset({"round", "score"}))


def _annotator_table(data: ReportData) -> Table:
    rows = [
        [
            svg.clean(one.name, 60),
            f"{one.answers:,}",
            ABSENT if one.agreement is None else f"{one.agreement:.1%}",
            ABSENT if one.seconds is None else f"{one.seconds:,.1f} s",
        ]
        for one in data.annotators
    ]
    if not rows:
        caption = "Nobody has answered yet."
    elif data.kappa is None:
        caption = "No rows were answered by several annotators, so how far they agree beyond chance is unknown."
    else:
        caption = f"Beyond chance annotators agree by {data.kappa:.3f} (kappa: 1 always, 0 no more than by chance)."
    head = ["annotator", "answers", "agrees with the label", "median time"]
    return Table(head, rows, caption, frozenset(head[1:]))


def _drift_table(data: ReportData) -> Table:
    rows = [
        [
            str(number),
            f"{drift.psi:.3f}",
            f"{drift.ks:.3f}",
            ABSENT if drift.class_shift is None else f"{drift.class_shift:.1%}",
            ABSENT if drift.embedding_shift is None else f"{drift.embedding_shift:.3f}",
            ABSENT if drift.cover_after is None else f"{drift.new_share:.1%}",
            "yes" if drift.is_large() else "no",
        ]
        for number, drift in enumerate(data.drifts, 1)
    ]
    numbers = ["comparison", "PSI of scores", "KS", "classes moved", "energy of embeddings", "new region"]
    caption = "All comparisons, the oldest first." if rows else ""
    return Table([*numbers, "large"], rows, caption, frozenset(numbers))


def _rate(value: float | None, name: str) -> str:
    if value is None or not charts.is_known(value):
        return ABSENT
    return f"{value:{_FORMATS.get(name, '.3f')}}"


_FORMATS = {"support": ",.0f"} | dict.fromkeys(("accuracy", "macro_f1", "micro_f1", "precision", "recall", "f1"), ".1%")
