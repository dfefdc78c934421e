"""A pool that is predicted while it is read is what its model makes of all rows, whatever these and the model are."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pickwise as pw
from pickwise.pools.predictions import PredictedPart

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("sklearn")
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402

ROWS, DIMS = 3000, 4
NAMES = [f"x_{column}" for column in range(DIMS)]
X = np.random.default_rng(0).normal(size=(ROWS, DIMS)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int) + (X[:, 2] > 1)
IDS = [f"doc-{row}" for row in range(ROWS)]
FRAME = pd.DataFrame(X, columns=NAMES)
TABLE = pa.table({"doc_id": IDS, **{name: X[:, column].copy() for column, name in enumerate(NAMES)}})
MODEL = LogisticRegression().fit(X[:500], Y[:500])
OF_FRAMES = LogisticRegression().fit(FRAME[:500], Y[:500])
EXPECTED = MODEL.predict_proba(X)


def softmax(values: np.ndarray) -> np.ndarray:
    e = np.exp(values - values.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


WEIGHTS = np.random.default_rng(1).normal(size=(DIMS, 3)).astype(np.float32)


def of_array(batch: np.ndarray) -> np.ndarray:
    assert isinstance(batch, np.ndarray)
    return softmax(batch @ WEIGHTS)


def of_records(batch: object) -> np.ndarray:
    assert isinstance(batch, pa.RecordBatch)
    return softmax(np.stack([batch.column(name).to_numpy() for name in NAMES], axis=1) @ WEIGHTS)


def of_pandas(batch: object) -> np.ndarray:
    assert isinstance(batch, pd.DataFrame)
    assert list(batch.columns) == NAMES
    return softmax(batch.to_numpy() @ WEIGHTS)


def of_polars(batch: object) -> np.ndarray:
    assert isinstance(batch, pl.DataFrame)
    assert batch.columns == NAMES
    return softmax(batch.to_numpy() @ WEIGHTS)


def read(pool: object) -> tuple[np.ndarray, list[int]]:
    with closing(pool.chunks()) as chunks:
        matrices = [np.array(chunk.matrix) for chunk in chunks]
    return np.concatenate(matrices), [len(matrix) for matrix in matrices]


def same(pool: object, expected: np.ndarray, **options: object) -> None:
    found, _ = read(pool)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    for number, name in enumerate("ab"):
        rows = slice(number * 1000, 1000 if number == 0 else ROWS)
        pq.write_table(TABLE[rows], folder / f"{name}.parquet", row_group_size=300)
        np.save(folder / f"{name}.npy", X[rows])
    np.save(folder / "fortran.npy", np.asfortranarray(X))
    return folder


TABLES = {
    "arrow": lambda: TABLE,
    "chunked": lambda: pa.Table.from_batches(TABLE.to_batches(max_chunksize=70)),
    "reader": lambda: TABLE.to_reader(max_chunksize=70),
    "pandas": TABLE.to_pandas,
    "polars": lambda: pl.from_arrow(TABLE),
    "lazy": lambda: pl.from_arrow(TABLE).lazy(),
    "duckdb": lambda: pytest.importorskip("duckdb").connect().from_arrow(TABLE),
    "dataset": lambda: pytest.importorskip("pyarrow.dataset").dataset(TABLE),
    "hugging_face": lambda: pytest.importorskip("datasets").Dataset(TABLE),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("model", [MODEL, OF_FRAMES], ids=["of_arrays", "of_frames"])
def test_tables(kind: str, model: object) -> None:
    table = TABLES[kind]()
    pool = pw.predict(model, table, id="doc_id", batch_size=128)
    selection = pw.select(pool, 20)
    expected = pw.select(EXPECTED, 20, ids=IDS)
    assert list(selection.ids) == list(expected.ids)
    np.testing.assert_array_equal(selection.indices, expected.indices)
    np.testing.assert_allclose(selection.scores, expected.scores, atol=1e-6)
    if kind != "reader":
        found, sizes = read(pool)
        np.testing.assert_allclose(found, EXPECTED, atol=1e-6)
        assert sizes == [128] * (ROWS // 128) + [ROWS % 128]


@pytest.mark.parametrize("kind", TABLES)
def test_functions_get_what_there_is(kind: str) -> None:
    function = {"pandas": of_pandas, "polars": of_polars, "lazy": of_polars}.get(kind, of_records)
    same(pw.predict(function, TABLES[kind](), columns="x_*"), softmax(X @ WEIGHTS))


@pytest.mark.parametrize("kind", TABLES)
def test_filters_leave_full_batches(kind: str) -> None:
    passing = np.flatnonzero(X[:, 0] > 1)
    seen = []

    def counted(batch: object) -> np.ndarray:
        seen.append(len(batch))
        frame = pl.from_arrow(batch) if isinstance(batch, pa.RecordBatch) else pl.DataFrame(batch)
        return softmax(frame.select(NAMES).to_numpy() @ WEIGHTS)

    pool = pw.predict(counted, TABLES[kind](), columns=NAMES, id="doc_id", filters=[("x_0", ">", 1)], batch_size=100)
    selection = pw.select(pool, 20)
    assert seen == [100] * (len(passing) // 100) + [len(passing) % 100]
    best = pw.select(softmax(X[passing] @ WEIGHTS), 20)
    assert set(selection.ids) == {IDS[row] for row in passing[best.indices]}


def test_filters_of_pandas_without_ids() -> None:
    pool = pw.predict(OF_FRAMES, FRAME, filters=[("x_0", ">", 1)], batch_size=100)
    passing = np.flatnonzero(X[:, 0] > 1)
    best = pw.select(EXPECTED[passing], 20)
    np.testing.assert_array_equal(pw.select(pool, 20).indices, passing[best.indices])


@pytest.mark.parametrize("model", [MODEL, OF_FRAMES, of_records], ids=["of_arrays", "of_frames", "function"])
def test_parquet(files: Path, model: object) -> None:
    pool = pw.predict(model, files / "*.parquet", columns="x_*", batch_size=128)
    assert pool.rows == ROWS
    expected = softmax(X @ WEIGHTS) if model is of_records else EXPECTED
    found, sizes = read(pool)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert sizes == [128] * 7 + [104] + [128] * 15 + [80]  # 1000 and 2000 rows: no call goes over the end of a file
    selection, first = pw.select(pool, 20), pw.select(expected, 20)
    names = [f"{files / 'ab'[int(row >= 1000)]}.parquet#{row - 1000 * (row >= 1000)}" for row in first.indices]
    assert list(selection.ids) == names
    named = pw.select(pw.predict(model, files / "*.parquet", columns="x_*", id="doc_id"), 20)
    assert list(named.ids) == [IDS[row] for row in first.indices]


def test_parquet_with_filters(files: Path) -> None:
    where = {"id": "doc_id", "filters": [("x_0", ">", 1)], "batch_size": 100}
    pool = pw.predict(OF_FRAMES, files / "*.parquet", **where)
    found, sizes = read(pool)
    np.testing.assert_allclose(found, EXPECTED[X[:, 0] > 1], atol=1e-6)
    last = [int((X[rows, 0] > 1).sum()) for rows in (slice(1000), slice(1000, ROWS))]
    assert sizes == [*[100] * (last[0] // 100), last[0] % 100, *[100] * (last[1] // 100), last[1] % 100]


@pytest.mark.parametrize("name", ["[ab].npy", "fortran.npy"])
def test_npy(files: Path, name: str) -> None:
    for model, expected in ((MODEL, EXPECTED), (of_array, softmax(X @ WEIGHTS))):
        same(pw.predict(model, files / name, batch_size=300), expected)
        same(pw.predict(model, files / name), expected)
    assert pw.select(pw.predict(MODEL, files / "a.npy"), 5).ids.dtype == np.int64
    assert next(iter(pw.select(pw.predict(MODEL, str(files / "a*.npy")), 1).ids)).startswith(f"{files / 'a.npy'}#")


@pytest.mark.parametrize("order", ["C", "F"])
def test_images_in_npy(tmp_path: Path, order: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 6, 3)).astype(np.uint8)
    np.save(tmp_path / "images.npy", np.asarray(images, order=order))

    def brightness(batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.uint8
        assert batch.shape[1:] == (8, 6, 3)
        return batch[:, 2, 1, :].mean(1) / 255

    for rows in (tmp_path / "images.npy", images):
        same(pw.predict(brightness, rows, batch_size=7), images[:, 2, 1, :].mean(1)[:, None] / 255)


def test_arrays() -> None:
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    for rows in (X, read_only, X.tolist(), X[::-1], sparse, pd.Series(list(range(ROWS))).index.to_numpy()[:0]):
        if not hasattr(rows, "shape") or rows.shape[0]:
            pool = pw.predict(MODEL, rows, batch_size=999)
            same(pool, EXPECTED[::-1] if rows is not X and getattr(rows, "base", None) is X else EXPECTED)
            assert read(pool)[1] == [999, 999, 999, 3]
    for model in (MODEL.predict_proba, of_array):
        expected = EXPECTED if model is not of_array else softmax(X @ WEIGHTS)
        assert pw.select(pw.predict(model, X), 10) == pw.select(expected, 10)


def test_texts(tmp_path: Path) -> None:
    texts = [f"{'good' if row % 3 else 'bad'} text {row % 7}" for row in range(400)]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts[:50], [row % 3 > 0 for row in range(50)])
    table = pa.table({"text": texts, "id": np.arange(400)})
    pq.write_table(table, tmp_path / "t.parquet")
    expected = model.predict_proba(texts)
    batches = [texts[start : start + 30] for start in range(0, 400, 30)]
    for rows in (np.array(texts), np.array(texts, object), pd.Series(texts)[::-1][::-1], table["text"], batches):
        same(pw.predict(model, rows), expected)
    same(pw.predict(model, pl.Series(texts)), expected)
    for rows in (table, table.to_pandas(), pl.from_arrow(table), tmp_path / "t.parquet"):
        same(pw.predict(model, rows, columns="text", batch_size=77), expected)

    def length(batch: list[str]) -> list[float]:
        return [len(text) / 100 for text in batch]

    lengths = np.array([[len(text) / 100] for text in texts])
    same(pw.predict(length, batches), lengths)
    names = [f"t{row:03}" for row in range(400)]
    pairs = [(batch, names[30 * number : 30 * number + len(batch)]) for number, batch in enumerate(batches)]
    assert pw.select(pw.predict(length, pairs), 3) == pw.select(lengths[:, 0], 3, ids=names)
    assert pw.select(pw.predict(length, iter(batches)), 3) == pw.select(lengths[:, 0], 3)


def test_one_column_of_lists(tmp_path: Path) -> None:
    for kind in (pa.list_(pa.float32(), DIMS), pa.list_(pa.float32())):
        table = pa.table({"embedding": pa.array(list(X), kind), "n": np.arange(ROWS)})
        pq.write_table(table, tmp_path / "e.parquet")
        for rows in (table, tmp_path / "e.parquet", pl.from_arrow(table)):
            same(pw.predict(MODEL, rows, columns="embedding"), EXPECTED)


def test_columns_come_in_the_order_of_the_model(tmp_path: Path) -> None:
    turned = TABLE.select([*NAMES[::-1], "doc_id"])
    pq.write_table(turned, tmp_path / "a.parquet")
    pq.write_table(TABLE, tmp_path / "b.parquet")
    twice = np.concatenate([EXPECTED, EXPECTED])
    same(pw.predict(OF_FRAMES, tmp_path, columns="x_*"), twice)
    same(pw.predict(OF_FRAMES, tmp_path), twice)  # columns beside those that it knows do no harm
    same(pw.predict(MODEL, tmp_path, columns=NAMES), twice)
    same(pw.predict(MODEL, turned, columns=["x_0", "x_[12]", "x_3"]), MODEL.predict_proba(X[:, [0, 2, 1, 3]]))


def test_integers_booleans_and_nulls_become_numbers() -> None:
    table = pa.table({"a": [1, None, 3], "b": [True, False, True], "c": pa.array([0.5, None, 1.5], pa.float32())})

    class Takes:
        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            assert x.dtype == np.float64
            np.testing.assert_array_equal(x, [[1, 1, 0.5], [np.nan, 0, np.nan], [3, 1, 1.5]])
            return np.full((3, 2), 0.5)

    for rows in (table, table.to_pandas().convert_dtypes(dtype_backend="pyarrow"), pl.from_arrow(table)):
        assert len(pw.select(pw.predict(Takes(), rows), 2)) == 2


def test_several_labels() -> None:
    labels = np.stack([X[:, 0] > 0, X[:, 1] > 1], axis=1).astype(int)
    forest = RandomForestClassifier(5, random_state=0).fit(X[:200], labels[:200])
    expected = np.stack([p[:, 1] for p in forest.predict_proba(X)], axis=1)
    pool = pw.predict(forest, X)
    same(pool, expected)
    for strategy in (pw.Margin(task="multilabel"), "mmc"):
        assert pw.select(pool, 9, strategy) == pw.select(expected, 9, strategy)
    one_class = RandomForestClassifier(5).fit(X[:20], np.stack([labels[:20, 0], np.zeros(20, int)], axis=1))
    with pytest.raises(ValueError, match=r"two columns for each label, got 1 for label 1"):
        read(pw.predict(one_class, X))


def test_committees(files: Path) -> None:
    models = [LogisticRegression().fit(FRAME[a : a + 200], Y[a : a + 200]) for a in (0, 200, 400)]
    expected = np.stack([model.predict_proba(FRAME) for model in models])
    for rows in (files / "*.parquet", FRAME, pl.from_arrow(TABLE)):
        pools = [pw.predict(model, rows, batch_size=size) for model, size in zip(models, (100, 170, 3000), strict=True)]
        found, first = pw.select(pools, 10, "bald"), pw.select(expected, 10, "bald")
        np.testing.assert_array_equal(found.indices, first.indices)
        np.testing.assert_allclose(found.scores, first.scores, atol=1e-6)
    batches = iter([X])
    with pytest.raises(
        ValueError, match=r"pool: members 0 and 1 read one list_iterator, which gives its rows only once"
    ):
        pw.select([pw.predict(model, batches) for model in models], 10, "bald")


def test_all_that_select_does(files: Path) -> None:
    pool = pw.predict(OF_FRAMES, files / "*.parquet", id="doc_id")
    first = EXPECTED.argmax(1)
    one = pw.select(pool, 9, max_per_class=3)
    assert np.bincount(first[one.indices]).max() == 3
    assert list(pw.select(pool, 9, exclude_ids=IDS[1000:]).indices) == list(pw.select(EXPECTED[:1000], 9).indices)
    badge, expected = (pw.select(p, 9, "badge", embeddings=X, random_state=0) for p in (pool, EXPECTED))
    np.testing.assert_array_equal(badge.indices, expected.indices)
    done: list[int] = []
    pw.select(pool, 9, progress=lambda rows, _: done.append(rows))
    assert done[-1] == ROWS
    embedded = pw.select(pw.predict(lambda x: x @ WEIGHTS, X), 9, "k_center")
    np.testing.assert_array_equal(embedded.indices, pw.select(X @ WEIGHTS, 9, "k_center").indices)


def test_columns_are_named_where_the_pool_is_made() -> None:
    with pytest.raises(TypeError, match=r"id='doc_id' names columns, but a pool that is open has none"):
        pw.select(pw.predict(OF_FRAMES, TABLE), 9, id="doc_id")


def test_a_checkpoint_goes_on(files: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def stops(batch: object) -> np.ndarray:
        if len(calls) == 12:
            raise RuntimeError("stop")
        calls.append(len(batch))
        return of_records(batch)

    with pytest.raises(RuntimeError, match="stop"):
        pw.select(pw.predict(stops, files / "*.parquet", columns="x_*", batch_size=100), 9, checkpoint=tmp_path / "c")
    calls = [0] * 13
    found = pw.select(
        pw.predict(stops, files / "*.parquet", columns="x_*", batch_size=100), 9, checkpoint=tmp_path / "c"
    )
    assert sum(calls) == 2000
    np.testing.assert_array_equal(found.indices, pw.select(softmax(X @ WEIGHTS), 9).indices)


def test_parts_pickle(files: Path) -> None:
    for name in ("*.parquet", "[ab].npy"):
        pool = pw.predict(MODEL if name != "*.parquet" else OF_FRAMES, files / name)
        parts = pickle.loads(pickle.dumps(list(pool.parts)))
        assert all(isinstance(part, PredictedPart) for part in parts)
        chunks = [part.chunk(batch) for part in parts for batch in part.batches()]
        np.testing.assert_allclose(np.concatenate([chunk.matrix for chunk in chunks]), EXPECTED, atol=1e-6)


def test_the_model_is_called_in_the_thread_of_the_caller(files: Path) -> None:
    seen = set()

    def noted(batch: object) -> np.ndarray:
        seen.add(threading.get_ident())
        return of_records(batch)

    pw.select(pw.predict(noted, files / "*.parquet", columns="x_*", batch_size=100), 9)
    assert seen == {threading.get_ident()}


# What it costs.


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_stays_flat(tmp_path: Path) -> None:
    rows, dims = 1_000_000, 32  # 128 MB
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, dims))
    for start in range(0, rows, 100_000):
        x[start : start + 100_000] = np.arange(100_000)[:, None]
    x.flush()
    code = """
import sys, numpy as np, pickwise as pw
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
def model(batch):
    return np.abs(np.sin(batch[:, 0]))
before = status("VmRSS")
pw.select(pw.predict(model, sys.argv[1]), 1000)
print(status("VmHWM") - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.npy")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40 << 20
