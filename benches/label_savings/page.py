"""Which strategies save labels on public data: runs the suite, or goes on with it, and writes its page.

    python benches/label_savings/page.py --jobs 2

It writes docs/benchmarks/label_savings.md, .csv (a row for each dataset and strategy), _curves.csv and .svg. Runs are
kept in .benchmarks/label_savings, as `pickwise bench-suite ... -o .benchmarks/label_savings`
keeps them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pickwise.evaluate import Suite, charts, run_suite, significance, statistics
from pickwise.evaluate.simulation import BASELINE
from pickwise.loop.archive import versions
from pickwise.page import svg

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/benchmarks/label_savings.md"
AUTO = "auto"

# Mean accuracies that a loop in plain scikit-learn and NumPy came to with the same protocols, before this was written.
REFERENCE = {
    "banking77": {"random": 0.824, "entropy": 0.810, "k_center": 0.823, "badge": 0.847, "margin": 0.856, AUTO: 0.872},
    "agnews": {"random": 0.799, "margin": 0.813, "badge": 0.818, "entropy": 0.780, "k_center": 0.761, AUTO: 0.829},
    "trec6": {"random": 0.771, "entropy": 0.766, "badge": 0.790, "margin": 0.808, "k_center": 0.735, AUTO: 0.8045},
    "pendigits": {"random": 0.911, "margin": 0.946, "entropy": 0.886, "k_center": 0.900, AUTO: 0.953},
    "letter": {"random": 0.802, "margin": 0.864, "entropy": 0.773, "k_center": 0.811, AUTO: 0.879},
}
SAVINGS = (
    ("banking77", 0.88, 0.55),
    ("banking77", 0.90, 0.54),
    ("agnews", 0.85, 0.52),
    ("pendigits", 0.95, 0.58),
    ("letter", 0.88, 0.65),
)
TUNED = ("banking77", "agnews", "trec6", "pendigits", "letter")


class Target(NamedTuple):
    """What is measured against what it should be."""

    what: str
    measured: str
    target: str
    met: bool


def targets(found):
    """List all targets of the suite."""
    for name, points in REFERENCE.items():
        if name not in found.simulations:
            continue
        runs = found.simulations[name].runs()
        heights = {strategy: float(runs.of(strategy).mean()) for strategy in runs.strategies}
        for against, least in ((f"the trial's {points[AUTO]:g}", points[AUTO]), ("margin, here", heights["margin"])):
            yield Target(
                f"{name}: mean accuracy of auto, at least {against}",
                f"{heights[AUTO]:.4f}",
                f"≥ {least:.4f}",
                round(heights[AUTO], 4) >= round(least, 4),
            )
    for name, level, least in SAVINGS:
        if name in found.simulations:
            saved = found.simulations[name].savings(level)[AUTO]
            mark = saved.bound.replace(">=", "≥ ").replace("<=", "≤ ")
            yield Target(
                f"{name}: labels that auto saves at {100 * level:.0f} %",
                f"{mark}{100 * saved.value:.0f} %",
                f"≥ {100 * least:.0f} %",
                saved.value >= least,
            )
    compared = found.compare()
    order = [compared.strategies[i] for i in np.argsort(compared.ranks, kind="stable")]
    yield Target(
        f"mean rank of auto over {len(compared.datasets)} datasets",
        f"{compared.ranks[compared.strategies.index(AUTO)]:.2f}; best: {order[0]}",
        "the best",
        order[0] == AUTO,
    )
    worse = [name for name, one in found.simulations.items() if sign(one, AUTO, BASELINE) < 0]
    yield Target("datasets on which auto is significantly below random", ", ".join(worse) or "none", "none", not worse)
    share = found.times().columns["besides_the_model"][-1]
    yield Target(
        "share of the time that is neither fitting nor predicting", f"{100 * share:.1f} %", "< 5 %", share < 0.05
    )


def sign(simulation, one, other):
    """Tell whether the areas of one are significantly larger, 1, or smaller, -1."""
    runs = simulation.runs().select((one, other))
    return int(significance.significant_signs(runs.areas)[0, 1])


def agreement(found):
    """Compare with the reference points: who, theirs, ours, and the difference in standard errors of both."""
    for name, points in REFERENCE.items():
        if name not in found.simulations:
            continue
        runs = found.simulations[name].runs()
        for strategy, theirs in points.items():
            if strategy in runs.strategies:
                heights = runs.of(strategy).mean(1)
                error = float(statistics.standard_error(heights))
                yield name, strategy, theirs, float(heights.mean()), error


def shares(found):
    """Tell the share of the time that is neither fitting nor predicting, by the model."""
    times, models = found.times().columns, {one.name: one.model.rpartition(".")[2] for one in found.suite.datasets}
    spent = {}
    for row, name in enumerate(times["dataset"]):
        if name in models:
            whole, model = spent.setdefault(models[name], [0.0, 0.0])
            own = times["fitting"][row] + times["predicting"][row]
            spent[models[name]] = [whole + times["seconds_of_runs"][row], model + own]
    return {model: 1 - own / whole for model, (whole, own) in spent.items()}


def curves(found):
    """Draw the mean curves of all datasets."""
    from matplotlib.figure import Figure

    looks = charts.looks(found.suite.strategies)
    names = list(found.simulations)
    figure = Figure(figsize=(9.2, 2.5 * -(-len(names) // 3)))
    axes = figure.subplots(-(-len(names) // 3), 3, squeeze=False).ravel()
    for place, name in zip(axes, names, strict=False):
        runs = found.simulations[name].runs()
        for strategy in runs.strategies:
            look, mean = looks[strategy], runs.of(strategy).mean(0)
            place.plot(
                runs.labels,
                mean,
                color=look.color,
                linestyle=look.dash,
                linewidth=2.2 if strategy == AUTO else 1.2,
                label=strategy,
            )
        worst = min(float(runs.of(strategy).mean(0)[len(runs.labels) // 5]) for strategy in runs.strategies)
        top = float(runs.values.mean(1).max())
        place.set(title=name, ylim=(worst - 0.02, top + 0.01))
        place.locator_params(nbins=5)
    for place in axes[len(names) :]:
        place.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), handlelength=3.2)
    figure.supxlabel("labelled rows", fontsize=9.5)
    figure.supylabel("accuracy", fontsize=9.5)
    return figure


def table(head, rows, right=()):
    """Write a table in Markdown."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join("--:" if name in right else "---" for name in head) + "|"
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def lines(found):
    """Write the page."""
    about = versions()
    met = list(targets(found))
    yield from (
        "# Labels saved",
        "",
        f"Simulations on {len(found.simulations)} datasets, with the protocols of `benches/label_savings/suite.toml`,",
        "by `python benches/label_savings/page.py`: " + ", ".join(f"{k} {v}" for k, v in about.items()) + ".",
        "",
        "All strategies begin with the same rows, are measured on the same test rows and see the same model, by seed.",
        "Accuracy is the mean over all points of the curves, the first included, ± one standard error over seeds.",
        "",
        "![Accuracy against labels](label_savings.svg)",
        "",
        "## Targets",
        "",
        f"{sum(one.met for one in met)} of {len(met)} are met.",
        "",
        *table(
            ("what", "measured", "target", "met"),
            ((one.what, one.measured, one.target, "yes" if one.met else "**no**") for one in met),
            ("measured", "target"),
        ),
        "",
        "## Over all datasets",
        "",
    )
    compared = found.compare()
    overall = compared.table()
    yield from table(tuple(overall.shown), zip(*overall.shown.values(), strict=True), tuple(overall.shown)[1:])
    yield from ("", overall.caption, "")
    others = [name for name in found.simulations if name not in TUNED]
    if others:
        beats = {
            rival: [sign(found.simulations[name], AUTO, rival) for name in others]
            for rival in compared.strategies
            if rival != AUTO
        }
        yield from (
            f"auto was made with {', '.join(TUNED)} in view. On the others",
            f"({', '.join(others)}) it is significantly better / no different / worse,",
            "by the paired t-test of areas over seeds at 0.05, than "
            + ", ".join(f"{rival} {s.count(1)} / {s.count(0)} / {s.count(-1)}" for rival, s in beats.items())
            + ".",
            "",
        )
    yield from ("## Each dataset", "")
    summary = found.table()
    columns = tuple(name for name in summary.shown if name not in ("area", "besides the model, %"))
    yield from table(columns, zip(*(summary.shown[name] for name in columns), strict=True), columns[2:])
    yield from (
        "",
        "Labels to: the first number of labels at which the mean curve is at the level. Saved: labels against random",
        "to the same levels, interpolated, with 95 % bootstrap intervals over seeds.",
        "",
        "## Against the reference points",
        "",
        "A loop in plain scikit-learn and NumPy had been run with the same protocols. Theirs are the means of as many",
        "seeds, ours with one standard error. Of auto theirs is a prototype that compared all rows, with the power 4.",
        "",
    )
    yield from table(
        ("dataset", "strategy", "theirs", "ours", "difference", "standard errors"),
        (
            (
                name,
                who,
                f"{theirs:g}",
                f"{ours:.4f} ± {error:.4f}",
                f"{ours - theirs:+.4f}",
                f"{abs(ours - theirs) / error:.1f}",
            )
            for name, who, theirs, ours, error in agreement(found)
        ),
        ("theirs", "ours", "difference", "standard errors"),
    )
    yield from ("", "## Time", "")
    times = found.times()
    shown = {name: column for name, column in times.shown.items() if name != "s now"}
    yield from table(tuple(shown), zip(*shown.values(), strict=True), tuple(shown)[1:])
    yield from (
        "",
        "Seconds of all runs, each on one thread. Besides: measuring, and keeping books. Besides the model: "
        + ", ".join(f"{100 * share:.1f} % with {model}" for model, share in shares(found).items())
        + ".",
        "A logistic regression of a few hundred rows is fitted within milliseconds, and a selection by `auto` from ten",
        "thousand rows takes some tens of them.",
        "",
        "All figures are in [label_savings.csv](label_savings.csv), all points in",
        "[label_savings_curves.csv](label_savings_curves.csv).",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--folder", type=Path, default=ROOT / ".benchmarks/label_savings")
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--jobs", type=int, default=2)
    told = parser.parse_args()
    suite = Suite.read(Path(__file__).with_name("suite.toml"))
    found = run_suite(suite, data=told.data, only=told.only, n_jobs=told.jobs, folder=told.folder, progress=True)
    PAGE.write_text("\n".join(lines(found)) + "\n", encoding="utf-8")
    for name, some in (("label_savings", found.table()), ("label_savings_curves", found.points())):
        some.to_pandas().to_csv(PAGE.with_name(f"{name}.csv"), index=False, float_format="%.6g")
    figure = svg.styled(curves)(found)
    figure.savefig(PAGE.with_suffix(".svg"), facecolor="white", metadata={"Date": None})
    print(found.compare())


if __name__ == "__main__":
    main()
