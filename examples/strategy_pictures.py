"""Draw the pictures of docs/strategies/: which rows of a toy pool each strategy selects.

All strategies, or those that are named: ``python examples/strategy_pictures.py margin k_center``. What a strategy is
given, and what the plane behind it is shaded by, is a line in `RECIPES`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.strategies import REGISTRY, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Shade = Callable[["Toy", Numbers], Numbers]
    Kernel = Callable[[Numbers], Numbers]

FOLDER = File(__file__).resolve().parent.parent / "docs" / "images" / "strategies"
K = 12
BALL = 0.6
WIDTH, HEIGHT = 12.0, 9.2
BLOBS = [((2.6, 2.9), 0.75, 150, 0), ((5.7, 3.3), 1.0, 110, 1), ((3.9, 6.6), 0.7, 80, 2), ((9.3, 6.7), 0.4, 50, 1)]
OUTLIERS = [(0.6, 8.3), (10.9, 1.2), (7.2, 8.5), (11.2, 3.9), (0.7, 5.4), (8.9, 0.8)]
MARKERS = "s^X"
# Of Okabe and Ito's colours, told apart by the colour-blind. Classes are told apart by their markers.
POOL, LABELLED, PICKED, FRAME = "#707070", "#000000", "#D55E00", "#BBBBBB"
SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#D6ECFA", "#8CCBF0", "#56B4E9"])
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pickwise",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 10.5,
}


@dataclass(frozen=True)
class Toy:
    """Rows in the plane, nine of them labelled: four blobs of three classes, the last without a label; outliers."""

    rows: Numbers
    classes: NDArray[np.int64]
    labelled: NDArray[np.int64]

    @classmethod
    def make(cls) -> Toy:
        """Draw the rows."""
        rng = np.random.default_rng(4)
        blobs = [rng.normal(middle, spread, (count, 2)) for middle, spread, count, _ in BLOBS]
        classes = np.concatenate([*(np.full(count, kind) for *_, count, kind in BLOBS), np.ones(len(OUTLIERS), int)])
        seen = classes[: -len(OUTLIERS) - BLOBS[-1][2]]
        labelled = [rng.choice(np.flatnonzero(seen == kind), 3, replace=False) for kind in range(3)]
        return cls(np.concatenate([*blobs, OUTLIERS]), classes, np.concatenate(labelled))

    @cached_property
    def model(self) -> LogisticRegression:
        """The model of the labelled rows."""
        return self.fit(self.labelled)

    @cached_property
    def members(self) -> list[LogisticRegression]:
        """Twenty models of labelled rows that are drawn with replacement, three of each class."""
        rng = np.random.default_rng(0)
        return [self.fit(rng.choice(self.labelled.reshape(3, 3), 3, axis=1).ravel()) for _ in range(20)]

    @cached_property
    def targets(self) -> Numbers:
        """For regression: a number for each labelled row."""
        x, y = self.rows[self.labelled].T
        return np.asarray(np.sin(x / 1.6) + y / 4)

    @cached_property
    def regressor(self) -> GaussianProcessRegressor:
        """The model of these numbers."""
        model = GaussianProcessRegressor(RBF(2.0), alpha=0.01, optimizer=None, normalize_y=True)
        return model.fit(self.rows[self.labelled], self.targets)

    def fit(self, some: NDArray[np.int64]) -> LogisticRegression:
        """Learn from some rows."""
        return LogisticRegression(C=3.0, max_iter=1000).fit(self.rows[some], self.classes[some])

    def probabilities(self, points: Numbers) -> Numbers:
        """Predict classes at any points."""
        return np.asarray(self.model.predict_proba(points))

    def committee(self, points: Numbers) -> Numbers:
        """Predict them with each member."""
        return np.stack([member.predict_proba(points) for member in self.members])

    def labels(self, points: Numbers) -> Numbers:
        """Predict each class by itself, as if a row could be of several."""
        kinds = (self.classes[self.labelled] == kind for kind in range(3))
        models = [LogisticRegression(C=3.0).fit(self.rows[self.labelled], kind) for kind in kinds]
        return np.stack([model.predict_proba(points)[:, 1] for model in models], axis=1)

    def numbers(self, points: Numbers) -> Numbers:
        """Predict numbers."""
        return np.asarray(self.regressor.predict(points))

    def features(self, points: Numbers) -> Numbers:
        """Make what a last layer sees: the coordinates, about as large as the 1 of its bias."""
        return np.column_stack([(points - self.rows.mean(0)) / self.rows.std(), np.ones(len(points))])


@dataclass(frozen=True)
class Recipe:
    """How a strategy selects from the toy pool, and what score the plane behind it is shaded by, if there is one."""

    select: Callable[[Toy], pw.Selection]
    shade: Shade | None = None
    by: str = ""


def uncertain(strategy: str | Strategy, score: Callable[[Any], Any], by: str) -> Recipe:
    """Give the strategy probabilities."""
    return Recipe(
        lambda toy: pw.select(toy.probabilities(toy.rows), K, strategy, exclude=toy.labelled, random_state=0),
        lambda toy, points: score(toy.probabilities(points)),
        by,
    )


def disputed(name: str, score: Callable[[Any], Any], by: str) -> Recipe:
    """Give it the predictions of a committee."""
    return Recipe(
        lambda toy: pw.select(toy.committee(toy.rows), K, name, exclude=toy.labelled, random_state=0),
        lambda toy, points: score(toy.committee(points)),
        by,
    )


def several(name: str, score: Callable[[Numbers], Numbers], by: str) -> Recipe:
    """Give it a probability for each label by itself."""
    return Recipe(
        lambda toy: pw.select(toy.labels(toy.rows), K, name, exclude=toy.labelled),
        lambda toy, points: score(toy.labels(points)),
        by,
    )


def spread(strategy: str | Strategy, shade: Shade | None = None, by: str = "") -> Recipe:
    """Give it embeddings, which are the rows themselves, and the positions of those that are labelled."""
    return Recipe(lambda toy: pw.select(toy.rows, K, strategy, labelled=toy.labelled, random_state=0), shade, by)


def both(name: str, shade: Shade | None = None, by: str = "", *, last_layer: bool = False) -> Recipe:
    """Give it probabilities and embeddings: the rows themselves, or what the last layer of the model sees."""

    def select(toy: Toy) -> pw.Selection:
        embeddings = toy.features(toy.rows) if last_layer else toy.rows
        p = toy.probabilities(toy.rows)
        return pw.select(p, K, name, embeddings=embeddings, labelled=toy.labelled, random_state=0)

    return Recipe(select, shade, by)


def regression(name: str, shade: Shade, by: str) -> Recipe:
    """Give it predicted numbers, at labelled rows those that are known, and, if it asks, embeddings."""

    def select(toy: Toy) -> pw.Selection:
        numbers = toy.numbers(toy.rows)
        numbers[toy.labelled] = toy.targets
        embeddings = toy.rows if name == "greedy_xy" else None
        return pw.select(numbers, K, name, embeddings=embeddings, labelled=toy.labelled)

    return Recipe(select, shade, by)


def margin(toy: Toy, points: Numbers) -> Numbers:
    """Score by the margin."""
    return np.asarray(pw.margin(toy.probabilities(points)))


def far(toy: Toy, points: Numbers) -> Numbers:
    """Score by the distance from the nearest labelled row."""
    return np.asarray(distances(points, toy.rows[toy.labelled]).min(1))


def dense(toy: Toy, points: Numbers) -> Numbers:
    """Score by how near the twenty nearest rows are."""
    return np.asarray(1 / (0.2 + np.sort(distances(points, toy.rows), axis=1)[:, :20].mean(1)))


def distances(points: Numbers, rows: Numbers) -> Numbers:
    """Measure from each point to each row."""
    return np.asarray(np.linalg.norm(points[:, None] - rows, axis=2))


def own(toy: Toy, points: Numbers) -> Numbers:
    """Score by something of one's own: the margin, where rows are dense."""
    return margin(toy, points) * dense(toy, points)


