"""A pool in which every digit occurs three times: the best rows are copies of each other.

After Kirsch, van Amersfoort and Gal 2019 (arXiv:1906.08158), who found the top of BALD worse than chance there, and
BatchBALD better. Here the committee is twenty logistic regressions on 40 principal components of MNIST.

    python benches/label_savings/repeated_pool.py
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pickwise as pw
from pickwise.evaluate import charts
from pickwise.evaluate.curves import Curve
from pickwise.evaluate.simulation import Simulation
from pickwise.evaluate.statistics import standard_error
from pickwise.page.svg import styled, to_svg

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT.parent / "shared" / "data" / "mnist70k_u8.npz"
OUTPUT = ROOT / "docs" / "benchmarks"
COPIES, DISTINCT, DIMS, NOISE = 3, 3000, 40, 0.05
MEMBERS, FIRST, BATCH, ROUNDS, SEEDS = 20, 100, 10, 30, 10
STRATEGIES = ("batch_bald", "bald", "power", "badge", "k_center", "margin", "random")
# The same, of members that all know every label; and without all copies of labelled rows, as if one could know them.
WEIGHTED, NEW = "_weighted", "_new"
OTHERS = ("bald_weighted", "power_weighted", "batch_bald_weighted", "batch_bald_new")
DRAWN = (*STRATEGIES, "batch_bald_weighted")
# As on the pages of pickwise.
DARK = {
    "ink": "#e8eaee",
    "page": "#14161a",
    "blue": "#56b4e9",
    "orange": "#e69f00",
    "green": "#2fc79c",
    "purple": "#e58fc4",
    "sky": "#c3e4fb",
    "amber": "#f0e442",
}
LEVELS = (0.75, 0.78, 0.8)
BEGIN, END = "<!-- repeated_pool: made by the script -->", "<!-- repeated_pool: end -->"
METRICS = ("accuracy", "copies", "different")


class Digits(NamedTuple):
    """The pool, in which copies are next to each other, and rows to test on."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def read():
    """Read the digits, and repeat those of the pool with a little noise."""
    from sklearn.decomposition import PCA

    with np.load(FILE) as file:
        x, y = file["X"].astype(np.float32) / 255, file["y"].astype(np.int64)
    rng = np.random.default_rng(0)
    order = rng.permutation(60_000)
    pca = PCA(DIMS, random_state=0).fit(x[order[:5000]])
    pool, test = order[:DISTINCT], 60_000 + np.arange(3000)
    rows = pca.transform(x[pool]).repeat(COPIES, axis=0)
    rows += NOISE * rng.standard_normal(rows.shape)
    test_rows = pca.transform(x[test]).astype(np.float32)
    return Digits(rows.astype(np.float32), y[pool].repeat(COPIES), test_rows, y[test])


def accuracy_of(digits, labelled):
    """Return the accuracy of one model of what is labelled."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, max_iter=300, tol=1e-3).fit(digits.x[labelled], digits.y[labelled])
    return (model.predict(digits.test_x) == digits.test_y).mean()


def committee_of(digits, labelled, rng):
    """Twenty models of rows drawn with repetition, each sure of itself: doubt lies between them."""
    y = digits.y
    members = []
    for _ in range(MEMBERS):
        # A row of each class at least, so that all members know all classes.
        drawn = [rng.choice(labelled, len(labelled)), [rng.choice(labelled[y[labelled] == c]) for c in range(10)]]
        rows = np.concatenate(drawn)
        members.append(member_of(digits, rows))
    return np.stack(members)


def weighted_committee_of(digits, labelled, rng):
    """Twenty models of all rows, with other weights in each: the Bayesian bootstrap."""
    return np.stack([member_of(digits, labelled, rng.exponential(size=len(labelled))) for _ in range(MEMBERS)])


def member_of(digits, rows, weights=None):
    """Return the probabilities of the pool by a model with next to no regularisation."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e4, max_iter=500, tol=1e-4)
    return model.fit(digits.x[rows], digits.y[rows], sample_weight=weights).predict_proba(digits.x)


