"""Ranked batches and greedy sampling pick what the plain algorithms pick, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

METRICS = ["euclidean", "sqeuclidean", "cosine"]


def clusters(rows, dims, seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(5, dims)) * 2
    return middles[rng.integers(0, 5, rows)] + rng.normal(size=(rows, dims))


def distances(a, b, metric="euclidean"):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if metric == "cosine":
        a, b = (x / np.sqrt((x**2).sum(1, keepdims=True)) for x in (a, b))
    squared = ((a[:, None] - b) ** 2).sum(2)
    return {"euclidean": np.sqrt(squared), "sqeuclidean": squared, "cosine": squared / 2}[metric]


def naive_ranked(scores, x, k, *, labelled=None, exclude=(), alpha=None, metric="euclidean"):
    rows = np.setdiff1d(np.arange(len(x)), exclude)
    known = np.empty((0, x.shape[1]))
    free = rows
    if labelled is not None and np.ndim(labelled) == 2:
        known = np.asarray(labelled)
    elif labelled is not None:
        known, free = x[labelled], np.setdiff1d(rows, labelled)
    far = np.full(len(x), np.inf)
    far[free] = distances(x[free], known, metric).min(1, initial=np.inf)
    unlabelled, count = len(free), len(known)
    picks, found = [], []
    free = free.tolist()
    for _ in range(k):
        part = unlabelled / (unlabelled + count) if alpha is None else alpha
        worth = part * (1 - 1 / (1 + far[free])) + (1 - part) * scores[free]
        best = free[int((worth if count else scores[free]).argmax())]
        picks.append(best)
        found.append(worth[free.index(best)])
        free.remove(best)
        if free:
            far[free] = np.minimum(far[free], distances(x[free], x[[best]], metric)[:, 0])
        unlabelled, count = unlabelled - 1, count + 1
    return picks, found


KNOWN = ["none", "positions", "matrix", "excluded too"]


def setting(known, dims, rows=150):
    rng = np.random.default_rng(dims)
    x = clusters(rows, dims)
    exclude = rng.choice(rows, 30, replace=False)
    others = np.setdiff1d(np.arange(rows), exclude)
    labelled = {"none": None, "positions": others[::9], "matrix": clusters(20, dims, 7), "excluded too": exclude[:8]}[
        known
    ]
    odd = x.copy()
    odd[exclude if known != "excluded too" else exclude[8:]] = np.nan
    return x, odd, exclude, labelled, rng


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("alpha", [None, 0.0, 0.3, 1.0])
def test_ranked_batch_is_equal_to_the_plain_algorithm(alpha, known, metric):
    for dims in (3, 40):
        x, odd, exclude, labelled, rng = setting(known, dims)
        scores = rng.random(150)
        odd_scores = scores.copy()
        odd_scores[exclude] = np.nan
        options = {"labelled": labelled, "exclude": exclude, "alpha": alpha, "metric": metric}
        picks, worth = naive_ranked(scores, x, 60, **options)
        batch = pw.ranked_batch(odd_scores, odd, 60, score="given", **options)
        np.testing.assert_allclose(batch.scores, worth, rtol=1e-9)
        assert batch.indices.tolist() == picks
        strategy = pw.RankedBatch(score="given", alpha=alpha, metric=metric)
        beside = {"embeddings": odd, "labelled": labelled, "exclude": exclude}
        assert pw.select(odd_scores, 60, strategy, **beside) == batch


def test_ranked_batch_at_the_ends_of_alpha():
    x = clusters(200, 5)
    p = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    scores = pw.least_confidence(p)
    known = [3, 50, 120]
    top = np.lexsort([np.arange(200), -scores])
    for labelled in (None, known):
        rest = top[~np.isin(top, labelled if labelled else [])]
        batch = pw.ranked_batch(p, x, 40, alpha=0, labelled=labelled)
        assert batch.indices.tolist() == rest[:40].tolist()
        np.testing.assert_allclose(batch.scores, scores[rest[:40]], rtol=1e-12)
    cover = pw.k_center(x, 40, labelled=known)
    batch = pw.ranked_batch(p, x, 40, alpha=1, labelled=known)
    assert batch.indices.tolist() == cover.indices.tolist()
    np.testing.assert_allclose(batch.scores, 1 - 1 / (1 + cover.distances))
    np.testing.assert_allclose(batch.distances, cover.distances)
    # With nothing labelled, all that counts for the first pick is the score.
    for alpha in (None, 0, 0.5, 1):
        assert pw.ranked_batch(p, x, 1, alpha=alpha).indices[0] == top[0]
    limits = {"embeddings": x, "groups": np.isin(np.arange(200), top[:9]), "max_per_group": 1, "must_include": [top[0]]}
    assert pw.select(p, 2, "ranked_batch", **limits).indices[0] == top[0]
    cost = np.where(np.arange(200) == top[0], 100.0, 1.0)
    chosen = pw.select(p, 1, "ranked_batch", embeddings=x, costs=cost, budget=50.0)
    assert chosen.indices[0] == top[1]


def test_alpha_falls_with_each_pick():
    """Two rows: one unsure, one far. With many labels the unsure one is first, with few the far one."""
    x = np.array([[0.0], [0.1], [3.0], [50.0], [50.1], [50.2]])
    scores = np.array([0.0, 0.9, 0.0, 0.0, 0.0, 0.0])
    few = pw.ranked_batch(scores, x, 1, labelled=[[0.0]], score="given")
    many = pw.ranked_batch(scores, x, 1, labelled=np.zeros((30, 1)), score="given")
    assert few.indices[0] > 1
    assert many.indices[0] == 1
    np.testing.assert_allclose(few.scores[0], 6 / 7 * (1 - 1 / 51.2))
    np.testing.assert_allclose(many.scores[0], 6 / 36 * (1 - 1 / 1.1) + 30 / 36 * 0.9)


@st.composite
def grids(draw):
    """Whole numbers, so that masses of distances are equal; rows occur many times."""
    rows, dims = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 9, 17]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(0, draw(st.integers(1, 4)), (rows, dims), endpoint=True).astype(np.float32)
    scores = rng.integers(0, 5, rows) / 4
    out = rng.permutation(rows)[: draw(st.integers(0, rows - 1))]
    cut = draw(st.integers(0, len(out)))
    return x, scores, out[:cut], out[cut:]


@given(grids(), st.sampled_from([0.0, 0.5, 1.0, None]), st.sampled_from(["euclidean", "sqeuclidean"]))
def test_ties_and_copies(case, alpha, metric):
    x, scores, labelled, exclude = case
    k = len(x) - len(labelled) - len(exclude)
    options = {"labelled": labelled if len(labelled) else None, "exclude": exclude, "alpha": alpha, "metric": metric}
    picks, worth = naive_ranked(scores, x, k, **options)
    batch = pw.ranked_batch(scores, x, k, score="given", **options)
    np.testing.assert_allclose(batch.scores, worth, rtol=1e-12)
    if alpha is not None:  # else rounding makes one of two equal ones the first
        assert batch.indices.tolist() == picks
    assert sorted(batch.indices.tolist()) == sorted(set(range(len(x))) - set(labelled.tolist()) - set(exclude.tolist()))


def test_scores_that_are_not_from_0_to_1_are_refused():
    x = clusters(20, 3)
    with pytest.raises(ValueError, match=r"score: expected scores from 0 to 1 from 'given', got 0 to 2"):
        pw.ranked_batch(np.linspace(0, 2, 20), x, 3, score="given")
    assert len(pw.ranked_batch(np.linspace(0, 2, 20), x, 3, score="given", exclude=np.arange(10, 20))) == 3
    assert len(pw.ranked_batch(np.linspace(0, 2, 20), x, 3, score="given", labelled=np.arange(10, 20))) == 3
    with pytest.raises(ValueError, match=r"alpha: expected a number from 0 to 1, got 1.5"):
        pw.RankedBatch(alpha=1.5)


def nearest_to_the_mean(x, free, metric="euclidean"):
    far = distances(x[free], x[free].mean(0)[None], metric)[:, 0]
    return int(free[far.argmin()])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("known", KNOWN)
def test_greedy_x_is_k_center_from_the_middle(known, metric):
    for dims in (3, 30):
        x, odd, exclude, labelled, _ = setting(known, dims)
        free = np.setdiff1d(np.arange(150), exclude)
        start = nearest_to_the_mean(x, free, metric) if labelled is None else None
        cover = pw.k_center(odd, 50, labelled=labelled, exclude=exclude, metric=metric, start=start)
        batch = pw.greedy_x(odd, 50, labelled=labelled, exclude=exclude, metric=metric)
        assert batch.indices.tolist() == cover.indices.tolist()
        np.testing.assert_array_equal(batch.scores, cover.distances)
        np.testing.assert_array_equal(batch.distances, cover.distances)
        strategy = pw.GreedySamplingX(metric=metric)
        assert pw.select(odd, 50, strategy, labelled=labelled, exclude=exclude) == batch


@pytest.mark.parametrize("targets", [1, 4])
def test_greedy_y_is_greedy_x_of_the_targets(targets):
    y = clusters(80, targets)
    exclude = [3, 4, 5]
    for known in (None, np.arange(20, 30)):
        batch = pw.greedy_y(y, 30, labelled=known, exclude=exclude)
        assert batch.indices.tolist() == pw.greedy_x(y, 30, labelled=known, exclude=exclude).indices.tolist()
    given_targets = clusters(12, targets, 5)
    batch = pw.greedy_y(y, 30, targets=given_targets)
    assert batch.indices.tolist() == pw.greedy_x(y, 30, labelled=given_targets).indices.tolist()
    assert pw.select(y, 30, "greedy_y", labelled=given_targets) == batch
    if targets == 1:
        assert pw.greedy_y(y[:, 0], 30, targets=given_targets[:, 0]) == batch
        assert pw.greedy_y(y[:, 0].tolist(), 30, targets=given_targets[:, 0].tolist()) == batch
        assert pw.select(y[:, 0], 30, "greedy_y", labelled=given_targets) == batch
    with pytest.raises(TypeError, match=r"targets: expected None with labelled"):
        pw.greedy_y(y, 3, targets=given_targets, labelled=[1])


def naive_xy(y, x, k, *, labelled=None, targets=None, exclude=()):
    free = np.setdiff1d(np.arange(len(x)), exclude)
    known_x, known_y = np.empty((0, x.shape[1])), np.empty((0, y.shape[1]))
    if targets is not None:
        known_x, known_y = labelled, targets
    elif labelled is not None:
        known_x, known_y, free = x[labelled], y[labelled], np.setdiff1d(free, labelled)
    picks, worth = [], []
    while len(picks) < k:
        if len(known_x) == 0:
            best, most = nearest_to_the_mean(x, free), np.inf
        else:
            product = (distances(x[free], known_x) * distances(y[free], known_y)).min(1)
            best, most = int(free[product.argmax()]), product.max()
        picks.append(best)
        worth.append(most)
        free = free[free != best]
        known_x, known_y = np.concatenate([known_x, x[[best]]]), np.concatenate([known_y, y[[best]]])
    return picks, worth


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("dims", [1, 3, 40])
@pytest.mark.parametrize("targets", [1, 3, 20])
def test_greedy_xy_is_equal_to_the_plain_algorithm(targets, dims, known):
    x, odd, exclude, labelled, rng = setting(known, dims)
    y = rng.normal(size=(150, targets))
    odd_y = np.where(np.isnan(odd[:, :1]), np.nan, y)
    options = {"labelled": labelled, "exclude": exclude}
    if known == "matrix":
        options["targets"] = rng.normal(size=(20, targets))
    picks, worth = naive_xy(y, x, 60, **options)
    batch = pw.greedy_xy(odd_y, odd, 60, **options)
    assert batch.indices.tolist() == picks
    np.testing.assert_allclose(batch.scores, worth, rtol=1e-9)
    if known != "matrix":
        assert pw.select(odd_y, 60, "greedy_xy", embeddings=odd, **options) == batch
    if targets == 1:
        flat = {**options, "targets": options["targets"][:, 0]} if known == "matrix" else options
        assert pw.greedy_xy(odd_y[:, 0], odd, 60, **flat) == batch


@given(grids(), st.integers(0, 3))
def test_greedy_xy_of_ties_and_copies(case, most):
    x, _, labelled, exclude = case
    y = np.random.default_rng(most).integers(0, most, (len(x), 1), endpoint=True).astype(np.float64)
    k = len(x) - len(labelled) - len(exclude)
    batch = pw.greedy_xy(y, x, k, labelled=labelled, exclude=exclude)
    assert sorted(batch.indices.tolist()) == sorted(set(range(len(x))) - set(labelled.tolist()) - set(exclude.tolist()))
    picks, worth = naive_xy(y, x.astype(np.float64), k, labelled=labelled if len(labelled) else None, exclude=exclude)
    if x.shape[1] == 1:  # else square roots are rounded, and one of two equal ones is the first
        assert batch.indices.tolist() == picks
        np.testing.assert_allclose(batch.scores, worth)


def test_what_greedy_sampling_refuses():
    x, y = clusters(20, 3), np.arange(20.0)
    with pytest.raises(TypeError, match=r"labelled: expected positions of rows whose targets are known"):
        pw.greedy_xy(y, x, 3, labelled=x[:2])
    with pytest.raises(
        ValueError, match=r"targets: expected one for each labelled row that is not in the pool, 2, got 3"
    ):
        pw.greedy_xy(y, x, 3, labelled=x[:2], targets=y[:3])
    with pytest.raises(ValueError, match=r"targets: expected 1 for each row, as the predictions have, got 2"):
        pw.greedy_xy(y, x, 3, labelled=x[:2], targets=np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"metric: expected 'euclidean', got 'cosine'"):
        pw.GreedySamplingXY(metric="cosine")
    odd = np.where(y == 7, np.nan, y)
    for exclude in (None, [2, 3]):
        with pytest.raises(ValueError, match=r"predicted targets: row 7 has nan in column 0"):
            pw.greedy_xy(odd, x, 3, exclude=exclude)
        with pytest.raises(ValueError, match=r"row 7 has nan in column 0"):
            pw.greedy_y(odd, 3, exclude=exclude)
    with pytest.raises(ValueError, match=r"targets: row 1 has nan"):
        pw.greedy_xy(y, x, 3, labelled=x[:2], targets=[1.0, np.nan])
    odd = x.copy()
    odd[7, 2] = np.inf
    for exclude in (None, [2, 3]):
        for pick in (lambda **o: pw.greedy_xy(y, odd, 3, **o), lambda **o: pw.greedy_x(odd, 3, **o)):
            with pytest.raises(ValueError, match=r"embeddings: row 7 has inf in column 2"):
                pick(exclude=exclude)


def test_large_pools_on_any_number_of_threads():
    x, u = clusters(20_000, 24), np.random.default_rng(0).random(20_000)
    y = np.random.default_rng(1).normal(size=(20_000, 2))
    for pick in (lambda z: pw.ranked_batch(u, z, 100, score="given"), lambda z: pw.greedy_xy(y, z, 100)):
        with pw.num_threads(1):
            one = pick(x)
        with pw.num_threads(3):
            assert pick(np.asfortranarray(x)) == one
    picks, _ = naive_ranked(u, x, 12)
    assert pw.ranked_batch(u, x, 12, score="given").indices.tolist() == picks
