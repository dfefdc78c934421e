"""Scores and strategies for rows that have several labels: their papers' formulas, whatever the pool is."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
POOL = RNG.random((3000, 7))
SCORES: dict[str, Any] = {"max_loss": pw.max_loss, "mean_max_loss": pw.mean_max_loss, "mmc": pw.mmc}
STRATEGIES: dict[str, Any] = {"max_loss": pw.MaxLoss, "mean_max_loss": pw.MeanMaxLoss, "mmc": pw.MMC}
names = pytest.mark.parametrize("name", SCORES)


def loss_of(f, only):
    """Hinge losses of one row if it has one label, after Li, Wang & Sung."""
    m = np.where(np.arange(len(f)) == only, 1, -1)
    return np.maximum(1 - m * f, 0).sum()


def oracle(name, p, counts=None):
    """Compute the formulas row by row, as modAL (max loss), JCLAL (mean max loss) and libact (MMC) do."""
    scores = []
    for at, row in enumerate(np.asarray(p, np.float64)):
        f = 2 * row - 1
        predicted = np.flatnonzero(row > 0.5)
        if name == "max_loss":
            scores.append(loss_of(f, row.argmax()))
        elif name == "mean_max_loss":
            chosen = predicted if len(predicted) else [row.argmax()]
            scores.append(np.mean([loss_of(f, only) for only in chosen]))
        else:
            yhat = -np.ones(len(row))
            yhat[predicted if counts is None else np.argsort(-row)[: counts[at]]] = 1
            scores.append(((1 - yhat * f) / 2).sum())
    return np.array(scores)


# Exact in binary, so exact by hand: the losses are 2(1 + sum - 2p).
VECTORS = [
    ([1.0, 0.0, 0.0], 0.0, 0.0, 0.0),
    ([1.0, 1.0, 0.0], 2.0, 2.0, 0.0),
    ([0.75, 0.75, 0.0], 2.0, 2.0, 0.5),
    ([1.0, 0.75, 0.25], 2.0, 2.5, 0.5),
    ([0.25, 0.125, 0.0], 1.75, 1.75, 0.375),
    ([0.5, 0.5, 0.5], 3.0, 3.0, 1.5),
    ([0.0, 0.0, 0.0], 2.0, 2.0, 0.0),
    ([1.0, 1.0, 1.0], 4.0, 4.0, 0.0),
]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors(dtype):
    p = np.array([row for row, *_ in VECTORS], dtype)
    for at, name in enumerate(SCORES, start=1):
        scores = SCORES[name](p)
        assert scores.dtype == (np.float64 if dtype == np.float64 else np.float32)
        assert scores.tolist() == [vector[at] for vector in VECTORS]
        assert SCORES[name](p, dtype=np.float64).dtype == np.float64


def test_mmc_by_numbers_of_labels():
    p = [[0.75, 0.5, 0.25]] * 4
    assert pw.mmc(p, [0, 1, 2, 3]).tolist() == [1.5, 1.0, 1.0, 1.5]
    for counts in (np.array([0, 1, 2, 3], np.uint8), (0, 1, 2, 3)):
        assert pw.mmc(p, counts).tolist() == [1.5, 1.0, 1.0, 1.5]


@names
@pytest.mark.parametrize("labels", [1, 2, 7, 40])
def test_formulas(name, labels):
    p = RNG.random((400, labels))
    p[:100] **= 4
    p[100:150] = p[100:150].round()
    np.testing.assert_allclose(SCORES[name](p), oracle(name, p), rtol=1e-13, atol=1e-14)
    single = p.astype(np.float32)
    np.testing.assert_allclose(SCORES[name](single), oracle(name, single), rtol=1e-6, atol=2e-6)
    counts = RNG.integers(0, labels + 1, 400)
    np.testing.assert_allclose(pw.mmc(p, counts), oracle("mmc", p, counts), rtol=1e-13, atol=1e-14)


@names
def test_certain_predictions_are_those_of_the_libraries(name):
    """The libraries put 0 and 1 for the outputs; modAL's mean is over all labels, which ranks by their number only."""
    y = RNG.integers(0, 2, (200, 5))
    np.testing.assert_array_equal(SCORES[name](y.astype(np.float64)), oracle(name, y))


def test_mmc_without_numbers_is_least_confidence():
    np.testing.assert_array_equal(pw.mmc(POOL), pw.least_confidence(POOL, task="multilabel", how="sum"))
    np.testing.assert_allclose(pw.mmc(POOL, (POOL > 0.5).sum(1)), pw.mmc(POOL), rtol=1e-13)


