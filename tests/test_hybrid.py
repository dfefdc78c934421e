"""A hybrid is its second strategy on the rows that rank highest by its first."""

from __future__ import annotations

import numpy as np
import pytest

import pickwise as pw

ROWS = 200


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5))[rng.integers(0, 6, ROWS)] * 4 + rng.normal(size=(ROWS, 5))
    p = rng.dirichlet(np.ones(4), ROWS)
    p[50:60] = p[:10]  # which score the same
    return p, x


def top(scores, free, count):
    return np.sort(free[np.lexsort([free, -scores[free]])][:count])


THEN = {
    "k_center": pw.KCenter(),
    "k_center by cosine": pw.KCenter(metric="cosine", outliers=1),
    "kmeans++": pw.KMeansPlusPlus(),
    "typiclust": pw.TypiClust(neighbours=3),
    "prob_cover": pw.ProbCover(radius=2.0),
    "max_herding": pw.MaxHerding(radius=2.0, neighbours=10),
    "facility_location": pw.FacilityLocation(neighbours=10),
    "greedy_x": pw.GreedySamplingX(),
}


@pytest.mark.parametrize("by", ["margin", "entropy", pw.LeastConfidence()])
@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("known", ["none", "positions", "matrix"])
def test_equal_to_the_second_strategy_on_the_best_by_the_first(case, known, then, by):
    p, x = case
    if then == "typiclust":
        pytest.importorskip("sklearn")
    exclude = np.array([3, 70, 150])
    labelled = {"none": None, "positions": np.array([1, 20, 111]), "matrix": x[:4] + 1}[known]
    scores = getattr(pw, by if isinstance(by, str) else by.name)(p)
    free = np.setdiff1d(np.arange(ROWS), exclude if known != "positions" else np.append(exclude, labelled))
    rows = top(scores, free, 4 * 9)
    inside, own = rows, labelled
    if known == "positions":  # they are still there, to keep away from
        inside = np.union1d(rows, labelled)
        own = np.searchsorted(inside, labelled)
    part = pw.select(
        x[inside], 9, THEN[then], labelled=own, random_state=1 if "++" in then or then == "typiclust" else None
    )
    strategy = pw.Hybrid(by=by, factor=4, then=THEN[then])
    odd_p, odd_x = p.copy(), x.copy()
    odd_p[exclude], odd_x[exclude] = np.nan, np.nan
    random_state = 1 if "++" in then or then == "typiclust" else None
    batch = pw.select(
        odd_p, 9, strategy, embeddings=odd_x, labelled=labelled, exclude=exclude, random_state=random_state
    )
    if then == "kmeans++":  # draws depend on where rows lie
        assert np.isin(batch.indices, rows).all()
        assert len(set(batch.indices.tolist())) == 9
        return
    assert batch.indices.tolist() == inside[part.indices].tolist()
    np.testing.assert_allclose(batch.scores, part.scores, rtol=1e-9)
    np.testing.assert_allclose(batch.distances, part.distances, rtol=1e-9)
    assert batch.strategy == strategy
    assert type(batch) is type(part)


def test_second_strategies_that_go_by_the_score_too(case):
    p, x = case
    scores = pw.least_confidence(p)
    rows = top(scores, np.arange(ROWS), 40)
    for then, function in (("ranked_batch", pw.ranked_batch), ("uncertainty_herding", pw.uncertainty_herding)):
        batch = pw.select(p, 10, pw.Hybrid(by="least_confidence", factor=4, then=then), embeddings=x)
        part = function(scores[rows], x[rows], 10, score="given")
        assert batch.indices.tolist() == rows[part.indices].tolist()
        np.testing.assert_allclose(batch.scores, part.scores, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"labelled": [4, 5]}, {"exclude": [0, 9]}, {"clip": True}])
def test_equal_to_k_center_with_a_prefilter(case, options):
    p, x = case
    for by in ("margin", "entropy"):
        one = pw.select(p, 12, pw.KCenter(prefilter=5, prefilter_by=by), embeddings=x, **options)
        two = pw.select(p, 12, pw.Hybrid(by=by, factor=5, then="k_center"), embeddings=x, **options)
        np.testing.assert_array_equal(one.indices, two.indices)
        np.testing.assert_array_equal(one.scores, two.scores)
        assert one.radius == two.radius


def test_a_factor_that_leaves_all_rows_or_none_to_choose_from(case):
    p, x = case
    whole = pw.select(p, 10, pw.Hybrid(factor=ROWS), embeddings=x)
    assert whole.indices.tolist() == pw.k_center(x, 10).indices.tolist()
    best = pw.select(p, 10, pw.Hybrid(factor=1), embeddings=x)
    assert set(best.indices.tolist()) == set(pw.select(p, 10, "margin").indices.tolist())
    assert sorted(pw.select(p, ROWS, pw.Hybrid(factor=1), embeddings=x).indices.tolist()) == list(range(ROWS))


def test_invalid_rows_are_skipped_where_that_is_asked_for(case):
    p, x = case
    odd_p, odd_x = p.copy(), x.copy()
    odd_p[7], odd_x[11], odd_x[7] = np.nan, np.inf, np.nan
    for strategy in (pw.Hybrid(factor=3), pw.KCenter(prefilter=3), "ranked_batch", "badge", "uncertainty_herding"):
        batch = pw.select(odd_p, 20, strategy, embeddings=odd_x, invalid="skip", random_state=0)
        same = pw.select(p, 20, strategy, embeddings=x, exclude=[7, 11], random_state=0)
        assert batch.indices.tolist() == same.indices.tolist()
        assert batch.skipped == 2
        assert same.skipped == 0
        with pytest.raises(ValueError, match=r"row 7"):
            pw.select(odd_p, 20, strategy, embeddings=odd_x, random_state=0)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"factor: expected at least 1, got 0"):
        pw.Hybrid(factor=0)
    with pytest.raises(ValueError, match=r"by: expected one that ranks rows, got 'k_center'"):
        pw.Hybrid(by="k_center")
    for then in ("margin", "badge", "greedy_xy", pw.Hybrid()):
        with pytest.raises(ValueError, match=r"then: expected one that chooses rows together"):
            pw.Hybrid(then=then)
    with pytest.raises(TypeError, match=r"embeddings: expected a matrix beside the pool of probabilities"):
        pw.select(np.full((4, 2), 0.5), 2, "hybrid")
