"""The temperature is the one of the least loss, by an optimiser that knows nothing of ours."""

from __future__ import annotations

import numpy as np
import pytest

import pickwise as pw

BOUNDS = np.log(0.05), np.log(20)


def loss(z, y, temperature):
    special = pytest.importorskip("scipy.special")
    z = np.asarray(z, np.float64) / temperature
    return (special.logsumexp(z, axis=1) - z[np.arange(len(z)), y]).mean()


def case(rows, classes, sharpness, seed=0):
    """Logits of a model that is `sharpness` times too sure of itself."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, classes)) * 2
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    y = (rng.random((rows, 1)) < p.cumsum(1)).argmax(1)
    return z * sharpness, y


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("sharpness", [0.1, 0.5, 1, 2, 8])
def test_equal_to_scipy(classes, sharpness):
    optimize = pytest.importorskip("scipy.optimize")
    z, y = case(400, classes, sharpness)
    found = optimize.minimize_scalar(
        lambda log_t: loss(z, y, np.exp(log_t)), bounds=BOUNDS, method="bounded", options={"xatol": 1e-10}
    )
    temperature = pw.fit_temperature(z, y)
    assert isinstance(temperature, float)
    assert temperature == pytest.approx(np.exp(found.x), rel=1e-5)
    assert loss(z, y, temperature) <= found.fun + 1e-12


def test_a_model_that_is_too_sure_is_found_out():
    z, y = case(20_000, 5, 3)
    assert pw.fit_temperature(z, y) == pytest.approx(3, rel=0.05)
    assert pw.fit_temperature(z / 3, y) == pytest.approx(pw.fit_temperature(z, y) / 3, rel=1e-6)
    assert pw.fit_temperature(z + 1e3, y) == pytest.approx(pw.fit_temperature(z, y), rel=1e-5)


def test_it_stays_within_bounds():
    z, _ = case(200, 4, 1)
    assert pw.fit_temperature(z, z.argmax(1)) == pytest.approx(0.05, rel=1e-6)
    assert pw.fit_temperature(z, z.argmin(1)) == pytest.approx(20, rel=1e-6)
    assert 0.05 <= pw.fit_temperature(np.zeros((5, 3)), np.zeros(5, int)) <= 20
    large, y = case(200, 4, 1e4)
    assert pw.fit_temperature(large, y) == pytest.approx(20, rel=1e-6)


def test_types_and_layouts():
    z, y = case(300, 4, 2)
    z = z.astype(np.float16)
    expected = pw.fit_temperature(z, y)
    for logits in (z.astype(np.float32), z.astype(np.float64), np.asfortranarray(z), z.tolist()):
        assert pw.fit_temperature(logits, y) == expected
    for labels in (y.tolist(), y.astype(np.uint8), y.astype(np.float64), y.astype(np.int8)):
        assert pw.fit_temperature(z, labels) == expected
    pd = pytest.importorskip("pandas")
    assert pw.fit_temperature(pd.DataFrame(z.astype(np.float32)), pd.Series(y)) == expected
    frozen, labels = z.astype(np.float64), y.copy()
    frozen.flags.writeable = labels.flags.writeable = False
    assert pw.fit_temperature(frozen, labels) == expected
    np.testing.assert_array_equal(frozen, z)


def test_probabilities_by_their_logarithms():
    z, y = case(300, 4, 2)
    p = np.exp(z)
    p /= p.sum(1, keepdims=True)
    assert pw.fit_temperature(np.log(p), y) == pytest.approx(pw.fit_temperature(z, y), rel=1e-6)


def test_what_is_refused():
    z, y = case(10, 3, 1)
    cases = [
        (z[:, 0], y, ValueError, r"logits: expected the shape \(rows, classes\)"),
        (np.where(z == z[4, 1], -np.inf, z), y, ValueError, r"logits: expected finite numbers"),
        (z, y[:9], ValueError, r"labels: expected the shape \(10,\)"),
        (z, y + 0.5, TypeError, r"labels: expected integers, got float64"),
        (z, np.where(y == y[0], np.inf, y), TypeError, r"labels: expected integers, got float64"),
        (z, np.full(10, np.nan), TypeError, r"labels: expected integers, got float64"),
        (z, np.full(10, 3), ValueError, r"labels: expected classes from 0 to 2, got 3 to 3"),
        (z, y - 1, ValueError, r"labels: expected classes from 0 to 2, got -1"),
        (z, y > 0, TypeError, r"labels: expected integers, got bool"),
        (z[:0], y[:0], ValueError, r"logits: expected at least one row"),
    ]
    for logits, labels, error, words in cases:
        with pytest.raises(error, match=words):
            pw.fit_temperature(logits, labels)
