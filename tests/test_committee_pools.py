"""The risk: the members of a committee come from pools of their own, and are not the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pickwise as pw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pc = pytest.importorskip("pyarrow.compute")
pq = pytest.importorskip("pyarrow.parquet")


ROWS, CLASSES, MEMBERS, FILES = 2400, 4, 3, 4
RNG = np.random.default_rng(0)
M = RNG.dirichlet(np.ones(CLASSES), (MEMBERS, ROWS)).astype("f4")
LANG = np.where(np.arange(ROWS) % 3 == 0, "en", "fr")
ENGLISH = np.flatnonzero(LANG == "en")
IDS = np.arange(ROWS) * 2 + 1
STEP = ROWS // FILES


def lists(matrix: np.ndarray) -> Any:
    return pa.FixedSizeListArray.from_arrays(matrix.ravel(), matrix.shape[1])


TABLE = pa.table(
    {
        "id": IDS,
        "lang": LANG,
        **{f"m{member}": lists(M[member]) for member in range(MEMBERS)},
        **{f"q{at // CLASSES}_{at % CLASSES}": M[at // CLASSES, :, at % CLASSES] for at in range(MEMBERS * CLASSES)},
        "nested": pa.array(M.transpose(1, 0, 2).tolist(), pa.list_(pa.list_(pa.float32()))),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table in Parquet files; beside their folder each member in files of its own."""
    path = tmp_path_factory.mktemp("committee") / "pool"
    path.mkdir()
    for number in range(FILES):
        pq.write_table(TABLE.slice(number * STEP, STEP), path / f"{number}.parquet", row_group_size=200)
    np.save(path.parent / "cube.npy", M)
    for member in range(MEMBERS):
        np.save(path.parent / f"m{member}.npy", M[member])
        pq.write_table(TABLE.select(["id", f"m{member}"]), path.parent / f"m{member}.parquet", row_group_size=170)
    return path


def agree(got: pw.Selection, expected: pw.Selection, *, ids: np.ndarray | None = None) -> None:
    np.testing.assert_array_equal(got.indices, expected.indices)
    np.testing.assert_array_equal(got.scores, expected.scores)
    np.testing.assert_array_equal(got.ids, expected.indices if ids is None else ids[expected.indices])


@pytest.mark.parametrize("columns", [["m0", "m1", "m2"], ["q0_*", "q1_*", "q2_*"], "nested"], ids=str)
def test_committees_in_columns(source: Callable[[Any], Any], columns: Any) -> None:
    expected = pw.select(M, 20, "bald")
    agree(pw.select(source(TABLE), 20, "bald", probabilities=columns, id="id"), expected, ids=IDS)
    some = pw.select(M[:, ENGLISH], 20, "bald")
    got = pw.select(source(TABLE), 20, "bald", probabilities=columns, filters=[("lang", "==", "en")])
    np.testing.assert_array_equal(got.indices, ENGLISH[some.indices])


def test_members_that_need_no_name() -> None:
    expected = pw.select(M, 20, "bald")
    agree(pw.select(TABLE.select(["id", "m0", "m1", "m2"]), 20, "bald"), expected)
    agree(pw.select(TABLE, 20, "bald", probabilities="m?"), expected)
    agree(pw.select(TABLE.select(["id", "nested"]), 20, "bald"), expected)
    agree(pw.select(TABLE, 20, "bald", probabilities=["nested"]), expected)


@pytest.mark.parametrize("columns", [["m0", "m1", "m2"], "nested"], ids=str)
def test_committees_in_parquet(folder: Path, columns: Any) -> None:
    got = pw.select(folder, 20, "bald", probabilities=columns)
    expected = pw.select(M, 20, "bald")
    names = np.array([f"{folder}/{row // STEP}.parquet#{row % STEP}" for row in range(ROWS)], dtype=object)
    agree(got, expected, ids=names)
    # Of most row groups no row passes, of some a few.
    rows = np.array([5, 6, *range(700, 740), 2399])
    got = pw.select(folder, 20, "bald", probabilities=columns, filters=pc.field("id").isin(IDS[rows].tolist()))
    np.testing.assert_array_equal(got.indices, rows[pw.select(M[:, rows], 20, "bald").indices])


