"""Facility location, herding and ProbCover pick what the plain greedy algorithms pick."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw
from pickwise.clustering import clusters_of

METRICS = ["euclidean", "sqeuclidean", "cosine"]


def clusters(rows, dims, seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(5, dims)) * 4
    return middles[rng.integers(0, 5, rows)] + rng.normal(size=(rows, dims))


def distances(a, b, metric):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if metric == "cosine":
        a, b = (x / np.sqrt((x**2).sum(1, keepdims=True)) for x in (a, b))
    squared = ((a[:, None] - b) ** 2).sum(2)
    return {"euclidean": np.sqrt(squared), "sqeuclidean": squared, "cosine": squared / 2}[metric]


def mutual(d, nearest):
    """Who is a neighbour of whom, if that is mutual."""
    rows = len(d)
    near = np.eye(rows, dtype=bool)
    for row in range(rows):
        order = np.lexsort([np.arange(rows), d[row]])
        near[row, order[order != row][:nearest]] = True
    return near | near.T


def follow(value, covered, weights, free, picks):
    """What each pick adds, and the most that any row would have added then."""
    gains, best = [], []
    covered, free = covered.copy(), free.copy()
    for pick in picks:
        gain = (weights[:, None] * np.maximum(value - covered[:, None], 0)).sum(0)
        gain[~free] = 0
        gains.append(gain[pick])
        best.append(gain.max())
        assert free[pick]
        free[pick] = False
        covered = np.maximum(covered, value[:, pick])
    return np.array(gains), np.array(best)


def greedy(value, covered, weights, free, k):
    """Pick the row that adds the most, of several the lowest, while one adds anything."""
    picks, gains = [], []
    covered, free = covered.copy(), free.copy()
    while len(picks) < k:
        gain = (weights[:, None] * np.maximum(value - covered[:, None], 0)).sum(0)
        gain[~free] = -1
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        picks.append(best)
        gains.append(gain[best])
        free[best] = False
        covered = np.maximum(covered, value[:, best])
    return picks, gains


def kernel(d, radius, metric):
    return np.exp(-((d / radius) ** (2 if metric == "euclidean" else 1)))


def problem(name, x, *, metric, labelled=None, exclude=(), radius=None, neighbours=None, weights=None):
    """How well rows are stood for by each, and so far, how much they count, which are free; and their positions."""
    rows = np.setdiff1d(np.arange(len(x)), exclude)
    d = distances(x[rows], x[rows], metric)
    near = mutual(d, min(neighbours, len(rows) - 1)) if neighbours else np.ones_like(d, bool)
    free = np.ones(len(rows), bool)
    known = np.empty((0, x.shape[1]))
    if labelled is not None and np.ndim(labelled) == 2:
        known = np.asarray(labelled)
    elif labelled is not None:
        known = x[labelled]
        free[np.isin(rows, labelled)] = False
    to_known = distances(x[rows], known, metric).min(1, initial=np.inf)
    if name == "facility_location":
        most = d[near].max()
        value, covered = most - d, np.maximum(most - to_known, 0)
    elif name == "prob_cover":
        value, covered = (d <= radius).astype(float), (to_known <= radius).astype(float)
    else:
        value, covered = kernel(d, radius, metric), kernel(to_known, radius, metric)
    value = np.where(near, value, 0)
    weights = np.ones(len(rows)) if weights is None else weights[rows]
    return (value, covered, weights, free), rows


def run(name, x, k, *, scores=None, **options):
    if name == "prob_cover":
        options.pop("neighbours")
    if name == "facility_location":
        options.pop("radius")
    if name == "uncertainty_herding":
        return pw.uncertainty_herding(scores, x, k, score="given", **options)
    return getattr(pw, name)(x, k, **options)


NAMES = ["facility_location", "max_herding", "uncertainty_herding", "prob_cover"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("known", ["none", "positions", "mask", "matrix", "excluded too"])
def test_equal_to_the_plain_algorithm(name, metric, known):
    rng = np.random.default_rng(3)
    for dims, graph in ((4, None), (30, None), (30, 6)):
        x = clusters(120, dims)
        u = rng.random(120)
        exclude = rng.choice(120, 25, replace=False)
        others = np.setdiff1d(np.arange(120), exclude)
        labelled = {
            "none": None,
            "positions": others[:7],
            "mask": others[:7],
            "matrix": clusters(9, dims, seed=8),
            "excluded too": exclude[:6],
        }[known]
        away = np.sort(distances(x, x, metric)[np.triu_indices(120, 1)])
        options = {"metric": metric, "radius": float(away[700:702].mean()), "neighbours": graph}
        if name == "prob_cover":
            options["neighbours"] = None
        weights = u if name == "uncertainty_herding" else None
        plain, rows = problem(name, x, labelled=labelled, exclude=exclude, weights=weights, **options)
        odd, odd_u = x.copy(), u.copy()
        rest = exclude if known != "excluded too" else exclude[6:]
        odd[rest], odd_u[rest] = np.nan, np.nan
        options["neighbours"] = graph or 119
        given = np.isin(np.arange(120), labelled) if known == "mask" else labelled
        batch = run(name, odd, 30, labelled=given, exclude=exclude, scores=odd_u, **options)
        gains, best = follow(*plain, np.searchsorted(rows, batch.indices))
        np.testing.assert_allclose(batch.scores, gains, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(batch.scores, best, rtol=1e-9, atol=1e-9)
        assert len(set(batch.indices.tolist())) == 30
        assert not np.isin(batch.indices, exclude).any()
        if known != "matrix" and labelled is not None:
            assert not np.isin(batch.indices, labelled).any()


def test_the_ranking_that_apricot_publishes():
    """Of scikit-learn's digits, from tests/test_facility_location.py of apricot."""
    x = pytest.importorskip("sklearn.datasets").load_digits().data
    ranking = [
        945,
        392,
        1507,
        793,
        1417,
        1039,
        97,
        1107,
        1075,
        867,
        360,
        186,
        1584,
        1422,
        885,
        1084,
        1327,
        1696,
        991,
        146,
    ]
    gains = [7448636, 384346, 250615, 224118, 166266, 127456, 122986, 109483, 93463, 67173]
    batch = pw.facility_location(x, 20, metric="sqeuclidean", neighbours=len(x) - 1)
    assert batch.indices.tolist() == ranking
    np.testing.assert_allclose(batch.scores[:10], gains, atol=0.5)
    d = distances(x, x[batch.indices[:10]], "sqeuclidean")
    most = max(distances(x[i : i + 100], x, "sqeuclidean").max() for i in range(0, len(x), 100))
    worth = np.array([(most - d[:, :count].min(1)).sum() for count in range(1, 11)])
    np.testing.assert_allclose(np.diff(worth, prepend=0), batch.scores[:10])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_each_ball_of_prob_cover_is_the_best_by_scikit_activeml(metric):
    pool = pytest.importorskip("skactiveml.pool")
    x = clusters(150, 3)
    away = distances(x, x, metric)
    radius = float(np.sort(away[np.triu_indices(150, 1)])[600])
    radius = np.nextafter(radius, np.inf)
    known = [4, 20, 77]
    batch = pw.prob_cover(x, 25, labelled=known, radius=radius, metric=metric)
    y = np.full(150, np.nan)
    y[known] = 0
    for pick, score in zip(batch.indices, batch.scores, strict=True):
        theirs = pool.ProbCover(n_classes=2, deltas=[radius], distance_func=lambda _: away.copy(), random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the radius is not checked
            _, utilities = theirs.query(x, y, return_utilities=True)
        assert score == utilities[0, pick] == np.nanmax(utilities)
        y[pick] = 0


@st.composite
def grids(draw):
    """Whole numbers, so that balls and ties are exact; rows occur many times."""
    rows, dims = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 3, 15]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(0, draw(st.integers(1, 4)), (rows, dims), endpoint=True).astype(np.float32)
    out = rng.permutation(rows)[: draw(st.integers(0, rows - 1))]
    cut = draw(st.integers(0, len(out)))
    return x, out[:cut], out[cut:]