def max_loss(p: Numbers, *, mean: bool) -> Numbers:
    """Score by the loss if a row has its likeliest label only; or by the mean of that over the labels above 1/2."""
    likely = (p > 0.5) if mean else np.zeros(p.shape, bool)
    likely[np.arange(len(p)), p.argmax(1)] = True
    return np.asarray((2 * (1 + p.sum(1, keepdims=True) - 2 * p)).mean(1, where=likely))


def gradient(toy: Toy, points: Numbers) -> Numbers:
    """Score by the length of the gradient of the last layer, if the likeliest class were the label."""
    p = toy.probabilities(points)
    residuals = p - np.eye(p.shape[1])[p.argmax(1)]
    return np.asarray(np.linalg.norm(residuals, axis=1) * np.linalg.norm(toy.features(points), axis=1))


def gain(toy: Toy, points: Numbers, kernel: Kernel, worth: Numbers | float = 1.0, *, cut: bool = True) -> Numbers:
    """Score by how much better the rows would be covered, each worth so much; cut off behind the nearest ones."""
    apart, within = distances(points, toy.rows), distances(toy.rows, toy.rows)
    gains = worth * np.maximum(0, kernel(apart) - kernel(far(toy, toy.rows)))
    if cut:
        most = 2 * len(toy.rows) // (K + len(toy.labelled))
        reach, own = (np.partition(some, most, axis=1)[:, most] for some in (apart, within))
        gains[apart > np.maximum(reach[:, None], own)] = 0
    return np.asarray(gains.sum(1))


