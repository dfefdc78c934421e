"""k-means++ draws from exactly the distribution that it is defined by."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import pickwise as pw

DRAWS = 4000


def clusters(rows, dims, seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(12, dims)) * 4
    return (middles[rng.integers(0, 12, rows)] + rng.normal(size=(rows, dims))).astype(np.float32)


def squared_distances(x, metric):
    x = np.asarray(x, float)
    if metric == "cosine":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return ((x[:, None] - x) ** 2).sum(2)


def distribution(squared, k, weights, known, exclude):
    """The exact probability of every sequence of picks."""
    rows = len(squared)
    weights = np.ones(rows) if weights is None else np.asarray(weights, float)
    weights = np.where(np.isin(np.arange(rows), [*known, *exclude]), 0, weights)
    found = {}
    for picks in itertools.permutations(np.flatnonzero(weights), k):
        probability, centers = 1.0, list(known)
        for pick in picks:
            mass = weights * squared[centers].min(0) if centers else weights
            probability *= mass[pick] / mass.sum()
            centers.append(pick)
        if probability > 0:
            found[tuple(map(int, picks))] = probability
    assert sum(found.values()) == pytest.approx(1)
    return found


CASES = {
    "plain": {},
    "weights": {"weights": [1, 0.5, 2, 0, 4, 1, 1]},
    "labelled": {"labelled": [2, 5]},
    "exclude": {"exclude": [0, 4]},
    "all": {"weights": [1, 0.5, 2, 1, 4, 1, 1], "labelled": [3], "exclude": [6]},
}


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dims", [2, 20])
def test_distribution(case, metric, dims):
    stats = pytest.importorskip("scipy.stats")
    options = CASES[case]
    x = np.random.default_rng(0).normal(size=(7, dims)) * [[1], [1], [2], [3], [0.3], [1], [1]]
    expected = distribution(
        squared_distances(x, metric),
        2,
        options.get("weights"),
        options.get("labelled", []),
        options.get("exclude", []),
    )
    counts = dict.fromkeys(expected, 0)
    for seed in range(DRAWS):
        cover = pw.kmeans_plusplus(x, 2, metric=metric, random_state=seed, **options)
        counts[tuple(cover.indices.tolist())] += 1
    many = [picks for picks, probability in expected.items() if probability * DRAWS >= 5]
    rest = DRAWS - sum(counts[picks] for picks in many), 1 - sum(expected[picks] for picks in many)
    observed = np.array([*(counts[picks] for picks in many), rest[0]])
    wanted = np.array([*(expected[picks] for picks in many), rest[1]]) * DRAWS
    keep = wanted > 1e-9
    # One case in a million goes wrong by chance, and the seeds are fixed.
    assert stats.chisquare(observed[keep], wanted[keep] * observed[keep].sum() / wanted[keep].sum()).pvalue > 1e-6


def test_later_picks_of_a_larger_pool():
    """The last of many picks, given those before it, against the distribution that they leave."""
    stats = pytest.importorskip("scipy.stats")
    x = clusters(300, 30)
    squared = squared_distances(x, "euclidean")
    ranks = []
    for seed in range(1500):
        picks = pw.kmeans_plusplus(x, 12, random_state=seed).indices
        mass = squared[picks[:-1]].min(0)
        ends = np.cumsum(mass) / mass.sum()
        # Evenly distributed, if a pick is drawn by its mass: where it lies in the sum, at random within its part.
        share = mass[picks[-1]] / mass.sum()
        ranks.append(ends[picks[-1]] - share * np.random.default_rng(seed).random())
    assert stats.kstest(ranks, "uniform").pvalue > 1e-4


def test_distances_and_radius():
    x = clusters(500, 40)
    squared = squared_distances(x, "euclidean")
    cover = pw.kmeans_plusplus(x, 30, random_state=1)
    assert len(set(cover.indices.tolist())) == 30
    assert cover.distances[0] == np.inf
    for i in range(1, 30):
        before = squared[cover.indices[:i], cover.indices[i]].min()
        assert cover.distances[i] == pytest.approx(np.sqrt(before))
    assert cover.radius == pytest.approx(np.sqrt(squared[cover.indices].min(0).max()))
    assert cover.strategy == pw.KMeansPlusPlus()
    assert repr(cover).startswith("Cover of 30 rows by KMeansPlusPlus(), radius ")


def test_seeds():
    x = clusters(500, 10)
    one = pw.kmeans_plusplus(x, 20, random_state=1)
    assert one == pw.kmeans_plusplus(x, 20, random_state=1)
    assert one == pw.kmeans_plusplus(np.asfortranarray(x), 20, random_state=1)
    assert one != pw.kmeans_plusplus(x, 20, random_state=2)
    first = pw.kmeans_plusplus(x, 20, random_state=np.random.default_rng(5))
    assert first == pw.kmeans_plusplus(x, 20, random_state=np.random.default_rng(5))
    assert pw.select(x, 20, "kmeans++", random_state=1) == one
    assert pw.kmeans_plusplus(x, 20, random_state=1, start=77).indices[0] == 77
    with pw.num_threads(1):
        assert one == pw.kmeans_plusplus(x, 20, random_state=1)


@pytest.mark.parametrize("dims", [2, 30])
def test_copies(dims):
    x = np.repeat(clusters(40, dims), 3, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cover = pw.kmeans_plusplus(x, 40, random_state=0)
    assert sorted(cover.indices // 3) == list(range(40))
    with pytest.warns(UserWarning, match=r"80 of the 120 picks are copies"):
        assert sorted(pw.kmeans_plusplus(x, 120, random_state=0).indices) == list(range(120))
    assert pw.kmeans_plusplus(x[:1], 1).indices.tolist() == [0]


def test_outliers_are_drawn_less_often_than_they_are_picked():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 20))
    x[:10] *= 8
    far = {seed: (pw.kmeans_plusplus(x, 10, random_state=seed).indices < 10).sum() for seed in range(20)}
    assert (pw.k_center(x, 10).indices < 10).sum() >= 9
    assert np.mean(list(far.values())) < 5