@given(grids(), st.integers(1, 6), st.sampled_from(["prob_cover", "facility_location"]))
def test_ties_go_to_the_lower_row_and_no_row_is_picked_twice(case, radius, name):
    x, labelled, exclude = case
    rows = len(x)
    k = rows - len(labelled) - len(exclude)
    options = {"metric": "sqeuclidean", "radius": float(radius), "neighbours": None if name == "prob_cover" else rows}
    plain, free = problem(name, x, labelled=labelled, exclude=exclude, **options)
    picks, gains = greedy(*plain, k)
    odd = x.copy()
    odd[exclude] = np.nan
    batch = run(name, odd, k, labelled=labelled, exclude=exclude, **options)
    assert batch.indices[: len(picks)].tolist() == free[picks].tolist()
    assert batch.scores.tolist() == gains + [0] * (k - len(picks))
    assert sorted(batch.indices.tolist()) == sorted(set(range(rows)) - set(labelled.tolist()) - set(exclude.tolist()))


@pytest.mark.parametrize("name", NAMES)
def test_where_all_are_stood_for_the_farthest_follow(name):
    x = np.concatenate([np.zeros((10, 3)), np.ones((10, 3)), [[5.0, 0, 0]]])
    options = {"radius": 0.001, "neighbours": 20, "scores": np.full(21, 0.5)}
    batch = run(name, x, 21, **options)
    assert sorted(batch.indices.tolist()) == list(range(21))
    assert set(batch.indices[:3].tolist()) == {0, 10, 20}
    assert (batch.scores[:3] > 0).all()
    assert not batch.scores[3:].any()
    labelled = run(name, x, 20, labelled=[20], **options)
    assert set(labelled.indices[:2].tolist()) == {0, 10}
    away = run(name, x, 5, labelled=np.concatenate([x[:1], x[10:11]]), **options)
    assert away.indices[0] == 20
    assert away.scores[0] > 0


