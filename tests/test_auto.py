"""The risk: a default that is not what it says, depends on how the pool comes, or draws what does not stand for it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

import pickwise as pw
from pickwise.annotators import SimulatedAnnotators
from pickwise.loop import ExternalModel
from small_project import TRUTH, X, made

ROWS, DIMS, CLASSES = 6000, 8, 4
RNG = np.random.default_rng(5)
P = RNG.dirichlet(np.full(CLASSES, 0.5), ROWS).astype(np.float32)
E = RNG.normal(size=(ROWS, DIMS)).astype(np.float32)
KNOWN = RNG.permutation(ROWS)[:40]


def sharpened(p, labelled=()):
    return np.asarray(pw.margin(p.astype(float))) ** np.log2(max(16, len(labelled)))


def same(one, other):
    assert one.ids.tolist() == other.ids.tolist()
    np.testing.assert_array_equal(one.scores, other.scores)


@pytest.fixture
def files(tmp_path):
    """The pool in six files, with its embeddings in a column."""
    for part, rows in enumerate(np.array_split(np.arange(ROWS), 6)):
        columns = {f"p_{c}": P[rows, c] for c in range(CLASSES)}
        table = pa.table({"id": rows, **columns, "e": pa.FixedSizeListArray.from_arrays(E[rows].reshape(-1), DIMS)})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    return tmp_path


# Without embeddings.


def test_without_embeddings_it_is_margin(tmp_path):
    np.save(tmp_path / "pool.npy", P)
    margin = pw.select(P, 50, "margin")
    assert pw.select(P, 50, "auto") == margin
    assert pw.select(tmp_path / "pool.npy", 50, "auto").ids.tolist() == margin.ids.tolist()
    assert pw.select(P, 50, pw.Auto(score="entropy")) == pw.select(P, 50, "entropy")
    reducer = pw.reducer("auto", 50)
    reducer.update(P)
    assert reducer.finish() == margin


def test_it_says_what_it_chose_by():
    assert pw.select(P, 5, "auto").strategy == pw.Margin()
    assert pw.select(P, 5, "auto", embeddings=E).strategy == pw.Auto()


# What it is with embeddings.


@pytest.mark.parametrize("labelled", [None, KNOWN[KNOWN < 900]])
def test_of_a_small_pool_it_is_uncertainty_herding_of_sharpened_margins(labelled):
    p, x = P[:900], E[:900]
    found = pw.select(p, 30, "auto", embeddings=x, labelled=labelled)
    herded = pw.uncertainty_herding(
        sharpened(p, () if labelled is None else labelled), x, 30, score="given", labelled=labelled
    )
    assert found.ids.tolist() == herded.ids.tolist()
    np.testing.assert_allclose(found.scores, herded.scores, rtol=1e-9)


def test_what_is_drawn_stands_for_the_pool():
    """Weights of those drawn add up, on average over draws, to those of all: also where some are sure to be drawn."""
    scores = np.concatenate([RNG.random(300) ** 2, np.zeros(20), [1.0, 0.999]])
    strategy = pw.Auto().knowing(64)
    truth, sums = (scores**6).sum(), []
    for _ in range(4000):
        with np.errstate(divide="ignore"):
            draws = np.log(scores) + RNG.gumbel(size=len(scores)) / 6
        some = np.argsort(-draws)[:60]
        sums.append(strategy.weighed(scores[some], draws[some], is_all=False).sum())
    assert abs(np.mean(sums) - truth) < 4 * np.std(sums) / np.sqrt(len(sums))
    assert np.std(sums) < 0.2 * truth


def test_rows_that_the_model_is_sure_of_do_not_count():
    """Not even where they are all that is left to fill the draw, nor where all are."""
    p = np.zeros((4000, 2), np.float32)
    p[:, 0] = 1
    p[7] = p[11] = 0.5
    found = pw.select(p, 2, "auto", embeddings=E[:4000])
    assert sorted(found.ids.tolist()) == [7, 11]
    p[:] = [1, 0]
    with np.errstate(all="raise"):
        assert len(set(pw.select(p, 5, "auto", embeddings=E[:4000]).ids.tolist())) == 5


@pytest.mark.parametrize(("size", "labels"), [(1e-100, 0), (1e100, 0), (1e-30, 2000)])
def test_the_unit_of_scores_does_not_matter(size, labels):
    """Not even where their power is too small or too large for a number."""
    scores, known = RNG.random(ROWS), E[:labels] + 0.5
    strategy = pw.Auto(score="given")
    found, expected = (
        pw.select(given, 8, strategy, embeddings=E, labelled=known if labels else None)
        for given in (scores * size, scores)
    )
    assert found.ids.tolist() == expected.ids.tolist()
    assert (found.scores > 0).all()


def test_a_pool_as_large_as_the_draw_is_looked_at_as_it_is():
    rows = 2000 + 5 * 6
    found = pw.select(np.full(rows, 0.5), 6, "auto", embeddings=E[:rows])
    herded = pw.uncertainty_herding(np.full(rows, 0.5), E[:rows], 6)
    np.testing.assert_allclose(found.scores, herded.scores, rtol=1e-12)


def test_a_selection_from_what_is_drawn_is_nearly_as_good():
    """What the picks gain in the whole pool, against those of herding that looked at all of it."""
    k, worth = 20, sharpened(P, KNOWN)
    apart = ((E[KNOWN][:, None] - E[KNOWN]) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    radius = np.median(np.sqrt(apart.min(1)))

    def gained(picks):
        def covered(rows):
            return np.exp(-((E[:, None] - E[rows]) ** 2).sum(-1) / radius**2).max(1)

        return (worth * (covered(np.union1d(KNOWN, picks)) - covered(KNOWN))).sum()

    best = gained(pw.uncertainty_herding(worth, E, k, score="given", labelled=KNOWN).ids)
    found = gained(pw.select(P, k, "auto", embeddings=E, labelled=KNOWN).ids)
    chance = gained(pw.select(P, k, "random", exclude=KNOWN, random_state=0).ids)
    assert chance < 0.7 * best
    assert found > 0.9 * best


# However the pool comes.


def test_the_draw_is_the_same_unless_a_seed_is_given():
    first = pw.select(P, 20, "auto", embeddings=E, labelled=KNOWN)
    same(first, pw.select(P, 20, "auto", embeddings=E, labelled=KNOWN))
    same(first, pw.select(P, 20, "auto", embeddings=E, labelled=KNOWN, random_state=0))
    assert set(first.ids) != set(pw.select(P, 20, "auto", embeddings=E, labelled=KNOWN, random_state=1).ids)


def test_the_same_rows_whatever_is_known_of_labelled_ones():
    """By position, or by their embeddings; of rows that are then left out."""
    inside = pw.select(P, 20, "auto", embeddings=E, labelled=KNOWN)
    outside = pw.select(P, 20, "auto", embeddings=E, labelled=E[KNOWN], exclude=KNOWN)
    assert inside.ids.tolist() == outside.ids.tolist()


def test_from_files_as_from_memory(files):
    order = [str(files / f"{part}.parquet") for part in (3, 0, 5, 1, 4, 2)]
    options = {"probabilities": "p_*", "id": "id", "embeddings": "e"}
    memory = pw.select(P, 20, "auto", embeddings=E, ids=np.arange(ROWS))
    same(memory, pw.select(str(files), 20, "auto", **options))
    assert set(pw.select(order, 20, "auto", **options).ids) == set(memory.ids)


def test_limits_hold(files):
    groups = np.arange(ROWS) % 3
    found = pw.select(P, 30, "auto", embeddings=E, labelled=KNOWN, groups=groups, max_per_group=10)
    assert np.bincount(groups[found.indices]).tolist() == [10, 10, 10]
    must = np.array([5, 9])
    assert set(must) <= set(pw.select(P, 10, "auto", embeddings=E, must_include=must).ids)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"^score: expected a strategy that gives rows a score"):
        pw.Auto(score="k_center")
    with pytest.raises(ValueError, match="embeddings: expected 6000 rows"):
        pw.select(P, 5, "auto", embeddings=E[:10])
    with pytest.raises(ValueError, match="metric"):
        pw.Auto(metric="manhattan")
    with pytest.raises(ValueError, match=r"^score: expected finite scores of 0 or more from 'given', got inf"):
        pw.select(np.r_[np.inf, np.ones(99)], 5, pw.Auto(score="given"), embeddings=E[:100])


def test_labelled_rows_without_embeddings():
    for strategy in ({}, {"strategy": "auto"}):
        with pytest.raises(TypeError, match=r"^labelled: expected None with auto without embeddings, .* exclude"):
            pw.select(P, 5, labelled=KNOWN, **strategy)


@pytest.mark.parametrize("strategy", ["auto", pw.KCenter(prefilter=3)], ids=["auto", "prefilter"])
def test_embeddings_that_have_no_distance_are_named_as_the_caller_knows_them(strategy):
    p, x, others = P[:900].copy(), E[:900].copy(), np.arange(10)
    p[890], x[890] = 0.25, np.nan
    message = r"^embeddings: row 890 has nan in column 0"
    with pytest.raises(ValueError, match=message):
        pw.select(p, 5, strategy, embeddings=x, exclude=others)
    for excluded in (others, [890]):
        with pytest.raises(ValueError, match=message):
            pw.select(p, 5, strategy, embeddings=x, labelled=[30, 890], exclude=excluded)
    assert 890 not in pw.select(p, 5, strategy, embeddings=x, exclude=[890]).ids


# Scores of rows that were drawn.


@pytest.mark.parametrize("then", ["uncertainty_herding", "cluster_margin"])
def test_what_chooses_among_drawn_rows_goes_by_their_scores(then):
    """And not by these with the noise, of which herding refused the negative ones."""
    drawn = pw.Hybrid(by=pw.PowerSampling(score="margin", beta=1e-3), factor=300, then=then)
    everything = pw.Hybrid(by="margin", factor=300, then=then)
    options = {"embeddings": E[:600], "random_state": 0}
    assert (
        pw.select(P[:600], 2, drawn, **options).ids.tolist()
        == pw.select(P[:600], 2, everything, **options).ids.tolist()
    )


@pytest.mark.parametrize("sampling", [pw.PowerSampling, pw.SoftmaxSampling])
@pytest.mark.parametrize("kind", ["position", "int", "str"])
def test_the_noise_is_taken_off_exactly(sampling, kind):
    from pickwise.ranking import Request, open_source, rank

    ids = {"position": None, "int": np.arange(ROWS) * 7, "str": [f"row {i}" for i in range(ROWS)]}[kind]
    strategy = sampling(score="margin", beta=3)
    ranked = rank(strategy, open_source(P, strategy, Request()), 500, Request(ids=ids, random_state=3))
    best, scores = ranked.finish_with_scores(clip=False)
    np.testing.assert_allclose(scores, pw.margin(P.astype(float))[best.indices], rtol=1e-12)
    assert best == ranked.finish(clip=False)


# In the loop and in simulations.


def test_a_project_goes_by_what_there_is(tmp_path):
    with made(tmp_path / "rows", strategy="auto") as project:
        project.run(rounds=2)
        assert len(project.labels()) == 12
    texts = [f"{row[0]} {row[1]}" for row in X]

    class Model(LogisticRegression):
        def fit(self, x, y):
            return super().fit(np.array([[float(n) for n in text.split()] for text in x]), y)

        def predict_proba(self, x):
            return super().predict_proba(np.array([[float(n) for n in text.split()] for text in x]))

    with made(tmp_path / "texts", texts, Model(), strategy="auto", annotator=SimulatedAnnotators(TRUTH)) as project:
        project.run(rounds=2)
        assert len(project.labels()) == 12


@pytest.mark.parametrize("strategy", ["margin", "auto"])
def test_votes_are_not_merged_for_rows_without_embeddings(tmp_path, monkeypatch, strategy):
    """That takes long with many, and margins do not look at labelled rows."""
    counts = (X > 0).astype(np.int64)
    with made(tmp_path / "p", counts, strategy=strategy) as project:
        project.run(rounds=1)
        monkeypatch.setattr("pickwise.loop.answering.labelled", None)
        assert len(project.ask()) == 6


@pytest.mark.parametrize("kind", ["array", "file"])
@pytest.mark.parametrize("pool", [None, X], ids=["none", "matrix"])
def test_predictions_that_are_handed_over_with_embeddings(tmp_path, monkeypatch, pool, kind):
    """Rows that are labelled count there, too, and no row is left in the end."""
    p = 1 / (1 + np.exp(-X.sum(1)))
    handed = np.stack([1 - p, p], 1)
    if kind == "file":
        np.save(tmp_path / "p.npy", handed)
        handed = tmp_path / "p.npy"
    truth = SimulatedAnnotators(dict(enumerate(TRUTH)))
    told, counted = [], pw.Auto.knowing
    monkeypatch.setattr(pw.Auto, "knowing", lambda self, labelled: told.append(labelled) or counted(self, labelled))
    options = {"embeddings": X, "annotator": truth, "classes": ["no", "yes"], "batch_size": 25}
    model = ExternalModel()
    model.hand_over(handed)
    with pw.Project.create(tmp_path / "p", pool, model=model, **options) as project:
        for left in (60, 35, 10):
            assert len(project.ask()) == min(left, 25)
            project.collect()
            project.fit(handed)
        assert told == [0, 25, 50]
        assert not project.ask()


def test_simulations_have_it_by_default():
    y = (E[:200, 0] > 0).astype(int)
    found = pw.simulate(E[:200], y, LogisticRegression(), batch_size=10, budget=40, seeds=2)
    assert found.strategies == ("auto", "random")
    # A decision function is enough for margins; sparse rows cannot stand for embeddings.
    machine = pw.simulate(E[:200], y, SVC(), {"auto": "auto", "margin": "margin"}, batch_size=10, budget=40, seeds=1)
    assert np.array_equal(machine.curves[0].picks, machine.curves[1].picks)
    counts = (E[:200] > 0).astype(np.int64)
    whole = pw.simulate(counts, y, LogisticRegression(), ["auto", "margin"], batch_size=10, budget=40, seeds=1)
    assert np.array_equal(whole.curves[0].picks, whole.curves[1].picks)


def test_a_decision_function_is_enough_for_margins_alone():
    y = (E[:200, 0] > 0).astype(int)
    for embeddings in (None, E[:200]):
        rows = E[:200] if embeddings is None else (E[:200] > 0).astype(np.int64)
        with pytest.raises(TypeError, match=r"^model: expected one with predict_proba for 'other', got SVC"):
            pw.simulate(
                rows, y, SVC(), {"other": pw.Auto(score="entropy")}, batch_size=10, budget=40, embeddings=embeddings
            )


@pytest.mark.parametrize("score", ["given", "max_loss"])
def test_simulations_refuse_scores_that_classes_do_not_have(score):
    y = (E[:200, 0] > 0).astype(int)
    strategies = {"odd": pw.Auto(score=score)}
    with pytest.raises(TypeError, match=r"^strategies: expected some that choose by probabilities of classes"):
        pw.simulate(E[:200], y, LogisticRegression(), strategies, batch_size=10, budget=40)


# Boundaries.


@pytest.mark.parametrize("k", [1, 2])
def test_all_are_labelled_but_those_wanted(k):
    known = np.arange(50 - k)
    found = pw.select(P[:50], k, "auto", embeddings=E[:50], labelled=known)
    assert sorted(found.ids.tolist()) == list(range(50 - k, 50))
    with pytest.raises(ValueError, match=rf"^k: expected at most {k}, of 50 rows"):
        pw.select(P[:50], k + 1, "auto", embeddings=E[:50], labelled=known)
    assert len(pw.select(P[:50], k + 1, "auto", embeddings=E[:50], labelled=known, clip=True)) == k


def test_labelled_rows_as_a_mask_or_in_any_type():
    expected = pw.select(P, 8, "auto", embeddings=E, labelled=KNOWN)
    mask = np.isin(np.arange(ROWS), KNOWN)
    for labelled in (mask, mask.tolist(), KNOWN.astype(np.uint16), np.r_[KNOWN, KNOWN]):
        same(pw.select(P, 8, "auto", embeddings=E, labelled=labelled), expected)
    same(pw.select(P, 8, "auto", embeddings=E.astype(np.float64), labelled=KNOWN), expected)
    same(pw.select(iter(np.array_split(P, 7)), 8, "auto", embeddings=E, labelled=KNOWN), expected)
