"""What holds for every strategy that chooses rows together, whichever it is."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest

import pickwise as pw
from pickwise.strategies import REGISTRY, Joint, resolve

ROWS = 90
NAMES = [name for name, strategy in REGISTRY.items() if issubclass(strategy, Joint)]
BESIDE = [name for name in NAMES if REGISTRY[name].needs != "embeddings"]
FUNCTIONS = {name: getattr(pw, name.replace("++", "_plusplus")) for name in NAMES if name not in ("auto", "hybrid")}
OTHERS = [
    pw.KCenter(metric="cosine", outliers=2, min_distance=0.01, prefilter=3, prefilter_by=pw.Entropy(from_logits=True)),
    pw.KMeansPlusPlus(metric="sqeuclidean"),
    pw.TypiClust(neighbours=np.int64(3), max_clusters=4),
    pw.ProbCover(radius=np.float32(0.5), clusters=3),
    pw.MaxHerding(radius=2, neighbours=9),
    pw.UncertaintyHerding(score=pw.Margin(from_logits=True, temperature=1.5), radius=0.25),
    pw.FacilityLocation(neighbours=7, metric="cosine"),
    pw.Badge(from_logits=True),
    pw.ClusterMargin(factor=3, clusters=5, score="entropy"),
    pw.RankedBatch(alpha=0.25, score=pw.Entropy(normalize=True)),
    pw.DensityWeighted(beta=2),
    pw.Hybrid(by=pw.Entropy(), factor=3, then=pw.RankedBatch(score=pw.Entropy(normalize=True), alpha=1)),
    pw.Hybrid(then="kmeans++"),
]


def problem(dtype=np.float64):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(5, 4))[rng.integers(0, 5, ROWS)] * 3 + rng.normal(size=(ROWS, 4))
    # Numbers that float16 has as well.
    x = np.round(x * 16) / 16
    p = rng.multinomial(64, [0.4, 0.3, 0.3], ROWS) / 64
    y = np.round(rng.normal(size=(ROWS, 2)) * 16) / 16
    return x.astype(dtype), p.astype(dtype), y.astype(dtype)


def pick(name, k, *, strategy=None, data=None, **options):
    x, p, y = problem() if data is None else data
    options.setdefault("random_state", 0)
    strategy = name if strategy is None else strategy
    needs = REGISTRY[name].needs
    if name == "k_center":
        options.pop("random_state")
    if needs == "embeddings":
        return pw.select(x, k, strategy, **options)
    return pw.select(y if needs == "targets" else p, k, strategy, embeddings=x, **options)


def call(name, k, *, data=None, **options):
    """The same by the function of the strategy."""
    x, p, y = problem() if data is None else data
    arguments = {"embeddings": (x,), "scores": (p, x), "predictions": (p, x), "targets": (y, x)}[REGISTRY[name].needs]
    if name in ("kmeans++", "badge", "typiclust", "prob_cover", "cluster_margin"):
        options.setdefault("random_state", 0)
    return FUNCTIONS[name](*arguments, k, **options)


@pytest.fixture(autouse=True)
def _clusters():
    pytest.importorskip("sklearn")


def same(one, other):
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.distances, other.distances)


@pytest.mark.parametrize("name", NAMES)
def test_positions_are_those_of_the_caller(name):
    rng = np.random.default_rng(0)
    x, p, y = problem()
    for seed in range(4):
        out = rng.permutation(ROWS)[:40]
        labelled, exclude = out[:15], out[15:]
        odd = [array.copy() for array in (x, p, y)]
        for array in odd:
            array[exclude] = np.nan
        options = {"labelled": labelled, "exclude": exclude, "random_state": seed}
        batch = pick(name, 30, data=odd, **options)
        assert isinstance(batch, pw.Batch)
        assert len(set(batch.indices.tolist())) == len(batch) == 30
        assert not np.isin(batch.indices, out).any()
        np.testing.assert_array_equal(batch.ids, batch.indices)
        masks = {"labelled": np.isin(np.arange(ROWS), labelled), "exclude": np.isin(np.arange(ROWS), exclude)}
        same(pick(name, 30, data=odd, **options | masks), batch)
        # How far each pick was from what there was before.
        known = [*x[labelled]]
        for row, distance in zip(batch.indices, batch.distances, strict=True):
            far = np.sqrt(((np.array(known) - x[row]) ** 2).sum(1)).min()
            assert distance == pytest.approx(far, rel=1e-9)
            known.append(x[row])
        every = pick(name, 50, data=odd, **options)
        assert sorted(every.indices.tolist()) == sorted(set(range(ROWS)) - set(out.tolist()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_select_agree(name):
    x = problem()[0]
    for options in ({}, {"labelled": [3, 50, 7]}, {"exclude": [0, 1, 89]}, {"labelled": [4, 0], "exclude": [0, 70]}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            same(call(name, 20, **options), pick(name, 20, **options))
    if name not in ("greedy_xy", "badge"):
        others = x[:5] + 0.25
        same(call(name, 20, labelled=others), pick(name, 20, labelled=others))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("kmeans++", "badge")])
def test_excluded_rows_that_are_labelled_are_still_what_picks_keep_away_from(name):
    x, p, y = problem()
    known = np.array([2, 40, 77, 12])
    rest = np.setdiff1d(np.arange(ROWS), known)
    batch = pick(name, 25, labelled=known, exclude=known)
    if name == "greedy_xy":
        apart = pw.greedy_xy(y[rest], x[rest], 25, labelled=x[known], targets=y[known])
    else:
        apart = pick(name, 25, data=(x[rest], p[rest], y[rest]), labelled=x[known])
    assert batch.indices.tolist() == rest[apart.indices].tolist()
    np.testing.assert_allclose(batch.scores, apart.scores, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_to(name):
    data = problem()
    before = [array.copy() for array in data]
    labelled, exclude = np.array([1, 2, 3]), np.arange(ROWS) % 9 == 0
    ids = np.arange(ROWS) + 1000
    for array in (*data, labelled, exclude, ids):
        array.flags.writeable = False
    batch = pick(name, 20, data=data, labelled=labelled, exclude=exclude, ids=ids)
    np.testing.assert_array_equal(batch.ids, batch.indices + 1000)
    with pytest.raises(ValueError, match=r"read-only"):
        batch.scores[0] = 1
    for array, known in zip(data, before, strict=True):
        np.testing.assert_array_equal(array, known)
    if name in FUNCTIONS:
        same(call(name, 20, data=data, labelled=labelled, exclude=exclude, ids=ids), batch)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_in_other_clothes(name, tmp_path):
    data = problem()
    expected = pick(name, 20, labelled=[8, 9])
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    np.save(tmp_path / "x.npy", data[0])

    def frame(array):
        return pd.DataFrame(array, columns=[f"c{i}" for i in range(array.shape[1])])

    clothes = {
        "fortran": np.asfortranarray,
        "every other row": lambda array: np.repeat(array, 2, axis=0)[::2],
        "list": lambda array: array.tolist(),
        "pandas": frame,
        "polars": lambda array: pl.DataFrame(frame(array)),
        "foreign": lambda array: array.astype(array.dtype.newbyteorder(">")),
    }
    for change in clothes.values():
        same(pick(name, 20, data=[change(array) for array in data], labelled=[8, 9]), expected)
    if name not in ("auto", "hybrid", "greedy_y"):  # whose pool are predictions, not features
        for path in (tmp_path / "x.npy", str(tmp_path / "x.npy"), np.load(tmp_path / "x.npy", mmap_mode="r")):
            same(call(name, 20, data=(path, *data[1:]), labelled=[8, 9]), expected)
    same(pick(name, 20, data=(tmp_path / "x.npy", *data[1:]), labelled=[8, 9]), expected)
    for dtype in (np.float16, np.float32):
        batch = pick(name, 20, data=problem(dtype), labelled=[8, 9])
        if name in ("density_weighted", "typiclust", "cluster_margin", "prob_cover"):  # of sums in float32, in part
            assert len(batch) == 20
        else:
            np.testing.assert_array_equal(batch.indices, expected.indices)
            np.testing.assert_allclose(batch.scores, expected.scores, rtol=1e-6)


@pytest.mark.parametrize("name", BESIDE)
def test_pools_in_files_and_chunks(name, tmp_path):
    x, p, y = problem()
    pool = y if REGISTRY[name].needs == "targets" else p
    expected = pick(name, 20)
    names = [f"row-{i}" for i in range(ROWS)]
    np.save(tmp_path / "pool.npy", pool)
    for other in (tmp_path / "pool.npy", iter([pool[:30], pool[30:]])):
        same(pw.select(other, 20, name, embeddings=x, random_state=0), expected)
    chunks = [(pool[:30], names[:30]), (pool[30:], names[30:])]
    batch = pw.select(iter(chunks), 20, name, embeddings=x, random_state=0)
    same(batch, expected)
    assert batch.ids.tolist() == [names[i] for i in batch.indices]


@pytest.mark.parametrize("name", NAMES)
def test_ids_of_strings(name):
    names = [f"doc-{i:03}" for i in range(ROWS)]
    expected = pick(name, 15)
    batch = pick(name, 15, ids=names)
    same(batch, expected)
    assert batch.ids.tolist() == [names[i] for i in expected.indices]
    out = expected.indices[:4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rest = pick(name, 15, ids=names, exclude_ids=[names[i] for i in out] + ["none of these"])
    same(rest, pick(name, 15, exclude=out))
    if name in FUNCTIONS:
        assert call(name, 15, ids=names).ids.tolist() == batch.ids.tolist()
    with pytest.raises(ValueError, match=r"ids: .*(89|90)"):
        pick(name, 15, ids=names[:-1])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_rows_on_any_number_of_threads(name):
    expected = pick(name, 20)
    assert expected == pick(name, 20)
    for threads in (1, 3):
        with pw.num_threads(threads):
            assert pick(name, 20) == expected
    one, two = (pick(name, 20, random_state=np.random.default_rng(4)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("name", NAMES)
def test_more_rows_than_there_are(name):
    with pytest.raises(ValueError, match=rf"k: expected at most {ROWS}, of {ROWS} rows, got {ROWS + 1}; clip=True"):
        pick(name, ROWS + 1)
    assert sorted(pick(name, ROWS + 1, clip=True).indices.tolist()) == list(range(ROWS))
    with pytest.raises(ValueError, match=r"k: expected at most 85, of 90 rows"):
        pick(name, 86, exclude=[1, 2], labelled=[3, 4, 5])
    assert len(pick(name, 86, exclude=[1, 2], labelled=[3, 4, 5], clip=True)) == 85
    if name in FUNCTIONS:
        with pytest.raises(ValueError, match=r"k: expected at most 85, of 90 rows"):
            call(name, 86, exclude=[1, 2], labelled=[3, 4, 5])
        assert len(call(name, 86, exclude=[1, 2], labelled=[3, 4, 5], clip=True)) == 85
    with pytest.raises(ValueError, match=r"none is left"):
        pick(name, 1, exclude=np.ones(ROWS, bool))


@pytest.mark.parametrize("strategy", [*(resolve(name) for name in NAMES), *OTHERS], ids=repr)
def test_strategies_are_values(strategy):
    for copy in (
        pickle.loads(pickle.dumps(strategy)),
        resolve(strategy.name, **json.loads(json.dumps(strategy.options))),
        resolve(strategy),
    ):
        assert copy == strategy
        assert hash(copy) == hash(strategy)
        assert repr(copy) == repr(strategy)
    assert repr(strategy).startswith(f"{type(strategy).__name__}(")
    scope = {name: getattr(pw, name) for name in pw.__all__}
    assert eval(repr(strategy), scope) == strategy
    assert REGISTRY[strategy.name] is type(strategy)


@pytest.mark.parametrize("name", NAMES)
def test_selections_pickle_and_print(name):
    batch = pick(name, 7, ids=[f"doc-{i}" for i in range(ROWS)])
    copy = pickle.loads(pickle.dumps(batch))
    assert copy == batch
    assert type(copy) is type(batch)
    same(copy, batch)
    assert batch.strategy == resolve(name)
    assert f"of 7 rows by {batch.strategy!r}" in repr(batch).splitlines()[0]
    assert list(batch) == batch.ids.tolist()
    frame = batch.to_pandas()
    assert frame["id"].tolist() == batch.ids.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_limits_hold(name):
    rng = np.random.default_rng(2)
    x, _, _ = problem()
    groups, costs = rng.integers(0, 12, ROWS), rng.uniform(1, 3, ROWS)
    known, out, must = [3, 4], [ROWS - 1, 3, 50], [10, 20]
    limits = {
        "groups": groups,
        "max_per_group": 2,
        "must_include": must,
        "costs": costs,
        "budget": 24.0,
        "min_distance": 0.4,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = pick(name, 15, labelled=known, exclude=out, **limits)
    assert batch.indices[:2].tolist() == must
    assert not np.isin(batch.indices, known + out).any()
    assert np.bincount(groups[batch.indices]).max() <= 2
    assert costs[batch.indices].sum() <= 24
    near = np.concatenate([x[known], x[batch.indices]])
    gaps = np.sqrt(((near[:, None] - near) ** 2).sum(2))[len(known) :, :]
    gaps[np.arange(len(batch)), np.arange(len(batch)) + len(known)] = np.inf
    apart = gaps[len(must) :].min() if len(batch) > 2 else np.inf
    assert apart >= 0.4
    assert len(batch) >= 6
