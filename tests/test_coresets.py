"""What the reducer of k-center promises: exact in one shard, close beyond, and honest about how close."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
POOL = (RNG.normal(size=(20, 10))[RNG.integers(0, 20, 3000)] * 3 + RNG.normal(size=(3000, 10))).astype(np.float32)
SHARD = 600 * POOL[0].nbytes


def true_radius(cover, pool=POOL, labelled=None, metric="euclidean"):
    x, y = pool.astype(float), pool[cover.indices].astype(float)
    if labelled is not None:
        y = np.concatenate([y, labelled])
    if metric == "cosine":
        x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    squared = ((x[:, None] - y) ** 2).sum(2).min(1).max()
    return {"euclidean": np.sqrt, "sqeuclidean": float, "cosine": lambda s: s / 2}[metric](squared)


@pytest.mark.parametrize("chunk", [1, 7, 1000, 3000])
@pytest.mark.parametrize("options", [{}, {"outliers": 9}, {"metric": "cosine"}, {"min_distance": 3.0}])
def test_one_shard_is_exact(chunk, options):
    rows = 300 if chunk == 1 else len(POOL)
    reducer = pw.reducer(pw.KCenter(**options), 40)
    for start in range(0, rows, chunk):
        reducer.update(POOL[start : start + chunk][: rows - start])
    assert reducer.rows == rows
    assert reducer.is_exact
    found, expected = reducer.finish(), pw.k_center(POOL[:rows], 40, **options)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.radius == expected.radius
    assert reducer.cover(POOL[:rows]).radius == pytest.approx(expected.radius)


@pytest.mark.parametrize("kind", ["integers", "strings"])
def test_one_shard_merged_in_any_order(kind):
    numbers = RNG.permutation(1200)
    ids = numbers if kind == "integers" else np.array([f"n{i:04}" for i in numbers])
    order = np.argsort(ids)
    expected = pw.k_center(POOL[:1200][order], 30, ids=ids[order])
    pieces = np.array_split(np.arange(1200), 3)
    for turn in itertools.permutations(range(3)):
        reducers = [pw.reducer("k_center", 30) for _ in pieces]
        for reducer, piece in zip(reducers, pieces, strict=True):
            reducer.update(POOL[piece], ids=ids[piece])
        first, second, third = (reducers[i] for i in turn)
        second.merge(third)
        first.merge(second)
        found = first.finish()
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
        assert (first.rows, third.rows) == (1200, 400)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("labelled", [None, POOL[::100].astype(np.float64) + 0.1])
def test_many_shards_are_close(metric, labelled):
    strategy = pw.KCenter(metric=metric, shard_bytes=SHARD, mu=4)
    found = {}
    for chunk in (100, 777, 3000):
        reducer = pw.reducer(strategy, 50, labelled=labelled)
        for start in range(0, 3000, chunk):
            reducer.update(POOL[start : start + chunk])
        assert not reducer.is_exact
        found[chunk] = reducer.finish()
        known = reducer.cover(POOL[start : start + 500] for start in range(0, 3000, 500))
    # However the stream was cut, the shards are the same.
    assert found[100] == found[777] == found[3000]
    cover = found[100]
    true = true_radius(cover, labelled=labelled, metric=metric)
    assert known.radius == pytest.approx(true)
    np.testing.assert_array_equal(known.ids, cover.ids)
    assert true <= cover.radius * (1 + 1e-9)
    best = pw.k_center(POOL, 50, metric=metric, labelled=labelled).radius
    assert true <= {"euclidean": 1.5, "sqeuclidean": 2.25, "cosine": 2.25}[metric] * best


def test_representatives_are_reduced_in_turn():
    rows = np.random.default_rng(1).normal(size=(20_000, 4))
    reducer = pw.reducer(pw.KCenter(shard_bytes=200 * rows[0].nbytes), 20)
    for start in range(0, len(rows), 501):
        reducer.update(rows[start : start + 501])
    cover = reducer.finish()
    assert len(reducer.to_bytes()) < 100_000
    assert true_radius(cover, rows) <= cover.radius
    assert reducer.cover(rows).radius == pytest.approx(true_radius(cover, rows))


def test_merged_shards_and_their_ids():
    ids = np.arange(3000) * 3 + 1
    names = [f"n{i}" for i in ids]
    for known in (ids, names):
        reducers = []
        for part in np.array_split(np.arange(3000), 5):
            reducer = pw.reducer(pw.KCenter(shard_bytes=SHARD // 2), 40, exclude_ids=[known[0], known[2999]])
            reducer.update(POOL[part], ids=[known[i] for i in part], exclude=part % 5 == 1)
            reducers.append(pw.CoverReducer.from_bytes(reducer.to_bytes()))
        total = reducers.pop(0)
        for reducer in reducers:
            total.merge(reducer)
        cover = total.finish()
        assert total.rows == 3000
        assert len(set(cover.ids.tolist())) == 40
        where = [list(known).index(i) for i in cover.ids.tolist()]
        assert not any(i % 5 == 1 or i in (0, 2999) for i in where)
        left = POOL[(np.arange(3000) % 5 != 1) & ~np.isin(np.arange(3000), [0, 2999])]
        pairs = [(POOL[i::5], [known[j] for j in range(i, 3000, 5)]) for i in (0, 2, 3, 4)]
        squared = ((left[:, None].astype(float) - POOL[where]) ** 2).sum(2).min(1).max()
        assert total.cover(pairs).radius == pytest.approx(np.sqrt(squared))


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "bfloat16"])
@pytest.mark.parametrize("ids", ["positions", "integers", "strings"])
def test_bytes_and_pickle(kind, ids):
    dtype = pytest.importorskip("ml_dtypes").bfloat16 if kind == "bfloat16" else kind
    rows = POOL.astype(dtype)
    known = {"positions": None, "integers": np.arange(3000), "strings": [f"n{i}" for i in range(3000)]}[ids]
    for labelled in (None, rows[:9]):
        reducer = pw.reducer(pw.KCenter(shard_bytes=SHARD), 30, labelled=labelled, random_state=4)
        for trip in (
            lambda r: pw.CoverReducer.from_bytes(r.to_bytes()),
            lambda r: pickle.loads(pickle.dumps(r)),
            copy.deepcopy,
        ):
            reducer = trip(reducer)
            assert trip(reducer).to_bytes() == reducer.to_bytes()
        plain = pw.reducer(pw.KCenter(shard_bytes=SHARD), 30, labelled=labelled, random_state=4)
        for start in range(0, 3000, 900):
            part = slice(start, start + 900)
            for one in (reducer, plain):
                one.update(rows[part], ids=None if known is None else known[part])
            reducer = pickle.loads(pickle.dumps(reducer))
        assert reducer.finish() == plain.finish()
        assert repr(reducer).endswith("k=30, rows=3000)")


def test_a_chunk_is_copied():
    rows = POOL[:500].copy()
    reducer = pw.reducer("k_center", 10)
    reducer.update(rows)
    expected = reducer.finish()
    rows[:] = 0
    assert reducer.finish() == expected


def test_invalid_rows_are_skipped_on_request():
    rows = POOL[:500].copy()
    rows[3, 2], rows[400] = np.nan, 0
    reducer = pw.reducer(pw.KCenter(metric="cosine"), 10, invalid="skip")
    reducer.update(rows)
    assert (reducer.rows, reducer.skipped, reducer.finish().skipped) == (500, 2, 2)
    expected = pw.k_center(rows, 10, metric="cosine", exclude=[3, 400])
    np.testing.assert_array_equal(reducer.finish().ids, expected.ids)
    chosen = pw.select(rows, 10, pw.KCenter(metric="cosine"), invalid="skip")
    np.testing.assert_array_equal(chosen.ids, expected.ids)
    assert chosen.skipped == 2
