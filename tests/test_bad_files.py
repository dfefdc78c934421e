"""Files that are damaged, incomplete or not what was asked for: one clear error that names the file, and no more."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

import pickwise as pw
from pickwise.pools import open_pool

pa = pytest.importorskip("pyarrow")
pc = pytest.importorskip("pyarrow.compute")
ds = pytest.importorskip("pyarrow.dataset")
pq = pytest.importorskip("pyarrow.parquet")

CLASSES = 4


def probabilities(rows: int, dtype: str = "f4") -> np.ndarray:
    p = np.random.default_rng(0).random((rows, CLASSES)) + 0.01
    return (p / p.sum(1, keepdims=True)).astype(dtype)


def table(p: np.ndarray, **more: object) -> object:
    return pa.table({**{f"p_{i}": p[:, i].copy() for i in range(p.shape[1])}, **more})


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "pool.parquet"
    pq.write_table(table(probabilities(50_000), doc_id=np.arange(50_000)), path, row_group_size=10_000)
    return path


@pytest.mark.parametrize("keep", [0, 3, 100, 0.3, 0.9, 0.9999])
def test_truncated_parquet(parquet: Path, keep: float) -> None:
    data = parquet.read_bytes()
    parquet.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(ValueError, match=r"pool\.parquet: not a readable Parquet file: "):
        pw.select(parquet, 10)


@pytest.mark.parametrize("seed", range(20))
def test_corrupt_parquet_never_crashes(parquet: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(parquet.read_bytes())
    start = int(rng.integers(4, len(data) - 1000))
    data[start : start + 1000] = rng.bytes(1000)
    parquet.write_bytes(data)
    try:
        pw.select(parquet, 10, "random", random_state=0, probabilities="p_*", id="doc_id")
    except ValueError as error:
        message = str(error)
    else:
        return  # what was hit holds nothing that is checked
    assert str(parquet) in message


def test_corrupt_page_names_the_file(parquet: Path) -> None:
    data = bytearray(parquet.read_bytes())
    column = pq.ParquetFile(parquet).metadata.row_group(2).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 64] = b"\xff" * 64
    parquet.write_bytes(data)
    with pytest.raises(ValueError, match=r"pool\.parquet: not a readable Parquet file: "):
        pw.select(parquet, 10, probabilities="p_*")


def test_not_parquet_at_all(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_text("id,p_0\n1,0.5\n")
    with pytest.raises(ValueError, match=r"p\.parquet: not a readable Parquet file: Parquet magic bytes not found"):
        pw.select(tmp_path / "p.parquet", 1)


def test_missing_columns(parquet: Path) -> None:
    with pytest.raises(ValueError, match=r"pool\.parquet: no column matches id='docid'; did you mean 'doc_id'\?"):
        pw.select(parquet, 1, id="docid")
    with pytest.raises(ValueError, match=r"no column matches probabilities='q_\*'; "):
        pw.select(parquet, 1, probabilities="q_*")
    with pytest.raises(ValueError, match=r"no column matches probabilities='zzz'; the columns are 'p_0', 'p_1'"):
        pw.select(parquet, 1, probabilities=["p_0", "zzz"])


def test_columns_of_other_types(tmp_path: Path) -> None:
    p = probabilities(10)
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"n": np.arange(10), "s": list("abcdefghij"), "x": np.ones(10)}), path)
    with pytest.raises(ValueError, match="the column 'n' must hold floats, not int64"):
        pw.select(path, 1, probabilities=["n", "x"])
    with pytest.raises(ValueError, match="the id column 'x' must hold integers or strings, not double"):
        pw.select(path, 1, id="x")
    pq.write_table(pa.table({"n": np.arange(10), "s": list("abcdefghij")}), path)
    with pytest.raises(ValueError, match=r"no column holds floats.*its columns are n \(int64\), s \(string\)"):
        pw.select(path, 1)
    pq.write_table(pa.table({"a": list(p), "b": list(p)}), path)
    with pytest.raises(ValueError, match="several columns of lists"):
        pw.select(path, 1)
    with pytest.raises(ValueError, match="which must be the only column"):
        pw.select(path, 1, probabilities=["a", "b"])
    pq.write_table(pa.table([pa.array(p[:, 0]), pa.array(p[:, 1]), pa.array(p[:, 1])], names=["a", "b", "b"]), path)
    with pytest.raises(ValueError, match="more than one column named 'b'"):
        pw.select(path, 1)


def test_null_names_file_column_and_row(tmp_path: Path) -> None:
    p = probabilities(200_000).astype(object)
    p[150_001, 2] = None
    columns = {f"p_{i}": pa.array(list(p[:, i]), pa.float32()) for i in range(CLASSES)}
    pq.write_table(pa.table(columns), tmp_path / "p.parquet", row_group_size=70_000)
    with pytest.raises(ValueError, match=r"p\.parquet: column 'p_2': row 150001 is null"):
        pw.select(tmp_path / "p.parquet", 10)


def test_null_in_lists_and_ids(tmp_path: Path) -> None:
    rows: list = [list(row) for row in probabilities(10)]
    path = tmp_path / "p.parquet"
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), CLASSES)):
        pq.write_table(pa.table({"p": pa.array([*rows[:6], None, *rows[7:]], kind)}), path)
        # Some versions of pyarrow, such as 25, cannot read a null among lists of one size at all.
        with pytest.raises(ValueError, match=r"p\.parquet: (column 'p': row 6 is null|not a readable .* lists to be)"):
            pw.select(path, 1)
        pq.write_table(pa.table({"p": pa.array([*rows[:6], [0.5, None, 0.2, 0.3], *rows[7:]], kind)}), path)
        with pytest.raises(ValueError, match=r"p\.parquet: column 'p': row 6 holds a null"):
            pw.select(path, 1)
    for ids in (pa.array([*range(9), None]), pa.array([*"abcdefghi", None])):
        pq.write_table(table(probabilities(10), id=ids), path)
        with pytest.raises(ValueError, match=r"p\.parquet: column 'id': row 9 is null"):
            pw.select(path, 1, id="id")


def test_lists_of_different_lengths(tmp_path: Path) -> None:
    rows = [list(row) for row in probabilities(10)]
    rows[3] = [0.5, 0.5]
    pq.write_table(pa.table({"p": rows}), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=r"p\.parquet: column 'p': row 3 holds 2 values, expected 4"):
        pw.select(tmp_path / "p.parquet", 1)


def test_ids_beyond_64_bits(tmp_path: Path) -> None:
    pq.write_table(table(probabilities(10), id=np.arange(10).astype("u8") + np.uint64(2**63)), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=r"column 'id': row 9 holds 9223372036854775817, too large for an id"):
        pw.select(tmp_path / "p.parquet", 1, id="id")


def test_files_that_are_no_one_pool(tmp_path: Path) -> None:
    p = probabilities(10)
    pq.write_table(table(p, id=np.arange(10)), tmp_path / "a.parquet")
    pq.write_table(table(p[:, :3], id=np.arange(10)), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet: its probabilities are \['p_0', .*a\.parquet"):
        pw.select(tmp_path, 1, probabilities="p_*")
    pq.write_table(table(p, id=list("abcdefghij")), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet: its ids are strings, but integers in .*a\.parquet"):
        pw.select(tmp_path, 1, probabilities="p_*", id="id")
    np.save(tmp_path / "c.npy", p)
    with pytest.raises(ValueError, match=r"pool mixes \.npy and \.parquet files"):
        pw.select(tmp_path, 1)
    np.save(tmp_path / "d.npy", p[:, :2])
    with pytest.raises(ValueError, match=r"d\.npy: has 2 columns, but .*c\.npy has 4 columns"):
        pw.select([tmp_path / "c.npy", tmp_path / "d.npy"], 1)


@pytest.mark.parametrize("name", ["missing.npy", "missing.parquet", "*.parquet", "nowhere/**/*.npy", "folder"])
def test_paths_that_match_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        pw.select(str(tmp_path / name), 1)
    assert name in str(caught.value)


def test_files_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("0.5,0.5\n")
    with pytest.raises(ValueError, match=r"expected a \.npy or \.parquet file, got .*p\.csv"):
        pw.select(tmp_path / "p.csv", 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 2), int), "expected float16, float32 or float64, got int64"),
        (np.ones((3, 2), complex), "got complex128"),
        (np.array([[None, 1]]), "got object"),
        (np.ones((2, 2, 2)), r"expected \(rows, classes\) or 1-D P\(y=1\), got the shape \(2, 2, 2\)"),
        (np.array(0.5), r"got the shape \(\)"),
        (np.ones((3, 1)), "has 1 classes; selection needs two or more"),
        (np.ones((3, 0)), "has 0 classes"),
        (np.zeros((3, 2), "V2"), "raw 2-byte values"),
        (np.zeros(3, [("a", "f4")]), "expected float16, float32 or float64"),
    ],
)
def test_npy_of_other_things(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "p.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"p\.npy: .*{message}"):
        pw.select(tmp_path / "p.npy", 1)


def test_bfloat16_npy(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    np.save(tmp_path / "p.npy", np.full((4, 2), 0.5, ml_dtypes.bfloat16))
    with pytest.raises(ValueError, match="bfloat16"):
        pw.select(tmp_path / "p.npy", 1)


@pytest.mark.parametrize("keep", [0, 5, 40, 0.5, 0.999])
def test_truncated_npy(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "p.npy"
    np.save(path, probabilities(1000))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(ValueError, match=r"p\.npy: "):
        pw.select(path, 1)


def test_npy_cut_short_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "p.npy"
    np.save(path, probabilities(1000))
    pool = open_pool(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"p\.npy: ends too early"):
        list(pool.chunks())


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_empty_pools(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    np.save(path, probabilities(0)) if suffix == ".npy" else pq.write_table(table(probabilities(0)), path)
    with pytest.raises(ValueError, match="pool: expected at least one row, got none"):
        pw.select(path, 1)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_bad_rows_deep_in_a_file(tmp_path: Path, suffix: str) -> None:
    p = probabilities(300_000)
    p[250_000:250_003] = np.nan
    for name, part in (("a", p[:200_000]), ("b", p[200_000:])):
        path = tmp_path / f"{name}{suffix}"
        np.save(path, part) if suffix == ".npy" else pq.write_table(table(part), path)
    with pytest.raises(ValueError, match=rf"b\{suffix}, row 50000 holds nan in column 0.*3 of "):
        pw.select(tmp_path, 10)
    selection = pw.select(tmp_path, 10, invalid="skip")
    assert selection.skipped == 3


def test_lists_of_other_lengths_in_another_file(tmp_path: Path) -> None:
    p = probabilities(10)
    for name, part in (("a", p), ("b", p[:, :3])):
        pq.write_table(pa.table({"p": list(part)}), tmp_path / f"{name}.parquet")
    for strategy in ("margin", "k_center"):
        with pytest.raises(ValueError, match=r"b\.parquet: its lists hold 3 classes, but 4 in .*a\.parquet"):
            pw.select(tmp_path, 1, strategy)
    pq.write_table(table(p), tmp_path / "b.parquet")
    with pytest.raises(
        ValueError, match=r"b\.parquet: its probabilities are \['p_0', .*\], but \['p'\] in .*a\.parquet"
    ):
        pw.select(tmp_path, 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[[0.5, 0.5], [0.1, 0.9]], [[0.5, 0.5]]], "row 1 holds 1 members, expected 2 as the rows before"),
        ([[[0.5, 0.5]], [[0.2, 0.3, 0.5]]], "row 1 holds 3 values, expected 2 as in the rows before"),
        ([[[0.5, 0.5], [0.1, 0.9]], [[0.5, 0.5], None]], "row 1 is null"),
        ([[[0.5, 0.5]], None], "row 1 is null"),
        ([[], []], "row 0 holds no members"),
    ],
)
def test_nested_lists_that_are_no_committee(tmp_path: Path, rows: list, message: str) -> None:
    kind = pa.list_(pa.list_(pa.float32()))
    pq.write_table(pa.table({"m": pa.array(rows, kind)}), tmp_path / "m.parquet")
    with pytest.raises(ValueError, match=rf"m\.parquet: column 'm': {message}"):
        pw.select(tmp_path / "m.parquet", 1, "bald")


def test_columns_of_another_type_in_another_file(tmp_path: Path) -> None:
    p = probabilities(10)
    pq.write_table(table(p), tmp_path / "a.parquet")
    pq.write_table(table(p.astype(str)), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet: the column 'p_0' must hold floats, not string"):
        pw.select(tmp_path, 1, probabilities="p_*")
    chosen = pw.select(tmp_path, 3, probabilities="p_*", on_file_error="skip")
    assert chosen.ids.tolist() == [f"{tmp_path / 'a.parquet'}#{row}" for row in pw.select(p, 3).indices]


def test_what_files_are_compared_with_is_the_first_good_one(tmp_path: Path) -> None:
    p = probabilities(10)
    (tmp_path / "a.parquet").write_bytes(b"")
    for name, part in (("b", p), ("c", p[:, :3]), ("d", p)):
        pq.write_table(table(part), tmp_path / f"{name}.parquet")
    report = pw.select(tmp_path, 5, probabilities="p_*", on_file_error="skip").report
    assert report is not None
    assert [name[-9:] for name in report.failed] == ["a.parquet", "c.parquet"]


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_files_that_may_not_be_read(suffix: str) -> None:
    if not hasattr(os, "geteuid"):
        pytest.skip("needs users")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"p{suffix}"
        np.save(path, probabilities(9)) if suffix == ".npy" else pq.write_table(table(probabilities(9)), path)
        path.chmod(0)
        Path(folder).chmod(0o755)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may read all
        try:
            with pytest.raises(PermissionError, match=rf"Permission denied: '.*p\{suffix}'"):
                pw.select(path, 1)
        finally:
            os.seteuid(user)


def test_a_file_that_is_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "p.npy", probabilities(9))
    monkeypatch.chdir(tmp_path)
    for pool in (
        [tmp_path, tmp_path / "p.npy"],
        ["p.npy", "./p.npy"],
        ["p.npy", tmp_path / "p.npy"],
        ["p.npy", "*.npy"],
    ):
        with pytest.raises(ValueError, match=r"p\.npy is named twice, so its rows would be in it twice"):
            pw.select(pool, 1)


def test_filters_that_cannot_be_applied(parquet: Path, tmp_path: Path) -> None:
    p = probabilities(10)
    np.save(tmp_path / "p.npy", p)
    asked = {"probabilities": "p_*", "filters": [("lang", "==", "en")]}
    columns = r"filters: No match for FieldRef\.Name\(lang\); the columns are 'p_0', 'p_1'"
    with pytest.raises(ValueError, match=rf"pool\.parquet: {columns}"):
        pw.select(parquet, 1, **asked)
    with pytest.raises(ValueError, match=rf"none of the 1 files can be read; .*pool\.parquet: {columns}"):
        pw.select(parquet, 1, on_file_error="skip", **asked)
    for pool in (table(p), table(p).to_reader(), ds.dataset(table(p))):
        with pytest.raises(ValueError, match=rf"^pool: {columns}"):
            pw.select(pool, 1, **asked)
    for pool in (tmp_path / "p.npy", iter([p]), p, open_pool(table(p))):
        for strategy in ("margin", "typiclust", "k_center"):
            with pytest.raises(TypeError, match=r"^filters"):
                pw.select(pool, 1, strategy, filters=[("lang", "==", "en")])
    for filters, message in (
        ([("doc_id", "==", "en")], "filters: Function 'equal' has no kernel"),
        (pc.field("doc_id"), "filters: Filter expression must evaluate to bool"),
        (pc.field(4) == 1, "filters: columns must be named, not counted"),
        ([("doc_id", "<", 0)], "^filters: expected at least one row that passes, got none of the 50000 rows"),
        (
            [("doc_id", "=")],
            r"^filters: expected a pyarrow expression or conditions such as .*, got \[\('doc_id', '='\)\]",
        ),
        (
            [("doc_id", "~", 1)],
            r"^filters: expected a pyarrow expression or conditions such as .*, got \[\('doc_id', '~'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            pw.select(parquet, 1, probabilities="p_*", filters=filters)
    with pytest.raises(TypeError, match=r"^filters: expected a pyarrow expression or conditions such as .*, got str"):
        pw.select(parquet, 1, probabilities="p_*", filters="doc_id == 1")
