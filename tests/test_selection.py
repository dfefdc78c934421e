"""What `select` promises: the right rows in the right order, however they come and are named."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
POOL = RNG.dirichlet(np.ones(6), 2000)
STRATEGIES = {
    "entropy": lambda p: -(p * np.log(p)).sum(1),
    "margin": lambda p: 1 - (np.sort(p)[:, -1] - np.sort(p)[:, -2]),
    "least_confidence": lambda p: 1 - p.max(1),
    "ratio": lambda p: np.sort(p)[:, -2] / np.sort(p)[:, -1],
}
# Few values, so that many rows tie: exact in binary, whatever their order.
TIES = np.stack([a := RNG.integers(0, 5, 3000) / 4, 1 - a], axis=1)


@pytest.mark.parametrize("k", [1, 7, 1999, 2000])
@pytest.mark.parametrize("name", STRATEGIES)
def test_best_first(name, k):
    selection = pw.select(POOL, k, name)
    scores = STRATEGIES[name](POOL)
    expected = np.argsort(-scores, kind="stable")[:k]
    np.testing.assert_array_equal(selection.indices, expected)
    np.testing.assert_array_equal(selection.ids, expected)
    np.testing.assert_allclose(selection.scores, scores[expected], rtol=1e-12)
    assert np.all(np.diff(selection.scores) <= 0)


def test_strategies_by_name_and_by_object():
    assert pw.select(POOL, 9, "margin") == pw.select(POOL, 9) == pw.select(POOL, 9, pw.Margin())
    logits = np.log(POOL)
    by_logits = pw.select(logits, 9, pw.Entropy(from_logits=True, base=2))
    np.testing.assert_array_equal(by_logits.ids, pw.select(POOL, 9, "entropy").ids)
    assert by_logits.strategy == pw.Entropy(from_logits=True, base=2)
    assert eval(repr(by_logits.strategy), vars(pw)) == by_logits.strategy
    assert hash(pw.Ratio()) == hash(pw.Ratio())
    assert pickle.loads(pickle.dumps(pw.Ratio(task="multilabel"))) == pw.Ratio(task="multilabel")
    with pytest.raises(AttributeError):
        pw.Ratio().temperature = 2  # type: ignore[misc]


def test_multilabel():
    labels = RNG.random((500, 3))
    each = 1 - np.abs(2 * labels - 1)
    hows: dict[Any, Any] = {"mean": each.mean(1), "max": each.max(1), "sum": each.sum(1)}
    for how, scores in hows.items():
        np.testing.assert_allclose(pw.margin(labels, task="multilabel", how=how), scores, rtol=1e-12)
        selection = pw.select(labels, 20, pw.Margin(task="multilabel", how=how))
        np.testing.assert_array_equal(selection.ids, np.argsort(-scores)[:20])


# Ids, and rows that must not be selected.


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_integer_ids(dtype):
    ids = RNG.permutation(100).astype(dtype)
    selection = pw.select(POOL[:100], 10, ids=ids)
    assert selection.ids.dtype == np.int64
    np.testing.assert_array_equal(selection.ids, ids[selection.indices])
    np.testing.assert_array_equal(selection.indices, pw.select(POOL[:100], 10).indices)


NAMES = [f"ä-{i}" if i % 3 else f"{i}\N{PILE OF POO}" for i in range(100)]


@pytest.mark.parametrize(
    "kind", ["list", "tuple", "U", "object", "T", "S", "pandas", "pandas_category", "polars", "arrow"]
)
def test_string_ids(kind):
    names = NAMES
    if kind == "S":
        names = [f"row {i}" for i in range(100)]
    kinds: dict[str, Any] = {
        "list": list,
        "tuple": tuple,
        "U": np.array,
        "object": lambda x: np.array(x, object),
        "S": lambda x: np.array([s.encode() for s in x]),
        "T": lambda x: np.array(x, np.dtypes.StringDType()),
        "pandas": lambda x: pytest.importorskip("pandas").Series(x),
        "pandas_category": lambda x: pytest.importorskip("pandas").Series(x, dtype="category"),
        "polars": lambda x: pytest.importorskip("polars").Series(x),
        "arrow": lambda x: pytest.importorskip("pyarrow").chunked_array([x[:33], x[33:33], x[33:]]),
    }
    make = kinds[kind]
    if kind == "polars":
        pytest.importorskip("pyarrow")
    if kind == "T" and not hasattr(np.dtypes, "StringDType"):
        pytest.skip("NumPy 1 has no StringDType")
    selection = pw.select(POOL[:100], 10, ids=make(names))
    assert selection.ids.dtype == object
    assert list(selection) == [names[i] for i in pw.select(POOL[:100], 10)]


def test_ids_of_other_libraries():
    expected = pw.select(POOL[:100], 10, ids=range(1000, 1100))
    pa = pytest.importorskip("pyarrow")
    pl = pytest.importorskip("polars")
    pd = pytest.importorskip("pandas")
    ids = list(range(1000, 1100))
    for given in (
        ids,
        tuple(ids),
        np.array(ids, object),
        pa.array(ids, pa.uint16()),
        pl.Series(ids),
        pd.Series(ids),
        pd.Index(ids),
    ):
        assert pw.select(POOL[:100], 10, ids=given) == expected
    sliced = pa.array([f"n{i}" for i in range(200)])[100:]
    assert pw.select(POOL[:100], 10, ids=sliced) == pw.select(POOL[:100], 10, ids=sliced.to_pylist())
    categories = pa.array(NAMES).dictionary_encode()
    assert pw.select(POOL[:100], 10, ids=categories) == pw.select(POOL[:100], 10, ids=NAMES)


def test_ids_of_a_stream():
    expected = pw.select(POOL, 50, ids=[f"n{i}" for i in range(2000)])
    chunks = [
        (POOL[start : start + 300], [f"n{i}" for i in range(start, min(start + 300, 2000))])
        for start in range(0, 2000, 300)
    ]
    assert pw.select(iter(chunks), 50) == expected
    assert pw.select((p for p, _ in chunks), 50, ids=[f"n{i}" for i in range(2000)]) == expected
    with pytest.raises(ValueError, match="the pool brings its own ids"):
        pw.select(iter(chunks), 50, ids=range(2000))


def test_an_iterable_with_a_length_is_no_array():
    class Loader:
        def __len__(self):
            return 4

        def __iter__(self):
            return iter(np.array_split(POOL, 4))

    assert pw.select(Loader(), 9) == pw.select(POOL, 9)


def test_exclude():
    best = pw.select(POOL, 2000).ids
    positions = best[:100]
    mask = np.zeros(2000, bool)
    mask[positions] = True
    for exclude in (
        positions,
        positions.tolist(),
        positions.astype(np.uint16),
        mask,
        mask.tolist(),
        np.append(positions, positions),
    ):
        for pool in (POOL, iter(np.array_split(POOL, 7))):
            np.testing.assert_array_equal(pw.select(pool, 50, exclude=exclude).ids, best[100:150])
    np.testing.assert_array_equal(pw.select(POOL, 50, exclude=[]).ids, best[:50])


def test_exclude_ids():
    best = pw.select(POOL, 2000).ids
    by_position = pw.select(POOL, 50, exclude_ids=best[:100])
    np.testing.assert_array_equal(by_position.ids, best[100:150])
    names = np.array([f"n{i}" for i in range(2000)])
    for exclude_ids in (
        names[best[:100]],
        names[best[:100]].tolist(),
        set(names[best[:100]].tolist()),
        [*names[best[:100]], "x"],
    ):
        np.testing.assert_array_equal(pw.select(POOL, 50, ids=names, exclude_ids=exclude_ids).ids, names[best[100:150]])
    assert pw.select(POOL, 50, exclude_ids=[]) == pw.select(POOL, 50)
    both = pw.select(POOL, 50, ids=range(5000, 7000), exclude=best[:50], exclude_ids=5000 + best[50:100])
    np.testing.assert_array_equal(both.indices, best[100:150])


# Ties.


def test_ties_go_to_the_lower_id():
    expected = np.argsort(-(1 - np.abs(TIES[:, 0] - TIES[:, 1])), kind="stable")
    np.testing.assert_array_equal(pw.select(TIES, 2000).ids, expected[:2000])
    ids = RNG.permutation(3000) - 1500
    best = TIES[:, 0] == 0.5
    np.testing.assert_array_equal(pw.select(TIES, best.sum(), ids=ids).ids, np.sort(ids[best]))
    names = [str(i) for i in ids]
    chosen = list(pw.select(TIES, best.sum(), ids=names))
    assert chosen == sorted((names[i] for i in np.flatnonzero(best)), key=str.encode)


@pytest.mark.parametrize("kind", ["positions", "integers", "strings"])
@pytest.mark.parametrize("share", [0.4, 1])
def test_large_selections_are_sorted(kind, share):
    rng = np.random.default_rng(1)
    rows = 120_000
    p = rng.random(rows)
    p[::3] = np.round(p[::3], 2)  # a hundred heaps of rows that tie, a large one among them
    p[::7] = 0.25
    ids = rng.permutation(rows) - 500
    given = {"positions": None, "integers": ids, "strings": [f"row of the pool {i:07}" for i in ids + 500]}[kind]
    k = int(share * rows)
    selection = pw.select(p, k, "margin", ids=given)
    scores = pw.margin(p)
    names = np.arange(rows) if given is None else np.asarray(given)
    expected = np.lexsort((names, -scores))[:k]
    np.testing.assert_array_equal(selection.indices, expected)
    np.testing.assert_array_equal(selection.ids, names[expected])
    np.testing.assert_array_equal(selection.scores, scores[expected])
    assert (selection.ids is selection.indices) == (kind == "positions")
    with pw.num_threads(1):
        assert pw.select(p, k, "margin", ids=given) == selection


def test_random_ties():
    best = set(np.flatnonzero(TIES[:, 0] == 0.5).tolist())
    first, same, other = (pw.select(TIES, 50, ties="random", random_state=seed) for seed in (0, 0, 1))
    assert first == same
    assert first != other
    assert set(first) <= best
    assert set(first) != set(pw.select(TIES, 50))
    chunked = pw.select(iter(np.array_split(TIES, 11)), 50, ties="random", random_state=0)
    assert chunked == first
    # Every tied row has the same chance.
    counts = np.zeros(3000)
    for seed in range(200):
        counts[pw.select(TIES, 50, ties="random", random_state=seed).ids] += 1
    expected = 200 * 50 / len(best)
    spread = ((counts[list(best)] - expected) ** 2 / expected).sum()
    assert abs(spread - len(best)) < 5 * np.sqrt(2 * len(best))


# Chance.


def test_random_strategy():
    first, same, other = (pw.select(POOL, 100, "random", random_state=seed) for seed in (0, 0, 1))
    assert first == same
    assert set(first) != set(other)
    assert len(set(first)) == 100
    assert pw.select(iter(np.array_split(POOL, 9)), 100, "random", random_state=0) == first
    np.testing.assert_array_equal(np.sort(pw.select(POOL, 2000, "random", random_state=0).ids), np.arange(2000))
    # Only the number of rows matters.
    assert pw.select(np.full((2000, 1), -7), 100, "random", random_state=0) == first
    assert pw.select(list(range(2000)), 100, "random", random_state=0) == first


def test_random_is_even():
    counts = np.zeros(100)
    for seed in range(2000):
        counts[pw.select(POOL[:100], 10, "random", random_state=seed).ids] += 1
    assert abs(((counts - 200) ** 2 / 200).sum() - 90) < 5 * np.sqrt(180)


def test_random_state_follows_scikit_learn():
    for make in (np.random.default_rng, np.random.RandomState):
        first, second = make(3), make(3)
        draws = [pw.select(POOL, 10, "random", random_state=first) for _ in range(2)]
        assert draws[0] != draws[1]
        assert draws == [pw.select(POOL, 10, "random", random_state=second) for _ in range(2)]
    np.random.seed(0)  # noqa: NPY002 - None is the global generator
    draws = [pw.select(POOL, 10, "random") for _ in range(2)]
    np.random.seed(0)  # noqa: NPY002
    assert draws == [pw.select(POOL, 10, "random") for _ in range(2)]
    assert draws[0] != draws[1]
    untouched = np.random.default_rng(0)
    pw.select(POOL, 10, "margin", random_state=untouched)
    assert untouched.random() == np.random.default_rng(0).random()
    seed: Any = np.int64(5)
    assert pw.select(POOL, 10, "random", random_state=seed) == pw.select(POOL, 10, "random", random_state=5)


# Invalid rows, and fewer rows than wanted.


def test_invalid_rows_are_skipped_and_counted():
    pool = POOL.copy()
    best = pw.select(POOL, 2000).ids
    pool[best[:20]] = np.nan
    before = pool.copy()
    selection = pw.select(pool, 30, invalid="skip")
    np.testing.assert_array_equal(selection.ids, best[20:50])
    assert selection.skipped == 20
    assert "20 invalid skipped" in repr(selection)
    np.testing.assert_array_equal(pool, before)
    assert pw.select(iter(np.array_split(pool, 7)), 30, invalid="skip") == selection


def test_clip():
    assert pw.select(POOL, 5000, clip=True) == pw.select(POOL, 2000)
    assert pw.select(iter([POOL]), 5000, clip=True) == pw.select(POOL, 2000)
    assert len(pw.select(POOL, 2000, exclude=[0, 1], clip=True)) == 1998
    assert len(pw.select(POOL[:2], 2, exclude=[0, 1], clip=True)) == 0


# The Selection itself.


def test_selection_reads_like_a_sequence_of_ids():
    selection = pw.select(POOL, 5, ids=range(100, 2100))
    assert len(selection) == 5
    assert list(selection) == selection.ids.tolist()
    assert all(type(i) is int for i in selection)
    assert np.asarray(selection) is selection.ids
    assert np.asarray(selection, np.int32).dtype == np.int32
    assert np.array(selection).flags.writeable
    np.testing.assert_array_equal(POOL[selection.indices], POOL[np.asarray(selection) - 100])
    assert selection.indices.dtype == np.int64
    assert selection.scores.dtype == np.float64


def test_selection_cannot_be_changed():
    for selection in (pw.select(POOL, 5), pickle.loads(pickle.dumps(pw.select(POOL, 5)))):
        for array in (selection.ids, selection.indices, selection.scores, np.asarray(selection)):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 7
        with pytest.raises(AttributeError):
            selection.skipped = 3  # type: ignore[misc]


def test_selection_compares_and_pickles():
    selection = pw.select(POOL, 5, ids=[f"n{i}" for i in range(2000)])
    assert selection == pickle.loads(pickle.dumps(selection)) == copy.deepcopy(selection)
    assert selection != pw.select(POOL, 5)
    assert selection != pw.select(POOL, 4, ids=[f"n{i}" for i in range(2000)])
    assert pw.select(POOL, 5) != pw.select(POOL, 5, pw.Margin(task="multilabel", how="mean"))
    assert selection != "n0"
    with pytest.raises(TypeError, match="unhashable"):
        hash(selection)


def test_repr():
    text = repr(pw.select(POOL, 2000, "entropy"))
    lines = text.splitlines()
    assert lines[0].startswith("Selection of 2000 rows by Entropy(")
    assert lines[1].split() == ["id", "index", "score"]
    assert len(lines) == 8
    assert lines[-1] == "  … 1995 more"
    assert len(repr(pw.select(POOL, 2, "random", random_state=0)).splitlines()) == 4


def test_to_polars_and_pandas():
    for ids in (None, [f"n{i}" for i in range(2000)]):
        selection = pw.select(POOL, 5, ids=ids)
        for frame in (
            pytest.importorskip("polars") and selection.to_polars(),
            pytest.importorskip("pandas") and selection.to_pandas(),
        ):
            assert list(frame.columns) == ["id", "index", "score"]
            assert frame["id"].to_list() == list(selection)
            np.testing.assert_array_equal(frame["index"], selection.indices)
            np.testing.assert_array_equal(frame["score"], selection.scores)
    empty = pw.select(POOL[:2], 2, ids=["a", "b"], exclude=[0, 1], clip=True)
    assert empty.to_polars().schema["id"] == pytest.importorskip("polars").String


# Progress and threads.


def test_progress_calls_a_function():
    for pool, total in ((POOL, 2000), (iter(np.array_split(POOL, 4)), None)):
        told = []
        pw.select(pool, 3, progress=lambda done, total: told.append((done, total)))  # noqa: B023 - called at once
        assert told[-1] == (2000, total)
        assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_progress_bar(capsys):
    pytest.importorskip("tqdm")
    pw.select(POOL, 3, progress=True)
    assert "2.00k/2.00k" in capsys.readouterr().err
    pw.select(POOL, 3, progress=False)
    assert capsys.readouterr().err == ""


def test_an_error_in_the_progress_function_comes_out():
    def fail(done, total):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        pw.select(POOL, 3, progress=fail)


def test_num_threads():
    before = pw.get_num_threads()
    with pw.num_threads(3):
        assert pw.get_num_threads() == 3
        three = pw.select(POOL, 100)
        with pw.num_threads(1):
            assert pw.select(POOL, 100) == three
        assert pw.get_num_threads() == 3
    assert pw.get_num_threads() == before
    with pytest.raises(RuntimeError, match="inside"), pw.num_threads(1):
        raise RuntimeError("inside")
    assert pw.get_num_threads() == before


# Importing.


def test_import_brings_no_extras_along():
    code = (
        "import sys, numpy as np; before = set(sys.modules); import pickwise; "
        "extras = {'pyarrow', 'polars', 'pandas', 'torch', 'jax', 'tqdm', 'ml_dtypes', 'typer', 'numpy.random'}; "
        "extras -= before; "
        "print(extras & set(sys.modules)); pickwise.select(np.full((9, 2), .5), 3); print(extras & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[:2] == ["set()", "set()"]


def test_everything_public_is_documented():
    for name in pw.__all__:
        assert getattr(pw, name).__doc__
