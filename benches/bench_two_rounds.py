"""Two rounds on many machines against one machine that has all rows: the radius of k-center, the cost of k-means++."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pickwise as pw
from pickwise import _native

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pickwise.strategies import Spread

    # The rows of each machine, and their ids.
    Parts = list[tuple[NDArray[np.float32], NDArray[np.int64]]]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SENTENCES = {"banking77": "banking77_minilm_f16", "agnews": "agnews_minilm_f16", "trec6": "trec6_minilm_f16"}
POOLS = SENTENCES | {"MNIST": "mnist70k_u8"}
METRICS = ("euclidean", "cosine")
FEW_PICKS = (50, 200)
PICKS = (*FEW_PICKS, 1000)
SHARDS = (4, 16)
DEALS = ("in turn", "by class")
MU = (1, 2, 4, 8)
STARTS = 5
SEEDS = 3
TARGET = "<= 1.15"
CHECKED = 50
"""Up to so many picks, radii and costs are checked against all distances in float64."""


def read(pool: str, scale: float) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Read embeddings and their classes; those of sentences get back the length that float16 has rounded."""
    path = DATA / f"{POOLS[pool]}.npz"
    if not path.exists():
        pytest.skip(f"{path.name} not there")
    with np.load(path) as file:
        x, classes = file["X"].astype(np.float32), file["y"]
    rows = np.linspace(0, len(x) - 1, max(1000, int(len(x) * scale))).astype(np.int64)
    x, classes = x[rows], classes[rows]
    if pool in SENTENCES:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, classes


def grid(rows: int, picks: tuple[int, ...]) -> Iterator[tuple[int, int, str, int]]:
    """List what is to be measured: where a machine has no more rows than it would send, all are sent."""
    for k, shards, deal, mu in itertools.product(picks, SHARDS, DEALS, MU):
        if mu * k < rows // shards:
            yield k, shards, deal, mu


def dealt(classes: NDArray[Any], shards: int, deal: str) -> list[NDArray[np.int64]]:
    """Deal rows to machines; by class, each has a few classes and the others none of these."""
    rows = np.arange(len(classes))
    if deal == "in turn":
        return [rows[first::shards] for first in range(shards)]
    return np.array_split(np.argsort(classes, kind="stable"), shards)


def two_rounds(
    parts: Parts, strategy: Spread, k: int, seed: int | None = None
) -> tuple[pw.CoverReducer, pw.Cover, dict[str, float]]:
    """Pick as machines would: each condenses what it has, and one picks from what they send."""
    states, seconds = [], []
    for rows, ids in parts:
        began = time.perf_counter()
        state = pw.reducer(strategy, k, random_state=seed)
        state.update(rows, ids=ids)
        state.condense()
        states.append(state.to_bytes())
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    total = pw.CoverReducer.from_bytes(states[0])
    for state in states[1:]:
        total.merge(pw.CoverReducer.from_bytes(state))
    cover = total.finish()
    figures = {"round two": time.perf_counter() - began, "bytes sent": sum(map(len, states))}
    assert not total.is_exact
    return total, cover, {"round one, slowest": max(seconds), "round one, all": sum(seconds), **figures}


def measured(parts: Parts, total: pw.CoverReducer, cover: pw.Cover) -> tuple[float, dict[str, float]]:
    """Measure the radius where the rows are, in the second pass of the machines."""
    whole, seconds = total.radius_of(cover), []
    for rows, ids in parts:
        radius = total.radius_of(cover)
        began = time.perf_counter()
        radius.update(rows, ids=ids)
        seconds.append(time.perf_counter() - began)
        whole.merge(radius)
    return whole.finish(), {"radius, slowest": max(seconds), "radius, all": sum(seconds)}


def squared(x: NDArray[np.float32], picks: NDArray[np.int64], metric: str) -> NDArray[np.float64]:
    """Squared distances to the nearest pick, in float64; for cosine, of the rows scaled to length one."""
    nearest = np.empty(len(x))
    for start in range(0, len(x), 10_000):
        some, to = x[start : start + 10_000].astype(np.float64), x[picks].astype(np.float64)
        if metric == "cosine":
            some, to = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (some, to))
        distances = (some**2).sum(1)[:, None] + (to**2).sum(1) - 2 * some @ to.T
        nearest[start : start + 10_000] = distances.min(1)
    return nearest


def true_radius(x: NDArray[np.float32], picks: NDArray[np.int64], metric: str) -> float:
    farthest = float(squared(x, picks, metric).max())
    return farthest / 2 if metric == "cosine" else farthest**0.5


