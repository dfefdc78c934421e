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
