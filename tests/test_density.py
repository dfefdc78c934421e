"""The density is the mean of all cosines, computed without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

DTYPES: dict[str, Any] = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
try:
    import ml_dtypes

    DTYPES["bf16"] = ml_dtypes.bfloat16
except ImportError:
    pass
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "columns of more": lambda x: np.concatenate([x[:, :1], x, x[:, :1]], axis=1)[:, 1:-1],
    "reversed": lambda x: x[::-1].copy()[::-1],
}


def mean_cosine(x):
    x = np.asarray(x, np.float64)
    x = x / np.abs(x).max(1, keepdims=True)
    x = x / np.sqrt((x**2).sum(1, keepdims=True))
    return (x @ x.T).mean(1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dims", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 40, 100, 384])
@pytest.mark.parametrize("kind", DTYPES)
def test_equal_to_the_mean_of_all_cosines(kind, dims, layout):
    x = (np.random.default_rng(dims).normal(size=(211, dims)) + 0.3).astype(DTYPES[kind])
    x[np.asarray(x == 0).all(1)] = 1
    found = pw.density(LAYOUTS[layout](x))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, mean_cosine(x), atol=1e-12 if kind == "f64" else 1e-6)


@pytest.mark.parametrize("scale", [1e25, 1e30, 1e-25, 1e-30])
def test_magnitudes_that_float32_cannot_square(scale):
    for dims in (3, 40):
        rng = np.random.default_rng(0)
        x = (rng.normal(size=(100, dims)) * scale).astype(np.float32)
        x[::7] = rng.normal(size=(15, dims))
        np.testing.assert_allclose(pw.density(x), mean_cosine(x), atol=1e-6)
    x = rng.normal(size=(100, 40)) * scale**4
    np.testing.assert_allclose(pw.density(x), mean_cosine(x), atol=1e-12)


def test_one_tiny_row_spoils_nothing():
    x = np.array([[1e-39, 0], [1, 0], [0, 1]], np.float32)
    np.testing.assert_allclose(pw.density(x), [2 / 3, 2 / 3, 1 / 3], atol=1e-6)


def test_many_rows_lose_no_digits():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60_000, 8)) + np.array([3, 0, 0, 0, 0, 0, 0, 1])).astype(np.float32)
    wide = x.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    expected = wide @ wide.mean(0)
    np.testing.assert_allclose(pw.density(x), expected, atol=1e-6)
    np.testing.assert_allclose(pw.density(x.astype(np.float64)), expected, atol=1e-12)
    with pw.num_threads(1):
        one = pw.density(x)
    with pw.num_threads(3):
        np.testing.assert_array_equal(pw.density(x), one)


def test_rows_without_a_direction_are_refused():
    x = np.ones((50, 20), np.float32)
    x[31] = 0
    p = np.full(50, 0.5)
    with pytest.raises(ValueError, match=r"embeddings: row 31 is zero, so it has no direction"):
        pw.density(x)
    for exclude in (None, [0, 40]):
        with pytest.raises(ValueError, match=r"embeddings: row 31 is zero, so it has no direction"):
            pw.density_weighted(p, x, 3, exclude=exclude)
    assert len(pw.density_weighted(p, x, 49, exclude=[31])) == 49
    skipped = pw.select(p, 49, "density_weighted", embeddings=x, invalid="skip")
    assert skipped.skipped == 1
    assert 31 not in skipped.indices
    x[31, 4] = np.nan
    with pytest.raises(
        ValueError, match=r"embeddings: row 31 has nan in column 4|embeddings: row 31 has NaN in column 4"
    ):
        pw.density(x)


@pytest.mark.parametrize("beta", [0, 0.5, 1, 3])
@pytest.mark.parametrize("known", ["none", "positions", "matrix", "excluded too"])
def test_density_weighted_is_the_score_times_a_power_of_the_density(known, beta):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 6)) + np.array([1, 0, 0, 0, 0, 0])
    p = rng.dirichlet(np.ones(4), 120)
    exclude = rng.choice(120, 20, replace=False)
    labelled = {
        "none": None,
        "positions": np.setdiff1d(np.arange(120), exclude)[[3, 40, 80]],
        "matrix": x[:4] * 2,
        "excluded too": exclude[:5],
    }[known]
    rows = np.setdiff1d(np.arange(120), exclude)
    worth = np.zeros(120)
    worth[rows] = pw.entropy(p)[rows] * np.maximum(mean_cosine(x[rows]), 0) ** beta
    free = np.setdiff1d(rows, [] if known in ("none", "matrix") else labelled)
    expected = free[np.lexsort([free, -worth[free]])]
    odd_x, odd_p = x.copy(), p.copy()
    odd_p[exclude] = np.nan
    odd_x[exclude if known != "excluded too" else exclude[5:]] = np.nan
    options = {"labelled": labelled, "exclude": exclude}
    batch = pw.density_weighted(odd_p, odd_x, 40, beta=beta, **options)
    assert batch.indices.tolist() == expected[:40].tolist()
    np.testing.assert_allclose(batch.scores, worth[expected[:40]], rtol=1e-9)
    assert pw.select(odd_p, 40, pw.DensityWeighted(beta=beta), embeddings=odd_x, **options) == batch
    if beta == 0:
        assert set(batch.indices) == set(
            pw.select(p, 40, "entropy", exclude=np.setdiff1d(np.arange(120), free)).indices
        )


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_every_row_once(seed, rows):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (rows, 3)).astype(np.float32)
    x[~x.any(1)] = 1
    batch = pw.density_weighted(rng.random(rows), x, rows)
    assert sorted(batch.indices.tolist()) == list(range(rows))
    assert (np.diff(batch.scores) <= 0).all()
