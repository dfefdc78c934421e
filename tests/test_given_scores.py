"""Scores that the caller has already: the highest are selected, whatever they measure and however they come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=5000)


def best(scores, k):
    """Sort by the score, then by position."""
    return np.lexsort((np.arange(len(scores)), -np.asarray(scores, np.float64)))[:k]


@given(
    st.lists(st.floats(allow_nan=False, width=32) | st.sampled_from([0.0, -0.0, 1.0]), min_size=1, max_size=300),
    st.data(),
)
def test_it_is_a_stable_sort(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    selection = pw.top_k(np.array(scores), k)
    np.testing.assert_array_equal(selection.indices, best(scores, k))
    np.testing.assert_array_equal(selection.scores, np.array(scores)[selection.indices])
    assert selection == pw.top_k(np.array(scores, np.float32), k)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "bfloat16"])
def test_any_type_of_any_layout(dtype):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    scores = SCORES.astype(kind)
    expected = best(scores, 50)
    for given_scores in (scores, scores[::-1].copy()[::-1], np.stack([scores, scores], axis=1)[:, 0]):
        selection = pw.top_k(given_scores, 50)
        np.testing.assert_array_equal(selection.ids, expected)
        np.testing.assert_array_equal(selection.scores, scores[expected].astype(np.float64))
    assert selection.strategy == pw.Given()


def test_anything_array_like():
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    expected = pw.top_k(SCORES, 10)
    for scores in (SCORES.tolist(), pd.Series(SCORES), pa.chunked_array([SCORES[:999], SCORES[999:]])):
        assert pw.top_k(scores, 10) == expected
    assert pw.top_k([3, 1, 2], 2).ids.tolist() == [0, 2]


def test_ids_exclusions_and_ties():
    expected = best(SCORES, 30)
    names = [f"n{i}" for i in range(5000)]
    selection = pw.top_k(SCORES, 10, ids=names, exclude=expected[:10], exclude_ids=[names[i] for i in expected[10:20]])
    np.testing.assert_array_equal(selection.indices, expected[20:])
    assert selection.ids.tolist() == [names[i] for i in expected[20:]]
    flat = np.zeros(1000)
    assert pw.top_k(flat, 5).ids.tolist() == [0, 1, 2, 3, 4]
    assert pw.top_k(flat, 5, ids=np.arange(1000)[::-1]).ids.tolist() == [0, 1, 2, 3, 4]
    drawn = pw.top_k(flat, 5, ties="random", random_state=1)
    assert drawn == pw.top_k(flat, 5, ties="random", random_state=1)
    assert drawn.ids.tolist() != [0, 1, 2, 3, 4]


def test_infinities_are_scores_and_nan_is_none():
    scores = np.array([1.0, -np.inf, np.inf, 5.0])
    assert pw.top_k(scores, 4).ids.tolist() == [2, 3, 0, 1]
    scores[[0, 3]] = np.nan
    with pytest.raises(ValueError, match="scores: row 0 has the score nan, expected a number; 2 of 4 rows are inv"):
        pw.top_k(scores, 1)
    skipping = pw.top_k(scores, 2, invalid="skip")
    assert (skipping.ids.tolist(), skipping.skipped) == ([2, 1], 2)
    # Whether a row that is never selected has a score does not matter.
    assert pw.top_k(scores, 2, exclude=[0, 3]).skipped == 0


@pytest.mark.parametrize(
    ("scores", "k", "error", "match"),
    [
        ([], 1, ValueError, "scores: expected at least one row"),
        ([1.0], 2, ValueError, "k: expected at most 1"),
        ([[1.0, 2.0]], 1, ValueError, r"scores: expected the shape \(rows,\), one score a row, got \(1, 2\)"),
        (np.zeros((2, 2, 2)), 1, ValueError, r"scores: expected the shape \(rows,\)"),
        (np.array([1, 2]), 1, TypeError, "scores: expected float16"),
        ("scores.npy", 1, TypeError, "scores: expected an array"),
    ],
)
def test_bad_scores(scores, k, error, match):
    with pytest.raises(error, match=match):
        pw.top_k(scores, k)


def test_threads_and_chunks_change_nothing():
    scores = RNG.normal(size=300_000).round(3)  # with ties
    expected = best(scores, 700)
    for threads in (1, 2, 5):
        with pw.num_threads(threads):
            np.testing.assert_array_equal(pw.top_k(scores, 700).ids, expected)
    selection = pw.top_k(scores, 700)
    assert pw.select(iter(np.array_split(scores, 7)), 700, "given") == selection
    reducers = [pw.reducer("given", 700) for _ in range(3)]
    for reducer, part in zip(reducers, np.array_split(np.arange(300_000), 3), strict=True):
        reducer.update(scores[part], ids=part)
    first, second, third = (pw.Reducer.from_bytes(reducer.to_bytes()) for reducer in reducers)
    third.merge(first)
    third.merge(second)
    np.testing.assert_array_equal(third.finish().ids, expected)


def test_scores_in_files(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    np.save(tmp_path / "scores.npy", SCORES)
    table = pa.table({"doc": [f"d{i}" for i in range(5000)], "score": SCORES})
    pq.write_table(table, tmp_path / "scores.parquet")
    expected = best(SCORES, 20)
    np.testing.assert_array_equal(pw.select(tmp_path / "scores.npy", 20, "given").ids, expected)
    selection = pw.select(tmp_path / "scores.parquet", 20, "given", probabilities="score", id="doc")
    assert selection.ids.tolist() == [f"d{i}" for i in expected]
    with pytest.raises(ValueError, match="expected one score a row, got 3 columns"):
        pw.select(np.zeros((4, 3)), 1, "given")