@names
def test_logits(name):
    logits = 4 * RNG.normal(size=(300, 5))
    logits[0] = [-np.inf, 1e300, np.inf, 0, 700]
    with np.errstate(over="ignore"):
        p = 1 / (1 + np.exp(-logits / 2))
    scores = SCORES[name](logits, from_logits=True, temperature=2)
    np.testing.assert_allclose(scores, SCORES[name](p), rtol=1e-12, atol=1e-13)
    counts = RNG.integers(0, 6, 300)
    by_counts = pw.mmc(logits, counts, from_logits=True, temperature=2)
    np.testing.assert_allclose(by_counts, pw.mmc(p, counts), rtol=1e-12, atol=1e-13)


@names
def test_layouts_and_blocks_have_the_same_bits(name, monkeypatch):
    expected = SCORES[name](POOL)
    wide = np.zeros((6000, 14))
    wide[::2, ::2] = POOL
    for layout in (np.asfortranarray(POOL), wide[::2, ::2], POOL.astype(">f8"), POOL.tolist()):
        np.testing.assert_array_equal(SCORES[name](layout), expected)
    counts = RNG.integers(0, 8, len(POOL))
    by_counts = pw.mmc(POOL, counts)
    monkeypatch.setattr("pickwise.multilabel.BLOCK_BYTES", 1000)
    np.testing.assert_array_equal(SCORES[name](POOL), expected)
    np.testing.assert_array_equal(pw.mmc(np.asfortranarray(POOL), counts), by_counts)


@names
def test_tables_and_other_libraries(name):
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    expected = SCORES[name](POOL)
    frame = pl.DataFrame(POOL, schema=[f"l{i}" for i in range(7)])
    for pool in (frame, frame.to_arrow(), pa.FixedSizeListArray.from_arrays(POOL.ravel(), 7)):
        np.testing.assert_array_equal(SCORES[name](pool), expected)


def test_memory_is_that_of_a_block():
    import tracemalloc

    pool = np.random.default_rng(1).random((400_000, 20), np.float32)  # 32 MB
    for score in (pw.max_loss, pw.mean_max_loss, lambda p: pw.mmc(p, np.full(len(p), 3))):
        tracemalloc.start()
        score(pool)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 24e6


# What makes no sense.


@names
@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.25, 1.5, np.nextafter(1.0, 2.0)])
def test_invalid_rows_are_refused_in_the_words_of_entropy(name, bad, monkeypatch):
    monkeypatch.setattr("pickwise.multilabel.BLOCK_BYTES", 8 * 7 * 100)
    pool = POOL.copy()
    pool[[250, 1700], 3] = bad
    pool.flags.writeable = False
    with pytest.raises(ValueError) as expected:  # noqa: PT011 - the message is what is compared
        pw.entropy(pool, task="multilabel")
    for score in (SCORES[name], lambda p: pw.mmc(p, np.ones(len(p), int))):
        with pytest.raises(ValueError, match=r"row 250 holds .* in column 3.*2 of 3000 rows") as got:
            score(pool)
        assert str(got.value) == str(expected.value)


@names
@pytest.mark.parametrize(
    ("x", "options", "error", "match"),
    [
        ([0.5, 0.25], {}, ValueError, r"task='multilabel' needs the shape \(rows, labels\), got 1-D"),
        (np.empty((0, 3)), {}, ValueError, "probabilities: expected at least one row, got none"),
        (np.empty((3, 0)), {}, ValueError, "probabilities: expected at least 1 classes"),
        (np.ones((3, 2), int), {}, TypeError, "probabilities: expected float16, bfloat16, float32 or float64"),
        (POOL, {"temperature": 2.0}, ValueError, "temperature"),
        (POOL, {"temperature": 0.0, "from_logits": True}, ValueError, "temperature"),
        (POOL, {"dtype": np.float16}, ValueError, "dtype: expected float32 or float64"),
        (
            [[np.nan, 0.0]],
            {"from_logits": True},
            ValueError,
            "row 0 holds nan in column 0, expected a number below infinity",
        ),
    ],
)
def test_bad_arguments(name, x, options, error, match):
    with pytest.raises(error, match=match):
        SCORES[name](x, **options)


@pytest.mark.parametrize(
    ("counts", "error", "match"),
    [
        ([1], ValueError, "counts: expected 3000, one for each row of probabilities, got 1"),
        (np.full(3000, 8), ValueError, "counts: row 0 has 8, expected from 0 to 7, the number of labels"),
        (np.arange(3000) - 1, ValueError, "counts: row 0 has -1"),
        (np.ones(3000), TypeError, "counts: expected a 1-D array of integers, got 1-D of float64"),
        (np.ones((3000, 1), int), TypeError, "counts: expected a 1-D array of integers, got 2-D"),
    ],
)
def test_bad_counts(counts, error, match):
    with pytest.raises(error, match=match):
        pw.mmc(POOL, counts)


# Strategies.


