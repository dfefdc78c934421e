"""The risk: a filter moves rows, or has more read than is needed; or says nothing of rows that are left out."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pickwise as pw
from pickwise.pools.filters import Filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pc = pytest.importorskip("pyarrow.compute")
ds = pytest.importorskip("pyarrow.dataset")
pq = pytest.importorskip("pyarrow.parquet")


ROWS, CLASSES, FILES = 2400, 4, 4
P = np.random.default_rng(0).dirichlet(np.ones(CLASSES), ROWS).astype("f4")
LANG = np.where(np.arange(ROWS) % 3 == 0, "en", "fr")
ENGLISH = np.flatnonzero(LANG == "en")
IDS = np.arange(ROWS) * 2 + 1
STEP = ROWS // FILES


def wide(p: np.ndarray = P) -> dict[str, Any]:
    return {f"p_{number}": p[:, number].copy() for number in range(p.shape[1])}


TABLE = pa.table({**wide(), "id": IDS, "lang": LANG})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filters")
    for number in range(FILES):
        pq.write_table(TABLE.slice(number * STEP, STEP), path / f"{number}.parquet", row_group_size=200)
    return path


@pytest.mark.parametrize("filters", [[("lang", "==", "en")], pc.field("lang") == "en"], ids=["tuples", "expression"])
def test_filters_leave_positions_as_they_are(source: Callable[[Any], Any], filters: Any) -> None:
    best = pw.select(P[ENGLISH], 50, "entropy")
    asked = {"probabilities": "p_*", "filters": filters}
    got = pw.select(source(TABLE), 50, "entropy", **asked)
    np.testing.assert_array_equal(got.indices, ENGLISH[best.indices])
    np.testing.assert_array_equal(got.ids, got.indices)
    np.testing.assert_array_equal(got.scores, best.scores)
    got = pw.select(source(TABLE), 50, "entropy", id="id", **asked)
    np.testing.assert_array_equal(got.ids, IDS[ENGLISH[best.indices]])
    # What is given row for row is of all rows, those that are left out as well.
    out = np.zeros(ROWS, bool)
    out[ENGLISH[best.indices[:5]]] = True
    got = pw.select(source(TABLE), 45, "entropy", exclude=out, **asked)
    np.testing.assert_array_equal(got.indices, ENGLISH[best.indices[5:]])
    got = pw.select(source(TABLE), 50, "entropy", ids=IDS, **asked)
    np.testing.assert_array_equal(got.ids, IDS[ENGLISH[best.indices]])
    got = pw.select(source(TABLE), 50, "entropy", groups=np.arange(ROWS), max_per_group=1, **asked)
    np.testing.assert_array_equal(np.sort(got.indices), np.sort(ENGLISH[best.indices]))
    got = pw.select(source(TABLE), 8, "entropy", max_per_class=2, **asked)
    assert sorted(np.bincount(P[got.indices].argmax(1))) == [2, 2, 2, 2]
    assert set(got.indices) <= set(ENGLISH)
    with pytest.raises(ValueError, match="exclude: the mask has 9 rows, but the pool has"):
        pw.select(source(TABLE), 5, "entropy", exclude=np.zeros(9, bool), **asked)


def test_columns_by_odd_names(tmp_path: Path, sources: dict[str, Callable[[Any], Any]]) -> None:
    odd = ["a b", 'a"b', "a'b", "a.b", "a\\b", "(x)", "FieldRef.Name(y)", "ä", "p_0 == 1", "lang "]
    p = {name: column for name, column in TABLE.to_pydict().items() if name != "lang"}
    for name in odd:
        table = pa.table({**p, name: LANG})
        pq.write_table(table, tmp_path / "odd.parquet", row_group_size=1000)
        others = [sources[kind](table) for kind in ("polars", "duckdb", "dataset")]
        for pool in (table, tmp_path / "odd.parquet", *others):
            got = pw.select(pool, 20, "margin", probabilities="p_[0-3]", filters=pc.field(name) == "en")
            np.testing.assert_array_equal(
                got.indices, ENGLISH[pw.select(P[ENGLISH], 20, "margin").indices], err_msg=f"{name} {type(pool)}"
            )


def test_filters_of_other_forms(folder: Path) -> None:
    struct = TABLE.append_column("s", pa.array([{"t": lang} for lang in LANG]))
    expected = ENGLISH[pw.select(P[ENGLISH], 20, "margin").indices]
    got = pw.select(struct, 20, "margin", probabilities="p_*", filters=pc.field("s", "t") == "en")
    np.testing.assert_array_equal(got.indices, expected)
    either = [[("lang", "==", "en"), ("id", "<", 4000)], [("lang", "==", "en"), ("id", ">=", 1700)]]
    for pool in (TABLE, folder):
        got = pw.select(pool, 20, "margin", probabilities="p_*", filters=either)
        np.testing.assert_array_equal(got.indices, expected)
        got = pw.select(pool, 20, "margin", probabilities="p_*", filters=[("lang", "in", {"en", "de"})])
        np.testing.assert_array_equal(got.indices, expected)


def test_rows_of_large_batches_keep_their_order() -> None:
    p = np.tile(P, (40, 1))
    passing = np.flatnonzero(np.arange(len(p)) % 7 < 3)
    table = pa.table({**wide(p), "n": np.arange(len(p)) % 7}).combine_chunks()
    got = pw.select(table, 500, "margin", probabilities="p_*", filters=[("n", "<", 3)])
    np.testing.assert_array_equal(got.indices, passing[pw.select(p[passing], 500, "margin").indices])


def test_only_row_groups_in_which_rows_may_pass_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    whole = pq.ParquetFile.iter_batches

    def counted(self: Any, *args: Any, **options: Any) -> Iterator[Any]:
        for batch in whole(self, *args, **options):
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    bounds = [("id", ">=", 2 * 700 + 1), ("id", "<", 2 * 1300 + 1)]
    expected = 700 + pw.select(P[700:1300], 30, "margin").indices
    got = pw.select(folder, 30, "margin", probabilities="p_*", filters=bounds)
    np.testing.assert_array_equal(got.indices, expected)
    assert got.ids.tolist() == [f"{folder / str(row // STEP)}.parquet#{row % STEP}" for row in expected]
    assert sum(read) == 800  # row groups of 200 rows from 600 on
    assert got.report is not None
    assert got.report.rows == 600


def test_datasets_read_no_more_than_they_must(folder: Path, tmp_path: Path) -> None:
    bounds = [("id", ">=", 2 * 700 + 1), ("id", "<", 2 * 1300 + 1)]
    expected = 700 + pw.select(P[700:1300], 30, "margin").indices
    broken = tmp_path / "pool"
    broken.mkdir()
    for number in range(FILES):
        data = bytearray((folder / f"{number}.parquet").read_bytes())
        if number == 3:  # no row of which passes
            data[4:2000] = b"\xff" * 1996
        (broken / f"{number}.parquet").write_bytes(data)
    dataset = ds.dataset(broken)
    got = pw.select(dataset, 30, "margin", probabilities="p_*", filters=bounds)
    np.testing.assert_array_equal(got.indices, expected)
    # Of a dataset that was filtered before, positions are those of what is left.
    some = ds.dataset(folder).filter(pc.field("lang") == "en")
    inside = np.flatnonzero((IDS[ENGLISH] >= 2 * 700 + 1) & (IDS[ENGLISH] < 2 * 1300 + 1))
    got = pw.select(some, 30, "margin", probabilities="p_*", filters=bounds)
    np.testing.assert_array_equal(got.indices, inside[pw.select(P[ENGLISH][inside], 30, "margin").indices])


def test_folders_that_tell_a_column(tmp_path: Path) -> None:
    ds.write_dataset(TABLE, tmp_path, format="parquet", partitioning=["lang"], partitioning_flavor="hive")
    dataset = ds.dataset(tmp_path, partitioning="hive")
    order = np.concatenate([ENGLISH, np.flatnonzero(LANG == "fr")])
    for lang in ("en", "fr"):
        got = pw.select(dataset, 30, "margin", probabilities="p_*", id="id", filters=[("lang", "==", lang)])
        rows = np.flatnonzero(lang == LANG)
        np.testing.assert_array_equal(got.ids, IDS[rows[pw.select(P[rows], 30, "margin").indices]])
        np.testing.assert_array_equal(IDS[order[got.indices]], got.ids)


@pytest.mark.parametrize("kind", ["table", "lazy", "stream"])
def test_predictions_of_rows_that_pass(kind: str, sources: dict[str, Callable[[Any], Any]]) -> None:
    def as_matrix(batch: Any) -> np.ndarray:
        return np.column_stack([np.asarray(column) for column in batch])

    def predicted() -> Any:
        rows = sources[kind](pa.table(wide()))
        return pw.predict(as_matrix, rows, columns="p_*", filters=pc.field("p_0") < 0.25)

    passing = np.flatnonzero(P[:, 0] < 0.25)
    out = np.arange(0, ROWS, 5)
    places = np.searchsorted(passing, out[np.isin(out, passing)])
    got = pw.select(predicted(), 20, "margin", exclude=np.isin(np.arange(ROWS), out))
    np.testing.assert_array_equal(got.indices, passing[pw.select(P[passing], 20, "margin", exclude=places).indices])
    for strategy in ("facility_location", "greedy_x"):
        got = pw.select(predicted(), 9, strategy, exclude=out)
        np.testing.assert_array_equal(got.indices, passing[pw.select(P[passing], 9, strategy, exclude=places).indices])
        np.testing.assert_array_equal(got.ids, got.indices)
    expected = pw.select(P[passing], 9, "badge", embeddings=P[passing], random_state=0)
    got = pw.select(predicted(), 9, "badge", embeddings=P, random_state=0)
    np.testing.assert_array_equal(got.indices, passing[expected.indices])


def test_no_thread_of_arrow_is_left_with_a_buffer_of_pythons() -> None:
    """Let go of while the interpreter ends, it takes the process down; it was one filter of two hundred."""

    class Watched(np.ndarray):
        """An array that can be referred to weakly."""

    released = set()
    condition = Filter(pc.field("lang") == "en")
    for _ in range(3000):
        values = np.arange(ROWS).view(Watched)
        weakref.finalize(values, lambda: released.add(threading.current_thread().name))
        batch = pa.record_batch({"value": pa.array(values), "lang": TABLE["lang"].combine_chunks()})
        del values
        condition.apply(batch)
        del batch
    assert released == {threading.current_thread().name}
