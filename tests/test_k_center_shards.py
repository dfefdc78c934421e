"""K-center over shards that stay where they are: the picks of one matrix, bit for bit, however rows are spread."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw
from pickwise import _native
from pickwise.engines.k_center import Shard, asking, pick_exactly

DATA = Path(__file__).parents[2] / "shared" / "data" / "agnews_minilm_f16.npz"
METRICS = ["euclidean", "sqeuclidean", "cosine"]
SHAPES = ["normal", "grid", "copies", "offset", "scales"]


def make(shape, rows, dims, rng):
    """Rows that are all different, or tie in masses, or hardly differ, or cancel in sums."""
    x = rng.standard_normal((rows, dims))
    if shape == "grid":
        return rng.integers(1, 4, (rows, dims)).astype(float)
    if shape == "copies":
        return x[rng.integers(0, max(1, rows // 9), rows)]
    if shape == "offset":
        return 100 + x / 16
    return x * 10.0 ** rng.integers(-4, 4, (1, dims)) if shape == "scales" else x


def spread(rows, shards, rng):
    """Deal rows out to shards, some of which may have none."""
    owner = rng.integers(0, shards, rows)
    return [rng.permutation(np.flatnonzero(owner == shard)) for shard in range(shards)]


def check(found, expected):
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.radius == expected.radius
    assert found == expected


@pytest.fixture(autouse=True)
def _copies_are_fine():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* are copies of other picks")
        yield


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 300),
    dims=st.one_of(st.integers(1, 20), st.sampled_from([31, 64, 129, 400])),
    dtype=st.sampled_from(["f2", "f4", "f8"]),
    metric=st.sampled_from(METRICS),
    shape=st.sampled_from(SHAPES),
    shards=st.integers(1, 7),
    labelled=st.sampled_from([0, 0, 1, 40]),
    share=st.sampled_from([0.0, 0.2]),
    amount=st.sampled_from([0.05, 0.3, 1.0]),
)
def test_picks_are_those_of_one_matrix(seed, rows, dims, dtype, metric, shape, shards, labelled, share, amount):
    rng = np.random.default_rng(seed)
    x = make(shape, rows, dims, rng).astype(dtype)
    exclude = rng.random(rows) < share
    exclude[rng.integers(rows)] = False
    x[exclude & (rng.random(rows) < 0.5)] = np.nan
    centers = make(shape, labelled, dims, rng).astype("f4") if labelled else None
    k = max(1, int(amount * (~exclude).sum()))
    expected = pw.k_center(x, k, metric=metric, exclude=exclude, labelled=centers)
    parts = [Shard(x[i], i, metric=metric, exclude=exclude[i]) for i in spread(rows, shards, rng)]
    for _ in range(2):  # shards can be asked again
        check(pick_exactly(asking(parts), k, pw.KCenter(metric=metric), labelled=centers).cover, expected)


@given(seed=st.integers(0, 2**32), strings=st.booleans(), shape=st.sampled_from(SHAPES))
def test_ties_go_to_the_lower_id(seed, strings, shape):
    rng = np.random.default_rng(seed)
    x = make(shape, 120, 3, rng)
    numbers = rng.choice(10_000, 120, replace=False) - 5000
    ids = np.array([f"é{i}" for i in numbers]) if strings else numbers
    order = np.argsort([i.encode() for i in ids]) if strings else np.argsort(ids)
    expected = pw.k_center(x[order], 60, ids=ids[order])
    parts = [Shard(x[i], i, ids=ids[i]) for i in spread(120, 4, rng)]
    found = pick_exactly(asking(parts), 60, pw.KCenter()).cover
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.indices, order[expected.indices])
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.radius == expected.radius


def test_copies_are_picked_last_and_warned_of():
    x = np.repeat([[0.0], [5.0], [9.0]], 1000, axis=0)
    parts = [Shard(x[i::2], np.arange(i, 3000, 2)) for i in range(2)]
    warnings.simplefilter("error")
    with pytest.warns(UserWarning, match="1497 of the 1500 picks are copies"):
        found = pick_exactly(asking(parts), 1500, pw.KCenter())
    with pytest.warns(UserWarning, match="1497 of the 1500 picks are copies"):
        check(found.cover, pw.k_center(x, 1500))
    assert found.rounds < 20


def test_many_centers_are_screened_with_the_same_result():
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(9, 64))[rng.integers(0, 9, 3000)] + 0.01 * rng.normal(size=(3000, 64))).astype("f4")
    x[1::7] = x[0]
    parts = [Shard(x[i], i) for i in np.array_split(rng.permutation(3000), 3)]
    check(pick_exactly(asking(parts), 1500, pw.KCenter()).cover, pw.k_center(x, 1500))


def test_invalid_rows_are_refused_or_skipped():
    x = np.random.default_rng(0).normal(size=(50, 5))
    x[7, 2], x[30, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="matrix: row 7 has nan in column 2"):
        Shard(x[:20], np.arange(20))
    parts = [Shard(x[i : i + 10], np.arange(i, i + 10), invalid="skip") for i in range(0, 50, 10)]
    found = pick_exactly(asking(parts), 9, pw.KCenter()).cover
    assert found.skipped == 2
    expected = pw.select(x, 9, pw.KCenter(), invalid="skip")
    check(found, expected)
    with pytest.raises(ValueError, match=r"k: expected at most 48, of 50 rows \(2 invalid and skipped\), got 49"):
        pick_exactly(asking(parts), 49, pw.KCenter())
    assert len(pick_exactly(asking(parts), 49, pw.KCenter(), clip=True).cover) == 48


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"outliers": 2}, "strategy: expected no outliers over shards, got 2"),
        ({"min_distance": 1.0}, "strategy: expected no min_distance over shards, got 1.0"),
        ({"prefilter": 3}, "strategy: expected no prefilter over shards, got 3"),
        ({"metric": "cosine"}, "strategy: expected the metric of the shards, 'euclidean', got 'cosine'"),
    ],
)
def test_options_that_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        pick_exactly(asking([Shard([[0.0], [1.0]], [0, 1])]), 1, pw.KCenter(**options))


@pytest.mark.parametrize(
    ("shards", "match"),
    [
        ([], "shards: expected at least one, got none"),
        ([Shard([[1.0]], [0]), Shard([[1.0, 2.0]], [1])], "same number of dimensions .columns. in all, got 1 and 2"),
        ([Shard([[1.0]], [0]), Shard([[1.0]], [1], ids=[4])], "same kind of ids in all, got integer and position"),
        (
            [Shard(np.ones((1, 1), "f4"), [0]), Shard([[1.0]], [1])],
            "type of embeddings in all, got float32 and float64",
        ),
        ([Shard([[1.0]], [0], exclude=[0])], "shards: expected a row to pick, got 1 of which all are excluded"),
        ([Shard([[1.0]], [0], ids=[3]), Shard([[1.0]], [1], ids=[3])], "occurs|occur once"),
    ],
)
def test_shards_that_do_not_belong_together(shards, match):
    with pytest.raises(ValueError, match=match):
        pick_exactly(asking(shards), 2, pw.KCenter(), clip=True)


def test_labelled_rows_of_other_dimensions_or_without_a_distance():
    ask = asking([Shard([[0.0], [1.0]], [0, 1])])
    with pytest.raises(ValueError, match=r"labelled: expected 1 dimensions \(columns\) as the shards have, got 2"):
        pick_exactly(ask, 1, pw.KCenter(), labelled=[[1.0, 2.0]])
    with pytest.raises(ValueError, match="labelled: row 0 has nan in column 0"):
        pick_exactly(ask, 1, pw.KCenter(), labelled=[[np.nan]])


def test_shards_can_be_elsewhere():
    x = np.random.default_rng(3).normal(size=(60, 4)).astype("f4")

    def ask(method, *args):
        answers = []
        for at, shard in enumerate(shards):
            live = pickle.loads(shard)
            answers.append(pickle.loads(pickle.dumps(getattr(live, method)(*pickle.loads(pickle.dumps(args))))))
            shards[at] = pickle.dumps(live)
        return answers

    shards = [pickle.dumps(Shard(x[i::3], np.arange(i, 60, 3))) for i in range(3)]
    check(pick_exactly(ask, 20, pw.KCenter()).cover, pw.k_center(x, 20))


@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from(SHAPES),
    dims=st.sampled_from([1, 5, 12, 13, 40]),
    dtype=st.sampled_from(["f2", "f4", "f8"]),
    metric=st.sampled_from(METRICS),
)
def test_a_mean_does_not_depend_on_where_rows_lie(seed, shape, dims, dtype, metric):
    rng = np.random.default_rng(seed)
    x = make(shape, 3000, dims, rng).astype(dtype)
    whole = _native.mean_of_sums([_native.sum_of_rows(x, metric)])
    parts = [_native.sum_of_rows(x[i], metric) for i in spread(3000, 5, rng)]
    np.testing.assert_array_equal(_native.mean_of_sums(parts), whole)
    if metric != "cosine":
        np.testing.assert_allclose(whole, x.mean(0, dtype=float), rtol=1e-10, atol=1e-13 * abs(x).max())


@pytest.mark.skipif(not DATA.exists(), reason="no shared data")
@pytest.mark.parametrize("shards", [2, 16])
def test_rounds_are_few_on_real_data(shards):
    x = np.load(DATA)["X"][:8000].astype("f4")
    parts = [Shard(x[i], i) for i in np.array_split(np.arange(len(x)), shards)]
    found = pick_exactly(asking(parts), 500, pw.KCenter())
    check(found.cover, pw.k_center(x, 500))
    assert found.rounds < 40
