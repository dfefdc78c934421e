"""Committees through `select`, reducers and the strategies that wrap others: the same rows as by their functions."""

from __future__ import annotations

import numpy as np
import pytest

import pickwise as pw

NAMES = ["bald", "consensus_kl", "predictive_entropy", "expected_entropy", "vote_entropy", "variation_ratios"]


def committee(members=7, rows=400, classes=5, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(rows, classes)) + rng.normal(size=(members, rows, classes))
    p = np.exp(logits)
    return (p / p.sum(2, keepdims=True)).astype(dtype)


def score(name, pool):
    function = getattr(pw, name)
    return function(pool) if name in ("vote_entropy", "variation_ratios") else function(pool, dtype=np.float64)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [np.asarray, list, iter], ids=["array", "list", "iterator"])
def test_select_takes_the_highest_scores(name, form):
    pool = committee()
    selection = pw.select(form(pool), 50, name)
    best = pw.top_k(score(name, pool), 50)
    assert selection.indices.tolist() == best.indices.tolist()
    assert selection.scores.tolist() == best.scores.tolist()
    assert selection.strategy.name == name


def test_votes_are_a_committee():
    votes = np.random.default_rng(0).integers(0, 4, (9, 300))
    assert pw.select(votes, 20, "vote_entropy").ids.tolist() == pw.top_k(pw.vote_entropy(votes), 20).ids.tolist()


def test_logits_and_their_temperature_reach_the_members():
    logits = 3 * np.random.default_rng(1).normal(size=(5, 200, 4))
    soft = np.exp(logits / 2)
    soft /= soft.sum(2, keepdims=True)
    by_logits = pw.select(logits, 30, pw.Bald(from_logits=True, temperature=2.0))
    assert by_logits.ids.tolist() == pw.select(soft, 30, "bald").ids.tolist()


@pytest.mark.parametrize("name", ["bald", "vote_entropy"])
def test_piece_by_piece_is_all_at_once(name):
    pool = committee(rows=300)
    left, right = pw.reducer(name, 40), pw.reducer(name, 40)
    for first in (0, 100):
        left.update(pool[:, first : first + 100], ids=range(first, first + 100))
    right.update(pool[:, 200:], ids=range(200, 300))
    left.merge(pw.Reducer.from_bytes(right.to_bytes()))
    assert left.finish().ids.tolist() == pw.select(pool, 40, name).ids.tolist()


def test_ids_and_exclusions_are_those_of_rows():
    pool = committee(rows=50)
    ids = [f"row {i}" for i in range(50)]
    best = pw.select(pool, 1, "bald", ids=ids).ids[0]
    assert pw.select(pool, 49, "bald", ids=ids, exclude_ids=[best]).ids.tolist().count(best) == 0


@pytest.mark.parametrize("strategy", [pw.PowerSampling, pw.SoftmaxSampling, pw.SoftRank])
def test_sampling_draws_by_a_score_of_a_committee(strategy):
    pool = committee()
    drawn = pw.select(pool, 60, strategy(score="bald"), random_state=3)
    by_scores = pw.select(score("bald", pool), 60, strategy(score="given"), random_state=3)
    assert drawn.ids.tolist() == by_scores.ids.tolist()
    assert len(set(drawn.ids.tolist())) == 60


def test_spreading_takes_the_rows_that_a_committee_disagrees_on():
    pool, embeddings = committee(), np.random.default_rng(5).normal(size=(400, 6))
    cover = pw.select(pool, 10, pw.KCenter(prefilter=4, prefilter_by="bald"), embeddings=embeddings)
    assert set(cover.ids.tolist()) <= set(pw.select(pool, 40, "bald").ids.tolist())


def test_copies_fill_a_batch_by_score_but_not_one_that_is_spread():
    """Every row occurs three times with a little noise: the finding of Kirsch et al. 2019."""
    rng = np.random.default_rng(2)
    logits = np.repeat(2 * rng.normal(size=(20, 200, 5)), 3, axis=1)
    logits += 0.01 * rng.normal(size=logits.shape)
    embeddings = np.repeat(rng.normal(size=(200, 8)), 3, axis=0) + 0.001 * rng.normal(size=(600, 8))

    def different(strategy, **options):
        return len({i // 3 for i in pw.select(logits, 60, strategy, **options).ids.tolist()})

    by_score = different(pw.Bald(from_logits=True))
    drawn = different(pw.PowerSampling(score=pw.Bald(from_logits=True)), random_state=0)
    spread = different(pw.KCenter(prefilter=5, prefilter_by=pw.Bald(from_logits=True)), embeddings=embeddings)
    assert by_score <= 25
    assert drawn >= 45
    assert spread == 60


@pytest.mark.parametrize(
    ("pool", "options", "message"),
    [
        (np.ones((2, 3, 4)), {}, "member 0"),
        ([], {}, "at least one member"),
        (np.full((4, 2), 0.5), {}, r"\(members, rows, classes\)"),
        (committee(), {"probabilities": "p_*"}, "probabilities: expected None"),
        (iter(committee()), {"filters": [("a", "==", 1)]}, "filters: expected None"),
    ],
)
def test_what_is_no_committee_is_refused(pool, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        pw.select(pool, 1, "bald", **options)


def test_invalid_rows_are_refused_even_where_they_may_be_skipped():
    pool = committee(rows=20)
    pool[2, 7, 0] = np.nan
    for invalid in ("raise", "skip"):
        with pytest.raises(ValueError, match=r"member 2: row 7 holds nan"):
            pw.select(pool, 5, "bald", invalid=invalid)


def test_members_are_not_written_to():
    pool = committee()
    pool.flags.writeable = False
    before = pool.copy()
    pw.select(pool, 5, "bald")
    assert (pool == before).all()
