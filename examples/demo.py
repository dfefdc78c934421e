"""Select the images worth labelling, look at them, time the selection against NumPy, and run the whole loop.

Two models learn from a few labelled images (MNIST where it is at hand, else scikit-learn's digits). pickwise scores all
the others and selects some by each strategy. A contact sheet goes to demo-output/selected.png. Then two projects run
ten rounds each, from no label on: one asks for what a model is least sure of, the other one for rows at random. The
report of the first goes to demo-output/loop/report.html.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.annotators import SimulatedAnnotators

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pickwise.loop import Round

ROOT = Path(__file__).resolve().parent.parent
MNIST = ROOT.parent / "shared" / "data" / "mnist70k_u8.npz"
OUTPUT = ROOT / "demo-output"
SHEET = OUTPUT / "selected.png"
SCORES: dict[str, Callable[[Any], NDArray[Any]]] = {
    "entropy": pw.entropy,
    "margin": pw.margin,
    "least_confidence": pw.least_confidence,
    "ratio": pw.ratio,
}
STRATEGIES = [*SCORES, "random"]
SHOWN = 8
ROUNDS = 10
BLUE, RED = "#0072B2", "#D55E00"  # of Okabe and Ito's colours, told apart by the colour-blind


@dataclass(frozen=True)
class Images:
    """A data set: a few labelled rows, and the pool, whose labels only the demo's tables may look at."""

    name: str
    labelled: NDArray[np.float32]
    labels: NDArray[np.int64]
    pool: NDArray[np.float32]
    truth: NDArray[np.int64]


def load() -> Images:
    """Read MNIST if it is there, else the digits that come with scikit-learn."""
    if MNIST.exists():
        with np.load(MNIST) as file:
            x, y = file["X"].astype(np.float32) / 255, file["y"].astype(np.int64)
        name, few = "MNIST", 500
    else:
        x, y = load_digits(return_X_y=True)
        x, y = (x / 16).astype(np.float32), y.astype(np.int64)
        name, few = "digits", 100
    order = np.random.default_rng(0).permutation(len(x))
    return Images(name, x[order[:few]], y[order[:few]], x[order[few:]], y[order[few:]])