def select(name, x, committee, labelled, seed):
    """Return the selection of a strategy, each from what it needs."""
    beside = {"exclude": labelled, "random_state": seed}
    if name == "badge":
        return pw.select(committee.mean(0), BATCH, "badge", embeddings=x, labelled=labelled, random_state=seed)
    if name == "k_center":
        return pw.select(x, BATCH, "k_center", labelled=labelled)
    if name == "random":
        return pw.select(x, BATCH, "random", **beside)
    if name == "margin":
        return pw.select(committee.mean(0), BATCH, "margin", **beside)
    strategy = {"power": pw.PowerSampling(score="bald"), "batch_bald": pw.BatchBALD(samples=2000)}.get(name, name)
    return pw.select(committee, BATCH, strategy, **beside)


def first_labels(y, rng):
    """Ten rows of each class, no two of which are copies."""
    rows = [rng.choice(np.flatnonzero(y == c)[::COPIES], FIRST // 10, replace=False) for c in range(10)]
    return np.concatenate(rows)


def all_copies(rows):
    """Return the rows and all their copies."""
    return (np.unique(rows // COPIES)[:, None] * COPIES + np.arange(COPIES)).ravel()


def run(name, digits, seed, rounds=ROUNDS):
    """Label batch by batch.

    Metrics are the accuracy; of each batch the rows that are copies of others in it; and how many different digits are
    labelled.
    """
    strategy = name.removesuffix(WEIGHTED).removesuffix(NEW)
    committee_of_labels = weighted_committee_of if name.endswith(WEIGHTED) else committee_of
    rng = np.random.default_rng(seed)
    labelled = first_labels(digits.y, rng)
    counts, copies, accuracies, different = [len(labelled)], [0], [accuracy_of(digits, labelled)], [len(labelled)]
    for _ in range(rounds):
        committee = committee_of_labels(digits, labelled, rng)
        # Of its own for each seed and round: else the luck of a row would be the same in all rounds.
        drawn = int(np.random.default_rng((seed, len(labelled))).integers(2**32))
        left_out = all_copies(labelled) if name.endswith(NEW) else labelled
        picked = select(strategy, digits.x, committee, left_out, drawn).indices
        labelled = np.concatenate([labelled, picked])
        counts.append(len(labelled))
        copies.append(len(picked) - len(np.unique(picked // COPIES)))
        accuracies.append(accuracy_of(digits, labelled))
        different.append(len(np.unique(labelled // COPIES)))
    metrics = {"accuracy": accuracies, "copies": copies, "different": different}
    return Curve(
        strategy=name,
        seed=seed,
        labels=np.array(counts),
        metrics={key: np.array(values, float) for key, values in metrics.items()},
        picks=labelled,
    )


def reproduce(names, seeds, n_jobs=1):
    """Run each strategy with each seed, and tell of each as it ends."""
    from joblib import Parallel, delayed

    digits = read()
    jobs = [(name, seed) for name in names for seed in range(seeds)]
    curves = []
    for curve in Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(run)(name, digits, seed) for name, seed in jobs
    ):
        curves.append(curve)
        print(f"{curve.strategy}, seed {curve.seed}: {curve.metrics['accuracy'][-1]:.3f} in the end", flush=True)
    return curves


def write(curves, path):
    """Write all points of the curves as CSV."""
    lines = ["strategy,seed,labels,accuracy,copies,different"]
    for curve in curves:
        points = zip(curve.labels, *(curve.metrics[key] for key in METRICS), strict=True)
        lines += [f"{curve.strategy},{curve.seed},{n},{acc:.4f},{c:.0f},{d:.0f}" for n, acc, c, d in points]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_curves(path):
    """Read what `write` wrote."""
    points = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            points.setdefault((row["strategy"], int(row["seed"])), []).append(row)
    return [
        Curve(
            strategy=name,
            seed=seed,
            labels=np.array([int(row["labels"]) for row in rows]),
            metrics={key: np.array([float(row[key]) for row in rows]) for key in METRICS},
        )
        for (name, seed), rows in points.items()
    ]


@styled
def draw(found):
    """Draw the accuracies, and below them the copies in each batch."""
    shown = charts.looks(found.strategies)
    figure = charts.draw_curves(found.runs(), "accuracy", shown)
    figure.set_figheight(figure.get_figheight() + 1.6)
    grid = figure.add_gridspec(2, 1, height_ratios=(2.4, 1))
    (above,) = figure.axes
    above.set_subplotspec(grid[0])
    above.set_xlabel("")
    above.tick_params(axis="x", labelbottom=False)
    below = figure.add_subplot(grid[1], sharex=above)
    runs = found.runs("copies")
    for name in found.strategies:
        # The first point is the labels that all begin with.
        copies, look = runs.of(name)[:, 1:], shown[name]
        mean, error = copies.mean(0), standard_error(copies)
        below.plot(runs.labels[1:], mean, color=look.color, linestyle=look.dash, linewidth=1.5)
        below.fill_between(runs.labels[1:], mean - error, mean + error, color=look.color, alpha=0.13, linewidth=0)
    below.set(xlabel="labelled rows", ylabel="copies per batch", ylim=(-0.3, 7))
    return figure


def for_any_page(svg, width=660):
    """Make a file of its own of an element for a page: with its own background, so that it is legible on any."""
    *_, across, down = map(float, re.search(r'viewBox="([^"]+)"', svg)[1].split())
    dark = " ".join(f"--{name}: {color};" for name, color in DARK.items())
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{width * down / across:.0f}" '
    inside = (
        f"<style>@media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
        '<rect width="100%" height="100%" style="fill: var(--page, #fff)"/>'
    )
    # A hundredth of a point is finer than any screen.
    svg = re.sub(r" *\n *", "\n", re.sub(" {2,}", " ", svg))
    svg = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", svg)
    start = svg.index(">") + 1
    return head + svg[len("<svg ") : start] + inside + svg[start:] + "\n"


def table(found):
    """Write what came of each strategy as the lines of a table, the best first."""
    shown = found.table(at=LEVELS).shown
    columns = ["mean accuracy", f"at {FIRST + ROUNDS * BATCH}", *(f"labels to {level:g}" for level in LEVELS)]
    cells = [shown[name] for name in ("area", "final", *(f"labels to {level:g}" for level in LEVELS))]
    lines = [
        f"| strategy | {' | '.join(columns)} | copies in a batch | copies of earlier labels |",
        "|---|" + "--:|" * (len(columns) + 2),
    ]
    for name, *row in zip(shown["strategy"], *cells, strict=True):
        within = found.runs("copies").of(name).sum(1).mean()
        all_of_them = FIRST + ROUNDS * BATCH - found.runs("different").of(name)[:, -1].mean()
        lines.append(f"| `{name}` | {' | '.join(row)} | {within:.1f} | {all_of_them - within:.1f} |")
    return lines


def fill(path, lines):
    """Put the table where the page has its place for it."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    path.write_text("\n".join([before + BEGIN, "", *lines, "", END + rest.split(END)[1]]), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="run nothing: only make the chart and the table of the CSV")
    told = parser.parse_args()
    to = {kind: OUTPUT / f"repeated_pool.{kind}" for kind in ("csv", "svg", "md")}
    if not told.draw:
        write(reproduce((*STRATEGIES, *OTHERS), told.seeds, told.jobs), to["csv"])
    # Read again after a run, too, so that all figures are those of the file.
    curves = read_curves(to["csv"])
    figure = draw(Simulation(tuple(curve for curve in curves if curve.strategy in DRAWN)))
    title = "Accuracy against labels, and copies in each batch, of a pool in which every digit occurs three times"
    to["svg"].write_text(for_any_page(to_svg(figure, "repeated-pool", title)), encoding="utf-8")
    fill(to["md"], table(Simulation(tuple(curves))))


if __name__ == "__main__":
    main()
