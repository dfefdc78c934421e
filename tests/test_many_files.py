"""The risk: a selection over many files is not the one over the same rows in memory, or depends on their order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pickwise as pw
from pickwise.pools import open_pool
from pickwise.strategies import REGISTRY, Spread, resolve

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FILES, CLASSES, DIMS, MEMBERS, K = 200, 4, 3, 3, 40
DRAWS = ("random", "power", "softmax", "softrank", "kmeans++")
STREAMS = [name for name, kind in REGISTRY.items() if kind().streams]


@dataclass
class Pool:
    """The same rows in memory and in files; arrays are in the order of the files' names."""

    arrays: dict[str, np.ndarray]
    files: list[Path]
    sizes: np.ndarray
    shuffled: list[Path]
    positions: np.ndarray  # of the rows in the shuffled files

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    @property
    def rows(self) -> int:
        return int(self.sizes.sum())

    @property
    def names(self) -> np.ndarray:
        pairs = zip(self.files, self.sizes.tolist(), strict=True)
        return np.array([f"{file}#{row}" for file, size in pairs for row in range(size)], dtype=object)

    def shuffle(self, values: np.ndarray) -> np.ndarray:
        """Put what there is of each row into the order of the shuffled files."""
        out = np.empty_like(values)
        out[self.positions] = values
        return out


def probabilities(rng: np.random.Generator, *shape: int) -> np.ndarray:
    p = rng.dirichlet(np.ones(CLASSES), shape)
    # Few different numbers, so that many scores tie.
    return (np.round(p * 16) + 1).astype("f4") / (np.round(p * 16) + 1).sum(-1, keepdims=True).astype("f4")