def test_committees_in_pools_of_their_own(folder: Path, sources: dict[str, Callable[[Any], Any]]) -> None:
    expected = pw.select(M, 20, "bald")
    beside = folder.parent
    members = [TABLE.select(["id", f"m{member}"]) for member in range(MEMBERS)]
    agree(pw.select([beside / f"m{member}.npy" for member in range(MEMBERS)], 20, "bald"), expected)
    agree(pw.select(beside / "cube.npy", 20, "bald"), expected)
    agree(pw.select(members, 20, "bald", id="id"), expected, ids=IDS)
    agree(
        pw.select([member.to_reader(max_chunksize=700) for member in members], 20, "bald", id="id"), expected, ids=IDS
    )
    agree(pw.select([sources["stream"](member) for member in members], 20, "bald"), expected)
    agree(pw.select([sources["duckdb"](member) for member in members], 20, "bald", id="id"), expected, ids=IDS)
    agree(pw.select([sources["polars"](member).lazy() for member in members], 20, "bald"), expected)
    agree(
        pw.select([members[0], members[1].to_pandas(), beside / "m2.parquet"], 20, "bald", id="id"), expected, ids=IDS
    )
    files = [beside / f"m{member}.parquet" for member in range(MEMBERS)]
    agree(pw.select(files, 20, "bald", id="id"), expected, ids=IDS)
    named = pw.select(files, 20, "bald")
    assert named.ids.tolist() == [f"{files[0]}#{row}" for row in expected.indices]
    mixed = [files[0], beside / "m1.npy", files[2]]
    assert pw.select(mixed, 20, "bald").ids.tolist() == named.ids.tolist()
    with pytest.raises(TypeError, match="committee"):
        pw.select([M[0], members[1]], 20, "bald")


def test_members_that_differ(folder: Path) -> None:
    beside = folder.parent
    first = TABLE.select(["id", "m0"])
    for other, message in (
        (TABLE.select(["id", "m1"]).slice(1), "expected 2400 rows of member 1, as member 0 has, got 2399"),
        (TABLE.select(["id", "m1"]).take(np.arange(ROWS)[::-1]), "the ids of member 1 are not those of member 0"),
        (TABLE.select(["id", "m1"]).slice(0, 2000).to_reader(), r"member 1 ends after \d+ rows, before others do"),
    ):
        with pytest.raises(ValueError, match=f"^pool: {message}"):
            pw.select([first, other], 5, "bald", id="id")
    with pytest.raises(ValueError, match="member 0 ends after"):
        pw.select([first.slice(0, 2000).to_reader(), first.to_reader()], 5, "bald", id="id")
    np.save(beside / "short.npy", M[1][:-1])
    with pytest.raises(ValueError, match="expected 2400 rows of member 1, as member 0 has, got 2399"):
        pw.select([beside / "m0.npy", beside / "short.npy"], 5, "bald")
    with pytest.raises(ValueError, match=r"shape of member 0, \(\d+, 4\), got \(\d+, 3\)"):
        pw.select([first, pa.table({"id": IDS, "m1": lists(np.ascontiguousarray(M[1][:, :3]))})], 5, "bald", id="id")


def test_a_cube_is_not_loaded_whole(tmp_path: Path, run_python: Callable[..., str]) -> None:
    pytest.importorskip("psutil")
    members, rows, classes = 8, 1_000_000, 8
    cube = np.lib.format.open_memmap(tmp_path / "cube.npy", "w+", "f4", (members, rows, classes))
    part = RNG.dirichlet(np.ones(classes), 50_000).astype("f4")
    for member in range(members):
        for start in range(0, rows, len(part)):
            cube[member, start : start + len(part)] = np.roll(part, member * 7 + start, 0)
    cube.flush()
    size = cube.nbytes
    del cube
    code = """
    import resource, sys
    import pickwise as pw
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    before = peak()
    pw.select(sys.argv[1], 10, "bald")
    print(peak() - before)
    """
    assert int(run_python(code, tmp_path / "cube.npy")) < size // 2
