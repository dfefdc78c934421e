"""Why rows were picked: the classes beside the scores, from whatever the pool was, and nothing that select pays for."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

import pickwise as pw
from pickwise import explanation

RNG = np.random.default_rng(0)
POOL = RNG.dirichlet(np.ones(6), 2000)
LOGITS = 3 * RNG.normal(size=(2000, 4))
COMMITTEE = RNG.dirichlet(np.ones(5), (3, 400))
EMBEDDINGS = RNG.normal(size=(2000, 3))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def check(explained, selection, p, top=3):
    """Compare with the probabilities of the whole pool."""
    rows = p[selection.indices]
    order = np.argsort(-rows, axis=1, kind="stable")
    columns = explained.columns
    shown = min(top, p.shape[1])
    before = ["rank", "id", "index", "score", *(["distance"] if isinstance(selection, pw.Cover) else [])]
    assert list(columns) == [*before, *(f"{name}_{n + 1}" for n in range(shown) for name in ("class", "p"))]
    np.testing.assert_array_equal(columns["rank"], np.arange(1, len(selection) + 1))
    for name, expected in (("id", selection.ids), ("index", selection.indices), ("score", selection.scores)):
        np.testing.assert_array_equal(columns[name], expected)
    for n in range(shown):
        np.testing.assert_array_equal(columns[f"class_{n + 1}"], order[:, n])
        expected = np.take_along_axis(rows, order[:, n : n + 1], 1)[:, 0]
        np.testing.assert_allclose(columns[f"p_{n + 1}"], expected, rtol=1e-12, atol=1e-14)


def has_classes(explained):
    return "class_1" in explained.columns


# Every strategy, from the pool that select has seen and from one that is passed.

BINARY = POOL[:, 0].copy()
CASES: dict[str, tuple[Any, Any, Any]] = {
    "margin": (POOL, "margin", POOL),
    "float32": (POOL.astype(np.float32), "entropy", POOL.astype(np.float32).astype(float)),
    "binary": (BINARY, "ratio", np.stack([1 - BINARY, BINARY], 1)),
    "logits": (LOGITS, pw.Entropy(from_logits=True, temperature=2.5), softmax(LOGITS / 2.5)),
    "binary logits": (
        LOGITS[:, 0],
        pw.Margin(from_logits=True, temperature=2.0),
        np.stack([sigmoid(-LOGITS[:, 0] / 2), sigmoid(LOGITS[:, 0] / 2)], 1),
    ),
    "multilabel": (EMBEDDINGS % 1, pw.Margin(task="multilabel"), EMBEDDINGS % 1),
    "multilabel logits": (LOGITS, pw.Ratio(task="multilabel", from_logits=True), sigmoid(LOGITS)),
    "max_loss": (EMBEDDINGS % 1, "max_loss", EMBEDDINGS % 1),
    "mmc": (LOGITS, pw.MMC(from_logits=True, temperature=0.5), sigmoid(2 * LOGITS)),
    "one label": (POOL[:, :1], "mean_max_loss", POOL[:, :1]),
    "random": (POOL, "random", POOL),
    "power": (LOGITS, pw.PowerSampling(score=pw.Entropy(from_logits=True)), softmax(LOGITS)),
    "softrank": (POOL, "softrank", POOL),
    "bald": (COMMITTEE, "bald", COMMITTEE.mean(0)),
    "bald of logits": (
        np.log(COMMITTEE),
        pw.Bald(from_logits=True, temperature=3.0),
        softmax(np.log(COMMITTEE) / 3).mean(0),
    ),
    "vote_entropy": (COMMITTEE, "vote_entropy", COMMITTEE.mean(0)),
    "power of bald": (COMMITTEE, pw.PowerSampling(score="bald"), COMMITTEE.mean(0)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("top", [1, 3, 99])
def test_strategies(case, top):
    pool, strategy, p = CASES[case]
    selection = pw.select(pool, 30, strategy, random_state=0)
    check(selection.explain(top=top), selection, p, top)
    check(selection.explain(pool, top=top), selection, p, top)


@pytest.mark.parametrize("pool", [POOL.tolist(), np.asfortranarray(POOL), POOL[::-1], POOL.astype(">f8")])
def test_layouts(pool):
    selection = pw.select(pool, 30)
    for explained in (selection.explain(), selection.explain(pool)):
        check(explained, selection, np.array(pool, float))


def test_members_in_a_list():
    for form in (list(COMMITTEE), tuple(COMMITTEE), COMMITTEE.tolist()):
        selection = pw.select(form, 30, "bald")
        for explained in (selection.explain(), selection.explain(form), selection.explain(COMMITTEE.mean(0))):
            check(explained, selection, COMMITTEE.mean(0))


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow", "lists", "fixed_lists", "torch", "jax"])
def test_tables_and_other_libraries(kind):
    library = pytest.importorskip({"arrow": "pyarrow", "lists": "pyarrow", "fixed_lists": "pyarrow"}.get(kind, kind))
    names = [f"p{i}" for i in range(6)]
    kinds: dict[str, Any] = {
        "polars": lambda: library.DataFrame(POOL, schema=names),
        "pandas": lambda: library.DataFrame(POOL, columns=names),
        "arrow": lambda: library.table(dict(zip(names, POOL.T.copy(), strict=True))),
        "lists": lambda: library.array(POOL.tolist()),
        "fixed_lists": lambda: library.FixedSizeListArray.from_arrays(POOL.ravel(), 6),
        "torch": lambda: library.from_numpy(POOL.copy()),
        "jax": lambda: library.numpy.asarray(POOL.astype(np.float32)),
    }
    pool = kinds[kind]()
    p = POOL.astype(np.float32).astype(float) if kind == "jax" else POOL
    selection = pw.select(pool, 30)
    for explained in (selection.explain(), selection.explain(pool)):
        check(explained, selection, p)


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow"])
def test_tables_with_columns_to_choose(kind):
    pl = pytest.importorskip("polars")
    columns = {"name": [f"n{i}" for i in range(2000)], **{f"p{i}": POOL[:, i] for i in range(6)}, "q": POOL[:, 0]}
    frame = pl.DataFrame(columns)
    if kind != "polars":
        pytest.importorskip({"pandas": "pandas", "arrow": "pyarrow"}[kind])
        frame = frame.to_pandas() if kind == "pandas" else frame.to_arrow()
    for k in (30, 1999):  # more than one chunk
        selection = pw.select(frame, k, probabilities="p*", id="name")
        check(selection.explain(), selection, POOL)
        one = pw.select(frame, k, probabilities="q", id="name")
        check(one.explain(), one, np.stack([1 - POOL[:, 0], POOL[:, 0]], 1))


# Spreading out.


def test_covers_have_distances():
    cover: Any = pw.select(EMBEDDINGS, 20, "k_center", labelled=[3])
    assert list(cover.explain().columns) == ["rank", "id", "index", "score", "distance"]
    np.testing.assert_array_equal(cover.explain().columns["distance"], cover.distances)
    check(cover.explain(POOL), cover, POOL)
    weighted = pw.k_center(EMBEDDINGS, 5, weights=np.full(2000, 2.0)).explain().columns
    np.testing.assert_array_equal(weighted["score"][1:], 2 * weighted["distance"][1:])


def test_pools_beside_embeddings():
    for strategy in (pw.KCenter(prefilter=4), pw.KCenter(), "kmeans++", pw.KCenter(prefilter=4, prefilter_by="power")):
        cover = pw.select(POOL, 20, strategy, embeddings=EMBEDDINGS, random_state=0)
        check(cover.explain(), cover, POOL)
    by = pw.Entropy(from_logits=True)
    cover = pw.select(LOGITS, 20, pw.KCenter(prefilter=4, prefilter_by=by), embeddings=EMBEDDINGS)
    check(cover.explain(), cover, softmax(LOGITS))


def test_what_are_no_probabilities_are_not_shown_as_such():
    unlike: tuple[Any, ...] = (
        EMBEDDINGS,
        POOL / 2,
        list(range(2000)),
        np.array(["text"] * 2000),
        np.full((2000, 1), -7.0),
        LOGITS,
    )
    for pool in unlike:
        assert not has_classes(pw.select(pool, 20, "random", random_state=0).explain())
        assert not has_classes(pw.select(pool, 20, "kmeans++", embeddings=EMBEDDINGS, random_state=0).explain())
    assert not has_classes(pw.select(POOL, 20, "k_center").explain())  # embeddings, whatever they look like
    assert not has_classes(pw.select(POOL[:, 0], 20, "given").explain())
    assert not has_classes(pw.select([{"a": 1}] * 9, 3, "random", random_state=0).explain())
    votes = RNG.integers(0, 2, (5, 60))
    for form in (votes, votes.tolist(), list(votes)):
        assert not has_classes(pw.select(form, 5, "vote_entropy").explain())


# What is kept, and what is not.


def test_files_streams_and_reducers_keep_nothing(tmp_path):
    np.save(tmp_path / "pool.npy", POOL)
    expected = pw.select(POOL, 30)
    reducer = pw.reducer("margin", 30)
    reducer.update(POOL)
    members = pw.select(iter(COMMITTEE), 30, "bald")
    path = str(tmp_path / "pool.npy")
    selections = (pw.select(path, 30), pw.select([path], 30), pw.select(iter([POOL]), 30), reducer.finish(), members)
    for selection in selections:
        assert list(selection.explain().columns) == ["rank", "id", "index", "score"]
    for selection in selections[:-1]:
        check(selection.explain(np.load(path, mmap_mode="r")), expected, POOL)
    check(members.explain(COMMITTEE), members, COMMITTEE.mean(0))
    by_scores = pw.top_k(pw.entropy(POOL), 30)
    assert not has_classes(by_scores.explain())
    check(by_scores.explain(POOL), by_scores, POOL)


def test_large_selections_keep_nothing(monkeypatch):
    monkeypatch.setattr(explanation, "_MOST_ROWS", 100)
    monkeypatch.setattr(explanation, "_MOST_NUMBERS", 300)
    monkeypatch.setattr(explanation, "_MOST_SCATTERED", 60)
    assert has_classes(pw.select(POOL, 50).explain())
    assert not has_classes(pw.select(POOL, 51).explain())
    assert has_classes(pw.select(POOL.tolist(), 50).explain())
    assert not has_classes(pw.select(POOL.tolist(), 51).explain())
    assert has_classes(pw.select(np.asfortranarray(POOL), 10).explain())
    assert not has_classes(pw.select(np.asfortranarray(POOL), 11).explain())
    assert not has_classes(pw.select(POOL[:, 0], 101).explain())
    assert has_classes(pw.select(COMMITTEE, 20, "bald").explain())
    assert not has_classes(pw.select(COMMITTEE, 21, "bald").explain())
    assert not has_classes(pw.select(list(COMMITTEE), 21, "bald").explain())
    large = pw.select(POOL, 2000)
    monkeypatch.setattr(explanation, "BLOCK_BYTES", 1000)
    check(large.explain(POOL), large, POOL)


def test_kept_rows_are_copies():
    pool = POOL.copy()
    selection = pw.select(pool, 5)
    pool[:] = 0
    check(selection.explain(), selection, POOL)
    given = POOL.copy()
    given.flags.writeable = False
    selection.explain(given)


@pytest.mark.parametrize("strategy", ["margin", "k_center"])
def test_kept_rows_survive_pickling_and_take_no_part_in_equality(strategy):
    options: Any = {"embeddings": EMBEDDINGS} if strategy == "k_center" else {}
    selection = pw.select(POOL, 5, strategy, **options)
    for same in (pickle.loads(pickle.dumps(selection)), copy.deepcopy(selection), copy.copy(selection)):
        assert same == selection
        assert repr(same) == repr(selection)
        check(same.explain(), selection, POOL)
    assert has_classes(selection.explain())
    streamed = pw.select(iter([POOL]), 5) if strategy == "margin" else pw.k_center(EMBEDDINGS, 5)
    np.testing.assert_array_equal(streamed.ids, selection.ids)
    if strategy == "margin":
        assert streamed == selection
    assert "_kept" not in repr(selection)
    # Of other rows they would be wrong.
    assert not has_classes(dataclasses.replace(selection, indices=selection.indices[::-1].copy()).explain())


def test_positions_are_those_of_the_pool():
    names = [f"n{i}" for i in range(2000)]
    pool = POOL.copy()
    pool[pw.select(POOL, 9).indices] = np.nan
    selection = pw.select(pool, 30, ids=names, exclude=np.arange(0, 2000, 2), invalid="skip")
    assert selection.skipped
    check(selection.explain(), selection, POOL)
    check(selection.explain(pool), selection, POOL)  # rows that were not selected may be anything


# The table.


def test_names_of_classes():
    names = ["cat", "dog", "owl", "bat", "elk", "ant"]
    selection = pw.select(POOL, 9)
    for classes in (names, tuple(names), np.array(names), iter(names)):
        columns = selection.explain(classes=classes).columns
        assert columns["class_1"].tolist() == [names[i] for i in POOL[selection.indices].argmax(1)]
    assert selection.explain(classes=range(10, 16)).columns["class_1"][0] in {str(i) for i in range(10, 16)}
    sure = pw.select([0.9, 0.45], 2).explain(classes=["no", "yes"], top=1)
    assert sure.columns["class_1"].tolist() == ["no", "yes"]
    np.testing.assert_allclose(sure.columns["p_1"], [0.55, 0.9])


def test_of_equal_classes_the_lower_is_first():
    columns = pw.select([[0.25] * 4, [0.5, 0.0, 0.5, 0.0]], 2).explain(top=4).columns
    assert [columns[f"class_{n}"].tolist() for n in range(1, 5)] == [[0, 0], [1, 2], [2, 1], [3, 3]]


def test_rows():
    explained = pw.select([[0.75, 0.25], [0.5, 0.5]], 2, ids=["a", "b"]).explain(top=1)
    assert list(explained) == [
        {"rank": 1, "id": "b", "index": 1, "score": 1.0, "class_1": 0, "p_1": 0.5},
        {"rank": 2, "id": "a", "index": 0, "score": 0.5, "class_1": 0, "p_1": 0.75},
    ]
    assert len(explained) == 2
    with pytest.raises(ValueError, match="read-only"):
        explained.columns["score"][0] = 7
    assert list(pickle.loads(pickle.dumps(explained))) == list(explained)


def test_repr():
    text = repr(pw.select(POOL, 2000, "entropy").explain(top=2))
    lines = text.splitlines()
    assert lines[0].startswith("Explanation of 2000 rows by Entropy(")
    assert lines[1].split() == ["rank", "id", "index", "score", "class_1", "p_1", "class_2", "p_2"]
    assert len(lines) == 8
    assert lines[-1] == "  … 1995 more"
    assert len({len(line) for line in lines[1:-1]}) == 1
    assert len(repr(pw.select(POOL, 2).explain()).splitlines()) == 4


def test_no_rows():
    for selection in (pw.select(POOL[:2], 2, exclude=[0, 1], clip=True), pw.select(POOL, 3, clip=True)):
        explained = selection.explain(POOL, classes=list("abcdef"))
        assert len(list(explained)) == len(explained) == len(selection)
        assert repr(explained)
        assert explained.to_polars().height == len(selection)


def test_to_polars_and_pandas():
    pytest.importorskip("polars")
    pytest.importorskip("pandas")
    for ids in (None, [f"n{i}" for i in range(2000)]):
        explained = pw.select(POOL, 9, ids=ids).explain(classes=list("abcdef"))
        polars, pandas = explained.to_polars(), explained.to_pandas()
        assert polars.columns == list(pandas.columns) == list(explained.columns)
        assert polars.to_dicts() == pandas.to_dict("records") == list(explained)


# What makes no sense.


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"top": 0}, ValueError, "top: expected at least 1, got 0"),
        ({"top": 1.5}, TypeError, "top: expected an integer"),
        ({"classes": ["a"]}, ValueError, "classes: expected 6 names, one for each class, got 1"),
        ({"classes": "abcdef"}, TypeError, "classes: expected the names of 6 classes, got 'abcdef'"),
        ({"classes": 6}, TypeError, "classes: expected the names of 6 classes, got 6"),
        (
            {"probabilities": POOL[:50]},
            ValueError,
            r"probabilities: expected the rows of the pool, at least \d+ ",
        ),
        ({"probabilities": LOGITS}, ValueError, "is selected, holds .* expected a number from 0 to 1; put logits"),
        ({"probabilities": POOL / 2}, ValueError, "is selected, sums to 0.5, expected 1; pass the pool"),
        ({"probabilities": POOL * np.nan}, ValueError, "is selected, holds nan"),
        ({"probabilities": POOL[:, :1]}, ValueError, "probabilities: expected at least 2 classes"),
        ({"probabilities": np.ones((2000, 2), int)}, TypeError, "probabilities: expected float16"),
        ({"probabilities": np.ones((2, 2, 2000, 2))}, ValueError, "probabilities: expected the shape .* got 4-D"),
        ({"probabilities": 0.5}, ValueError, "probabilities: expected the shape .* got 0-D"),
        ({"probabilities": "pool.npy"}, TypeError, r"probabilities: expected an array, got a path; pass numpy\.load"),
        ({"probabilities": iter([POOL])}, TypeError, "probabilities: expected an array"),
    ],
)
def test_bad_arguments(options, error, match):
    with pytest.raises(error, match=match):
        pw.select(POOL, 100).explain(**options)


def test_names_need_probabilities():
    with pytest.raises(ValueError, match="classes: expected probabilities with them"):
        pw.select(iter([POOL]), 5).explain(classes=list("abcdef"))


def test_independent_labels_where_the_strategy_has_not_looked_at_them():
    labels = EMBEDDINGS % 1
    for selection in (pw.top_k(POOL[:, 0], 9), pw.k_center(EMBEDDINGS, 9), pw.select(labels, 9, "random")):
        check(selection.explain(labels), selection, labels)
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        pw.top_k(POOL[:, 0], 9).explain(LOGITS)


def test_select_looks_as_before():
    import inspect

    assert list(inspect.signature(pw.select).parameters)[:3] == ["pool", "k", "strategy"]
    assert pw.select.__doc__
    assert pickle.loads(pickle.dumps(pw.select)) is pw.select
    by_name = pw.select(pool=POOL, k=5)
    check(by_name.explain(), by_name, POOL)


@pytest.mark.parametrize("name", ["typiclust", "prob_cover", "facility_location", "badge", "k_center"])
def test_classes_of_a_pool_beside_embeddings(name):
    rng = np.random.default_rng(0)
    p, x = rng.dirichlet(np.ones(3), 60), rng.standard_normal((60, 4))
    strategy = pw.ProbCover(radius=1.0) if name == "prob_cover" else name
    table = pw.select(p, 5, strategy, embeddings=x, random_state=0).explain(top=1).columns
    assert table["class_1"].tolist() == p[table["index"]].argmax(1).tolist()
    assert (table["distance"] > 0).all()