def made(folder: Path, files: int, most: int, seed: int, rows_a_group: int = 37) -> Pool:
    rng = np.random.default_rng(seed)
    sizes = np.where(rng.random(files) < 0.05, 0, rng.integers(1, most, files))
    rows = int(sizes.sum())
    copied = rng.integers(0, rows, rows)
    copied[rng.random(rows) < 0.7] = -1
    copied = np.where(copied < 0, np.arange(rows), copied)
    arrays = {
        "p": probabilities(rng, rows)[copied],
        "labels": rng.integers(0, 9, (rows, CLASSES)).astype("f4") / 8,
        "score": rng.integers(0, 500, rows) / 8,
        "x": rng.standard_normal((rows, DIMS)).astype("f4")[copied],
        **{f"m{member}": probabilities(rng, rows)[copied] for member in range(MEMBERS)},
        "id": rng.permutation(rows) * 3 - rows,
        "lang": np.where(rng.random(rows) < 0.4, "en", "fr"),
    }
    arrays["name"] = np.array([f"ä{number % 97}-{number}" for number in arrays["id"].tolist()], dtype=object)
    paths = [folder / f"{number:03}.parquet" for number in range(files)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for number, path in enumerate(paths):
        part = slice(starts[number], starts[number + 1])
        columns = {name: column(values[part]) for name, values in arrays.items()}
        pq.write_table(pa.table(columns), path, row_group_size=rows_a_group)
    order = rng.permutation(files)
    firsts = np.empty(files, int)
    firsts[order] = np.concatenate([[0], np.cumsum(sizes[order])])[:-1]
    positions = np.repeat(firsts - starts[:-1], sizes) + np.arange(rows)
    return Pool(arrays, paths, sizes, [paths[number] for number in order], positions)


def column(values: np.ndarray) -> Any:
    if values.ndim == 1:
        return pa.array(values.tolist(), pa.string()) if values.dtype.kind in "OU" else pa.array(values)
    return pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return made(tmp_path_factory.mktemp("pool"), FILES, 300, 0, 160)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return made(tmp_path_factory.mktemp("few"), 12, 80, 1)


def same(got: pw.Selection, expected: pw.Selection, pool: Pool, *, ids: str | None = None) -> None:
    """Compare a selection over the shuffled files with that over the arrays."""
    wanted = pool.names[expected.indices] if ids is None else pool[ids][expected.indices]
    assert got.ids.tolist() == wanted.tolist()
    assert got.indices.tolist() == pool.positions[expected.indices].tolist()
    np.testing.assert_array_equal(got.scores, expected.scores)
    for name in ("distances", "radius", "skipped"):
        np.testing.assert_array_equal(getattr(got, name, None), getattr(expected, name, None))


def in_memory(strategy: Any, pool: Pool) -> tuple[np.ndarray | list[np.ndarray], Any]:
    """Return what a strategy selects from, and the columns that hold it."""
    if isinstance(strategy, Spread):
        return pool["x"], "x"
    strategy = getattr(strategy, "ranking", strategy)
    if strategy.is_of_committee:
        members = [f"m{member}" for member in range(MEMBERS)]
        return [pool[member] for member in members], members
    if strategy.name == "given":
        return pool["score"], "score"
    multilabel = strategy.name in ("max_loss", "mean_max_loss", "mmc")
    name = "labels" if multilabel else "p"
    return pool[name], name


def in_files(strategy: Any, pool: Pool, columns: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return the shuffled files as `select` takes them; of a list of files each would be a member of a committee."""
    if isinstance(columns, list):
        return [open_pool(pool.shuffled, probabilities=member, **options) for member in columns], {}
    return pool.shuffled, {"probabilities": columns, **options}


@pytest.mark.parametrize("name", STREAMS)
def test_every_strategy_that_streams(pool: Pool, name: str) -> None:
    strategy = REGISTRY[name]()
    array, columns = in_memory(strategy, pool)
    options = {"random_state": 5} if name in DRAWS else {}
    expected = pw.select(array, K, strategy, **options)
    if not isinstance(columns, list):
        same(pw.select(pool.shuffled, K, strategy, probabilities=columns, **options), expected, pool)
        return
    got = pw.select(pool.files[0].parent, K, strategy, probabilities=columns, **options)
    assert got.ids.tolist() == pool.names[expected.indices].tolist()
    np.testing.assert_array_equal(got.scores, expected.scores)


@pytest.mark.parametrize("ids", [None, "id", "name"])
@pytest.mark.parametrize("name", STREAMS)
def test_ids_and_random_ties(few: Pool, name: str, ids: str | None) -> None:
    strategy = REGISTRY[name]()
    array, columns = in_memory(strategy, few)
    ties = {} if isinstance(strategy, Spread) else {"ties": "random"}
    options = {"random_state": 5} if ties or name in DRAWS else {}
    given = None if ids is None else few[ids]
    if isinstance(strategy, Spread) and ids is not None:
        # Core-sets go through rows in the order of their ids, functions in the order in which they lie.
        order = np.argsort(few[ids].astype(bytes_of(ids)), kind="stable")
        expected = pw.select(array[order], K, strategy, ids=few[ids][order], **options)
        expected = replace(expected, indices=order[expected.indices])
    else:
        expected = pw.select(array, K, strategy, ids=given, **ties, **options)
    files, named = in_files(strategy, few, columns, id=ids)
    same(pw.select(files, K, strategy, **named, **ties, **options), expected, few, ids=ids)


def bytes_of(ids: str) -> Any:
    return object if ids == "name" else np.int64


@pytest.mark.parametrize("strategy", ["entropy", "power", "k_center", "bald", pw.SoftRank()], ids=str)
def test_filters(few: Pool, strategy: Any) -> None:
    strategy = resolve(strategy)
    passing = np.flatnonzero(few["lang"] == "en")
    array, columns = in_memory(strategy, few)
    part = [member[passing] for member in array] if isinstance(array, list) else array[passing]
    ids = few.names[passing]
    draws = {"random_state": 3} if strategy.name in DRAWS else {}
    # Draws hash ids, which in files are the numbers of the rows.
    numbered = {"ids": passing} if draws else {}
    expected = pw.select(part, K, strategy, **draws, **numbered)
    expected = replace(expected, indices=passing[expected.indices], ids=ids[expected.indices])
    files, named = in_files(strategy, few, columns, filters=[("lang", "==", "en")])
    same(pw.select(files, K, strategy, **named, **draws), expected, few)


@pytest.mark.parametrize("strategy", ["entropy", "k_center", "bald"])
def test_exclude_and_given_ids(few: Pool, strategy: str) -> None:
    array, columns = in_memory(resolve(strategy), few)
    best = pw.select(array, 2 * K, strategy).indices
    out = np.random.default_rng(2).permutation(np.concatenate([best[::2], np.arange(0, few.rows, 7)]))
    expected = pw.select(array, K, strategy, exclude=out)
    mask = np.isin(np.arange(few.rows), out)
    files, named = in_files(resolve(strategy), few, columns)
    same(pw.select(files, K, strategy, exclude=few.shuffle(mask), **named), expected, few)
    same(pw.select(files, K, strategy, exclude=few.positions[out], **named), expected, few)
    same(pw.select(files, K, strategy, exclude_ids=[*few.names[out], "nowhere#1", "x"], **named), expected, few)
    given = few.shuffle(few["name"])
    chosen = pw.select(files, K, strategy, ids=given, exclude_ids=few["name"][out], **named)
    assert set(chosen.ids) <= set(few["name"][~mask])
    np.testing.assert_array_equal(chosen.ids, given[chosen.indices])
    if strategy != "k_center":  # which begins with the first of several rows alike
        expected = pw.select(array, K, strategy, ids=few["name"], exclude=out)
        same(chosen, expected, few, ids="name")


@pytest.mark.parametrize("filters", [None, [("lang", "==", "fr")]], ids=["all", "filtered"])
@pytest.mark.parametrize("strategy", ["margin", "softmax", "random", "softrank"])
def test_limits(few: Pool, strategy: str, filters: Any) -> None:
    rng = np.random.default_rng(4)
    groups, costs = rng.integers(0, 60, few.rows), rng.random(few.rows) + 0.5
    passing = np.ones(few.rows, bool) if filters is None else few["lang"] == "fr"
    exclude = {"exclude": ~passing}
    must = np.flatnonzero(passing)[[3, 77]]
    draws = {} if strategy == "margin" else {"random_state": 8}
    for limits in (
        {"groups": groups, "max_per_group": 1},
        {"costs": costs, "budget": 18.0},
        {"groups": groups, "max_per_group": 2, "must_include": must, "costs": costs, "budget": 20.0},
        {"max_per_class": 9, "must_include": np.isin(np.arange(few.rows), must)},
        {"min_distance": 1.0, "embeddings": few["x"]},
    ):
        if strategy in ("random", "softrank") and (filters is not None or "max_per_class" in limits):
            continue  # ranks are among the rows that pass; random reads no classes
        k = None if "budget" in limits else 20
        expected = pw.select(few["p"], k, strategy, **limits, **exclude, **draws)
        moved = dict(limits)
        for name in {"groups", "costs", "embeddings"} & set(limits):
            moved[name] = few.shuffle(limits[name])
        if "must_include" in limits:
            is_mask = limits["must_include"].dtype == bool
            moved["must_include"] = few.shuffle(limits["must_include"]) if is_mask else few.positions[must]
        got = pw.select(few.shuffled, k, strategy, probabilities="p", filters=filters, **moved, **draws)
        same_set(got, expected, few)


def same_set(got: pw.Selection, expected: pw.Selection, pool: Pool) -> None:
    """Compare what limits leave, which goes by positions where rows are worth the same."""
    assert len(got) == len(expected)
    np.testing.assert_array_equal(np.sort(got.scores), np.sort(expected.scores))
    places = pool.positions[expected.indices].tolist()
    by_position = dict(zip(places, expected.scores.tolist(), strict=True))
    assert dict(zip(got.indices.tolist(), got.scores.tolist(), strict=True)) == by_position


JOINT = [
    "auto",
    "hybrid",
    "badge",
    "ranked_batch",
    "uncertainty_herding",
    pw.KCenter(prefilter=3),
    pw.Hybrid(by="power", then="typiclust", factor=4),
]


@pytest.mark.parametrize("strategy", JOINT, ids=str)
def test_strategies_with_embeddings_beside(few: Pool, strategy: Any) -> None:
    options = {"random_state": 6} if "power" in repr(strategy) or strategy == "badge" else {}
    expected = pw.select(few["p"], 15, strategy, embeddings=few["x"], **options)
    folder = few.files[0].parent
    for beside in ("x", few["x"]):
        got = pw.select(folder, 15, strategy, probabilities="p", embeddings=beside, **options)
        assert got.ids.tolist() == few.names[expected.indices].tolist()
        np.testing.assert_array_equal(got.indices, expected.indices)
        np.testing.assert_array_equal(got.scores, expected.scores)
    passing = np.flatnonzero(few["lang"] == "en")
    # Draws hash ids.
    inside = pw.select(few["p"][passing], 15, strategy, embeddings=few["x"][passing], ids=passing, **options)
    for beside in ("x", few["x"]):
        got = pw.select(
            folder, 15, strategy, probabilities="p", embeddings=beside, filters=[("lang", "==", "en")], **options
        )
        np.testing.assert_array_equal(got.indices, inside.ids)
        assert got.ids.tolist() == few.names[inside.ids].tolist()
        np.testing.assert_array_equal(got.scores, inside.scores)


@pytest.mark.parametrize("strategy", ["typiclust", "prob_cover", "facility_location", "greedy_x"])
def test_strategies_that_need_the_whole_pool(few: Pool, strategy: str) -> None:
    folder = few.files[0].parent
    draws = {"random_state": 0} if strategy in ("typiclust", "prob_cover") else {}
    expected = pw.select(few["x"], 15, strategy, **draws)
    got = pw.select(folder, 15, strategy, probabilities="x", **draws)
    np.testing.assert_array_equal(got.indices, expected.indices)
    assert got.ids.tolist() == few.names[expected.indices].tolist()
    passing = np.flatnonzero(few["lang"] == "en")
    out, labelled = passing[[2, 5, 9]], passing[[0, 4]]
    groups = np.arange(few.rows) // 5
    places = {"exclude": np.searchsorted(passing, out), "labelled": np.searchsorted(passing, labelled)}
    inside = pw.select(few["x"][passing], 15, strategy, groups=groups[passing], max_per_group=1, **places, **draws)
    same_rows = {"exclude": np.isin(np.arange(few.rows), out), "labelled": labelled, "groups": groups}
    filtered = {"probabilities": "x", "filters": [("lang", "==", "en")]}
    got = pw.select(folder, 15, strategy, max_per_group=1, **same_rows, **filtered, **draws)
    np.testing.assert_array_equal(got.indices, passing[inside.indices])
    assert got.ids.tolist() == few.names[got.indices].tolist()
    with pytest.raises(ValueError, match="labelled: expected rows that pass the filters, got row"):
        pw.select(folder, 5, strategy, labelled=np.flatnonzero(few["lang"] == "fr")[:1], **filtered)
    with pytest.raises(ValueError, match="must_include: expected rows that pass the filters, got row"):
        pw.select(folder, 5, strategy, must_include=np.flatnonzero(few["lang"] == "fr")[:1], **filtered)


@pytest.mark.parametrize("strategy", ["entropy", "k_center"])
def test_invalid_rows_are_skipped_and_counted_by_file(tmp_path: Path, strategy: str) -> None:
    pool = made(tmp_path, 12, 100, 3)
    array, columns = in_memory(resolve(strategy), pool)
    rng = np.random.default_rng(5)
    bad = rng.choice(pool.rows, 40, replace=False)
    array[bad] = np.nan
    starts = np.concatenate([[0], np.cumsum(pool.sizes)])
    for number, path in enumerate(pool.files):
        table = pq.read_table(path)
        for name in ["p", "x"]:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, column(pool[name][starts[number] : starts[number + 1]]))
        pq.write_table(table, path, row_group_size=37)
    files, named = in_files(resolve(strategy), pool, columns)
    got = pw.select(files, K, strategy, invalid="skip", **named)
    same(got, pw.select(array, K, strategy, invalid="skip"), pool)
    counts = np.histogram(bad, starts)[0]
    pairs = zip(pool.files, counts.tolist(), strict=True)
    assert got.report is not None
    assert got.report.skipped == {str(path): count for path, count in pairs if count}
    assert got.report.rows == pool.rows
    with pytest.raises(ValueError, match=r"\.parquet, row \d+"):
        pw.select(files, K, strategy, **named)


def test_ids_that_repeat_are_named_with_their_files(few: Pool, tmp_path: Path) -> None:
    table = pa.table({"p": column(few["p"][:50]), "x": column(few["x"][:50]), "id": np.arange(50)})
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    at = r"(\d+) occurs at .*[ab]\.parquet, row \1 and at .*[ab]\.parquet, row \1; ids must be unique"
    for strategy, column_name in (("entropy", "p"), ("k_center", "x"), ("typiclust", "x")):
        with pytest.raises(ValueError, match=at):
            pw.select(tmp_path, 100, strategy, probabilities=column_name, id="id")