def herded(toy: Toy, points: Numbers) -> Numbers:
    """Score by a kernel as wide as the share of the pool that each pick has to stand for."""
    share = len(toy.rows) // (K + len(toy.labelled))
    radius = np.median(np.sort(distances(toy.rows, toy.rows), axis=1)[:, share - 1])
    return gain(toy, points, lambda apart: np.exp(-((apart / radius) ** 2)))


def herded_unsure(toy: Toy, points: Numbers, sharpness: float = 1.0) -> Numbers:
    """Score by a kernel as wide as labelled rows are apart, and by the margin."""
    labelled = toy.rows[toy.labelled]
    radius = np.median(np.sort(distances(labelled, labelled), axis=1)[:, 1])
    return gain(toy, points, lambda apart: np.exp(-((apart / radius) ** 2)), margin(toy, toy.rows) ** sharpness)


def served(toy: Toy, points: Numbers) -> Numbers:
    """Score by similarity: the largest distance between neighbours less the distance."""
    most = 2 * len(toy.rows) // (K + len(toy.labelled))
    largest = np.sort(distances(toy.rows, toy.rows), axis=1)[:, most].max()
    return gain(toy, points, lambda apart: np.maximum(0, largest - apart))


def in_ball(toy: Toy, points: Numbers) -> Numbers:
    """Count the rows in a ball that are in none of a labelled row."""
    return gain(toy, points, lambda apart: (apart <= BALL).astype(float), cut=False)


def ranked(toy: Toy, points: Numbers) -> Numbers:
    """Score as ranked batches do at their first pick."""
    alpha = 1 - len(toy.labelled) / len(toy.rows)
    unlike = 1 - 1 / (1 + far(toy, points))
    return np.asarray(alpha * unlike + (1 - alpha) * pw.least_confidence(toy.probabilities(points)))


def typical(toy: Toy, points: Numbers) -> Numbers:
    """Score by the entropy times the mean cosine similarity to the pool."""
    to, of = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (toy.features(points), toy.features(toy.rows)))
    return np.asarray(pw.entropy(toy.probabilities(points)) * (to @ of.mean(0)).clip(0))


def unlike(toy: Toy, points: Numbers, *, features: bool) -> Numbers:
    """Score by the distance of the prediction from the nearest target; times that of the features."""
    gaps = np.abs(toy.numbers(points)[:, None] - toy.targets)
    return np.asarray((gaps * distances(points, toy.rows[toy.labelled]) if features else gaps).min(1))


