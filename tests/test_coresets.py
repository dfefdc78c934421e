"""What the reducers of k-center and k-means++ promise: exact in one shard, close beyond, honest about how close."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
POOL = (RNG.normal(size=(20, 10))[RNG.integers(0, 20, 3000)] * 3 + RNG.normal(size=(3000, 10))).astype(np.float32)
SHARD = 600 * POOL[0].nbytes
SPREADS = [pw.KCenter, pw.KMeansPlusPlus]


def taken(strategy, k, parts, pool=POOL, known=None, **options):
    """A reducer that has taken parts of a pool."""
    reducer = pw.reducer(strategy, k, **options)
    for part in parts:
        reducer.update(pool[part], ids=None if known is None else [known[i] for i in part])
    return reducer


def in_chunks(size, rows=3000):
    return [np.arange(start, min(start + size, rows)) for start in range(0, rows, size)]


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


@pytest.mark.parametrize("chunk", [1, 7, 1000, 3000])
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("labelled", [None, POOL[::300] + 0.1])
def test_one_shard_is_drawn_from_exactly(chunk, metric, labelled):
    rows = 300 if chunk == 1 else len(POOL)
    reducer = taken(pw.KMeansPlusPlus(metric=metric), 40, in_chunks(chunk, rows), labelled=labelled, random_state=3)
    assert reducer.is_exact
    expected = pw.kmeans_plusplus(POOL[:rows], 40, metric=metric, labelled=labelled, random_state=3)
    assert reducer.finish() == expected
    assert reducer.cover(POOL[:rows]).radius == pytest.approx(expected.radius)


@pytest.mark.parametrize("kind", ["integers", "strings"])
@pytest.mark.parametrize(("strategy", "choose"), [("k_center", pw.k_center), ("kmeans++", pw.kmeans_plusplus)])
def test_one_shard_merged_in_any_order(kind, strategy, choose):
    numbers = RNG.permutation(1200)
    ids = numbers if kind == "integers" else np.array([f"n{i:04}" for i in numbers])
    order = np.argsort(ids)
    expected = choose(POOL[:1200][order], 30, ids=ids[order], random_state=7)
    pieces = np.array_split(np.arange(1200), 3)
    for turn in itertools.permutations(range(3)):
        reducers = [pw.reducer(strategy, 30, random_state=7) for _ in pieces]
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


def cost(rows, labelled=None):
    centers = POOL[rows] if labelled is None else np.concatenate([POOL[rows], labelled])
    return ((POOL[:, None].astype(float) - centers) ** 2).sum(2).min(1).sum()


@pytest.mark.parametrize("labelled", [None, POOL[::100] + 0.1])
@pytest.mark.parametrize("size", [150, 600])
def test_draws_from_many_shards_cost_about_as_much(labelled, size):
    strategy = pw.KMeansPlusPlus(shard_bytes=size * POOL[0].nbytes)
    costs = []
    for seed in range(10):
        options = {"labelled": labelled, "random_state": seed}
        found = [taken(strategy, 25, in_chunks(chunk), **options).finish() for chunk in (100, 777, 3000)]
        # However the stream was cut, the shards are the same.
        assert found[0] == found[1] == found[2]
        assert true_radius(found[0], labelled=labelled) <= found[0].radius
        np.testing.assert_array_equal(found[0].scores, found[0].distances)
        whole = pw.kmeans_plusplus(POOL, 25, **options)
        costs.append([cost(cover.indices, labelled) for cover in (found[0], whole)])
    shards, whole = np.mean(costs, axis=0)
    assert shards < 1.3 * whole


def test_a_shard_does_not_depend_on_the_order_of_its_rows():
    known = [f"n{i:04}" for i in range(1200)]
    found = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(600)
        parts = np.array_split(np.concatenate([order, 600 + order]), 5)
        strategy = pw.KMeansPlusPlus(shard_bytes=SHARD)
        found.append(taken(strategy, 30, parts, known=known, random_state=0).finish())
    for cover in found[1:]:
        np.testing.assert_array_equal(cover.ids, found[0].ids)
        assert cover.radius == found[0].radius


def test_representatives_weigh_as_much_as_the_rows_that_they_stand_for():
    rows = np.zeros((1000, 2))
    rows[np.arange(1000) % 20 == 0] = np.random.default_rng(0).normal(size=(50, 2))
    strategy = pw.KMeansPlusPlus(shard_bytes=100 * rows[0].nbytes)
    first = [taken(strategy, 5, [np.arange(1000)], rows, random_state=seed).finish().indices[0] for seed in range(200)]
    # The first pick is drawn evenly from the rows, of which 95 % are copies of one: 3 deviations.
    assert 0.9 < (rows[first] == 0).all(1).mean() < 0.995


def test_rows_near_a_labelled_one_need_nobody_to_stand_for_them():
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [rng.normal(size=(900, 2)) * 0.01, rng.normal(size=(100, 2)) + 9, rng.normal(size=(20, 2)) - 9]
    )
    rng.shuffle(rows)
    strategy = pw.KMeansPlusPlus(shard_bytes=100 * rows[0].nbytes)
    reducer = taken(strategy, 5, in_chunks(102, len(rows)), rows, labelled=np.zeros((1, 2)), random_state=0)
    assert (np.abs(rows[reducer.finish().indices]) > 1).any(1).all()


@pytest.mark.parametrize("spread", SPREADS)
def test_representatives_are_reduced_in_turn(spread):
    rows = np.random.default_rng(1).normal(size=(20_000, 4))
    reducer = taken(spread(shard_bytes=200 * rows[0].nbytes), 20, in_chunks(501, len(rows)), rows)
    cover = reducer.finish()
    assert len(reducer.to_bytes()) < 100_000
    assert true_radius(cover, rows) <= cover.radius
    assert reducer.cover(rows).radius == pytest.approx(true_radius(cover, rows))


@pytest.mark.parametrize("spread", SPREADS)
def test_merged_shards_and_their_ids(spread):
    ids = np.arange(3000) * 3 + 1
    names = [f"n{i}" for i in ids]
    for known in (ids, names):
        reducers = []
        for part in np.array_split(np.arange(3000), 5):
            reducer = pw.reducer(
                spread(shard_bytes=SHARD // 2), 40, exclude_ids=[known[0], known[2999]], random_state=0
            )
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
@pytest.mark.parametrize("spread", SPREADS)
def test_bytes_and_pickle(kind, ids, spread):
    dtype = pytest.importorskip("ml_dtypes").bfloat16 if kind == "bfloat16" else kind
    rows = POOL.astype(dtype)
    known = {"positions": None, "integers": np.arange(3000), "strings": [f"n{i}" for i in range(3000)]}[ids]
    for labelled in (None, rows[:9]):
        reducer = pw.reducer(spread(shard_bytes=SHARD), 30, labelled=labelled, random_state=4)
        for trip in (
            lambda r: pw.CoverReducer.from_bytes(r.to_bytes()),
            lambda r: pickle.loads(pickle.dumps(r)),
            copy.deepcopy,
        ):
            reducer = trip(reducer)
            assert trip(reducer).to_bytes() == reducer.to_bytes()
        plain = pw.reducer(spread(shard_bytes=SHARD), 30, labelled=labelled, random_state=4)
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


@pytest.mark.parametrize("spread", SPREADS)
def test_shards_that_hold_invalid_rows(spread):
    rows = POOL.copy()
    rows[::100, 2] = np.nan
    reducer = taken(spread(shard_bytes=SHARD), 30, in_chunks(800), rows, invalid="skip", random_state=1)
    cover = reducer.finish()
    assert (reducer.rows, cover.skipped) == (3000, 30)
    assert not (cover.indices % 100 == 0).any()
    left = rows[np.arange(3000) % 100 != 0]
    squared = ((left[:, None].astype(float) - rows[cover.indices]) ** 2).sum(2).min(1).max()
    assert reducer.cover(rows).radius == pytest.approx(np.sqrt(squared))


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


@pytest.mark.parametrize("spread", SPREADS)
def test_condensed_states_are_small_and_nearly_as_good(spread):
    known = np.arange(3000)
    total = pw.reducer(spread(mu=3), 30, random_state=0)
    for part in np.array_split(known, 4):
        reducer = taken(spread(mu=3), 30, [part], known=known, random_state=0)
        reducer.condense()
        assert not reducer.is_exact
        data = reducer.to_bytes()
        assert len(data) < 90 * (POOL[0].nbytes + 24) + 1000
        reducer.condense()
        assert reducer.to_bytes() == data
        total.merge(pw.CoverReducer.from_bytes(data))
    cover = total.finish()
    assert total.rows == 3000
    cover = dataclasses.replace(cover, indices=cover.ids)
    assert true_radius(cover) <= cover.radius
    if spread is pw.KCenter:
        assert true_radius(cover) < 1.5 * pw.k_center(POOL, 30).radius
    else:
        assert cost(cover.indices) < 1.3 * cost(pw.kmeans_plusplus(POOL, 30, random_state=0).indices)


def test_few_rows_are_condensed_already():
    reducer = taken(pw.KCenter(outliers=2), 10, [np.arange(24)])
    reducer.condense()
    assert reducer.is_exact
    np.testing.assert_array_equal(reducer.finish().ids, pw.k_center(POOL[:24], 10, outliers=2).ids)
    reducer.update(POOL[24:25])
    reducer.condense()
    assert not reducer.is_exact
    reducer.update(POOL[25:])
    assert true_radius(reducer.finish()) > 0
    pw.reducer("k_center", 3).condense()


@pytest.mark.parametrize("strategy", [pw.KCenter(outliers=7), pw.KCenter(metric="cosine"), pw.KMeansPlusPlus()])
@pytest.mark.parametrize("labelled", [None, POOL[::500].astype(np.float64)])
def test_a_radius_measured_in_many_places(strategy, labelled):
    known = [f"n{i}" for i in range(3000)]
    rows = POOL.copy()
    rows[9] = np.nan
    strategy = dataclasses.replace(strategy, shard_bytes=SHARD)
    options = {"labelled": labelled, "exclude_ids": known[:3], "invalid": "skip", "random_state": 0}
    reducer = taken(strategy, 20, in_chunks(1000), rows, known, **options)
    cover = reducer.finish()
    parts = np.array_split(np.random.default_rng(0).permutation(3000), 4)
    expected = reducer.cover([(rows[part], [known[i] for i in part]) for part in parts]).radius
    start = reducer.radius_of(cover)
    measured = []
    for trip, part in zip(
        (copy.deepcopy, copy.copy, lambda r: pw.coreset.Radius.from_bytes(r.to_bytes())), parts, strict=False
    ):
        one = trip(start)
        for some in np.array_split(part, 3):
            one.update(rows[some], ids=[known[i] for i in some], exclude=np.zeros(len(some), bool))
        measured.append(pickle.loads(pickle.dumps(one)))
    total = measured.pop()
    total.update(rows[parts[3]], ids=[known[i] for i in parts[3]])
    for one in measured:
        total.merge(one)
    total.merge(start)
    assert total.finish() == expected
    assert (total.rows, total.skipped) == (3000, 1)
    assert repr(total).endswith("k=20, rows=3000)")
    if strategy.name == "k_center" and strategy.metric == "euclidean":
        centers = rows[cover.indices] if labelled is None else np.concatenate([rows[cover.indices], labelled])
        used = rows[np.setdiff1d(np.arange(3000), [0, 1, 2, 9])].astype(float)
        squared = ((used[:, None] - centers) ** 2).sum(2).min(1)
        assert expected == pytest.approx(np.sqrt(np.sort(squared)[-8]))