def main() -> None:
    """Run the demo."""
    info = pw.build_info()
    print(f"pickwise {info['version']}, {info['simd']}, {info['threads']} threads\n")
    images = load()
    models = {
        "logistic regression": LogisticRegression(max_iter=500),
        "random forest": RandomForestClassifier(200, n_jobs=-1, random_state=0),
    }
    k = min(500, len(images.pool) // 10)
    print(f"{images.name}: {len(images.labels)} labelled images, {len(images.pool):,} in the pool, {k} to be selected")
    predicted = {}
    for name, model in models.items():
        p = model.fit(images.labelled, images.labels).predict_proba(images.pool)
        predicted[name] = p
        print_table(f"The {name}", p, images.truth, k)
    draw(images, predicted["logistic regression"])
    print(f"\nThe images, by logistic regression: {SHEET.relative_to(ROOT)}\n")
    race()
    compare_loops(images)


def print_table(title: str, p: NDArray[Any], truth: NDArray[np.int64], k: int) -> None:
    """Print what each strategy selects: how often the model is right there, and how the classes are spread."""
    right = p.argmax(1) == truth
    entropies = pw.entropy(p)
    print(f"\n{title} is right about {right.mean():.1%} of the pool; of the {k} rows selected by")
    print(f"  {'strategy':<18}{'right':>8}{'mean score':>12}{'mean entropy':>14}{'images of a class':>19}")
    for strategy in STRATEGIES:
        selection = pw.select(p, k, strategy, random_state=0)
        rows = selection.indices
        counts = np.bincount(truth[rows], minlength=p.shape[1])
        score = f"{selection.scores.mean():.3f}" if strategy in SCORES else "-"
        spread = f"{counts.min()} to {counts.max()}"
        print(f"  {strategy:<18}{right[rows].mean():>8.1%}{score:>12}{entropies[rows].mean():>14.3f}{spread:>19}")


def draw(images: Images, p: NDArray[Any]) -> None:
    """Draw the images that come first by each strategy beside those that come last."""
    mpl.use("agg")
    side = int(images.pool.shape[1] ** 0.5)
    figure = plt.figure(figsize=(2 * SHOWN + 1, 1.6 * len(STRATEGIES) + 1))
    left, right = parts = np.asarray(figure.subfigures(1, 2))
    left.suptitle("Selected: worth labelling", fontsize=16, fontweight="bold")
    right.suptitle("Most certain: little to learn", fontsize=16, fontweight="bold")
    figure.supxlabel(
        f"{images.name}: the predicted class and its probability; below, the true class where it is another"
    )
    for part in parts:
        grid = part.subplots(len(STRATEGIES), SHOWN)
        part.subplots_adjust(left=0.07, right=0.99, top=0.88, bottom=0.06, hspace=0.7)
        for axes in grid.flat:
            axes.set_axis_off()
        for row, strategy in zip(grid, STRATEGIES, strict=True):
            at = {"transform": row[0].transAxes, "va": "center", "fontsize": 12}
            if part is left:
                row[0].text(-0.2, 0.5, strategy.replace("_", "\n"), rotation=90, ha="center", **at)
                chosen = pw.select(p, SHOWN, strategy, random_state=0).indices
            elif strategy in SCORES:
                chosen = np.argsort(SCORES[strategy](p), kind="stable")[:SHOWN]
            else:
                row[0].text(0, 0.5, "random draws are blind to certainty", **at)
                continue
            for axes, index in zip(row, chosen, strict=True):
                guess, truth = int(p[index].argmax()), int(images.truth[index])
                axes.imshow(images.pool[index].reshape(side, side), cmap="gray_r")
                wrong = "" if guess == truth else f"is {truth}"
                axes.set_title(f"{guess}: {p[index, guess]:.0%}\n{wrong}", fontsize=12, color=RED if wrong else BLUE)
    SHEET.parent.mkdir(exist_ok=True)
    figure.savefig(SHEET, dpi=80)
    plt.close(figure)


def numpy_entropy(p: NDArray[Any]) -> NDArray[Any]:
    """Score as one does with NumPy."""
    return np.asarray(-(p * np.log(np.clip(p, 1e-12, 1))).sum(1))


def numpy_select(p: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Select as one does with NumPy: score all rows, partition, sort what is left."""
    scores = numpy_entropy(p)
    top = np.argpartition(scores, -k)[-k:]
    return top[np.argsort(-scores[top], kind="stable")]


def race(rows: int = 4_000_000, classes: int = 10) -> None:
    """Select the top 0.1 % by entropy with NumPy and with pickwise, in turn, and compare times and answers."""
    pool = np.random.default_rng(0).standard_exponential((rows, classes), dtype=np.float32)
    pool /= pool.sum(1, keepdims=True)
    k = rows // 1000
    best = {"NumPy": np.inf, "pickwise": np.inf}
    ours = theirs = np.empty(0, np.int64)
    for _ in range(3):
        began = time.perf_counter()
        theirs = numpy_select(pool, k)
        between = time.perf_counter()
        ours = pw.select(pool, k, "entropy").indices
        best["NumPy"] = min(best["NumPy"], between - began)
        best["pickwise"] = min(best["pickwise"], time.perf_counter() - between)
    # float64 decides, among all rows that come near: NumPy's float32 scores are rounded.
    contenders = np.flatnonzero(numpy_entropy(pool) >= numpy_entropy(pool[ours]).min() - 1e-4)
    exact = contenders[numpy_select(pool[contenders].astype(np.float64), k)]
    assert np.array_equal(ours, exact), "pickwise and NumPy in float64 disagree"  # noqa: S101
    same = len(np.intersect1d(ours, theirs))
    print(f"The {k:,} rows of highest entropy out of {rows:,} x {classes}, float32, best of 3:")
    for name, seconds in best.items():
        print(f"  {name:<10}{seconds * 1000:>8.1f} ms {rows / seconds / 1e6:>8.1f} million rows/s")
    print(f"pickwise is {best['NumPy'] / best['pickwise']:.1f} times as fast. Same rows in the same order as NumPy in")
    print(f"float64; NumPy in float32 agrees on {same:,} of {k:,}.")


def compare_loops(images: Images) -> None:
    """Label by margin and at random, in projects that differ in nothing else, and tell what each needs."""
    k = min(100, len(images.pool) // 80)
    print(f"\nThe whole loop, {ROUNDS} rounds of {k} labels. Each row is labelled by two annotators, who err in 3 %.")
    runs = {strategy: run_loop(images, strategy, k) for strategy in ("margin", "random")}
    print(f"  {'labels':>6}{'margin':>9}{'random':>9}")
    for one, other in zip(*runs.values(), strict=True):
        print(f"  {one.labelled:>6,}{one.metrics['accuracy']:>9.1%}{other.metrics['accuracy']:>9.1%}")
    goal = runs["random"][-1].metrics["accuracy"]
    there = {
        name: [step.labelled for step in rounds if step.metrics["accuracy"] >= goal] for name, rounds in runs.items()
    }
    needed = {name: f"{counts[0]:,}" if counts else f"more than {ROUNDS * k:,}" for name, counts in there.items()}
    print(f"For the {goal:.1%} that random labels end at, margin needs {needed['margin']}, random {needed['random']}.")
    print(f"The project, with all its rounds and its report: {(OUTPUT / 'loop' / 'report.html').relative_to(ROOT)}")


def run_loop(images: Images, strategy: str, k: int) -> list[Round]:
    """Run a project from nothing, write its report, and return its rounds."""
    folder = OUTPUT / ("loop-random" if strategy == "random" else "loop")
    shutil.rmtree(folder, ignore_errors=True)
    rows = len(images.pool) * 6 // 7  # the others are for evaluation
    project = pw.Project.create(
        folder,
        images.pool[:rows],
        model=LogisticRegression(C=0.1, tol=0.01, max_iter=500),
        annotator=SimulatedAnnotators(images.truth[:rows], annotators=2, error=0.03),
        strategy=strategy,
        classes=range(10),
        batch_size=k,
        budget=ROUNDS * k,
        overlap=2,
        evaluation=(images.pool[rows:], images.truth[rows:]),
    )
    with project:
        project.run()
        project.report()
        return project.history()


if __name__ == "__main__":
    main()