RECIPES: dict[str, Recipe] = {
    "auto": both("auto", lambda toy, points: herded_unsure(toy, points, sharpness=4), "gain of a first pick"),
    "entropy": uncertain("entropy", pw.entropy, "entropy"),
    "margin": uncertain("margin", pw.margin, "margin"),
    "least_confidence": uncertain("least_confidence", pw.least_confidence, "1 - highest probability"),
    "ratio": uncertain("ratio", pw.ratio, "ratio"),
    "random": Recipe(lambda toy: pw.select(toy.rows, K, "random", exclude=toy.labelled, random_state=0)),
    "power": uncertain("power", pw.entropy, "entropy"),
    "softmax": uncertain(pw.SoftmaxSampling(beta=5), pw.entropy, "entropy"),
    "softrank": uncertain("softrank", pw.entropy, "entropy"),
    "given": Recipe(
        lambda toy: pw.select(own(toy, toy.rows), K, "given", exclude=toy.labelled), own, "margin times density"
    ),
    "bald": disputed("bald", pw.bald, "BALD"),
    "consensus_kl": disputed("consensus_kl", pw.consensus_kl, "KL to the consensus"),
    "predictive_entropy": disputed("predictive_entropy", pw.predictive_entropy, "entropy of the mean"),
    "expected_entropy": disputed("expected_entropy", pw.expected_entropy, "mean entropy"),
    "vote_entropy": disputed("vote_entropy", pw.vote_entropy, "entropy of the votes"),
    "variation_ratios": disputed("variation_ratios", pw.variation_ratios, "votes not for the winner"),
    "k_center": spread("k_center", far, "distance to labelled"),
    "kmeans++": spread("kmeans++", lambda toy, points: far(toy, points) ** 2, "squared distance to labelled"),
    "max_loss": several("max_loss", lambda p: max_loss(p, mean=False), "loss"),
    "mean_max_loss": several("mean_max_loss", lambda p: max_loss(p, mean=True), "loss"),
    "mmc": several("mmc", lambda p: np.asarray(np.minimum(p, 1 - p).sum(1)), "loss"),
    "batch_bald": disputed("batch_bald", pw.bald, "BALD"),
    "badge": both("badge", gradient, "length of the gradient", last_layer=True),
    "cluster_margin": both("cluster_margin", margin, "margin"),
    "hybrid": both("hybrid", margin, "margin"),
    "typiclust": spread("typiclust", dense, "density"),
    "prob_cover": spread(pw.ProbCover(radius=BALL), in_ball, "rows in a ball"),
    "max_herding": spread("max_herding", herded, "gain of a first pick"),
    "facility_location": spread("facility_location", served, "gain of a first pick"),
    "uncertainty_herding": both("uncertainty_herding", herded_unsure, "gain of a first pick"),
    "ranked_batch": both("ranked_batch", ranked, "score of a first pick"),
    "density_weighted": both("density_weighted", typical, "entropy times similarity", last_layer=True),
    "greedy_x": spread("greedy_x", far, "distance to labelled"),
    "greedy_y": regression(
        "greedy_y", lambda toy, points: unlike(toy, points, features=False), "gap of prediction to targets"
    ),
    "greedy_xy": regression(
        "greedy_xy", lambda toy, points: unlike(toy, points, features=True), "product of distances"
    ),
}
"""By the name of the strategy."""


