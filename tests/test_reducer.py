"""What the reducer promises: the same selection, however the rows were cut, sent and merged."""

from __future__ import annotations

import copy
import io
import itertools
import json
import pickle
from typing import Any

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
POOL = RNG.dirichlet(np.ones(6), 2000)
STRATEGIES = ["entropy", "margin", "least_confidence", "ratio"]
# Few values, so that many rows tie: exact in binary, whatever their order.
TIES = np.stack([a := RNG.integers(0, 5, 3000) / 4, 1 - a], axis=1)


@pytest.mark.parametrize("strategy", [*STRATEGIES, "random"])
@pytest.mark.parametrize("ids", ["integers", "strings"])
@pytest.mark.parametrize("ties", ["first", "random"])
def test_merging_in_any_order_gives_the_same_bits(strategy, ids, ties):
    pool = np.vstack([POOL[:500, :2] / POOL[:500, :2].sum(1, keepdims=True), TIES[:500]])
    numbers = RNG.permutation(1000)
    names: Any = numbers if ids == "integers" else [f"n{i}" for i in numbers]
    options = {"ties": ties, "random_state": 7}
    whole = pw.select(pool, 60, strategy, ids=names, **options)
    pieces = np.array_split(np.arange(1000), 4)
    for order in itertools.permutations(range(4)):
        reducers = [pw.reducer(strategy, 60, **options) for _ in pieces]
        for reducer, piece in zip(reducers, pieces, strict=True):
            for part in np.array_split(piece, 3):
                reducer.update(pool[part], ids=[names[i] for i in part])
        first, second, third, fourth = (reducers[i] for i in order)
        first.merge(second)
        fourth.merge(third)
        first.merge(fourth)
        merged = first.finish()
        np.testing.assert_array_equal(merged.ids, whole.ids)
        np.testing.assert_array_equal(merged.scores, whole.scores)
        assert first.rows == 1000


def test_reducer_step_by_step():
    reducer = pw.reducer("margin", 20)
    assert repr(reducer) == f"Reducer({pw.Margin()}, k=20, rows=0)"
    for start in range(0, 2000, 137):
        part = POOL[start : start + 137]
        # Anything array-like is a chunk.
        reducer.update(part if start % 2 else part.tolist())
        if reducer.rows >= 20:
            assert reducer.finish() == pw.select(POOL[: start + 137], 20)
    assert reducer.finish() == pw.select(POOL, 20)
    assert reducer.rows == 2000
    assert reducer.skipped == 0


def test_reducer_excludes_rows_of_a_chunk():
    best = pw.select(POOL, 100).ids
    reducer = pw.reducer("margin", 30, exclude_ids=best[:10])
    for start in range(0, 2000, 500):
        here = best[10:20][(best[10:20] >= start) & (best[10:20] < start + 500)] - start
        reducer.update(POOL[start : start + 500], exclude=here)
    np.testing.assert_array_equal(reducer.finish().ids, best[20:50])


def test_reducer_survives_bytes_and_pickle():
    best = pw.select(POOL, 2000).ids
    names = np.array([f"n{i}" for i in range(2000)])
    for ids, exclude_ids in ((np.arange(2000), best[:10]), (names, names[best[:10]].tolist())):
        for trip in (
            lambda r: pw.Reducer.from_bytes(r.to_bytes()),
            lambda r: pickle.loads(pickle.dumps(r)),
            copy.deepcopy,
        ):
            reducer = trip(pw.reducer(pw.Margin(how="max"), 20, exclude_ids=exclude_ids, invalid="skip"))
            assert reducer.strategy == pw.Margin(how="max")
            assert reducer.k == 20
            for part in np.array_split(np.arange(2000), 5):
                reducer.update(POOL[part], ids=ids[part])
                reducer = trip(reducer)
            np.testing.assert_array_equal(reducer.finish().indices, best[10:30])
            reducer.update(np.full((3, 6), np.nan), ids=np.array([2000, 2001, 2002]).astype(ids.dtype))
            assert reducer.skipped == 3
    positions = pickle.loads(pickle.dumps(_updated(pw.reducer("entropy", 9), POOL[:1000])))
    positions.update(POOL[1000:])
    assert positions.finish() == pw.select(POOL, 9, "entropy")


def _updated(reducer, chunk, **options):
    reducer.update(chunk, **options)
    return reducer


def test_reducer_bytes_hold_no_pickle():
    data = _updated(pw.reducer("random", 3), POOL).to_bytes()
    header = json.loads(data.split(b"\n", 1)[1][4:].split(b"\n", 1)[0])  # the checksum may hold a newline
    assert header["strategy"] == "random"
    with pytest.raises(pickle.UnpicklingError):
        pickle.load(io.BytesIO(data))


def test_one_seed_is_drawn_when_a_random_reducer_is_made():
    reducer = pw.reducer("random", 10)
    other = pickle.loads(pickle.dumps(reducer))
    reducer.update(POOL[:1000], ids=range(1000))
    other.update(POOL[1000:], ids=range(1000, 2000))
    reducer.merge(other)
    assert len(reducer.finish()) == 10
    with pytest.raises(ValueError, match="seeds"):
        reducer.merge(pw.reducer("random", 10))


def test_merging_an_empty_reducer_changes_nothing():
    reducer = _updated(pw.reducer("margin", 5), POOL, ids=range(2000))
    reducer.merge(pw.reducer("margin", 5))
    assert reducer.finish().ids.tolist() == list(pw.select(POOL, 5))
    empty = pw.reducer("margin", 5)
    empty.merge(reducer)
    assert empty.finish() == reducer.finish()
    with pytest.raises(ValueError, match="expected 6 classes"):
        empty.update([[0.5, 0.5]], ids=[7])


def test_finish_with_fewer_rows_than_wanted():
    reducer = _updated(pw.reducer("margin", 50), POOL[:20])
    with pytest.raises(ValueError, match="k: expected at most 20, of 20 rows, got 50"):
        reducer.finish()
    assert len(reducer.finish(clip=True)) == 20
