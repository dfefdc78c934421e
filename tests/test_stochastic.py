"""Rows drawn by their scores: with the right probabilities, without replacement, and the same rows in any pieces."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

RNG = np.random.default_rng(0)
POOL = RNG.dirichlet(np.ones(4), 3000)
STREAMING: Any = {"power": pw.PowerSampling, "softmax": pw.SoftmaxSampling}
ALL: Any = STREAMING | {"softrank": pw.SoftRank}


def gumbel(ids, seed):
    """Return the noise of rows: the uniforms are what `random` orders rows by."""
    drawn = pw.select(np.zeros((len(ids), 2)), len(ids), "random", ids=ids, random_state=seed)
    uniforms = np.empty(len(ids))
    uniforms[drawn.indices] = drawn.scores
    return -np.log(-np.log(np.maximum(uniforms, 2.0**-54)))


def keys(name, scores, beta, ids, seed):
    noise = gumbel(ids, seed) / beta
    with np.errstate(divide="ignore"):
        if name == "power":
            return np.log(scores) + noise
        if name == "softmax":
            return scores + noise
    order = np.lexsort((ids, -scores))
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    return -np.log(ranks) + noise


def assert_drawn(selection, expected, ids):
    """The highest keys in their order, those that arithmetic can tell apart."""
    np.testing.assert_allclose(selection.scores, -np.sort(-expected)[: len(selection)], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(expected[selection.indices], selection.scores, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(selection.ids, ids[selection.indices])
    assert len(set(selection)) == len(selection)


@pytest.mark.parametrize("name", ALL)
@given(
    st.lists(st.floats(0, 100) | st.sampled_from([0.0, 1e-310, 1.0]), min_size=1, max_size=60),
    st.floats(0.01, 100),
    st.integers(0, 2**63 - 1),
    st.data(),
)
def test_it_is_the_top_k_of_the_noisy_scores(name, scores, beta, seed, data):
    scores = np.array(scores)
    ids = np.array(data.draw(st.permutations(range(len(scores))))) * 1000 - 7
    k = data.draw(st.integers(1, len(scores)))
    strategy = ALL[name](score="given", beta=beta)
    selection = pw.select(scores, k, strategy, ids=ids, random_state=seed)
    assert_drawn(selection, keys(name, scores, beta, ids, seed), ids)
    assert selection.strategy == strategy


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("score", ["entropy", "margin", pw.Entropy(base=2), pw.LeastConfidence(from_logits=True)])
def test_any_score(name, score):
    options: dict[str, Any] = {} if isinstance(score, str) else score.options
    scores = getattr(pw, score if isinstance(score, str) else score.name)(POOL, **options)
    selection = pw.select(POOL, 100, ALL[name](score=score, beta=2), random_state=3)
    assert_drawn(selection, keys(name, scores, 2, np.arange(3000), 3), np.arange(3000))
    # Scores of float32 rows are those of float64 arithmetic.
    single = POOL.astype(np.float32)
    exact = getattr(pw, selection.strategy.ranking.name)(single, dtype=np.float64, **options)
    selection = pw.select(single, 100, ALL[name](score=score, beta=2), random_state=3)
    assert_drawn(selection, keys(name, exact, 2, np.arange(3000), 3), np.arange(3000))


# The probabilities.


def chi_square(counts, p):
    """Return how far counts are from what is expected, in standard deviations of chi-square."""
    expected = counts.sum() * p / p.sum()
    degrees = len(p) - 1
    return (((counts - expected) ** 2 / expected).sum() - degrees) / np.sqrt(2 * degrees)


WEIGHTS: Any = {
    "power": lambda scores, beta: scores**beta,
    "softmax": lambda scores, beta: np.exp(beta * scores),
    "softrank": lambda scores, beta: (1 + np.argsort(np.argsort(-scores))) ** -beta,
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_rows_are_drawn_in_proportion_to_their_weights(name, beta):
    scores = np.array([0.3, 0.9, 0.5, 0.7, 1.1, 0.45])
    p = WEIGHTS[name](scores, beta)
    strategy = ALL[name](score="given", beta=beta)
    firsts, pairs = np.zeros(6), np.zeros((6, 6))
    for seed in range(3000):
        selection = pw.select(scores, 2, strategy, random_state=seed)
        firsts[selection.indices[0]] += 1
        pairs[tuple(selection.indices)] += 1
    assert chi_square(firsts, p) < 5
    # The second is drawn among those that are left.
    second = p[None] / (p.sum() - p[:, None]) * p[:, None] / p.sum()
    others = ~np.eye(6, dtype=bool)
    assert pairs[~others].sum() == 0
    assert chi_square(pairs[others], second[others]) < 5


def test_the_noise_of_many_rows_is_gumbel():
    rows = 20_000
    noise = np.sort(pw.select(np.zeros(rows), rows, pw.SoftmaxSampling(score="given"), random_state=5).scores)
    distribution = np.exp(-np.exp(-noise))
    steps = (np.arange(rows) + 0.5) / rows
    assert np.abs(distribution - steps).max() < 1.6 / np.sqrt(rows)  # Kolmogorov and Smirnov, one in 84


def test_much_beta_is_the_top_k_and_little_is_chance():
    top = pw.select(POOL, 50, "entropy").ids
    for name, strategy in ALL.items():
        np.testing.assert_array_equal(pw.select(POOL, 50, strategy(beta=1e9), random_state=1).ids, top, err_msg=name)
        chance = pw.select(POOL, 50, strategy(beta=1e-9), random_state=1).ids
        np.testing.assert_array_equal(chance, pw.select(POOL, 50, "random", random_state=1).ids, err_msg=name)


def test_rows_of_score_zero_come_last():
    scores = np.array([0.0, 1e-300, 0.0, 5.0, -0.0])
    for seed in range(20):
        drawn = pw.select(scores, 5, pw.PowerSampling(score="given"), random_state=seed)
        assert drawn.ids.tolist() == [3, 1, 0, 2, 4]
        assert drawn.scores[2:].tolist() == [-np.inf] * 3


# The same rows, however they come.


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("score", ["entropy", "margin"])
def test_pieces_threads_and_ids_change_nothing(name, score):
    strategy = STREAMING[name](score=score, beta=1.5)
    pool = RNG.dirichlet(np.ones(3), 150_000).astype(np.float32)
    whole = pw.select(pool, 400, strategy, random_state=9)
    for threads in (1, 3):
        with pw.num_threads(threads):
            assert pw.select(pool, 400, strategy, random_state=9) == whole
            assert pw.select(iter(np.array_split(pool, 5)), 400, strategy, random_state=9) == whole
    reducers = [pw.reducer(strategy, 400, random_state=9) for _ in range(3)]
    for reducer, rows in zip(reducers, np.array_split(RNG.permutation(150_000), 3), strict=True):
        for part in np.array_split(rows, 2):
            reducer.update(pool[part], ids=part)
    first, second, third = (pw.Reducer.from_bytes(reducer.to_bytes()) for reducer in reducers)
    third.merge(first)
    second.merge(third)
    merged = second.finish()
    np.testing.assert_array_equal(merged.ids, whole.ids)
    np.testing.assert_array_equal(merged.scores, whole.scores)


@pytest.mark.parametrize("name", ALL)
def test_chunks_of_files_and_string_ids(name, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = [f"doc-{i}" for i in RNG.permutation(3000)]
    whole = pw.select(POOL, 60, name, ids=names, random_state=2, exclude_ids=names[:500], ties="random")
    assert not set(whole) & set(names[:500])
    assert [names[i] for i in whole.indices] == list(whole)
    for number, rows in enumerate(np.array_split(np.arange(3000), 4)):
        columns = {f"p_{i}": POOL[rows, i] for i in range(4)}
        table = pa.table({"doc": [names[row] for row in rows], **columns})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=300)
    options = {"random_state": 2, "exclude_ids": names[:500], "ties": "random"}
    assert pw.select(tmp_path, 60, name, id="doc", **options) == whole


def test_simd_levels_give_the_same_bits(run_python):
    code = """
        import numpy as np, pickwise as pw
        pool = np.random.default_rng(1).dirichlet(np.ones(5), 5000).astype(np.float32)
        for name in ("power", "softmax", "softrank"):
            drawn = pw.select(pool, 200, name, random_state=4)
            print(drawn.ids.tolist(), [score.hex() for score in drawn.scores.tolist()])
    """
    levels: Any = pw.build_info()["simd_available"]
    assert len({run_python(code, PICKWISE_SIMD=level) for level in levels}) == 1


def test_invalid_rows():
    pool = POOL.copy()
    pool[[5, 700]] = np.nan
    for name in ALL:
        with pytest.raises(ValueError, match="pool: row 5 holds nan in column 0"):
            pw.select(pool, 10, name)
        drawn = pw.select(pool, 2998, name, random_state=0, invalid="skip")
        assert drawn.skipped == 2
        assert not {5, 700} & set(drawn)
        with pytest.raises(
            ValueError, match=r"k: expected at most 2998, of 3000 rows \(2 invalid and skipped\), got 2999"
        ):
            pw.select(pool, 2999, name, invalid="skip")
        assert len(pw.select(pool, 2999, name, invalid="skip", clip=True)) == 2998
        assert len(pw.select(POOL, 9, name, exclude=np.ones(3000, bool), clip=True)) == 0
    with pytest.raises(ValueError, match=r"pool: row 1 has the score -0.5, expected 0 or more; 1 of 3 rows is"):
        pw.select([0.5, -0.5, 1.0], 1, pw.PowerSampling(score="given"))
    for name in ("softmax", "softrank"):
        assert len(pw.select([0.5, -0.5, 1.0], 3, ALL[name](score="given"))) == 3


# As strategies.


def test_they_print_compare_and_survive_being_stored():
    strategy = pw.PowerSampling(score=pw.Margin(from_logits=True, temperature=2), beta=np.float32(0.5))
    assert eval(repr(strategy), vars(pw)) == strategy == pickle.loads(pickle.dumps(strategy))
    assert hash(strategy) != hash(pw.SoftmaxSampling())
    assert pw.PowerSampling(**json.loads(json.dumps(strategy.options))) == strategy
    logits = np.log(POOL)
    reducer = pw.reducer(strategy, 20, random_state=1)
    reducer.update(logits[:1000])
    again = pw.Reducer.from_bytes(reducer.to_bytes())
    assert again.strategy == strategy
    assert again.to_bytes() == reducer.to_bytes()
    again.update(logits[1000:])
    assert again.finish() == pw.select(logits, 20, strategy, random_state=1)
    with pytest.raises(ValueError, match="seeds"):
        again.merge(pw.reducer(strategy, 20, random_state=2))
    with pytest.raises(ValueError, match="strategies"):
        again.merge(pw.reducer(pw.PowerSampling(score="margin"), 20, random_state=1))


def test_a_draw_as_prefilter():
    embeddings = RNG.normal(size=(3000, 8))
    spread = pw.KCenter(prefilter=3, prefilter_by=pw.PowerSampling(score="margin"))
    cover = pw.select(POOL, 20, spread, embeddings=embeddings, random_state=6)
    among = pw.select(POOL, 60, pw.PowerSampling(score="margin"), random_state=6).ids
    assert set(cover) <= set(among.tolist())
    assert type(spread)(**json.loads(json.dumps(spread.options))) == spread


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"beta": 0}, ValueError, "beta: expected a number from 1e-30 to 1e30, got 0"),
        ({"beta": np.nan}, ValueError, "beta: expected a number"),
        ({"beta": "1"}, TypeError, "beta: expected a number, got '1'"),
        ({"score": "random"}, ValueError, "score: expected a strategy that gives rows a score, got 'random'"),
        ({"score": "power"}, ValueError, "score: expected a strategy that gives rows a score"),
        ({"score": "softrank"}, ValueError, "score: expected a strategy that gives rows a score"),
        ({"score": pw.KCenter()}, ValueError, "score: expected a strategy that gives rows a score"),
        ({"score": "entropie"}, ValueError, "did you mean 'entropy'"),
    ],
)
def test_bad_options(options, error, match):
    for strategy in ALL.values():
        with pytest.raises(error, match=match):
            strategy(**options)


def test_a_reducer_cannot_rank_all_rows():
    with pytest.raises(
        ValueError, match=r"strategy: softrank needs all rows of a pool.*is 'power'; or use pickwise.select"
    ):
        pw.reducer("softrank", 5)
    with pytest.raises(TypeError, match="strategy: expected one that ranks rows"):
        pw.Reducer(pw.SoftRank(), 5)
