"""Every kind of input that is accepted gives the scores of the plain NumPy array, most of them without a copy."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import pickwise as pw
from pickwise import _native, arrays

PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(5), 300)
POSITIVE = PROBABILITIES[:, 0].copy()
EXPECTED = pw.entropy(PROBABILITIES)


def read(x, **options):
    """The numbers that `as_rows` gives, and the blocks they came in."""
    rows = arrays.as_rows(x, "x", **options)
    blocks = [block.copy() for block in rows.blocks()]
    assert sum(map(len, blocks)) == rows.shape[0]
    return np.concatenate(blocks)


def is_borrowed(x, owner):
    rows = arrays.as_rows(x, "x")
    return all(np.shares_memory(block, owner) for block in rows.blocks())


LAYOUTS: dict[str, Any] = {
    "c": lambda p: p.copy(),
    "fortran": np.asfortranarray,
    "row_strided": lambda p: np.repeat(p, 3, axis=0)[::3],
    "column_sliced": lambda p: np.hstack([p, p])[:, : p.shape[1]],
    "reversed": lambda p: p[::-1].copy()[::-1],
    "columns_reversed": lambda p: p[:, ::-1].copy()[:, ::-1],
    "unaligned": lambda p: np.frombuffer(b"\0" + p.tobytes(), np.uint8)[1:].view(p.dtype).reshape(p.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_layouts_are_borrowed(layout, dtype):
    plain = PROBABILITIES.astype(dtype)
    x = LAYOUTS[layout](plain)
    assert is_borrowed(x, x)
    np.testing.assert_array_equal(pw.entropy(x), pw.entropy(plain))


def test_read_only_and_memmap(tmp_path):
    x = PROBABILITIES.copy()
    x.flags.writeable = False
    np.testing.assert_array_equal(pw.entropy(x), EXPECTED)
    np.save(tmp_path / "pool.npy", x)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    assert is_borrowed(mapped, mapped)
    np.testing.assert_array_equal(pw.entropy(mapped), EXPECTED)


def test_one_dimension_is_the_probability_of_the_second_class():
    p = PROBABILITIES[:, 0]
    assert is_borrowed(p, PROBABILITIES)
    np.testing.assert_allclose(pw.entropy(p), pw.entropy(np.stack([1 - p, p], axis=1)), atol=1e-14)


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = PROBABILITIES.astype(ml_dtypes.bfloat16)
    assert is_borrowed(x, x)
    scores = pw.margin(x)
    assert scores.dtype == np.float32
    second, first = np.sort(x.astype(np.float64), axis=1)[:, -2:].T
    np.testing.assert_allclose(scores, 1 - (first - second), rtol=1e-6)


def test_foreign_byte_order_is_converted_in_blocks(monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1000)
    x = PROBABILITIES.astype(">f8")
    assert not arrays.as_rows(x, "x").whole
    np.testing.assert_array_equal(pw.entropy(x), EXPECTED)
    assert pw.select(x, 7) == pw.select(PROBABILITIES, 7)


def test_lists():
    np.testing.assert_array_equal(pw.entropy(PROBABILITIES.tolist()), EXPECTED)
    np.testing.assert_array_equal(pw.entropy([tuple(row) for row in PROBABILITIES]), EXPECTED)
    np.testing.assert_array_equal(pw.entropy([[1, 0], [0, 1]]), [0, 0])


def test_array_protocol():
    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return PROBABILITIES

    assert is_borrowed(Wrapped(), PROBABILITIES)
    assert pw.select(Wrapped(), 3) == pw.select(PROBABILITIES, 3)


def test_array_subclasses_and_masked_arrays():
    np.testing.assert_array_equal(pw.entropy(np.ma.array(PROBABILITIES)), EXPECTED)
    masked = np.ma.array(PROBABILITIES, mask=False)
    masked[3] = np.ma.masked
    with pytest.raises(ValueError, match="probabilities: expected no masked values, got 5"):
        pw.entropy(masked)


class Tensor:
    """What a library without anything but DLPack offers."""

    def __init__(self, array, device=(1, 0)):
        self.array = array
        self.device = device
        self.dtype = array.dtype

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


def test_dlpack():
    assert is_borrowed(Tensor(PROBABILITIES), PROBABILITIES)
    np.testing.assert_array_equal(pw.entropy(Tensor(PROBABILITIES)), EXPECTED)


def test_dlpack_on_a_gpu():
    with pytest.raises(TypeError, match=r"pool: expected an array in CPU memory, got .*Tensor.*\.cpu\(\)"):
        pw.select(Tensor(PROBABILITIES, (2, 0)), 3)


def test_jax():
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(PROBABILITIES, dtype="float32")
    np.testing.assert_array_equal(pw.entropy(x), pw.entropy(np.asarray(x)))
    assert np.shares_memory(next(arrays.as_rows(x, "x").blocks()), np.asarray(x))
    half = x.astype("bfloat16")
    np.testing.assert_array_equal(pw.entropy(half), pw.entropy(np.asarray(half)))


def test_torch():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(PROBABILITIES)
    assert is_borrowed(x, PROBABILITIES)
    assert is_borrowed(x.clone().requires_grad_().detach()[::2, :3], np.empty(0)) is False
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        tensor = x.to(dtype).requires_grad_()
        p = tensor.detach().to(torch.float64).numpy()
        np.testing.assert_allclose(pw.entropy(tensor), -(p * np.log(p)).sum(1), rtol=1e-5)
    assert is_borrowed(x.t().contiguous().t(), np.empty(0)) is False
    np.testing.assert_array_equal(pw.entropy(x.t().contiguous().t()), EXPECTED)


def test_torch_bfloat16_is_borrowed():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(PROBABILITIES).to(torch.bfloat16)
    assert is_borrowed(x, x.view(torch.int16).numpy())


def test_pyarrow_lists():
    pa = pytest.importorskip("pyarrow")
    flat = pa.array(PROBABILITIES.ravel())
    fixed = pa.FixedSizeListArray.from_arrays(flat, 5)
    chunked = pa.chunked_array([fixed[:100], fixed[100:101], fixed[:0], fixed[101:]])
    assert is_borrowed(fixed, flat.to_numpy())
    assert is_borrowed(chunked, flat.to_numpy())
    assert is_borrowed(fixed[10:20], flat.to_numpy())
    np.testing.assert_array_equal(read(fixed[10:20]), PROBABILITIES[10:20])
    np.testing.assert_array_equal(pw.entropy(chunked), EXPECTED)
    lists = pa.array(PROBABILITIES.tolist())
    assert pa.types.is_list(lists.type)
    for x in (lists, lists.cast(pa.large_list(pa.float64()))):
        np.testing.assert_array_equal(pw.entropy(x), EXPECTED)
        np.testing.assert_array_equal(read(x[7:11]), PROBABILITIES[7:11])
    tensors = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float64(), [5]), fixed)
    np.testing.assert_array_equal(pw.entropy(tensors), EXPECTED)


def test_anything_with_an_arrow_stream_or_array():
    pa = pytest.importorskip("pyarrow")

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"a": POSITIVE, "b": 1 - POSITIVE}).__arrow_c_stream__(requested_schema)

    class Array:
        def __arrow_c_array__(self, requested_schema=None):
            return pa.array(POSITIVE).__arrow_c_array__(requested_schema)

    for x in (Stream(), Array()):
        np.testing.assert_allclose(pw.margin(x), pw.margin(POSITIVE), atol=1e-15)
        np.testing.assert_array_equal(pw.select(x, 5).ids, pw.select(POSITIVE, 5).ids)


def test_pyarrow_floats_are_the_probability_of_the_second_class():
    pa = pytest.importorskip("pyarrow")
    x = pa.chunked_array([PROBABILITIES[:100, 0], PROBABILITIES[100:, 0]])
    np.testing.assert_array_equal(pw.margin(x), pw.margin(PROBABILITIES[:, 0]))
    assert pw.select(x, 4) == pw.select(PROBABILITIES[:, 0], 4)


@pytest.mark.parametrize(
    "kind", ["table", "chunked_table", "batch", "polars", "pandas", "pandas_arrow", "pandas_apart"]
)
def test_frames_of_float_columns(kind, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 40 * 64)
    pa = pytest.importorskip("pyarrow")
    columns = {f"p{i}": PROBABILITIES[:, i] for i in range(5)}
    table = pa.table(columns)
    if kind == "table":
        frame = table
    elif kind == "chunked_table":
        frame = pa.concat_tables([table[:77], table[77:]])
    elif kind == "batch":
        frame = table.to_batches()[0]
    elif kind == "polars":
        frame = pytest.importorskip("polars").DataFrame(columns)
    else:
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(columns)
        if kind == "pandas_arrow":
            frame = frame.convert_dtypes(dtype_backend="pyarrow")
        elif kind == "pandas_apart":
            frame = pd.DataFrame({"p0": columns["p0"]})
            for name in list(columns)[1:]:
                frame[name] = columns[name]
    np.testing.assert_array_equal(read(frame), PROBABILITIES)
    assert max(map(len, arrays.as_rows(frame, "x").blocks())) <= 64 or kind == "pandas"
    np.testing.assert_array_equal(pw.entropy(frame), EXPECTED)
    assert pw.select(frame, 9) == pw.select(PROBABILITIES, 9)


@pytest.mark.parametrize("rows", [0, 1, 300])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_columns_that_lie_apart_are_scored_where_they_are(rows, dtype):
    plain = PROBABILITIES[:rows].astype(dtype)
    columns = [column.copy() for column in plain.T]
    apart = arrays.as_rows(arrays.ColumnMatrix(columns, plain.dtype), "x", allow_empty=True)
    ((count, given),) = apart.to_score()
    assert count == rows
    assert all(one is two for one, two in zip(given, columns, strict=True))
    out, expected = np.empty((2, rows), np.float64)
    score = _native.Score("entropy")
    assert _native.score(given, score, out) is None
    assert _native.score(plain, score, expected) is None
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("kind", ["foreign", "strided", "mixed", "many"])
def test_other_columns_are_copied_in_blocks(kind, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 5000)
    columns = [column.copy() for column in PROBABILITIES.T]
    if kind == "foreign":
        columns[1] = columns[1].astype(">f8")
    elif kind == "strided":
        columns[1] = PROBABILITIES[:, 1]
    elif kind == "mixed":
        columns[1] = columns[1].astype(np.float32)
    else:
        columns += [np.zeros(300)] * arrays.MOST_APART
    matrix = arrays.ColumnMatrix(columns, np.dtype(np.float64))
    assert not matrix.is_ready
    blocks = [block for _, block in arrays.as_rows(matrix, "x").to_score()]
    assert len(blocks) > 1
    assert all(isinstance(block, np.ndarray) for block in blocks)
    np.testing.assert_array_equal(pw.entropy(matrix), pw.entropy(np.stack(columns, 1)))
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(matrix, copy=False)


def test_some_rows_of_columns_that_lie_apart():
    matrix = arrays.ColumnMatrix([column.copy() for column in PROBABILITIES.T], PROBABILITIES.dtype)
    places = np.array([0, 7, 8, 299])
    np.testing.assert_array_equal(arrays.as_rows(matrix, "x").some(places), PROBABILITIES[places])
    np.testing.assert_array_equal(matrix[5:9], PROBABILITIES[5:9])


def test_columns_that_do_not_fit_each_other_are_refused():
    a, score, out = np.full(9, 0.5), _native.Score("entropy"), np.empty(9)
    topk = _native.TopK(score, 1, tie_seed=None, seed=0, ids="position", exclude_ids=None)
    for columns, error, message in [
        ((), ValueError, "at least one column, got none"),
        ((a, a[:8]), ValueError, "expected 9 rows of float64 as in column 0, got 8 of float64 in column 1"),
        ((a, a.astype("f4")), ValueError, "got 9 of float32 in column 1"),
        ((a, np.zeros((9, 2))[:, 0]), ValueError, "contiguous 1-D columns, got 1 dimensions in column 1"),
        ((a, a.reshape(9, 1)), ValueError, "contiguous 1-D columns, got 2 dimensions in column 1"),
        ((np.array(0.5), np.array(0.5)), ValueError, "contiguous 1-D columns, got 0 dimensions in column 0"),
        ((a.astype("i8"), a), TypeError, "expected float16"),
        ((a, a.astype(">f8")), TypeError, "native byte order, got >f8"),
        ((a, list(a)), TypeError, "list"),
    ]:
        with pytest.raises(error, match=message):
            _native.score(columns, score, out)
        with pytest.raises(error, match=message):
            topk.update(columns, 9)
    assert _native.score([a, a], score, out) is None
    with pytest.raises(ValueError, match="differ in length"):
        topk.update([a, a], 8)
    with pytest.raises(TypeError):
        _native.vote([a, a], np.empty(9, np.uint32), False)


def test_frame_of_mixed_floats_is_read_in_the_wider():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": np.array([0.25, 0.5], np.float32), "b": np.array([0.75, 0.5])})
    rows = arrays.as_rows(frame, "x")
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(pw.margin(frame), [0.5, 1])


def test_pandas_of_one_block_is_borrowed():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PROBABILITIES)
    assert is_borrowed(frame, frame.to_numpy())
    series = frame[0]
    assert is_borrowed(series, series.to_numpy())


def test_frame_is_never_copied_whole():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": np.full(1_000_000, 0.25)})
    for name in "bcd":
        frame[name] = 0.25
    pw.select(frame, 1)
    tracemalloc.start()
    try:
        pw.select(frame, 1)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20 < frame.memory_usage().sum() / 3
    finally:
        tracemalloc.stop()


def test_pandas_nullable_columns():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PROBABILITIES).convert_dtypes()
    np.testing.assert_array_equal(pw.entropy(frame), EXPECTED)
    frame.iloc[4, 2] = pd.NA
    with pytest.raises(ValueError, match="column 2: row 4 is null"):
        pw.entropy(frame)


def test_polars_columns():
    pl = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    array = pl.Series("p", PROBABILITIES, dtype=pl.Array(pl.Float64, 5))
    assert is_borrowed(array, array.to_numpy())
    chunked = pl.concat([pl.Series("p", PROBABILITIES[:9]), pl.Series("p", PROBABILITIES[9:])], rechunk=False)
    assert chunked.n_chunks() == 2
    lists = pl.Series("p", PROBABILITIES.tolist(), dtype=pl.List(pl.Float64))
    for x in (array, chunked, lists, array.to_frame(), lists.to_frame()):
        np.testing.assert_array_equal(pw.entropy(x), EXPECTED)
    np.testing.assert_array_equal(pw.margin(pl.Series(PROBABILITIES[:, 1])), pw.margin(PROBABILITIES[:, 1]))
    half = pl.Series("p", PROBABILITIES.astype(np.float32), dtype=pl.Array(pl.Float32, 5))
    assert pw.entropy(half).dtype == np.float32


def test_arrow_nulls_and_ragged_lists():
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="probabilities: row 1 holds 3 values, expected 2"):
        pw.entropy(pa.array([[0.5, 0.5], [0.1, 0.2, 0.7]]))
    with pytest.raises(ValueError, match="probabilities: row 2 holds 3 values, expected 2"):
        pw.entropy(pa.chunked_array([[[0.5, 0.5], [0.5, 0.5]], [[0.1, 0.2, 0.7]]]))
    with pytest.raises(ValueError, match="probabilities: row 1 is null"):
        pw.entropy(pa.array([[0.5, 0.5], None]))
    with pytest.raises(ValueError, match="probabilities: row 1 holds a null"):
        pw.entropy(pa.array([[0.5, 0.5], [0.5, None]]))
    with pytest.raises(ValueError, match="column 'b': row 1 is null"):
        pw.entropy(pa.table({"a": [0.5, 0.5], "b": [0.5, None]}))
    with pytest.raises(TypeError, match="column 'b': expected float16"):
        pw.entropy(pa.table({"a": [0.5, 0.5], "b": [1, 2]}))
    with pytest.raises(TypeError, match="column 'b': expected floats, got Arrow type string"):
        pw.entropy(pa.table({"a": [0.5, 0.5], "b": ["x", "y"]}))


def test_dtype_of_the_scores():
    for dtype, expected in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        assert pw.ratio(PROBABILITIES.astype(dtype)).dtype == expected
        assert pw.ratio(PROBABILITIES.astype(dtype), dtype=np.float64).dtype == np.float64
    assert pw.ratio(PROBABILITIES, dtype="float32").dtype == np.float32
    with pytest.raises(ValueError, match="dtype: expected float32 or float64, got float16"):
        pw.ratio(PROBABILITIES, dtype=np.float16)


def test_one_label_of_a_multilabel_pool():
    column = PROBABILITIES[:, :1]
    np.testing.assert_array_equal(pw.margin(column, task="multilabel"), pw.margin(PROBABILITIES[:, 0]))
    with pytest.raises(ValueError, match="task='multilabel' needs the shape"):
        pw.margin(PROBABILITIES[:, 0], task="multilabel")