@pytest.mark.parametrize(("pool", "metric"), [*itertools.product(SENTENCES, METRICS), ("MNIST", "euclidean")])
def bench_radius(race, scale, pool, metric) -> None:
    x, classes = read(pool, scale)
    # MNIST has ten times the numbers of the others, and a radius takes the distances of all rows to all picks.
    picks = FEW_PICKS if pool == "MNIST" else PICKS
    cells: list[dict[str, Any]] = []
    exact: dict[int, dict[str, float]] = {}

    def run() -> None:
        for k in sorted({k for k, *_ in grid(len(x), picks)}):
            began = time.perf_counter()
            cover = pw.k_center(x, k, metric=metric)
            seconds = time.perf_counter() - began
            starts = np.linspace(0, len(x) - 1, STARTS).astype(int).tolist()
            others = [pw.k_center(x, k, metric=metric, start=start).radius / cover.radius for start in starts]
            exact[k] = {"radius": cover.radius, "seconds": seconds, "least": min(others), "most": max(others)}
            if k <= CHECKED:
                assert cover.radius == pytest.approx(true_radius(x, cover.indices, metric), rel=1e-7)
        for k, shards, deal, mu in grid(len(x), picks):
            parts = [(x[ids], ids) for ids in dealt(classes, shards, deal)]
            total, cover, figures = two_rounds(parts, pw.KCenter(metric=metric, mu=mu), k)
            radius, pass_figures = measured(parts, total, cover)
            assert radius <= cover.radius
            if k <= CHECKED:
                assert radius == pytest.approx(true_radius(x, cover.ids, metric), rel=1e-7)
            about = {"pool": pool, "metric": metric, "k": k, "shards": shards, "deal": deal, "mu": mu}
            ratios = {"ratio": radius / exact[k]["radius"], "bound": cover.radius / exact[k]["radius"]}
            cells.append(about | ratios | {"exact": exact[k]["seconds"]} | figures | pass_figures)

    race.run(run, rounds=1)

    race.info(page="two_rounds", pool=pool, metric=metric, rows=len(x), dims=x.shape[1], cells=cells, exact=exact)
    at_two = [cell["ratio"] for cell in cells if cell["mu"] == 2]
    race.claim(f"{pool}, {metric}, mu = 2: radius, the worst of {len(at_two)}", "exact", max(at_two), TARGET, " x")


@pytest.mark.parametrize("pool", SENTENCES)
def bench_cost(race, scale, pool) -> None:
    """The sum of the squared distances to the nearest pick of k-means++, the mean of a few draws."""
    x, classes = read(pool, scale)
    cells: list[dict[str, Any]] = []
    exact: dict[int, dict[str, float]] = {}

    def cost(picks: NDArray[np.int64]) -> float:
        found = float(_native.nearest(x, x[picks], "sqeuclidean")[1].sum())
        if len(picks) <= CHECKED:
            assert found == pytest.approx(squared(x, picks, "euclidean").sum(), rel=1e-7)
        return found

    def run() -> None:
        for k in sorted({k for k, *_ in grid(len(x), FEW_PICKS)}):
            seconds, costs = [], []
            for seed in range(SEEDS):
                began = time.perf_counter()
                cover = pw.kmeans_plusplus(x, k, random_state=seed)
                seconds.append(time.perf_counter() - began)
                costs.append(cost(cover.indices))
            mean = float(np.mean(costs))
            least, most = min(costs) / mean, max(costs) / mean
            exact[k] = {"cost": mean, "seconds": min(seconds), "least": least, "most": most}
        for k, shards, deal, mu in grid(len(x), FEW_PICKS):
            parts = [(x[ids], ids) for ids in dealt(classes, shards, deal)]
            drawn = [two_rounds(parts, pw.KMeansPlusPlus(mu=mu), k, seed) for seed in range(SEEDS)]
            ratio = float(np.mean([cost(cover.ids) for _, cover, _ in drawn])) / exact[k]["cost"]
            figures = {name: min(one[name] for _, _, one in drawn) for name in drawn[0][2]}
            about = {"pool": pool, "metric": "k-means++", "k": k, "shards": shards, "deal": deal, "mu": mu}
            cells.append(about | {"ratio": ratio, "exact": exact[k]["seconds"]} | figures)

    race.run(run, rounds=1)

    race.info(page="two_rounds", pool=pool, metric="k-means++", rows=len(x), dims=x.shape[1], cells=cells, exact=exact)
