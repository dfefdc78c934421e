"""Neighbours are those of exact distances, whatever screening in single precision makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw
from pickwise import _native

DTYPES: dict[str, Any] = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
try:
    import ml_dtypes

    DTYPES["bf16"] = ml_dtypes.bfloat16
except ImportError:
    pass
METRICS = ["euclidean", "sqeuclidean", "cosine"]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "columns of more": lambda x: np.concatenate([x[:, :1], x, x[:, :1]], axis=1)[:, 1:-1],
    "reversed": lambda x: x[::-1].copy()[::-1],
}


def distances(x, metric):
    """All distances in float64, those of rows to themselves included."""
    x = np.asarray(x, np.float64)
    if metric == "cosine":
        x = x / np.sqrt((x**2).sum(1, keepdims=True))
    squared = np.stack([((x - row) ** 2).sum(1) for row in x])
    return {"euclidean": np.sqrt(squared), "sqeuclidean": squared, "cosine": squared / 2}[metric]


def naive(all_distances, *, nearest=None, within=None, mutual=False):
    """The neighbours of each row and their distances, as lists."""
    rows = len(all_distances)
    lists = []
    for row, own in enumerate(all_distances):
        order = np.lexsort([np.arange(rows), own])
        order = order[order != row]
        lists.append(order[:nearest] if within is None else np.sort(order[own[order] <= within]))
    if mutual:
        known = np.eye(rows, dtype=bool)
        for row, some in enumerate(lists):
            known[row, some] = known[some, row] = True
        lists = [np.flatnonzero(row) for row in known]
    return lists, [all_distances[row][some] for row, some in enumerate(lists)]


def split(found):
    starts, rows, measured = found
    assert starts.dtype == np.int64
    assert rows.dtype == np.uint32
    assert starts[0] == 0
    assert starts[-1] == len(rows)
    cuts = starts[1:-1]
    return np.split(rows, cuts), np.split(measured, cuts) if len(measured) else None


def check(x, metric, *, rtol=1e-9, atol=0.0, **reach):
    found = _native.neighbours(x, metric, **reach)
    lists, measured = split(found)
    expected, far = naive(distances(x, metric), **reach)
    assert [some.tolist() for some in lists] == [some.tolist() for some in expected]
    if "within" in reach:
        assert measured is None
    else:
        for own, other in zip(measured, far, strict=True):
            np.testing.assert_allclose(own, other, rtol=rtol, atol=atol)
    return found


def clusters(rows, dims, dtype, seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(6, dims)) * 4
    return (middles[rng.integers(0, 6, rows)] + rng.normal(size=(rows, dims))).astype(dtype)


def distinct(x):
    """Rows of few bits may be copies: each once, in the order in which they came."""
    _, first = np.unique(np.asarray(x, np.float64), axis=0, return_index=True)
    return x[np.sort(first)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dims", [*range(1, 41), 100, 384])
def test_equal_to_all_distances(dims, metric):
    if metric == "cosine" and dims == 1:
        pytest.skip("all rows have one of two directions")
    for at, (kind, dtype) in enumerate(DTYPES.items()):
        if kind in ("f16", "bf16") and dims < 4:
            continue  # masses of ties, in the order of how sums are rounded
        x = distinct(clusters(70, dims, dtype, seed=at))
        check(x, metric, nearest=1 + dims % 9, atol=1e-13)
        check(x, metric, nearest=len(x) - 1, mutual=at % 2 == 0, atol=1e-13)
        check(x, metric, nearest=5, mutual=True, atol=1e-13)
        gaps = np.sort(distances(x, metric)[np.triu_indices(len(x), 1)])
        cut = len(gaps) // 9 + int(np.diff(gaps[len(gaps) // 9 :]).argmax() if kind != "f64" else 0)
        check(x, metric, within=float((gaps[cut] + gaps[cut + 1]) / 2))


@pytest.mark.parametrize("dims", [3, 24])
def test_more_rows_than_a_block(dims):
    x = clusters(1500, dims, np.float32)
    for reach in ({"nearest": 7}, {"nearest": 3, "mutual": True}, {"within": 2.0 if dims == 3 else 5.5}):
        check(x, "euclidean", **reach)


@st.composite
def grids(draw):
    """Whole numbers, so that distances are exact and masses of them are equal; rows occur many times."""
    rows, dims = draw(st.integers(2, 70)), draw(st.sampled_from([1, 2, 3, 9, 13, 17, 33]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(0, draw(st.integers(1, 4)), (rows, dims), endpoint=True)
    return x.astype(DTYPES[draw(st.sampled_from(sorted(DTYPES)))]), draw(st.integers(1, rows - 1))


@given(grids(), st.sampled_from(["euclidean", "sqeuclidean"]), st.sampled_from(sorted(LAYOUTS)), st.booleans())
def test_ties_and_copies(case, metric, layout, mutual):
    x, nearest = case
    check(LAYOUTS[layout](x), metric, nearest=nearest, mutual=mutual)


@given(grids(), st.integers(0, 12), st.sampled_from(sorted(LAYOUTS)))
def test_ties_at_a_radius(case, squared, layout):
    x, _ = case
    check(LAYOUTS[layout](x), "sqeuclidean", within=float(squared))
    root = np.sqrt(squared)
    if root**2 >= squared:
        check(LAYOUTS[layout](x), "euclidean", within=float(root))


def test_a_row_at_exactly_the_radius_is_within_it():
    x = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    radius = float(_native.neighbours(x, "euclidean", nearest=1)[2][0])
    assert _native.neighbours(x, "euclidean", within=radius)[1].tolist() == [1, 0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", DTYPES)
def test_layouts_and_threads_give_the_same_bits(kind, layout):
    for dims in (3, 40):
        x = clusters(600, dims, DTYPES[kind])
        for metric in METRICS:
            within = 0.2 if metric == "cosine" else 3.0
            for reach in ({"nearest": 9}, {"nearest": 4, "mutual": True}, {"within": within}):
                with pw.num_threads(1):
                    one = _native.neighbours(x, metric, **reach)
                with pw.num_threads(3):
                    other = _native.neighbours(LAYOUTS[layout](x), metric, **reach)
                for a, b in zip(one, other, strict=True):
                    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dims", [3, 40])
def test_large_pools_on_any_number_of_threads(dims):
    x = clusters(5000, dims, np.float32)
    for reach in ({"nearest": 6, "mutual": True}, {"within": 0.5 if dims == 3 else 7.0}):
        with pw.num_threads(1):
            one = _native.neighbours(x, "euclidean", **reach)
        with pw.num_threads(3):
            other = _native.neighbours(np.asfortranarray(x), "euclidean", **reach)
        assert len(one[1]) > 5000
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-18, 1e18])
@pytest.mark.parametrize("dims", [3, 30])
def test_magnitudes_that_float32_cannot_square(dims, scale, metric):
    x = (clusters(200, dims, np.float64) * scale).astype(np.float32)
    check(x, metric, nearest=6, rtol=1e-9, atol=1e-13 if metric == "cosine" else 0)
    gaps = np.sort(distances(x, metric)[np.triu_indices(200, 1)])
    check(x, metric, within=float(gaps[2000:2002].mean()))


@pytest.mark.parametrize("dims", [5, 60])
def test_one_row_far_from_all_others_spoils_nothing(dims):
    x = clusters(300, dims, np.float64)
    x[17] = 1e9
    x[18:20] = 1e-9
    check(x, "euclidean", nearest=8)
    check(x.astype(np.float32), "euclidean", nearest=8)


@pytest.mark.parametrize("dims", [5, 60])
def test_a_large_offset_and_a_small_spread(dims):
    rng = np.random.default_rng(0)
    x = 1e4 + 1e-2 * rng.normal(size=(400, dims))
    check(x, "euclidean", nearest=9, rtol=1e-8)
    check(distinct(x.astype(np.float32)), "sqeuclidean", nearest=1)


def test_more_copies_than_neighbours():
    x = np.ones((120, 20), np.float32)
    x[100:] = 2
    lists, measured = split(check(x, "euclidean", nearest=30, mutual=True))
    assert lists[50][:30].tolist() == list(range(30))
    assert not measured[50].any()
    check(x, "euclidean", within=0.0)
    check(x[:1], "euclidean", within=3.0)


def test_what_is_refused():
    x = clusters(20, 3, np.float32)
    with pytest.raises(ValueError, match=r"expected fewer than the 20 rows, got 20"):
        _native.neighbours(x, "euclidean", nearest=20)
    with pytest.raises(ValueError, match=r"radius: .* too many"):
        _native.neighbours(x, "euclidean", within=1e3, most=100)
    odd = x.copy()
    odd[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"embeddings: row 4 has nan in column 1"):
        _native.neighbours(odd, "euclidean", nearest=2)
    odd[4] = 0
    with pytest.raises(ValueError, match=r"embeddings: row 4 is zero"):
        _native.neighbours(odd, "cosine", nearest=2)
    with pytest.raises(ValueError, match=r"nearest or within"):
        _native.neighbours(x, "euclidean")


def test_rows_of_very_many_dimensions():
    x = np.random.default_rng(0).standard_normal((4, 70_000)).astype(np.float32)
    _, rows, _ = _native.neighbours(x, "euclidean", nearest=1)
    d = np.linalg.norm(x[:, None].astype(np.float64) - x, axis=2)
    np.fill_diagonal(d, np.inf)
    assert rows.tolist() == d.argmin(1).tolist()


def test_many_copies_of_a_row():
    x = np.concatenate([np.zeros((600, 20)), np.random.default_rng(0).standard_normal((300, 20))])
    _, rows, distances = _native.neighbours(x, "euclidean", nearest=5)
    assert rows.reshape(-1, 5)[:2].tolist() == [[1, 2, 3, 4, 5], [0, 2, 3, 4, 5]]
    assert (distances.reshape(-1, 5)[:600] == 0).all()


def test_more_neighbours_than_may_be_kept_are_refused():
    x = np.random.default_rng(0).random((3000, 3))
    with pytest.raises(ValueError, match="radius: rows have more than 3 neighbours each"):
        _native.neighbours(x, "euclidean", within=1.0, most=10_000)