def test_a_radius_is_a_multiple_of_the_unit():
    x = clusters(200, 8)
    u = np.random.default_rng(0).random(200)
    for scale in (2.0**-40, 2.0**40):
        for known in (None, [1, 5, 9]):
            for name in NAMES:
                options = {"labelled": known, "neighbours": 30, "scores": u, "radius": None}
                draws = {"random_state": 0} if name == "prob_cover" else {}
                one = run(name, x, 12, **options, **draws)
                other = run(name, x * scale, 12, **options, **draws)
                np.testing.assert_array_equal(one.indices, other.indices)


def test_radius_by_default():
    x = clusters(90, 4)
    d = distances(x, x, "euclidean")
    # With 10 picks, 9 rows are the share of each, itself one of them.
    reach = np.median(np.sort(d, 1)[:, 8])
    expected = pw.max_herding(x, 10, radius=reach, neighbours=89)
    assert pw.max_herding(x, 10, neighbours=89).indices.tolist() == expected.indices.tolist()
    np.testing.assert_allclose(pw.max_herding(x, 10, neighbours=89).scores, expected.scores, rtol=1e-9)
    # With labels, the median distance between them.
    known = [3, 30, 60, 80]
    own = d[np.ix_(known, known)] + np.diag([np.inf] * 4)
    u = np.random.default_rng(0).random(90)
    expected = pw.uncertainty_herding(
        u, x, 10, score="given", labelled=known, radius=np.median(own.min(1)), neighbours=89
    )
    for labelled in (known, np.isin(np.arange(90), known)):
        batch = pw.uncertainty_herding(u, x, 10, score="given", labelled=labelled, neighbours=89)
        assert batch.indices.tolist() == expected.indices.tolist()
        np.testing.assert_allclose(batch.scores, expected.scores, rtol=1e-9)
    # Copies alone have no distance.
    same = np.ones((9, 3))
    assert sorted(pw.max_herding(same, 9).indices.tolist()) == list(range(9))
    assert len(pw.uncertainty_herding(u[:9], same, 3, score="given", labelled=[0, 1])) == 3


