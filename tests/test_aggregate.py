"""Scores of items out of those of their predictions, empty items included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

HOWS = {
    "mean": lambda scores: math.fsum(scores) / len(scores),
    "max": max,
    "sum": math.fsum,
    "top3": lambda scores: math.fsum(sorted(scores)[-3:]) / min(len(scores), 3),
}


@pytest.mark.parametrize("how", HOWS)
@given(st.lists(st.lists(st.floats(-100, 100, width=32), max_size=6), max_size=20))
def test_each_item_is_by_itself(how, items):
    scores = np.array([score for item in items for score in item])
    offsets = np.cumsum([0, *map(len, items)])
    expected = [HOWS[how](item) if item else 0.0 for item in items]
    for dtype in (np.float64, np.float32):
        got = pw.aggregate(scores.astype(dtype), offsets, how=how)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", HOWS)
def test_empty_items_anywhere(how):
    scores = [0.5, 0.25, 1.0]
    got = pw.aggregate(scores, [0, 0, 1, 1, 1, 2, 3, 3, 3], how=how)
    assert got.tolist() == [0, 0.5, 0, 0, 0.25, 1, 0, 0]
    assert pw.aggregate([], [0], how=how).tolist() == []
    assert pw.aggregate([], [0, 0, 0], how=how).tolist() == [0, 0]


@pytest.mark.parametrize("how", HOWS)
def test_nan_stays_in_its_item(how):
    scores = np.array([1.0, np.nan, 3.0, 4.0, 5.0, 6.0, 7.0])
    got = pw.aggregate(scores, [0, 5, 7], how=how)
    assert np.isnan(got).tolist() == [True, False]
    with pytest.raises(ValueError, match="scores: row 0 has the score nan"):
        pw.top_k(got, 1)
    assert pw.top_k(got, 1, invalid="skip").ids.tolist() == [1]


def test_of_large_numbers_none_is_lost():
    rng = np.random.default_rng(0)
    counts = rng.poisson(5, 20_000)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    scores = rng.random(offsets[-1])
    scores.flags.writeable = False
    by_item = np.split(scores, offsets[1:-1])
    for how, of_item in HOWS.items():
        expected = [of_item(item.tolist()) if len(item) else 0.0 for item in by_item]
        np.testing.assert_allclose(pw.aggregate(scores, offsets.astype(np.int32), how), expected, rtol=1e-12)


def test_lists_of_arrow():
    pa = pytest.importorskip("pyarrow")
    boxes = pa.array([[0.5, 0.75], [], [0.25]])
    assert pw.aggregate(boxes.values, boxes.offsets, how="max").tolist() == [0.75, 0, 0.25]


def test_images_by_their_boxes():
    boxes = np.array([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3], [0.8, 0.2]], np.float32)
    offsets = np.array([0, 2, 2, 4])
    images = pw.aggregate(pw.least_confidence(boxes), offsets, how="sum")
    assert pw.top_k(images, 2, ids=["a", "b", "c"]).ids.tolist() == ["a", "c"]
    assert pw.top_k(images - 1, 2, exclude=np.diff(offsets) == 0).ids.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("scores", "offsets", "how", "error", "match"),
    [
        ([0.5], [0, 1], "median", ValueError, "how: expected 'mean' or 'max' or 'sum' or 'top3', got 'median'"),
        (
            [0.5],
            [0, 2],
            "mean",
            ValueError,
            "offsets: expected them to go from 0 to 1, .* got 0 to 2",
        ),
        ([0.5], [1, 1], "mean", ValueError, "offsets: expected them to go from 0 to 1, .*, got 1 to 1"),
        ([0.5], [], "mean", TypeError, "offsets: expected a 1-D array of integers, got 1-D of float64"),
        ([0.5, 0.5], [0, 2, 1, 2], "mean", ValueError, "offsets: expected them never to fall, got 2 before 1 at 1"),
        ([0.5], [0.0, 1.0], "mean", TypeError, "offsets: expected a 1-D array of integers, got 1-D of float64"),
        ([0.5], ["0", "1"], "mean", TypeError, "offsets: expected a 1-D array of integers"),
        ([0.5], [[0, 1]], "mean", TypeError, "offsets: expected a 1-D array of integers, got 2-D"),
        ([[0.5, 0.5]], [0, 1], "mean", ValueError, r"scores: expected the shape \(rows,\), one score a row"),
        (np.array([1]), [0, 1], "mean", TypeError, "scores: expected float16"),
    ],
)
def test_bad_arguments(scores, offsets, how, error, match):
    with pytest.raises(error, match=match):
        pw.aggregate(scores, offsets, how)
