"""Every kind of pool delivers the same rows, and leaves no thread or open file behind."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import pickwise as pw
from pickwise.arrays import ColumnMatrix
from pickwise.pools import base as pools_base
from pickwise.pools import is_path_like, open_pool

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def probabilities(rows: int, classes: int = 3, dtype: str = "f4", seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).random((rows, classes)) + 0.01
    return (p / p.sum(1, keepdims=True)).astype(dtype)


def read(pool: object) -> tuple[np.ndarray, list | None]:
    """Collect a pool's rows and ids; what a chunk holds is copied, as it is overwritten by a later one."""
    matrices, ids = [], []
    with contextlib.closing(pool.chunks()) as chunks:
        for chunk in chunks:
            assert chunk.matrix.ndim == 2
            matrices.append(np.array(chunk.matrix))
            ids.extend(decode(chunk.ids))
    return np.concatenate(matrices), ids or None


def decode(ids: object) -> list:
    if ids is None:
        return []
    if isinstance(ids, np.ndarray):
        assert ids.dtype == np.int64
        return ids.tolist()
    offsets, text = ids
    assert offsets.dtype == np.int64
    assert text.dtype == np.uint8
    return [text[a:b].tobytes().decode() for a, b in itertools.pairwise(offsets.tolist())]


def columns_table(p: np.ndarray, **more: object) -> object:
    return pa.table({**{f"p_{i}": p[:, i].copy() for i in range(p.shape[1])}, **more})


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    before = set(threading.enumerate())
    files = open_files()
    yield
    assert set(threading.enumerate()) == before
    gc.collect()
    assert open_files() <= files


def open_files() -> set[str]:
    if sys.platform != "linux":
        return set()
    links = []
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(str(Path(entry.path).readlink()))
    return {link for link in links if link.endswith((".npy", ".parquet"))}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_npy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, dtype: str, version: tuple[int, int]) -> None:
    monkeypatch.setattr(pools_base, "CHUNK_BYTES", 1 << 14)
    p = np.asarray(probabilities(10_000, 5).astype(dtype), order=order)
    with (tmp_path / "p.npy").open("wb") as file:
        np.lib.format.write_array(file, p, version=version)
    pool = open_pool(tmp_path / "p.npy")
    assert pool.rows == 10_000
    assert pool.string_ids is False
    matrix, ids = read(pool)
    assert matrix.dtype == np.dtype(dtype).newbyteorder("=")
    assert ids is None
    np.testing.assert_array_equal(matrix, p)
    np.testing.assert_array_equal(read(pool)[0], p)


def test_npy_1d_is_one_column(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.linspace(0, 1, 11, dtype="f4"))
    matrix, _ = read(open_pool(tmp_path / "p.npy"))
    np.testing.assert_array_equal(matrix, np.linspace(0, 1, 11, dtype="f4")[:, None])


def test_files_come_sorted_from_folders_and_globs_and_in_order_from_lists(tmp_path: Path) -> None:
    p = probabilities(30)
    for number, name in enumerate(["c", "a", "b"]):
        np.save(tmp_path / f"{name}.npy", p[number * 10 : number * 10 + 10])
    (tmp_path / "_notes.npy").write_bytes(b"")
    (tmp_path / ".hidden.parquet").write_bytes(b"")
    (tmp_path / "readme.txt").write_text("")
    in_order = np.concatenate([p[10:20], p[20:], p[:10]])
    for pool in (str(tmp_path), tmp_path, str(tmp_path / "[abc].npy"), [tmp_path / f"{c}.npy" for c in "abc"]):
        opened = open_pool(pool)
        assert opened.rows == 30
        np.testing.assert_array_equal(read(opened)[0], in_order)
    reverse = open_pool([str(tmp_path / "c.npy"), str(tmp_path / "a.npy")])
    np.testing.assert_array_equal(read(reverse)[0], p[:20])
    assert reverse.locate(12) == f"{tmp_path / 'a.npy'}, row 2"


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    np.save(tmp_path / "p[1].npy", probabilities(4))
    assert open_pool(tmp_path / "p[1].npy").rows == 4


