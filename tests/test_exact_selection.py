"""The rows selected, and their order, are those of float64 arithmetic on the given numbers, whatever the pool is."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

SHARED = Path(__file__).parents[2] / "shared" / "data"
SCORES: dict[str, Any] = {
    "entropy": pw.entropy,
    "margin": pw.margin,
    "least_confidence": pw.least_confidence,
    "ratio": pw.ratio,
}


def best(scores, ids=None):
    """Positions from the best row to the worst: the higher score, then the lower id."""
    return np.lexsort([np.arange(len(scores)) if ids is None else ids, -scores])


# Two classes as P(y=1): every score ranks the rows by their distance from one half.


@cache
def halves(rows):
    """Many probabilities near one half, down to the last bit of float32."""
    rng = np.random.default_rng(0)
    steps = rng.integers(-2000, 2000, rows)
    steps[::3] = rng.integers(-3, 4, len(steps[::3]))
    near = (0.5 + steps * 2.0**-25).astype(np.float32)
    near[::10] = rng.random(len(near[::10]))
    return near


@pytest.mark.parametrize("rows", [1000, 200_000])
@pytest.mark.parametrize("k", [1, 50, 1000])
def test_all_strategies_agree_on_two_classes(rows, k):
    p = halves(rows)
    expected = best(-np.abs(p.astype(np.float64) - 0.5))[:k]
    for name in SCORES:
        for pool in (p, p.astype(np.float64), np.repeat(p, 2)[::2]):
            selection = pw.select(pool, k, name)
            np.testing.assert_array_equal(selection.ids, expected, err_msg=name)
            np.testing.assert_allclose(selection.scores, SCORES[name](p.astype(np.float64))[expected], rtol=1e-14)


def test_all_strategies_agree_on_all_rows():
    p = halves(20_000)
    # In float32 most of these rows cannot be told apart by their entropy.
    near = p[np.abs(p - 0.5) < 1e-4]
    assert 100 * len(np.unique(pw.entropy(near))) < len(np.unique(np.abs(near - 0.5)))
    expected = best(-np.abs(p.astype(np.float64) - 0.5))
    for name in SCORES:
        np.testing.assert_array_equal(pw.select(p, len(p), name).ids, expected, err_msg=name)


def test_a_probability_and_its_complement_tie():
    # 1 - p rounds to nothing in float32 here; the tie is exact, so the lower id is first.
    p = np.array([1e-3, 0.75, 0.25, 0.5 - 2**-25, 0.5 + 2**-24, 0.5 - 2**-24, 1e-30, 0.25, 0.75], np.float32)
    for name in SCORES:
        assert pw.select(p, 9, name).ids.tolist() == [3, 4, 5, 1, 2, 7, 8, 0, 6]


def test_two_columns():
    p = halves(50_000)
    pool = np.stack([1 - p, p], axis=1)
    for name, score in SCORES.items():
        expected = score(pool.astype(np.float64))
        np.testing.assert_array_equal(pw.select(pool, 2000, name).ids, best(expected)[:2000])


# Any pool: float32 scores alone would get these wrong.


@pytest.mark.parametrize("classes", [3, 10, 40, 150])
@pytest.mark.parametrize("strategy", [pw.Entropy(), pw.Entropy(from_logits=True), pw.Margin(from_logits=True)], ids=str)
def test_rows_closer_than_float32_can_tell(strategy, classes):
    rng = np.random.default_rng(classes)
    base = rng.dirichlet(np.full(classes, 5.0))
    pool = base * (1 + 1e-6 * rng.standard_normal((30_000, classes)))
    pool = np.log(pool) if strategy.from_logits else pool / pool.sum(1, keepdims=True)
    pool = pool.astype(np.float32)
    score = SCORES[strategy.name]
    exact = score(pool, from_logits=strategy.from_logits, dtype=np.float64)
    assert len(np.unique(score(pool, from_logits=strategy.from_logits))) < 100 < len(np.unique(exact))
    for k in (1, 100, 29_000):
        selection = pw.select(pool, k, strategy)
        np.testing.assert_array_equal(selection.ids, best(exact)[:k])
        np.testing.assert_array_equal(selection.scores, exact[selection.ids])


def numpy_score(p, name):
    second, first = np.sort(p, axis=1)[:, -2:].T
    if name == "entropy":
        return -(p * np.log(np.where(p > 0, p, 1))).sum(1)
    return {"margin": 1 - (first - second), "least_confidence": 1 - first, "ratio": second / first}[name]


@st.composite
def pools(draw):
    """Random pools, pools of few distinct rows, and rows that differ by the last bits of float32."""
    rows, classes = draw(st.integers(1, 200)), draw(st.integers(2, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["random", "ties", "copies", "near"]))
    if kind == "random":
        p = rng.dirichlet(np.full(classes, 0.7), rows)
    elif kind == "ties":
        p = rng.multinomial(4, np.full(classes, 1 / classes), rows) / 4
    elif kind == "copies":
        p = rng.dirichlet(np.ones(classes), 5)[rng.integers(0, 5, rows)]
    else:
        p = rng.dirichlet(np.full(classes, 9.0)) * (1 + 1e-7 * rng.standard_normal((rows, classes)))
        p /= p.sum(1, keepdims=True)
    return p.astype(draw(st.sampled_from([np.float16, np.float32, np.float64]))), rng


@given(pools(), st.sampled_from(list(SCORES)), st.integers(0, 2**32), st.data())
def test_selections_are_those_of_numpy(pool, name, seed, data):
    p, rng = pool
    rows = len(p)
    # Which rows are out of the question, and why.
    masked, named, broken = (rng.random(rows) < data.draw(st.sampled_from([0, 0.2, 0.7])) for _ in range(3))
    p[broken, -1] = data.draw(st.sampled_from([np.nan, np.inf, -0.1, 1.2]))
    kind = data.draw(st.sampled_from(["positions", "integers", "strings"]))
    numbers = np.arange(rows) if kind == "positions" else rng.choice(2**62, rows, replace=False) * 2 - 2**62
    ids: Any = {"positions": None, "integers": numbers, "strings": [f"\u00e4{i % 7}-{i}" for i in numbers.tolist()]}[
        kind
    ]
    names = np.array(ids) if kind == "strings" else numbers
    options: dict[str, Any] = {
        "ids": None if kind == "positions" else names,
        "exclude": data.draw(st.sampled_from([masked, np.flatnonzero(masked)])),
        "exclude_ids": names[named].tolist(),
        "invalid": "skip",
    }
    left = np.flatnonzero(~(masked | named | broken))
    if len(left) == 0:
        assert len(pw.select(p, 1, name, clip=True, **options)) == 0
        return
    k = data.draw(st.integers(1, len(left)))
    selection = pw.select(p, k, name, **options)
    assert selection.skipped == (broken & ~masked & ~named).sum()
    # The order of the scores that the functions give in float64, to the bit; in UTF-8, bytes sort as code points do.
    exact = SCORES[name](p[left], dtype=np.float64)
    expected = left[best(exact, names[left] if kind == "integers" else np.argsort(np.argsort(names[left])))[:k]]
    np.testing.assert_array_equal(selection.indices, expected)
    np.testing.assert_array_equal(selection.ids, names[expected])
    np.testing.assert_array_equal(np.sort(exact)[::-1][:k], selection.scores)
    # And NumPy's own, which for entropy may round the last bit differently.
    independent = numpy_score(p[left].astype(np.float64), name)
    np.testing.assert_allclose(np.sort(independent)[::-1][:k], selection.scores, rtol=1e-13, atol=1e-14)
    if name != "entropy":
        np.testing.assert_array_equal(independent, exact)


@given(pools(), st.sampled_from([*SCORES, "random"]), st.sampled_from(["first", "random"]), st.data())
def test_merging_in_any_order_gives_the_same_bits(pool, name, ties, data):
    p, rng = pool
    ids = rng.permutation(len(p))
    options: dict[str, Any] = {"ties": ties, "random_state": 5}
    k = data.draw(st.integers(1, len(p)))
    whole = pw.select(p, k, name, ids=ids, **options)
    np.testing.assert_array_equal(ids[whole.indices], whole.ids)
    reducers = []
    for part in np.array_split(rng.permutation(len(p)), data.draw(st.integers(1, 6))):
        reducer = pw.reducer(name, k, **options)
        for rows in np.array_split(part, 2):
            reducer.update(p[rows], ids=ids[rows])
        reducers.append(reducer)
    while len(reducers) > 1:
        other = reducers.pop(data.draw(st.integers(0, len(reducers) - 1)))
        reducers[data.draw(st.integers(0, len(reducers) - 1))].merge(other)
    merged = reducers[0].finish()
    np.testing.assert_array_equal(merged.ids, whole.ids)
    np.testing.assert_array_equal(merged.scores, whole.scores)


@given(pools(), st.sampled_from(list(SCORES)), st.data())
def test_random_ties_are_drawn_once_and_for_all(pool, name, data):
    p, rng = pool
    k, seed = data.draw(st.integers(1, len(p))), data.draw(st.integers(0, 2**63 - 1))
    chosen = pw.select(p, k, name, ties="random", random_state=seed)
    np.testing.assert_array_equal(chosen.scores, pw.select(p, k, name).scores)
    np.testing.assert_array_equal(chosen.scores, SCORES[name](p, dtype=np.float64)[chosen.ids])
    assert len(set(chosen)) == k
    cuts = sorted(data.draw(st.sets(st.integers(0, len(p)), max_size=4)))
    assert pw.select(iter(np.split(p, cuts)), k, name, ties="random", random_state=seed) == chosen
    # The rows come in another order, under the ids that they had.
    order = rng.permutation(len(p))
    again = pw.select(p[order], k, name, ids=order, ties="random", random_state=seed)
    np.testing.assert_array_equal(again.ids, chosen.ids)


def test_random_ties_of_equal_rows_differ_by_seed():
    pool = np.full((100_000, 3), 1 / 3, np.float32)
    for ids in (None, [f"n{i}" for i in range(100_000)]):
        drawn = [set(pw.select(pool, 1000, "entropy", ids=ids, ties="random", random_state=seed)) for seed in (0, 1)]
        # Two samples of a hundredth share about ten rows.
        assert len(drawn[0] & drawn[1]) < 40


# Real predictions.


def read(name):
    path = SHARED / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return np.load(path)


def assert_exact(pool, k):
    for name, score in SCORES.items():
        exact = score(pool, dtype=np.float64)
        selection = pw.select(pool, k, name)
        np.testing.assert_array_equal(selection.ids, best(exact)[:k])
        np.testing.assert_array_equal(selection.scores, exact[selection.ids])


def test_predictions_with_few_distinct_rows():
    """On donors: 619,326 rows, of which only 35,421 are different."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    data = read("adbench_11_donors")
    x, y = data["X"], data["y"]
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    labelled = np.random.default_rng(0).choice(len(x), 500, replace=False)
    model = linear_model.LogisticRegression().fit(x[labelled], y[labelled])
    p = model.predict_proba(x).astype(np.float32)
    assert len(np.unique(p[:, 1])) < len(p) / 10
    expected = best(-np.abs(p[:, 1].astype(np.float64) - 0.5))[:2000]
    for name in SCORES:
        np.testing.assert_array_equal(pw.select(p[:, 1], 2000, name).ids, expected, err_msg=name)
    for k in (50, 20_000, len(p)):
        assert_exact(p, k)


def test_predictions_of_many_classes():
    """On banking77: 77 classes, hundreds of labels."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    data = read("banking77_minilm_f16")
    x, y = data["X"].astype(np.float32), data["y"]
    labelled = np.concatenate([np.flatnonzero(y == label)[:3] for label in range(77)])
    model = linear_model.LogisticRegression(max_iter=30, tol=1e-2).fit(x[labelled], y[labelled])
    p = model.predict_proba(x)
    for dtype in (np.float16, np.float32, np.float64):
        for k in (1, 500, len(p)):
            assert_exact(p.astype(dtype), k)
    logits = model.decision_function(x).astype(np.float32)
    exact = pw.entropy(logits, from_logits=True, temperature=0.5, dtype=np.float64)
    selection = pw.select(logits, 500, pw.Entropy(from_logits=True, temperature=0.5))
    np.testing.assert_array_equal(selection.ids, best(exact)[:500])
