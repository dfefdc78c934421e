"""What makes no sense to k-center and k-means++ is refused before any work: what was expected, what came, the mend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 6)).astype(np.float32)
P = RNG.dirichlet(np.ones(4), 100)


def k_means(x, k, **options):
    return pw.kmeans_plusplus(x, k, random_state=0, **options)


def select(x, k, **options):
    return pw.select(x, k, "k_center", **options)


both = pytest.mark.parametrize("pick", [pw.k_center, k_means])
every = pytest.mark.parametrize("pick", [pw.k_center, k_means, select])


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_without_a_distance(pick, value):
    for dims in (2, 6, 30):
        x = np.tile(X[:, :1], dims)
        x[17, 1] = x[60, 0] = value
        before = x.copy()
        with pytest.raises(ValueError, match=rf"^embeddings: row 17 has {value} in column 1; expected finite numbers"):
            pick(x, 5)
        np.testing.assert_array_equal(x, before)
        assert len(pick(x, 5, exclude=[17, 60])) == 5


@every
def test_a_row_of_zeros_has_no_direction(pick):
    x = X.copy()
    x[23] = 0
    options: dict[str, Any] = {"metric": "cosine"}
    if pick is select:
        with pytest.raises(ValueError, match=r"^embeddings: row 23 is zero"):
            pw.select(x, 5, pw.KCenter(metric="cosine"))
        return
    with pytest.raises(ValueError, match=r"^embeddings: row 23 is zero.* so it has no direction; exclude such rows"):
        pick(x, 5, **options)
    assert len(pick(x, 5)) == len(pick(x, 5, exclude=[23], **options)) == 5


@every
def test_labelled(pick):
    with pytest.raises(ValueError, match=r"^labelled: expected 6 dimensions \(columns\) as the embeddings have, got 5"):
        pick(X, 5, labelled=X[:, :5])
    with pytest.raises(ValueError, match=r"^labelled: expected positions below 100, the rows of the pool, got 100"):
        pick(X, 5, labelled=[3, 100])
    with pytest.raises(ValueError, match=r"^labelled: expected positions from 0, got -1"):
        pick(X, 5, labelled=[3, -1])
    with pytest.raises(ValueError, match=r"^labelled: the mask has 99 rows, but the pool has 100"):
        pick(X, 5, labelled=np.zeros(99, bool))
    with pytest.raises(
        TypeError, match=r"^labelled: expected a matrix .*, a boolean mask or integer positions, got 1-D"
    ):
        pick(X, 5, labelled=X[0])
    with pytest.raises(TypeError, match=r"^labelled: expected float16, .* got int64"):
        pick(X, 5, labelled=np.ones((3, 6), np.int64))
    with pytest.raises(ValueError, match=r"^labelled: expected the shape \(rows, dims\), got 3-D"):
        pick(X, 5, labelled=np.ones((3, 6, 1)))
    bad = X[:4].copy()
    bad[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"^labelled: row 2 has nan in column 3"):
        pick(X, 5, labelled=bad)


@every
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.empty((0, 6), np.float32), ValueError, "expected at least one row, got none"),
        ([], ValueError, "expected at least one row, got none|expected the shape"),
        (np.empty((5, 0), np.float32), ValueError, "expected at least one dimension .*, got none"),
        (np.ones(7), ValueError, r"expected the shape \(rows, dims\), got 1-D"),
        (np.ones((7, 2, 2)), ValueError, r"expected the shape \(rows, dims\), got 3-D"),
        (np.ones((7, 2), np.int32), TypeError, r"expected float16, .* got int32; convert with \.astype\(np\.float32\)"),
        (np.ones((7, 2), complex), TypeError, "expected float16, .* got complex128"),
        (None, TypeError, "expected "),
        ([[1.0, 2.0], [3.0]], ValueError, "expected rows of equal length"),
    ],
    ids=str,
)
def test_embeddings(pick, x, error, message):
    name = "pool" if pick is select else "embeddings"
    with pytest.raises(error, match=rf"^{name}: ({message})"):
        pick(x, 1)


def test_paths(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^embeddings: .*x\.npy' is no readable \.npy file"):
        pw.k_center(tmp_path / "x.npy", 3)
    with pytest.raises(ValueError, match=r"^embeddings: expected an array or a \.npy file, got .*x\.csv"):
        pw.k_center(tmp_path / "x.csv", 3)
    with pytest.raises(FileNotFoundError):
        pw.k_center(tmp_path / "none.npy", 3)


@every
def test_k(pick):
    for k, error in ((0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError), ("3", TypeError)):
        with pytest.raises(error, match=r"^k: expected "):
            pick(X, k)
    with pytest.raises(ValueError, match=r"^k: expected at most 100, of 100 rows, got 101; clip=True"):
        pick(X, 101)
    with pytest.raises(ValueError, match=r"^k: expected at most 88, of 100 rows \(10 excluded, 2 labelled\), got 89"):
        pick(X, 89, exclude=range(10), labelled=[9, 10, 11])
    assert len(pick(X, 1000, exclude=range(10), labelled=[9, 10, 11], clip=True)) == 88
    with pytest.raises(ValueError, match=r"^exclude: every one of the 100 rows is excluded, labelled or invalid"):
        pick(X, 1, exclude=np.arange(100) < 90, labelled=np.arange(100) >= 90, clip=True)


@both
def test_rows_and_their_lengths(pick):
    with pytest.raises(ValueError, match=r"^ids: expected 100, one for each row.*, got 99"):
        pick(X, 3, ids=range(99))
    with pytest.raises(ValueError, match=r"^ids: 7 occurs at 0 and at 3"):
        pick(X, 3, ids=[7, 1, 2, 7, *range(10, 106)])
    with pytest.raises(ValueError, match=r"^weights: expected the shape \(100,\), one for each row, got \(99,\)"):
        pick(X, 3, weights=np.ones(99))
    with pytest.raises(TypeError, match=r"^weights: expected numbers, got <U1"):
        pick(X, 3, weights=np.array(["a"] * 100))
    for value in (np.nan, np.inf, -1.0):
        weights = np.ones(100)
        weights[44] = value
        with pytest.raises(
            ValueError, match=rf"(?i)^weights: row 44 has {value:g}.*; expected finite numbers of 0 or more"
        ):
            pick(X, 3, weights=weights)
    with pytest.raises(ValueError, match=r"^exclude: the mask has 3 rows, but the pool has 100"):
        pick(X, 3, exclude=[True, False, True])
    for start, error in ((100, ValueError), (-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match=r"^start: expected "):
            pick(X, 3, start=start)
    for options in ({"exclude": [7]}, {"labelled": [7]}):
        with pytest.raises(ValueError, match=r"^start: expected a position .* neither excluded nor labelled, got 7"):
            pick(X, 3, start=7, **options)
    with pytest.raises(ValueError, match=r"^metric: expected 'euclidean' or .*, got 'manhattan'"):
        pick(X, 3, metric="manhattan")
    with pytest.raises(TypeError, match=r"^random_state: expected "):
        pw.kmeans_plusplus(X, 3, random_state="seed")


def test_options_of_k_center():
    for outliers, error in ((-1, ValueError), (1.5, TypeError), (100, ValueError)):
        with pytest.raises(error, match=r"^outliers: expected "):
            pw.k_center(X, 3, outliers=outliers)
    for least, error in ((-1, ValueError), (np.nan, ValueError), ("1", TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"^min_distance: expected "):
            pw.k_center(X, 3, min_distance=least)
    with pytest.raises(ValueError, match=r"^groups: expected max_per_group with it"):
        pw.k_center(X, 3, groups=np.zeros(100, int))
    with pytest.raises(ValueError, match=r"^max_per_group: expected groups with it"):
        pw.k_center(X, 3, max_per_group=3)
    with pytest.raises(ValueError, match=r"^max_per_group: expected at least 1, got 0"):
        pw.k_center(X, 3, groups=np.zeros(100, int), max_per_group=0)
    with pytest.raises(ValueError, match=r"^groups: expected 100, one for each row, got 3"):
        pw.k_center(X, 3, groups=["a", "b", "c"], max_per_group=1)
    with pytest.raises(TypeError, match=r"^groups: expected .* hashed"):
        pw.k_center(X, 3, groups=[[1]] * 100, max_per_group=1)
    with pytest.raises(TypeError, match=r"^progress: expected "):
        pw.k_center(X, 3, progress="yes")


def test_strategies():
    with pytest.raises(ValueError, match=r"^metric: expected "):
        pw.KCenter(metric="l1")
    with pytest.raises(ValueError, match=r"^prefilter: expected at least 1, got 0"):
        pw.KCenter(prefilter=0)
    with pytest.raises(ValueError, match=r"^prefilter_by: expected one that ranks rows"):
        pw.KCenter(prefilter_by="k_center")
    with pytest.raises(ValueError, match=r"^prefilter_by: no strategy is called 'unsure'"):
        pw.KCenter(prefilter_by="unsure")
    for strategy in (pw.KCenter, pw.KMeansPlusPlus):
        with pytest.raises(ValueError, match=r"^mu: expected at least 1, got 0"):
            strategy(mu=0)
    with pytest.raises(TypeError, match=r"unexpected keyword"):
        pw.KMeansPlusPlus(outliers=3)


def test_select():
    with pytest.raises(TypeError, match=r"^embeddings: expected a matrix beside the pool .* has a prefilter, got None"):
        pw.select(P, 3, pw.KCenter(prefilter=3))
    for embeddings, got in ((X[:99], 99), (np.tile(X, (2, 1)), 200)):
        for strategy in (pw.KCenter(prefilter=3), "k_center"):
            with pytest.raises(
                ValueError, match=rf"^embeddings: expected 100 rows, one for each of the pool, got {got}"
            ):
                pw.select(P, 3, strategy, embeddings=embeddings)
            with pytest.raises(
                ValueError, match=rf"^embeddings: expected 100 rows, one for each of the pool, got {got}"
            ):
                pw.select(iter([P[:50], P[50:]]), 3, strategy, embeddings=embeddings)
    for name in ("embeddings", "labelled"):
        with pytest.raises(TypeError, match=rf"^{name}: expected None with margin, which has no use for it"):
            pw.select(P, 3, "margin", **{name: X})
    with pytest.raises(ValueError, match=r"^ties: expected 'first' with k_center"):
        pw.select(X, 3, "k_center", ties="random")
    with pytest.raises(ValueError, match=r"^invalid: expected "):
        pw.select(X, 3, "k_center", invalid="drop")
    with pytest.raises(TypeError, match=r"^exclude_ids: expected integers"):
        pw.select(X, 3, "k_center", exclude_ids=["a"])
    with pytest.raises(ValueError, match=r"^pool: row 5 sums to "):
        pw.select(np.where(np.arange(100)[:, None] == 5, 0.9, P), 3, pw.KCenter(prefilter=3), embeddings=X)
    with pytest.raises(ValueError, match=r"^k: expected at most 100"):
        pw.select(P, 101, pw.KCenter(prefilter=3), embeddings=X)


def test_reducers():
    for strategy in ("margin", "typiclust", pw.KCenter(prefilter=3)):
        with pytest.raises(ValueError, match=r"^strategy: expected k_center or kmeans\+\+ without a prefilter"):
            pw.CoverReducer(strategy, 3)
    for name in ("k_center", "kmeans++"):
        with pytest.raises(ValueError, match=r"^ties: expected 'first'"):
            pw.reducer(name, 3, ties="random")
    with pytest.raises(TypeError, match=r"^labelled: expected None with margin"):
        pw.reducer("margin", 3, labelled=X)
    with pytest.raises(TypeError, match=r"^strategy: expected one that ranks rows"):
        pw.Reducer("k_center", 3)
    reducer = pw.reducer("k_center", 3, labelled=X[:2])
    bad = X.copy()
    bad[9, 2], bad[11, 0] = np.inf, np.nan
    for chunk, error, message in (
        (bad, ValueError, "row 9 has inf in column 2; 2 of 100 rows are invalid; exclude such rows"),
        (X[:, :5], ValueError, "expected 6 dimensions"),
        (X[0], ValueError, r"expected the shape \(rows, dims\)"),
        (np.ones((3, 6), int), TypeError, "expected float16"),
    ):
        with pytest.raises(error, match=rf"^chunk: {message}"):
            reducer.update(chunk)
    assert reducer.rows == 0
    with pytest.raises(ValueError, match=r"^pool: expected at least one row, got none"):
        reducer.finish()
    reducer.update(X[5:7])
    with pytest.raises(ValueError, match=r"^k: expected at most 2, of 2 rows, got 3"):
        reducer.finish()
    assert len(reducer.finish(clip=True)) == 2
    with pytest.raises(
        ValueError, match=r"^chunk: expected 6 dimensions of float32, as before, got 6 dimensions of float64"
    ):
        reducer.update(X.astype(float))
    with pytest.raises(ValueError, match=r"^chunk: expected no ids, as before, got integer ids"):
        reducer.update(X, ids=range(100))
    other = pw.reducer("k_center", 3, labelled=X[:2])
    other.update(X)
    with pytest.raises(ValueError, match=r"^merge: both reducers know their rows by position only"):
        reducer.merge(other)
    with pytest.raises(ValueError, match=r"^merge: the reducers have different labelled rows"):
        reducer.merge(pw.reducer("k_center", 3))
    with pytest.raises(ValueError, match=r"^merge: the reducers have different k: 3 and 4"):
        reducer.merge(pw.reducer("k_center", 4))
    for strategy in (pw.KCenter(mu=3), "kmeans++"):
        with pytest.raises(ValueError, match=r"^merge: the reducers have different strategies"):
            reducer.merge(pw.reducer(strategy, 3, labelled=X[:2]))
    with pytest.raises(ValueError, match=r"^merge: the reducers have different seeds \(give every reducer the same"):
        pw.reducer("kmeans++", 3).merge(pw.reducer("kmeans++", 3))
    with pytest.raises(TypeError, match=r"^merge: expected a CoverReducer, got Reducer"):
        reducer.merge(pw.reducer("margin", 3))
    with pytest.raises(TypeError, match=r"^merge: expected a Reducer, got CoverReducer"):
        pw.reducer("margin", 3).merge(reducer)
    data = reducer.to_bytes()
    for damaged in (data[:-1], data[:30] + b"?" + data[31:], b"", pw.reducer("margin", 3).to_bytes()):
        with pytest.raises(ValueError, match=r"^from_bytes: expected what CoverReducer\.to_bytes returned"):
            pw.CoverReducer.from_bytes(damaged)
    twice = pw.reducer("k_center", 3)
    twice.update(X, ids=range(100))
    twice.update(X, ids=range(100))
    with pytest.raises(ValueError, match=r"^ids of the rows: 0 occurs"):
        twice.finish()
    with pytest.raises(ValueError, match=r"^chunks: expected the rows that the reducer has taken, got none"):
        other.cover([])


def test_radii():
    reducer = pw.reducer("k_center", 3, exclude_ids=[50])
    reducer.update(X)
    cover = reducer.finish()
    radius = reducer.radius_of(cover)
    with pytest.raises(ValueError, match=r"^chunks: expected the rows that the reducer has taken, got none"):
        radius.finish()
    with pytest.raises(ValueError, match=r"^chunk: expected 6 dimensions \(columns\), got 5"):
        radius.update(X[:, :5])
    with pytest.raises(TypeError, match=r"^exclude_ids: expected strings, as the ids are"):
        radius.update(X, ids=[f"n{i}" for i in range(100)])
    assert radius.rows == 0
    radius.update(X)
    with pytest.raises(ValueError, match=r"^chunk: row 3 has nan in column 0; 1 of 100 rows are invalid"):
        radius.update(np.where(np.arange(100)[:, None] == 3, np.nan, X))
    other = reducer.radius_of(cover)
    other.update(X)
    with pytest.raises(ValueError, match=r"^merge: both know their rows by position only, and ids are excluded"):
        radius.merge(other)
    with pytest.raises(TypeError, match=r"^merge: expected a Radius, got CoverReducer"):
        radius.merge(reducer)
    others = pw.reducer("k_center", 3)
    others.update(X + 1)
    with pytest.raises(ValueError, match=r"^merge: expected a radius of the same picks"):
        radius.merge(others.radius_of(others.finish()))
    with pytest.raises(ValueError, match=r"^from_bytes: expected what Radius\.to_bytes returned"):
        pw.coreset.Radius.from_bytes(radius.to_bytes()[:-1])
    for wrong in (reducer, pw.reducer("k_center", 3)):
        with pytest.raises(ValueError, match=r"^cover: expected what finish has returned of the rows so far"):
            wrong.radius_of(pw.k_center(X, 3, ids=np.arange(100) + 1000))