def main(names: list[str]) -> None:
    """Draw the strategies that are named, or all."""
    missing = [name for name in names or REGISTRY if name not in RECIPES]
    if missing:
        sys.exit(f"RECIPES has no {', '.join(missing)}: add what it selects by")
    FOLDER.mkdir(parents=True, exist_ok=True)
    toy = Toy.make()
    for name in names or REGISTRY:
        path = FOLDER / f"{name.replace('++', '_plusplus')}.svg"
        with mpl.rc_context(STYLE):
            draw(toy, RECIPES[name]).savefig(path, metadata={"Date": None, "Creator": None})
        text = path.read_text(encoding="utf-8").replace('"480pt"', '"480"').replace('"400pt"', '"400"')
        text = re.sub(r"(\d\.\d\d)\d+", r"\1", text)  # hundredths are enough, and half the size
        text = re.sub(r" +$", "", text, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {len(text) / 1000:.0f} kB")


def draw(toy: Toy, recipe: Recipe) -> Figure:
    """Draw the pool, the labelled rows, and the picks by their ranks."""
    figure = Figure(figsize=(480 / 72, 400 / 72))
    axes = figure.add_axes((0.004, 0.066, 0.992, 0.93))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(FRAME)
    if recipe.shade is not None:
        step = 0.05
        x, y = np.arange(step / 2, WIDTH, step), np.arange(step / 2, HEIGHT, step)
        values = np.asarray(recipe.shade(toy, np.stack(np.meshgrid(x, y), 2).reshape(-1, 2)))
        steps = np.floor(9.999 * (values - values.min()) / np.ptp(values))  # ten shades make a small file
        image: dict[str, Any] = {"interpolation": "nearest", "origin": "lower", "aspect": "auto"}
        axes.imshow(steps.reshape(len(y), -1), cmap=SHADES, extent=(0, WIDTH, 0, HEIGHT), zorder=0, **image)
    # Lines of no length with round ends are dots, and one path of them is a quarter the size of as many markers.
    ends = np.repeat(toy.rows, 2, axis=0) + np.tile([[0, 0], [0.001, 0]], (len(toy.rows), 1))
    dots = Path(ends, [Path.MOVETO, Path.LINETO] * len(toy.rows))
    axes.add_patch(PathPatch(dots, edgecolor=POOL, linewidth=2.4, capstyle="round", zorder=1))
    for kind, marker in enumerate(MARKERS):
        some = toy.labelled[toy.classes[toy.labelled] == kind]
        label(axes, toy.rows[some], marker)
    number(axes, toy.rows[recipe.select(toy).indices], toy.rows[toy.labelled])
    explain(figure.add_axes((0, 0, 1, 0.066)), recipe.by)
    return figure


def label(axes: Axes, rows: Numbers, marker: str) -> None:
    """Mark rows as labelled."""
    style: dict[str, Any] = {"markersize": 9, "markeredgecolor": "white", "markeredgewidth": 0.8}
    axes.plot(rows[:, 0], rows[:, 1], marker, color=LABELLED, zorder=2, **style)


def number(axes: Axes, rows: Numbers, labelled: Numbers) -> None:
    """Put numbers on the picks: clear of each other and of the labelled rows, with a line to the pick where moved."""
    size, places = 0.43, rows.copy()
    for _ in range(1000):
        others = np.concatenate([places, labelled])
        apart = places[:, None] - others
        gaps = np.linalg.norm(apart, axis=2)
        push = np.where(gaps > 0, np.maximum(0, size - gaps) / np.maximum(gaps, 1e-9), 0)
        places = (places + (0.3 * push[:, :, None] * apart).sum(1)).clip(0.25, [WIDTH - 0.25, HEIGHT - 0.25])
    for rank, (row, place) in enumerate(zip(rows, places, strict=True), 1):
        axes.plot([row[0], place[0]], [row[1], place[1]], color=PICKED, linewidth=1.2, zorder=3)
        axes.plot(row[0], row[1], "o", color=PICKED, markersize=3.5, markeredgewidth=0, zorder=3)
        ball(axes, place[0], place[1], str(rank))


def ball(axes: Axes, x: float, y: float, text: str) -> None:
    """Draw a numbered pick."""
    axes.plot(x, y, "o", color=PICKED, markersize=15.5, markeredgecolor="white", markeredgewidth=0.8, zorder=4)
    axes.text(x, y, text, color="white", ha="center", va="center_baseline", fontsize=9.5, fontweight="bold", zorder=5)


def explain(axes: Axes, by: str) -> None:
    """Say what is what."""
    axes.set(xlim=(0, 480), ylim=(-13, 13))
    axes.set_axis_off()
    axes.plot(9, 0, "o", color=POOL, markersize=2.6, markeredgewidth=0)
    axes.text(14, 0, "pool", va="center_baseline")
    for x, marker in zip((50, 63, 76), MARKERS, strict=True):
        label(axes, np.array([[x, 0.0]]), marker)
    axes.text(85, 0, "labelled", va="center_baseline")
    ball(axes, 144, 0, "1")
    axes.text(155, 0, "selected, in order", va="center_baseline")
    if by:
        axes.text(472, 0, f"shade: {by}", va="center_baseline", ha="right")


if __name__ == "__main__":
    main(sys.argv[1:])