def test_radius_of_prob_cover_is_the_largest_at_which_balls_are_pure():
    pytest.importorskip("sklearn")
    x = clusters(300, 2, seed=4)
    strategy = pw.ProbCover(clusters=5)
    radius = strategy._estimated(x, 0)
    picks = pw.prob_cover(x, 20, clusters=5, random_state=0)
    assert picks.indices.tolist() == pw.prob_cover(x, 20, radius=radius).indices.tolist()
    labels = clusters_of(x, 5, "euclidean", 0, user="test")[0]
    d = distances(x, x, "euclidean")
    impure = ((d <= radius) & (labels[:, None] != labels)).any(1).mean()
    larger = ((d <= radius * (1 + 1e-9)) & (labels[:, None] != labels)).any(1).mean()
    assert impure <= 0.05 <= larger
    assert len(set(pw.prob_cover(np.ones((20, 2)), 3, random_state=0).indices)) == 3


def test_one_row():
    for name in NAMES:
        batch = run(name, np.ones((1, 3)), 1, radius=1.0, neighbours=5, scores=np.array([0.5]))
        assert batch.indices.tolist() == [0]
        batch = run(name, np.ones((2, 3)), 1, radius=1.0, neighbours=5, scores=np.array([0.5, 0.5]), exclude=[0])
        assert batch.indices.tolist() == [1]


def test_scores_below_zero_are_refused():
    x, u = clusters(20, 3), np.linspace(-1, 1, 20)
    with pytest.raises(ValueError, match=r"score: expected finite scores of 0 or more from 'given', got -1"):
        pw.uncertainty_herding(u, x, 3, score="given")
    assert len(pw.uncertainty_herding(u, x, 3, score="given", exclude=np.arange(10))) == 3


@pytest.mark.parametrize("name", NAMES)
def test_bad_rows_are_named_as_the_caller_does(name):
    x, options = clusters(40, 3), {"radius": 1.0, "neighbours": 5, "scores": np.full(40, 0.5)}
    x[30, 1] = np.nan
    for exclude in (None, [2, 5]):
        with pytest.raises(ValueError, match=r"embeddings: row 30 has nan in column 1"):
            run(name, x, 5, exclude=exclude, **options)
    with pytest.raises(ValueError, match=r"embeddings: row 30 has nan in column 1"):
        run(name, x, 5, exclude=[2, 30], labelled=[30], **options)
    good = clusters(40, 3)
    with pytest.raises(ValueError, match=r"labelled: row 1 has inf in column 2"):
        run(name, good, 5, labelled=[[0.0, 0, 0], [0, 0, np.inf]], **options)
    with pytest.raises(ValueError, match=r"labelled: row 0 is zero"):
        run(name, good, 5, labelled=[[0.0, 0, 0]], metric="cosine", **options)
    good[7] = 0
    with pytest.raises(ValueError, match=r"embeddings: row 7 is zero"):
        run(name, good, 5, exclude=[2, 5], metric="cosine", **options)


def test_large_pools_on_any_number_of_threads():
    x = clusters(3000, 20).astype(np.float32)
    u = np.random.default_rng(0).random(3000)
    for name in NAMES:
        options = {"radius": 5.0, "neighbours": None, "scores": u, "labelled": x[:20]}
        with pw.num_threads(1):
            one = run(name, x, 60, **options)
        with pw.num_threads(3):
            assert run(name, np.asfortranarray(x), 60, **options) == one