def test_folders_are_searched_to_the_bottom(tmp_path: Path) -> None:
    p = probabilities(20)
    for number in range(2):
        folder = tmp_path / f"day={number}"
        folder.mkdir()
        pq.write_table(columns_table(p[number * 10 : number * 10 + 10]), folder / "part-0.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    np.testing.assert_array_equal(read(open_pool(tmp_path))[0], p)
    np.testing.assert_array_equal(read(open_pool(str(tmp_path / "**" / "*.parquet")))[0], p)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("row_group", [1000, 7777, 100_000])
def test_parquet_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, row_group: int) -> None:
    monkeypatch.setattr(pools_base, "CHUNK_BYTES", 1 << 15)
    p = probabilities(20_000, 4, dtype)
    table = columns_table(p, doc_id=np.arange(20_000) * 3, price=np.ones(20_000))
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=row_group)
    for wanted in ("p_*", [f"p_{i}" for i in range(4)], ["p_3", "p_[012]"]):
        pool = open_pool(tmp_path / "p.parquet", probabilities=wanted, id="doc_id")
        assert pool.rows == 20_000
        matrix, ids = read(pool)
        assert matrix.dtype == dtype
        np.testing.assert_array_equal(matrix, p)
        assert ids == list(range(0, 60_000, 3))


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32(), 5), pa.list_(pa.float32()), pa.large_list(pa.float64())],
    ids=["fixed", "list", "large"],
)
def test_parquet_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: object) -> None:
    monkeypatch.setattr(pools_base, "CHUNK_BYTES", 1 << 15)
    p = probabilities(9000, 5)
    table = pa.table({"n": np.arange(9000), "probs": pa.array(list(p), kind), "x": np.ones(9000)})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=4000)
    for wanted in (None, "probs"):
        np.testing.assert_array_equal(read(open_pool(tmp_path / "p.parquet", probabilities=wanted))[0], p)


def test_parquet_by_default_takes_the_floats(tmp_path: Path) -> None:
    p = probabilities(10)
    pq.write_table(columns_table(p, n=np.arange(10), s=list("abcdefghij")), tmp_path / "p.parquet")
    np.testing.assert_array_equal(read(open_pool(tmp_path / "p.parquet"))[0], p)


def test_parquet_one_column_of_floats_is_p_of_one(tmp_path: Path) -> None:
    pq.write_table(columns_table(probabilities(10)), tmp_path / "p.parquet")
    matrix, _ = read(open_pool(tmp_path / "p.parquet", probabilities="p_1"))
    assert matrix.shape == (10, 1)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_string_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: object) -> None:
    monkeypatch.setattr(pools_base, "CHUNK_BYTES", 1 << 13)
    names = ["", "ä", *(f"document-{i}" for i in range(4998))]
    table = columns_table(probabilities(5000), name=pa.array(names).cast(kind))
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=1700)
    pool = open_pool(tmp_path / "p.parquet", probabilities="p_*", id="name")
    assert pool.string_ids is True
    assert read(pool)[1] == names
    assert read(open_pool(table, probabilities="p_*", id="name"))[1] == names


@pytest.mark.parametrize("kind", ["int8", "uint16", "int32", "uint64"])
def test_integer_ids(tmp_path: Path, kind: str) -> None:
    pq.write_table(columns_table(probabilities(100), n=np.arange(100, dtype=kind)), tmp_path / "p.parquet")
    assert read(open_pool(tmp_path / "p.parquet", id="n"))[1] == list(range(100))


def test_files_may_order_and_size_their_columns_differently(tmp_path: Path) -> None:
    p = probabilities(10, dtype="f8")
    pq.write_table(columns_table(p.astype("f4")), tmp_path / "a.parquet")
    pq.write_table(columns_table(p).select(["p_2", "p_0", "p_1"]), tmp_path / "b.parquet")
    matrix, _ = read(open_pool(tmp_path, probabilities="p_*"))
    np.testing.assert_array_equal(matrix, np.concatenate([p.astype("f4").astype("f8"), p]))


def test_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_base, "CHUNK_BYTES", 1 << 14)
    p = probabilities(5000)
    table = columns_table(p, doc=np.arange(5000), price=np.ones(5000))
    sources = [table, table.to_batches()[0], table.to_reader(max_chunksize=1300), table.to_pandas()]
    with contextlib.suppress(ImportError):
        import polars as pl

        frame = pl.from_arrow(table)
        sources += [frame, frame.lazy()]
    for source in sources:
        pool = open_pool(source, probabilities="p_*", id="doc")
        assert pool.rows in (5000, None)
        matrix, ids = read(pool)
        np.testing.assert_array_equal(matrix, p)
        assert ids == list(range(5000))


def test_pandas_nan_is_a_value_and_na_a_null() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [0.5, np.nan], "b": [0.5, 0.5], "o": [object(), "x"]})
    matrix, _ = read(open_pool(frame, probabilities=["a", "b"]))
    assert np.isnan(matrix[1, 0])
    with pytest.raises(ValueError, match="column 'a': row 1 is null"):
        read(open_pool(frame.astype({"a": "Float64"}), probabilities=["a", "b"]))


