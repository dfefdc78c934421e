"""Files that cannot be read are an error that names them, or are left out as if they were not there, and reported."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pickwise as pw

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS, K = 60, 25
RNG = np.random.default_rng(0)


def probabilities(rows: int = ROWS, classes: int = 3) -> np.ndarray:
    return RNG.dirichlet(np.ones(classes), rows).astype("f4")


def as_table(p: np.ndarray, **more: object) -> object:
    vectors = RNG.normal(size=(len(p), 4)).astype("f4")
    embeddings = pa.FixedSizeListArray.from_arrays(vectors.ravel(), 4)
    return pa.table(
        {**{f"p_{i}": p[:, i].copy() for i in range(p.shape[1])}, "emb": embeddings, "lists": list(p)} | more
    )


def write(path: Path, table: object) -> None:
    pq.write_table(table, path, row_group_size=20)


def break_page(path: Path, column: int, group: int = 2) -> None:
    data = bytearray(path.read_bytes())
    about = pq.ParquetFile(path).metadata.row_group(group).column(column)
    start = about.dictionary_page_offset or about.data_page_offset
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)


def lists_with(row: int, value: object) -> list[object]:
    lists: list[object] = list(probabilities())
    lists[row] = value
    return lists


# How to make a bad file, which columns that matters to, and what is said of it.
BAD = {
    "footer": (
        lambda p: p.write_bytes(p.read_bytes()[:-8]),
        "both",
        "not a readable Parquet file: Parquet magic bytes",
    ),
    "empty": (lambda p: p.write_bytes(b""), "both", "not a readable Parquet file: Parquet file size is 0 bytes"),
    "page": (lambda p: break_page(p, 1), "p_*", "not a readable Parquet file: "),
    "page of lists": (lambda p: break_page(p, 4), "lists", "not a readable Parquet file: "),
    "columns": (
        lambda p: write(p, as_table(probabilities(classes=2))),
        "p_*",
        r"its probabilities are \['p_0', 'p_1'\]",
    ),
    "no columns": (lambda p: write(p, pa.table({"q": [0.5]})), "both", "no column matches probabilities="),
    "type": (
        lambda p: write(p, as_table(probabilities(), p_1=["a"] * ROWS)),
        "p_*",
        "'p_1' must hold floats, not string",
    ),
    "classes": (
        lambda p: write(p, as_table(probabilities(), lists=list(probabilities(classes=5)))),
        "lists",
        "its lists hold 5 classes, but 3 in ",
    ),
    "ragged": (
        lambda p: write(p, as_table(probabilities(), lists=lists_with(50, [0.5, 0.5]))),
        "lists",
        "column 'lists': row 50 holds 2 values, expected 3",
    ),
    "null": (lambda p: write(p, as_table(probabilities(), lists=lists_with(50, None))), "lists", "row 50 is null"),
    "null inside": (
        lambda p: write(p, as_table(probabilities(), lists=lists_with(50, [0.5, None, 0.5]))),
        "lists",
        "row 50 holds a null",
    ),
    "null number": (
        lambda p: write(p, as_table(probabilities(), p_1=pa.array([*[0.1] * 50, None, *[0.1] * 9], pa.float32()))),
        "p_*",
        "column 'p_1': row 50 is null",
    ),
    "gone": (lambda p: (p.unlink(), p.symlink_to("nowhere")), "both", "No such file"),
}
CASES = [
    (bad, columns) for bad, (_, which, _) in BAD.items() for columns in ("p_*", "lists") if which in (columns, "both")
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    for number in range(7):
        write(folder / f"{number}.parquet", as_table(probabilities()))
    return folder


@pytest.fixture
def pool(good, tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    for file in good.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def without(pool: Path, *names: str) -> list[Path]:
    return [file for file in sorted(pool.iterdir()) if file.name not in names]


def assert_same(found: pw.Selection, expected: pw.Selection) -> None:
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.skipped == expected.skipped


@pytest.mark.parametrize(("bad", "columns"), CASES)
@pytest.mark.parametrize("at", [0, 3, 6])
def test_a_bad_file(pool, bad, columns, at):
    path = pool / f"{at}.parquet"
    make, _, message = BAD[bad]
    make(path)
    options = {"k": K, "strategy": "entropy", "probabilities": columns}
    found = pw.select(pool, on_file_error="skip", **options)
    assert_same(found, pw.select(without(pool, path.name), **options))
    assert list(found.report.failed) == [str(path)]
    assert re.search(message, found.report.failed[str(path)])
    assert str(path) not in found.report.failed[str(path)]
    assert found.report.rows == 6 * ROWS
    assert found.report.files == 6
    assert "1 failed: " in repr(found.report)
    if at:  # with the first one, others are said to differ from it
        with pytest.raises((ValueError, OSError), match=message) as caught:
            pw.select(pool, **options)
        assert str(path) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permission bits mean nothing to root")
def test_a_file_that_may_not_be_read(pool):
    (pool / "3.parquet").chmod(0)
    found = pw.select(pool, K, probabilities="p_*", on_file_error="skip")
    assert_same(found, pw.select(without(pool, "3.parquet"), K, probabilities="p_*"))
    with pytest.raises(PermissionError, match=r"3\.parquet"):
        pw.select(pool, K, probabilities="p_*")


STRATEGIES = {
    "entropy": ("p_*", {"strategy": "entropy"}),
    "power": ("p_*", {"strategy": "power", "random_state": 1, "id": "id"}),
    "random ties": ("p_*", {"strategy": "margin", "ties": "random", "random_state": 1, "id": "id"}),
    "softrank": ("p_*", {"strategy": "softrank", "random_state": 1, "id": "id"}),
    "limits": ("p_*", {"strategy": "margin", "max_per_class": 9}),
    "filters": ("p_*", {"strategy": "margin", "filters": [("p_0", "<", 0.4)]}),
    "k_center": ("emb", {"strategy": "k_center"}),
    "core-sets": ("emb", {"strategy": pw.KCenter(shard_bytes=100)}),
    "kmeans++": ("emb", {"strategy": "kmeans++", "random_state": 1, "id": "id"}),
    "auto": ("p_*", {"strategy": "auto", "embeddings": "emb"}),
    "hybrid": ("p_*", {"strategy": pw.Hybrid(factor=4), "embeddings": "emb"}),
    "prefilter": ("p_*", {"strategy": pw.KCenter(prefilter=4), "embeddings": "emb"}),
    "members": ([["p_*"], "lists"], {"strategy": "bald"}),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("bad", ["footer", "page", "embeddings"])
def test_strategies(good, tmp_path, strategy, bad):
    columns, options = STRATEGIES[strategy]
    for file in good.iterdir():
        ids = np.arange(ROWS) + 1000 * int(file.stem)
        write(tmp_path / file.name, pq.read_table(file).append_column("id", [ids]))
    bad_file = tmp_path / "2.parquet"
    if bad == "footer":
        BAD["footer"][0](bad_file)
    else:
        break_page(bad_file, 3 if bad == "embeddings" or columns == "emb" else 1)
    options = options | {"k": K, "probabilities": columns}
    found = pw.select(tmp_path, on_file_error="skip", **options)
    does_not_matter = bad == "embeddings" and "emb" not in (columns, options.get("embeddings"))
    if not does_not_matter:
        bad_file.rename(tmp_path / "2.bad")
    expected = pw.select(tmp_path, **options)
    assert_same(found, expected)
    assert list(found.report.failed) == ([] if does_not_matter else [str(bad_file)])
    assert getattr(found, "radius", None) == getattr(expected, "radius", None)


def test_embeddings_in_files_of_their_own(pool, tmp_path):
    """Whichever of the two files cannot be read, both are left out; and rows stay with their embeddings."""
    (tmp_path / "emb").mkdir()
    for number in range(7):
        write(tmp_path / f"emb/{number}.parquet", pq.read_table(pool / f"{number}.parquet", columns=["emb"]))
    options = {"k": K, "strategy": pw.Hybrid(factor=4), "probabilities": "p_*"}
    BAD["footer"][0](pool / "1.parquet")
    BAD["footer"][0](tmp_path / "emb/2.parquet")  # as many rows as the other: a shift would go unseen
    break_page(tmp_path / "emb/4.parquet", 0)
    break_page(pool / "5.parquet", 1)
    found = pw.select(pool, embeddings=tmp_path / "emb", on_file_error="skip", **options)
    names = [f"{number}.parquet" for number in (1, 2, 4, 5)]
    expected = pw.select(without(pool, *names), embeddings=without(tmp_path / "emb", *names), **options)
    assert_same(found, expected)
    failed = found.report.failed
    assert set(failed) == {
        *(str(pool / name) for name in names if name != "4.parquet"),
        *(str(tmp_path / "emb" / name) for name in names[:3]),
    }
    assert failed[str(tmp_path / "emb/1.parquet")] == f"left out with {pool / '1.parquet'}"
    whole = np.stack(pq.read_table(without(pool, "1.parquet")[0])["emb"].to_numpy())
    with pytest.raises(ValueError, match="rows, one for each of the pool"):
        pw.select(pool, embeddings=whole, on_file_error="skip", **options)
    with pytest.raises(
        ValueError, match=r"2\.parquet: .*; it can be left out only where what lies beside the pool has"
    ):
        pw.select(pool, embeddings=without(tmp_path / "emb", "6.parquet"), on_file_error="skip", **options)


@pytest.mark.parametrize("keep", [0, 60, 200])
@pytest.mark.parametrize("at", [0, 3])
def test_npy(tmp_path, keep, at):
    for number in range(5):
        np.save(tmp_path / f"{number}.npy", probabilities())
    bad = tmp_path / f"{at}.npy"
    bad.write_bytes(bad.read_bytes()[:keep])
    for strategy in ("entropy", "k_center"):
        found = pw.select(tmp_path, K, strategy, on_file_error="skip")
        assert_same(found, pw.select(without(tmp_path, bad.name), K, strategy))
        assert list(found.report.failed) == [str(bad)]
        with pytest.raises(ValueError, match=rf"{at}\.npy: "):
            pw.select(tmp_path, K, strategy)
    np.save(bad, probabilities(classes=4))
    found = pw.select(tmp_path, K, on_file_error="skip")
    assert_same(found, pw.select(without(tmp_path, bad.name), K))
    assert found.report.failed[str(bad)].startswith("has 4 columns, but ")


def test_npy_that_is_cut_while_it_is_read(tmp_path, monkeypatch):
    from pickwise.pools.npy import Array

    for number in range(5):
        np.save(tmp_path / f"{number}.npy", probabilities())
    read = Array.read

    def failing(self, file, *arguments):
        if self.file.name.endswith("2.npy"):
            raise OSError(5, "Input/output error", self.file.name)
        return read(self, file, *arguments)

    expected = pw.select(without(tmp_path, "2.npy"), K)
    monkeypatch.setattr(Array, "read", failing)
    found = pw.select(tmp_path, K, on_file_error="skip")
    assert_same(found, expected)
    assert "Input/output error" in found.report.failed[str(tmp_path / "2.npy")]
    with pytest.raises(OSError, match=r"Input/output error: '.*2\.npy'"):
        pw.select(tmp_path, K)


@pytest.mark.parametrize("kind", ["npy", "parquet"])
@pytest.mark.parametrize("late", [False, True])
def test_committees_of_files(tmp_path, kind, late):
    """A file of one member that cannot be read takes those of the others with it."""
    members = [tmp_path / name for name in "abc"]
    for member in members:
        member.mkdir()
        for number in range(6):
            if kind == "npy":
                np.save(member / f"{number}.npy", probabilities())
            else:
                write(member / f"{number}.parquet", as_table(probabilities()).select(["p_0", "p_1", "p_2"]))
    bad = [members[0] / f"1.{kind}", members[1] / f"4.{kind}"]
    for path in bad:
        if late and kind == "parquet":
            break_page(path, 1)
        else:
            path.write_bytes(path.read_bytes()[:90])
    found = pw.select(members, K, "bald", on_file_error="skip")
    names = [path.name for path in bad]
    expected = pw.select([without(member, *names) for member in members], K, "bald")
    assert_same(found, expected)
    assert found.report.rows == 4 * ROWS
    failed = found.report.failed
    if late and kind == "parquet":  # a set of files is known by the first
        assert set(failed) == {str(members[0] / name) for name in names}
        assert "b/4.parquet: not a readable" in failed[str(members[0] / names[1])]
    else:
        assert set(failed) == {str(member / name) for member in members for name in names}
        assert failed[str(members[2] / names[0])] == f"left out with {bad[0]}"
    with pytest.raises(ValueError, match=rf"a/1\.{kind}: "):
        pw.select(members, K, "bald")


def test_all_files_are_bad(pool):
    for make, at in ((lambda p: break_page(p, 1), "while"), (BAD["footer"][0], "before")):
        for file in pool.iterdir():
            make(file)
        with pytest.raises(ValueError, match=r"pool: none of the 7 files can be read; .*0\.parquet: not a readable"):
            pw.select(pool, K, probabilities="p_*", on_file_error="skip")
        assert at


def test_what_is_wrong_with_all_files_is_an_error(pool):
    with pytest.raises(ValueError, match=r"none of the 7 files can be read; .*did you mean"):
        pw.select(pool, K, probabilities="p_*", id="embb", on_file_error="skip")
    with pytest.raises(ValueError, match=r"none of the 7 files can be read; .*0\.parquet: filters"):
        pw.select(pool, K, probabilities="p_*", filters=[("nothing", "==", 1)], on_file_error="skip")
    with pytest.raises(ValueError, match="on_file_error: expected 'raise' or 'skip', got 'ignore'"):
        pw.select(pool, K, probabilities="p_*", on_file_error="ignore")


def test_invalid_rows_are_no_file_errors(pool):
    bad = probabilities()
    bad[7] = np.nan
    write(pool / "3.parquet", as_table(bad))
    with pytest.raises(ValueError, match=r"3\.parquet, row 7 holds nan"):
        pw.select(pool, K, probabilities="p_*", on_file_error="skip")
    found = pw.select(pool, K, probabilities="p_*", on_file_error="skip", invalid="skip")
    assert (found.report.failed, found.report.skipped) == ({}, {str(pool / "3.parquet"): 1})
    # Of a file that fails later nothing is counted.
    break_page(pool / "3.parquet", 1)
    found = pw.select(pool, K, probabilities="p_*", on_file_error="skip", invalid="skip")
    assert (list(found.report.failed), found.report.skipped, found.skipped) == ([str(pool / "3.parquet")], {}, 0)


def test_a_few_of_a_thousand(tmp_path):
    table = as_table(probabilities(20))
    for number in range(1000):
        path = tmp_path / f"{number:03}.parquet"
        pq.write_table(table.slice(number % 20).select(["p_0", "p_1", "p_2"]), path, row_group_size=4)
    names = ["000", "123", "500", "777", "999"]
    paths = [tmp_path / f"{name}.parquet" for name in names]
    paths[0].write_bytes(b"")
    BAD["footer"][0](paths[1])
    break_page(paths[2], 1, group=-1 + pq.ParquetFile(paths[2]).metadata.num_row_groups)
    pq.write_table(pa.table({"p_0": [0.5], "p_1": [0.5]}), paths[3])
    BAD["gone"][0](paths[4])
    options = {"k": 50, "strategy": "power", "probabilities": "p_*", "random_state": 0}
    found = pw.select(tmp_path, on_file_error="skip", **options)
    assert set(found.report.failed) == set(map(str, paths))
    assert found.report.files == 995
    assert "5 failed: " in repr(found.report)
    assert len(repr(found.report).splitlines()) == 4
