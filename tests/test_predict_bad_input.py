"""What cannot be predicted is refused before it is read where that can be known, in words that say what to do."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pickwise as pw

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("sklearn")
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402

ROWS, DIMS = 3000, 4
NAMES = [f"x_{column}" for column in range(DIMS)]
X = np.random.default_rng(0).normal(size=(ROWS, DIMS)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)
IDS = [f"doc-{row}" for row in range(ROWS)]
FRAME = pd.DataFrame(X, columns=NAMES)
TABLE = pa.table({"doc_id": IDS, **{name: X[:, column].copy() for column, name in enumerate(NAMES)}})
MODEL = LogisticRegression().fit(X[:500], Y[:500])
OF_FRAMES = LogisticRegression().fit(FRAME[:500], Y[:500])
EXPECTED = MODEL.predict_proba(X)


def of_records(batch: object) -> np.ndarray:
    return np.full((len(batch), 2), 0.5)


def read(pool: object) -> np.ndarray:
    with closing(pool.chunks()) as chunks:
        return np.concatenate([np.array(chunk.matrix) for chunk in chunks])


def same(pool: object, expected: np.ndarray) -> None:
    np.testing.assert_allclose(read(pool), expected, atol=1e-6)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    pq.write_table(TABLE[:1000], folder / "a.parquet", row_group_size=300)
    pq.write_table(TABLE[1000:], folder / "b.parquet", row_group_size=300)
    return folder


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LinearRegression(), r"model: LinearRegression has no predict_proba, .*\(a regressor\?\)"),
        (LinearSVC(), r"model: LinearSVC has no predict_proba, only decision_function.*CalibratedClassifierCV"),
        (LogisticRegression, "model: expected one that is fitted, got the class LogisticRegression"),
        ("model.onnx", "model: expected a classifier with predict_proba, .* got str"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_model(model: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        pw.predict(model, X)


@pytest.mark.parametrize(
    ("returned", "kind", "message"),
    [
        (
            lambda n: np.full((n - 1, 3), 1 / 3),
            ValueError,
            r"expected 100 rows, one for each that it got, got .*\(99, 3\)",
        ),
        (
            lambda n: np.full((n, 1), 1.0),
            ValueError,
            r"expected at least 2 classes \(columns\), got 1; pass P\(y=1\) as",
        ),
        (
            lambda n: np.full((n, 2, 2), 0.5),
            ValueError,
            r"expected the shape \(rows, classes\), or 1-D P\(y=1\), got 3-D",
        ),
        (lambda n: np.zeros(n, int), TypeError, "expected float16, bfloat16, float32 or float64, got int64"),
        (
            lambda n: np.full((n, 2 + (n < 100)), 0.5),
            ValueError,
            r"expected 2 columns, as in .*got the shape \(50, 3\)",
        ),
        (lambda n: None, TypeError, "expected an array, a table or a list of lists, got NoneType"),
    ],
)
def test_what_is_no_prediction(tmp_path: Path, returned: object, kind: type[Exception], message: str) -> None:
    np.save(tmp_path / "x.npy", X[:250])

    def model(batch: np.ndarray) -> object:
        return returned(len(batch))

    for on_file_error in ("raise", "skip"):
        pool = pw.predict(model, tmp_path / "x.npy", batch_size=100, on_file_error=on_file_error)
        with pytest.raises(kind, match=r"model \(model\), from .*x.npy, row (0|200) on: predictions: " + message):
            pw.select(pool, 3, on_file_error=on_file_error)


def test_what_a_model_raises_comes_out_with_a_note(files: Path) -> None:
    def model(batch: object) -> np.ndarray:
        if len(batch) < 128:
            raise ValueError("too small")
        return of_records(batch)

    for on_file_error in ("raise", "skip"):
        pool = pw.predict(model, files / "*.parquet", columns="x_*", batch_size=128, on_file_error=on_file_error)
        with pytest.raises(ValueError, match=r"^too small") as raised:
            pw.select(pool, 3)
        assert raised.value.__notes__ == [
            f"pickwise: model was predicting rows, from {files / 'a.parquet'}, row 896 on"
        ]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            OF_FRAMES,
            {"columns": ["x_0", "x_1"]},
            "columns: expected 'x_2' among them, as LogisticRegression expects it",
        ),
        (OF_FRAMES, {"columns": "y_*"}, r"rows: no column matches columns='y_\*'"),
        (OF_FRAMES, {"id": "doc"}, "rows: no column matches id='doc'; did you mean 'doc_id'"),
        (MODEL, {}, "rows: the column 'doc_id' holds (large_)?string(_view)?, but LogisticRegression takes numbers"),
        (
            MODEL,
            {"columns": ["x_0"]},
            r"rows: expected 4 features, as LogisticRegression was fitted with, got 1 \('x_0'\)",
        ),
    ],
)
def test_columns_are_checked_before_reading(model: object, options: dict, message: str) -> None:
    for rows in (TABLE, TABLE.to_pandas(), pl.from_arrow(TABLE)):
        with pytest.raises(ValueError, match=message):
            pw.predict(model, rows, **options)


def test_a_column_that_one_file_lacks(files: Path, tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    pq.write_table(TABLE.rename_columns(["doc_id", *NAMES[:3], "x_4"]), tmp_path / "b.parquet")
    with pytest.raises(
        ValueError, match=r"b.parquet: no column 'x_3', as LogisticRegression expects; did you mean 'x_4'"
    ):
        pw.predict(OF_FRAMES, tmp_path)
    pool = pw.predict(OF_FRAMES, tmp_path, on_file_error="skip")
    assert list(pool.failed) == [str(tmp_path / "b.parquet")]
    same(pool, EXPECTED)


def test_files_that_are_damaged_are_left_out(files: Path, tmp_path: Path) -> None:
    kind = pa.list_(pa.float32())
    pq.write_table(pa.table({"e": pa.array(list(X), kind)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"e": pa.array([*X[:900], None], kind)}), tmp_path / "b.parquet")
    pool = pw.predict(MODEL, tmp_path, batch_size=500)
    with pytest.raises(ValueError, match=r"^rows, from .*b.parquet, row 500 on: column 'e': row 400 is null"):
        pw.select(pool, 5)
    selection = pw.select(pw.predict(MODEL, tmp_path, batch_size=500, on_file_error="skip"), 5)
    assert list(selection.report.failed) == [str(tmp_path / "b.parquet")]
    np.testing.assert_array_equal(selection.indices, pw.select(EXPECTED, 5).indices)


@pytest.mark.parametrize(
    ("rows", "options", "kind", "message"),
    [
        (X, {"id": "doc"}, TypeError, "id='doc' names columns, but a ndarray has none"),
        (iter([X]), {"columns": "x_*"}, TypeError, r"columns='x_\*' names columns, but a list_iterator has none"),
        (
            iter([X]),
            {"batch_size": 5},
            TypeError,
            "batch_size: expected None with a list_iterator, whose items are the",
        ),
        (X, {"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        (X, {"on_file_error": "ignore"}, ValueError, "on_file_error: expected 'raise' or 'skip', got 'ignore'"),
        (3, {}, TypeError, "rows: expected an array, a path, a table or an iterable of batches, got int"),
        ("no.parquet", {}, FileNotFoundError, "there is no file 'no.parquet'"),
        ([(X, IDS[:5])], {}, ValueError, r"predictions: expected 5 rows, one for each id, got 3000"),
    ],
)
def test_rows_that_make_no_sense(rows: object, options: dict, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        pw.select(pw.predict(MODEL, rows, **options), 3)


def test_no_rows() -> None:
    for rows in (X[:0], TABLE[:0].drop("doc_id"), [X[:0]], FRAME[:0]):
        with pytest.raises(ValueError, match=r"at least one row|k: expected at most 0"):
            pw.select(pw.predict(MODEL, rows), 3)
