"""The report of simulations: whole in one file, the same for the same runs, and legible whatever was measured."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

from pickwise.evaluate import charts
from pickwise.evaluate.comparison import compare_datasets
from pickwise.evaluate.curves import Curve
from pickwise.evaluate.report import render, write_report
from pickwise.evaluate.simulation import Simulation
from pickwise.evaluate.statistics import Estimate
from pickwise.evaluate.tables import in_percent, with_interval

GAINS = {"random": 0.0, "margin": 0.9, "entropy": 0.2, "k_center": -0.4, "badge": 0.8}
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> & $\\frac{$ {{ 7 * 7 }} \x00\ud800\u202e"


def simulate(name="letter", gains=GAINS, seeds=3, points=6, *, bare=False, about=None):
    """Make curves as they come out of runs."""
    rng = np.random.default_rng(len(name))
    labels = 50 + 50 * np.arange(points)
    rise = np.log(labels / 50) / np.log(labels[-1] / 50) if points > 1 else np.zeros(1)
    curves = []
    for strategy, gain in gains.items():
        for seed in range(seeds):
            height = 0.5 + 0.4 * rise ** (1 / (1 + 0.8 * gain)) + 0.01 * gain * rise + rng.normal(0, 0.004, points)
            seconds = rng.uniform(0.1, 0.2, points)
            practice = {
                "seconds": {"fitting": seconds, "predicting": seconds, "selecting": seconds * 10**gain},
                "balance": rng.uniform(0.8, 1, points),
                "diversity": np.r_[np.nan, rng.uniform(0.8, 1.2, points - 1)],
            }
            curves.append(
                Curve(
                    strategy=strategy,
                    seed=seed,
                    labels=labels,
                    metrics={"accuracy": height} if bare else {"accuracy": height, "macro_f1": height - 0.03},
                    **{} if bare else practice,
                )
            )
    environment = {"environment": {"numpy": "2.0", "cpu_count": 2}}
    return Simulation(tuple(curves), {"name": name, "model": "LogisticRegression(C=10)"} | environment | (about or {}))


class Page(HTMLParser):
    """What a browser would see."""

    VOID = frozenset({"meta", "br", "img"})

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def three():
    return {name: simulate(name) for name in ("letter", "trec6", "banking77")}


@pytest.fixture(scope="module")
def text(three):
    return render(three)


def test_a_report_needs_no_network_and_runs_nothing(text):
    page = Page(text)
    assert not page.open
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert all((attributes.get(name) or "#").startswith("#") for name in ("href", "src", "xlink:href"))
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_though_there_are_many_charts(text):
    page = Page(text)
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert ids
    assert max(ids.values()) == 1
    assert {target[1:] for _, a in page.elements if (target := a.get("href"))} <= ids.keys()


def test_a_report_of_datasets_tells_all_there_is(text):
    words = Page(text).words
    for told in (
        "5 strategies on 3 datasets",
        "Over all datasets",
        "CD ",
        "On how many datasets",
        "letter",
        "trec6",
        "banking77",
        "labels saved against random",
        "Pairs of strategies",
        "macro F1",
        "s a selection",
        "diversity",
        "balance",
        "3 seeds (0 to 2)",
        "LogisticRegression(C=10)",
        "cpu_count",
    ):
        assert told in words
    for strategy in GAINS:
        assert strategy in words


def test_a_report_of_one_dataset_compares_no_datasets():
    words = Page(render(simulate())).words
    assert words.startswith("letter")
    assert "Over all datasets" not in words
    assert words == Page(render({"letter": simulate()})).words


def test_the_same_runs_make_the_same_file(three, text):
    assert render({name: simulate(name) for name in three}) == text


def test_a_report_is_written_whole_and_replaces_the_last(tmp_path):
    file = tmp_path / "report.html"
    file.write_text("old")
    assert simulate().report(file) == file
    assert file.read_text(encoding="utf-8") == render(simulate())
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_report_that_cannot_be_made_leaves_the_last(tmp_path):
    file = tmp_path / "report.html"
    file.write_text("old")
    others = simulate("trec6", bare=True)
    renamed = Simulation(
        tuple(
            Curve(strategy=c.strategy, seed=c.seed, labels=c.labels, metrics={"auc": c.metrics["accuracy"]})
            for c in others.curves
        )
    )
    with pytest.raises(ValueError, match="simulations: expected a metric that all of them have"):
        write_report({"letter": simulate(bare=True), "trec6": renamed}, file)
    with pytest.raises(ValueError, match="simulations: expected one or more"):
        write_report({}, file)
    assert file.read_text() == "old"


def test_names_from_outside_are_only_text():
    hostile = simulate(HOSTILE, {"random": 0.0, HOSTILE: 0.5}, about={HOSTILE: HOSTILE})
    found = render({HOSTILE: hostile, "trec6": simulate("trec6", {"random": 0.0, HOSTILE: 0.5})})
    page = Page(found)
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert "{{ 7 * 7 }}" in page.words
    assert "\x00" not in found
    assert "\u202e" not in found


def test_what_is_secret_is_not_told():
    found = render(simulate(about={"api_key": "hunter2", "data": "postgresql://anna:hunter2@host/data"}))
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("simulation", "told"),
    [
        (simulate(bare=True), "Neither the time of selections nor what batches are like was measured."),
        (simulate(gains={"margin": 0.9, "badge": 0.8}), "against a strategy called random, which was not among these"),
        (simulate(gains={"random": 0.0}), "was not among these"),
        (simulate(seeds=1), "1 seed (0)"),
        (simulate(points=1, bare=True), "3 seeds"),
        (simulate(points=2), "3 seeds (0 to 2)"),
    ],
    ids=["nothing but accuracy", "no random", "random alone", "one seed", "no round", "one round"],
)
def test_what_was_not_measured_is_said_so(simulation, told):
    words = Page(render(simulation)).words
    assert told in words
    assert "nan" not in words.lower().split()


def test_a_seed_that_was_left_out_is_named():
    whole = simulate()
    assert "seeds 2" in Page(render(Simulation(whole.curves[:-1], whole.about))).words


def test_environments_that_differ_are_told_apart():
    found = render({"letter": simulate(), "trec6": simulate("trec6", about={"environment": {"cpu_count": 64}})})
    assert "trec6.cpu_count" in Page(found).words


def test_a_dozen_strategies_can_be_told_apart_without_colour():
    names = ["random", *(f"strategy {i}" for i in range(12))]
    looks = charts.looks(names)
    assert len(set(looks.values())) == len(names)
    assert len({look.marker for look in looks.values()}) == len(names)
    for color in {look.color for look in looks.values()}:
        same = [look for look in looks.values() if look.color == color]
        assert len({str(look.dash) for look in same}) == len(same)


def test_a_strategy_looks_alike_in_every_chart_of_a_report():
    first = simulate(gains={"random": 0.0, "margin": 0.9, "badge": 0.8})
    second = simulate("trec6", gains={"badge": 0.8, "random": 0.0, "margin": 0.9})
    found = charts.looks(list(dict.fromkeys([*first.strategies, *second.strategies])))
    for one in (first, second):
        lines = charts.draw_curves(one.runs(), "accuracy", found).axes[0].lines
        assert {line.get_label(): line.get_marker() for line in lines} == {
            name: look.marker for name, look in found.items()
        }


def test_the_plot_shows_means_and_standard_errors():
    simulation = simulate()
    axes = simulation.plot("macro_f1").axes[0]
    values = simulation.runs("macro_f1").of("margin")
    line, band = axes.lines[1], axes.collections[1]
    assert line.get_label() == "margin"
    assert line.get_ydata() == pytest.approx(values.mean(0))
    top = band.get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx((values.mean(0) + values.std(0, ddof=1) / np.sqrt(3)).max())


def test_bars_join_strategies_that_are_not_significantly_apart():
    ranks = np.array([1.0, 1.8, 2.5, 4.7])
    assert charts._cliques(ranks, 1.0) == [(0, 1), (1, 2)]
    assert charts._cliques(ranks, 1.6) == [(0, 2)]
    assert charts._cliques(ranks, 0.5) == []
    # As far apart as the critical difference is apart.
    assert charts._cliques(np.array([1.0, 2.0]), 1.0) == []


def test_the_diagram_of_ranks_has_each_strategy_at_its_own(three):
    found = compare_datasets(three)
    axes = charts.draw_ranks(found, charts.looks(found.strategies)).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    looks = charts.looks(found.strategies)
    drawn = {line.get_marker(): line.get_xydata()[0].tolist() for line in axes.lines if len(line.get_xydata()) == 1}
    for name, rank in zip(found.strategies, found.ranks, strict=True):
        assert drawn[looks[name].marker] == [rank, names.index(name)]


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(0.5, 0.4, 0.6), "50 (40 to 60)"),
        (Estimate(0.5, 0.4, 1.0), "50 (40 or more)"),
        (Estimate(0.5, 0.4, 1.0, ">="), "≥ 50 (40 or more)"),
        (Estimate(-0.1, -np.inf, 0.2, "<="), "≤ -10 (20 or less)"),
        (Estimate(0.5, np.nan, np.nan), "50"),
        (Estimate(-0.001, -0.1, 0.2), "0 (-10 to 20)"),
        (Estimate(np.nan, np.nan, np.nan), "—"),
    ],
)
def test_bounds_and_open_ends_are_written_out(estimate, expected):
    assert in_percent(estimate) == expected


def test_a_bound_is_not_said_twice():
    assert with_interval(Estimate(1000, 1000, np.inf, ">="), ",.0f") == "≥ 1,000"