@names
def test_select_takes_the_highest_scores(name, tmp_path):
    pool = POOL.astype(np.float32)
    best = pw.top_k(SCORES[name](pool, dtype=np.float64), 50)
    np.save(tmp_path / "a.npy", pool[:1234])
    np.save(tmp_path / "b.npy", pool[1234:])
    for given in (pool, pool.tolist(), iter(np.array_split(pool, 7)), str(tmp_path / "*.npy")):
        selection = pw.select(given, 50, name)
        np.testing.assert_array_equal(selection.indices, best.indices)
        np.testing.assert_allclose(selection.scores, best.scores, rtol=1e-13)
        assert selection.strategy == STRATEGIES[name]()


@names
def test_options_pickle_and_print(name):
    strategy = STRATEGIES[name](from_logits=True, temperature=2.0)
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert eval(repr(strategy), vars(pw)) == strategy
    logits = RNG.normal(size=(100, 4))
    best = pw.top_k(SCORES[name](logits, from_logits=True, temperature=2.0), 9)
    np.testing.assert_array_equal(pw.select(logits, 9, strategy).ids, best.ids)
    for options in ({"temperature": 2.0}, {"temperature": 0.0, "from_logits": True}):
        with pytest.raises(ValueError, match="temperature"):
            STRATEGIES[name](**options)


@names
def test_reducers_merge(name):
    left, right = pw.reducer(name, 40), pw.reducer(name, 40)
    left.update(POOL[:1000], ids=range(1000))
    right.update(POOL[1000:], ids=range(1000, 3000))
    left.merge(pw.Reducer.from_bytes(right.to_bytes()))
    np.testing.assert_array_equal(left.finish().ids, pw.select(POOL, 40, name).ids)


@names
@pytest.mark.parametrize("bad", [np.nan, 1.5, np.inf])
def test_invalid_rows_of_a_pool(name, bad, tmp_path, monkeypatch):
    monkeypatch.setattr("pickwise.multilabel.BLOCK_BYTES", 8 * 7 * 100)
    pool = POOL.copy()
    best = pw.select(POOL, 60, name)
    pool[best.indices[:10], 2] = bad
    first = best.indices[:10].min()
    np.save(tmp_path / "pool.npy", pool)
    for given in (pool, iter(np.array_split(pool, 7)), str(tmp_path / "pool.npy")):
        with pytest.raises(ValueError, match=rf"row {first} h"):
            pw.select(given, 5, name)
    for given in (pool, iter(np.array_split(pool, 7)), str(tmp_path / "pool.npy")):
        selection = pw.select(given, 50, name, invalid="skip")
        np.testing.assert_array_equal(selection.ids, best.ids[10:])
        assert selection.skipped == 10
    logits = RNG.normal(size=(20, 3))
    logits[3, 1] = np.nan
    selection = pw.select(logits, 19, STRATEGIES[name](from_logits=True), invalid="skip")
    assert 3 not in selection.ids


@names
def test_a_refused_chunk_leaves_a_reducer_as_it_was(name, monkeypatch):
    monkeypatch.setattr("pickwise.multilabel.BLOCK_BYTES", 8 * 7 * 100)
    reducer = pw.reducer(name, 20)
    reducer.update(POOL[:1000])
    bad = POOL[1000:].copy()
    bad[1500, 0] = 2
    with pytest.raises(ValueError, match="chunk: "):
        reducer.update(bad)
    reducer.update(POOL[1000:])
    assert reducer.finish() == pw.select(POOL, 20, name)


@names
def test_other_strategies_draw_and_spread_by_it(name):
    drawn = pw.select(POOL, 60, pw.PowerSampling(score=name, beta=3), random_state=3)
    by_scores = pw.select(SCORES[name](POOL), 60, pw.PowerSampling(score="given", beta=3), random_state=3)
    np.testing.assert_array_equal(drawn.ids, by_scores.ids)
    embeddings = RNG.normal(size=(3000, 4))
    cover = pw.select(POOL, 10, pw.KCenter(prefilter=4, prefilter_by=name), embeddings=embeddings)
    assert set(cover.ids) <= set(pw.select(POOL, 40, name).ids)


@names
def test_a_single_probability_a_row_is_refused(name):
    with pytest.raises(ValueError, match="got 1-D; reshape one label"):
        pw.select(POOL[:, 0], 5, name)
    np.testing.assert_array_equal(pw.select(POOL[:, :1], 5, name).ids, pw.top_k(SCORES[name](POOL[:, :1]), 5).ids)


@names
def test_the_command_line_selects_by_it(name, tmp_path):
    testing = pytest.importorskip("typer.testing")
    from pickwise.commands import app

    np.save(tmp_path / "pool.npy", POOL)
    done = testing.CliRunner().invoke(app, ["select", str(tmp_path / "pool.npy"), "-k", "1", "--strategy", name])
    assert done.exit_code == 0, done.output
    assert str(pw.select(POOL, 1, name).ids[0]) in done.output