def test_iterators() -> None:
    p = probabilities(100)
    matrix, ids = read(open_pool(iter([p[:30], p[30:31], p[31:31], p[31:].tolist()])))
    np.testing.assert_array_equal(matrix, p.astype("f8"))
    assert ids is None
    pairs = ((p[i : i + 10], np.arange(i, i + 10)) for i in range(0, 100, 10))
    assert read(open_pool(pairs))[1] == list(range(100))
    pairs = ((p[i : i + 10], [f"n{j}" for j in range(i, i + 10)]) for i in range(0, 100, 10))
    assert read(open_pool(pairs))[1] == [f"n{i}" for i in range(100)]


def test_a_generator_left_early_is_closed() -> None:
    closed = []

    def source():
        try:
            while True:
                yield probabilities(5)
        finally:
            closed.append(True)

    with contextlib.closing(open_pool(source()).chunks()) as chunks:
        next(chunks)
    assert closed


def test_chunks_of_an_iterator_must_agree() -> None:
    p = probabilities(10)
    with pytest.raises(
        ValueError, match=r"chunk 1: has 2 columns without ids, but the first has 3 columns without ids"
    ):
        read(open_pool(iter([p, p[:, :2]])))
    with pytest.raises(ValueError, match=r"chunk 1: has 3 columns without ids, but the first has 3 columns and ids"):
        read(open_pool(iter([(p, np.arange(10)), p])))
    with pytest.raises(ValueError, match=r"chunk 0: ids: expected 10, one for each row, got 9"):
        read(open_pool(iter([(p, np.arange(9))])))


@pytest.mark.parametrize("stop", ["close", "error", "interrupt", "forget"])
@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_leaving_early_ends_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str, suffix: str) -> None:
    monkeypatch.setattr(pools_base, "CHUNK_BYTES", 1 << 14)
    p = probabilities(200_000)
    path = tmp_path / f"p{suffix}"
    np.save(path, p) if suffix == ".npy" else pq.write_table(columns_table(p), path, row_group_size=10_000)
    chunks = open_pool(path).chunks()
    next(chunks)
    assert any(thread.name == "pickwise-reader" for thread in threading.enumerate())
    if stop == "close":
        chunks.close()
    elif stop == "forget":
        del chunks
    else:
        kind = KeyboardInterrupt if stop == "interrupt" else RuntimeError
        with pytest.raises(kind), contextlib.closing(chunks):
            raise kind
    # The fixture looks for threads and files.


def test_two_readers_of_one_pool(tmp_path: Path) -> None:
    p = probabilities(200_000)
    np.save(tmp_path / "p.npy", p)
    pool = open_pool(tmp_path / "p.npy")
    for one, two in zip(pool.chunks(), pool.chunks(), strict=True):
        np.testing.assert_array_equal(one.matrix, two.matrix)


def test_is_path_like() -> None:
    assert all(map(is_path_like, ["p.npy", Path("p.npy"), ["a.npy", Path("b.npy")], ("a.npy",)]))
    assert not any(map(is_path_like, [[], [[0.5, 0.5]], np.ones(3), b"p.npy", iter(["p.npy"]), ["a.npy", 1]]))


def test_an_open_pool_is_left_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", probabilities(4))
    pool = open_pool(tmp_path / "p.npy")
    assert open_pool(pool) is pool


def test_arguments_that_mean_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", probabilities(4))
    with pytest.raises(TypeError, match=r"id='x' names columns, but a .npy file \(.*p\.npy\) has none"):
        open_pool(tmp_path / "p.npy", id="x")
    with pytest.raises(TypeError, match="probabilities='p' names columns"):
        open_pool(iter([]), probabilities="p")
    with pytest.raises(TypeError, match="expected a path, a table or an iterable of chunks, got int"):
        open_pool(3)


@pytest.mark.parametrize("kind", ["apart", "mixed", "many"])
def test_columns_are_looked_at_where_they_are(tmp_path: Path, kind: str) -> None:
    p = probabilities(3000, 70 if kind == "many" else 4)
    table = columns_table(p)
    if kind == "mixed":
        table = table.set_column(1, "p_1", table["p_1"].cast("double"))
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=999)
    pool = open_pool(tmp_path / "p.parquet")
    with contextlib.closing(pool.chunks()) as chunks:
        assert {isinstance(chunk.matrix, ColumnMatrix) for chunk in chunks} == {kind == "apart"}
    np.testing.assert_array_equal(read(pool)[0], p)
    chosen, expected = pw.select(tmp_path / "p.parquet", 50), pw.select(p, 50)
    np.testing.assert_array_equal(chosen.indices, expected.indices)
    np.testing.assert_array_equal(chosen.scores, expected.scores)


def test_columns_of_pandas_whose_names_are_numbers():
    pd = pytest.importorskip("pandas")
    p = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    frame = pd.DataFrame(p).assign(doc=[f"d{i}" for i in range(40)])
    assert pw.select(frame, 5, id="doc").indices.tolist() == pw.select(p, 5).indices.tolist()
