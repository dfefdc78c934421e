"""The risk: where a pool comes from changes what is selected, or makes more of it read than is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pickwise as pw
from pickwise.pools import base as pools_base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")
pc = pytest.importorskip("pyarrow.compute")
pq = pytest.importorskip("pyarrow.parquet")


ROWS, CLASSES, DIMS, FILES = 2400, 4, 5, 4
RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(CLASSES), ROWS).astype("f4")
X = RNG.standard_normal((ROWS, DIMS)).astype("f4")
LANG = np.where(np.arange(ROWS) % 3 == 0, "en", "fr")
ENGLISH = np.flatnonzero(LANG == "en")
IDS = np.arange(ROWS) * 2 + 1
STEP = ROWS // FILES
COLUMNS = {f"p_{number}": P[:, number].copy() for number in range(CLASSES)}
TABLE = pa.table({**COLUMNS, "id": IDS, "lang": LANG})
MORE = TABLE.append_column("emb", pa.FixedSizeListArray.from_arrays(X.ravel(), DIMS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table in Parquet files; beside their folder the arrays."""
    path = tmp_path_factory.mktemp("sources") / "pool"
    path.mkdir()
    np.save(path.parent / "p.npy", P)
    np.save(path.parent / "x.npy", X)
    for number in range(FILES):
        part = slice(number * STEP, number * STEP + STEP)
        pq.write_table(MORE.slice(part.start, STEP), path / f"{number}.parquet", row_group_size=200)
        np.save(path.parent / f"part-{number}.npy", P[part])
    return path


def agree(got: pw.Selection, expected: pw.Selection, *, ids: np.ndarray | None = None) -> None:
    np.testing.assert_array_equal(got.indices, expected.indices)
    np.testing.assert_array_equal(got.scores, expected.scores)
    np.testing.assert_array_equal(got.ids, expected.indices if ids is None else ids[expected.indices])


def test_tables(monkeypatch: pytest.MonkeyPatch, source: Callable[[Any], Any]) -> None:
    monkeypatch.setattr(pools_base, "CHUNK_BYTES", 1 << 14)
    expected = pw.select(P, 50, "entropy")
    agree(pw.select(source(TABLE), 50, "entropy", probabilities="p_*"), expected)
    agree(pw.select(source(TABLE), 50, "entropy", probabilities="p_*", id="id"), expected, ids=IDS)
    agree(pw.select(source(TABLE.select(["p_0", "p_1", "p_2", "p_3"])), 50, "entropy"), expected)
    names = np.array([f"ä{number}" for number in IDS], dtype=object)
    named = TABLE.append_column("name", pa.array(names))
    expected = pw.select(P, 50, "entropy", ids=names)
    agree(pw.select(source(named), 50, "entropy", probabilities="p_*", id="name"), expected, ids=names)


def test_tables_of_lists(source: Callable[[Any], Any]) -> None:
    expected = pw.select(X, 20, "k_center")
    got = pw.select(source(MORE.select(["id", "emb"])), 20, "k_center", id="id")
    agree(got, expected, ids=IDS)
    assert got.radius == expected.radius


def test_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pw.select(P, 50, "entropy")
    beside = folder.parent
    files = [str(folder / f"{number}.parquet") for number in range(FILES)]
    parts = [str(beside / f"part-{number}.npy") for number in range(FILES)]
    agree(pw.select(np.load(beside / "p.npy", mmap_mode="r"), 50, "entropy"), expected)
    agree(pw.select(beside / "p.npy", 50, "entropy"), expected)
    agree(pw.select((P[at : at + 700] for at in range(0, ROWS, 700)), 50, "entropy"), expected)
    pairs = ((P[at : at + 700], IDS[at : at + 700]) for at in range(0, ROWS, 700))
    agree(pw.select(pairs, 50, "entropy"), expected, ids=IDS)
    names = np.array([f"{files[row // STEP]}#{row % STEP}" for row in range(ROWS)], dtype=object)
    for pool in (folder, f"{folder}/*.parquet", files, [folder / "0.parquet", f"{folder}/[1-3].parquet"]):
        agree(pw.select(pool, 50, "entropy", probabilities="p_*"), expected, ids=names)
    named = np.array([f"{parts[row // STEP]}#{row % STEP}" for row in range(ROWS)], dtype=object)
    for pool in (f"{beside}/part-*.npy", parts):
        agree(pw.select(pool, 50, "entropy"), expected, ids=named)
    monkeypatch.chdir(folder)
    agree(pw.select("*.parquet", 50, "entropy", probabilities="p_*", filters=pc.field("id") > 0), expected, ids=short())
    with pytest.raises(ValueError, match=r"0\.parquet is named twice, so its rows would be in it twice"):
        pw.select(["0.parquet", files[0]], 5, probabilities="p_*")


def short() -> np.ndarray:
    return np.array([f"{row // STEP}.parquet#{row % STEP}" for row in range(ROWS)], dtype=object)


def test_urls(folder: Path) -> None:
    expected = pw.select(P, 50, "entropy")
    names = np.array([f"file://{folder}/{number}" for number in short()], dtype=object)
    for url in (
        f"file://{folder}",
        f"file://{folder}/*.parquet",
        [f"file://{folder}/{n}.parquet" for n in range(FILES)],
    ):
        agree(pw.select(url, 50, "entropy", probabilities="p_*"), expected, ids=names)
    filtered = pw.select(f"file://{folder}", 50, "entropy", probabilities="p_*", filters=[("lang", "==", "en")])
    np.testing.assert_array_equal(filtered.indices, ENGLISH[pw.select(P[ENGLISH], 50, "entropy").indices])
    one = pw.select(f"file://{folder.parent}/p.npy", 50, "entropy")
    assert one.ids.tolist() == [f"file://{folder.parent}/p.npy#{row}" for row in expected.indices]


def test_urls_of_fsspec(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    try:
        for path in [*folder.iterdir(), *folder.parent.glob("part-*.npy")]:
            memory.pipe(f"/pickwise/{path.name}", path.read_bytes())
        expected = pw.select(P, 50, "entropy")
        names = np.array([f"memory:///pickwise/{name}" for name in short()], dtype=object)
        agree(pw.select("memory://pickwise/*.parquet", 50, "entropy", probabilities="p_*"), expected, ids=names)
        got = pw.select("memory://pickwise/part-*.npy", 50, "entropy")
        np.testing.assert_array_equal(got.indices, expected.indices)
        covered = pw.select("memory://pickwise/*.parquet", 10, "k_center", probabilities="emb")
        np.testing.assert_array_equal(covered.indices, pw.k_center(X, 10).indices)
    finally:
        memory.rm("/pickwise", recursive=True)


@pytest.fixture(scope="module")
def bucket(folder: Path) -> Iterator[str]:
    """The files in an S3 that runs in this process; what follows the path in its URLs."""
    server_of = pytest.importorskip("moto.server")
    pytest.importorskip("flask")
    fs = pytest.importorskip("pyarrow.fs")
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(names, ("key", "very-secret", "true"), strict=True):
            patch.setenv(name, value)
        server = server_of.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            where = f"127.0.0.1:{server.get_host_and_port()[1]}"
            options = f"?scheme=http&region=us-east-1&endpoint_override={where}"
            s3 = fs.S3FileSystem(scheme="http", endpoint_override=where, region="us-east-1", allow_bucket_creation=True)
            s3.create_dir("bucket/pool")
            for path in folder.iterdir():
                with s3.open_output_stream(f"bucket/pool/{path.name}") as file:
                    file.write(path.read_bytes())
            with s3.open_output_stream("bucket/p.npy") as file:
                file.write((folder.parent / "p.npy").read_bytes())
            yield options
        finally:
            server.stop()


def test_s3(bucket: str) -> None:
    expected = pw.select(P, 50, "entropy")
    names = np.array([f"s3://bucket/pool/{name}" for name in short()], dtype=object)
    files = [f"s3://bucket/pool/{number}.parquet{bucket}" for number in range(FILES)]
    for url in (f"s3://bucket/pool{bucket}", f"s3://bucket/pool/*.parquet{bucket}", files):
        agree(pw.select(url, 50, "entropy", probabilities="p_*"), expected, ids=names)
    # Credentials may be in the URL; they are in no name.
    secret = pw.select(f"s3://key:very-secret@bucket/pool/?{bucket[1:]}", 50, "entropy", probabilities="p_*")
    agree(secret, expected, ids=names)
    filtered = pw.select(f"s3://bucket/pool{bucket}", 20, "margin", probabilities="p_*", filters=[("id", "<", 999)])
    np.testing.assert_array_equal(filtered.indices, pw.select(P[:499], 20, "margin").indices)
    one = pw.select(f"s3://bucket/p.npy{bucket}", 50, "entropy")
    assert one.ids.tolist() == [f"s3://bucket/p.npy#{row}" for row in expected.indices]
    with pytest.raises(FileNotFoundError, match=r"^pool: no \.npy or \.parquet file at 's3://bucket/pool/\*\.npy'$"):
        pw.select(f"s3://bucket/pool/*.npy{bucket}", 5)


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("foo://key:very-secret@x/p.npy?sig=hidden", ValueError, "foo://x/p.npy: Protocol not known: foo"),
        ("s3://key:very-secret@x/p.npy?nonsense=hidden", ValueError, r"s3://x/p\.npy: .*nonsense"),
        ("s3://key:very-secret and@x/p.npy", ValueError, r"s3://x/p\.npy: Cannot parse URI"),
        (
            "s3://key:very-secret@x/p.npy?scheme=http&region=hidden&endpoint_override=127.0.0.1:1",
            OSError,
            r"cannot read s3://x/p\.npy: .*; credentials for what is not public come from the environment",
        ),
    ],
)
def test_urls_that_cannot_be_read(url: str, kind: type[Exception], message: str) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(kind, match=message) as caught:
        pw.select(url, 5)
    shown = f"{caught.value} {caught.value.__cause__}"
    assert "very-secret" not in shown
    assert "hidden" not in shown
    assert caught.value.__suppress_context__


def test_a_file_system_that_needs_a_package() -> None:
    pytest.importorskip("fsspec")
    try:
        import adlfs  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"^pool: az://x/p\.npy: .*adlfs"):
            pw.select("az://x/p.npy", 5)


class TrapError(Exception):
    pass


def test_only_the_columns_that_are_needed_are_computed(folder: Path) -> None:
    pl = pytest.importorskip("polars")
    expected = pw.select(P, 20, "margin")

    def refuse(series: Any) -> Any:
        raise TrapError

    trapped = pl.scan_parquet(folder / "*.parquet").with_columns(a=pl.col("id").map_batches(refuse, pl.Float64))
    agree(pw.select(trapped, 20, "margin", probabilities="p_*", id="id"), expected, ids=IDS)
    # "a" is a part of the name that the filter has.
    filtered = pw.select(trapped, 20, "margin", probabilities="p_*", filters=[("lang", "==", "en")])
    np.testing.assert_array_equal(filtered.indices, ENGLISH[pw.select(P[ENGLISH], 20, "margin").indices])
    with pytest.raises(TrapError):
        pw.select(trapped, 20, "margin", probabilities=["p_*", "a"])

    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register("pool", TABLE)
    view = connection.sql("select *, error('computed')::double as a from pool")
    agree(pw.select(view, 20, "margin", probabilities="p_*", id="id"), expected, ids=IDS)
    with pytest.raises(Exception, match="computed"):
        pw.select(view, 20, "margin", probabilities=["p_*", "a"])

    asked = []

    class Watched(ds.InMemoryDataset):
        def scanner(self, *args: Any, **options: Any) -> Any:
            asked.append(options["columns"])
            return super().scanner(*args, **options)

    watched = Watched(TABLE)
    agree(pw.select(watched, 20, "margin", probabilities="p_*", id="id"), expected, ids=IDS)
    assert asked == [["p_0", "p_1", "p_2", "p_3", "id"]]


def test_only_the_columns_that_are_needed_are_read_from_parquet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set()
    whole = pq.ParquetFile.iter_batches

    def noted(self: Any, *args: Any, **options: Any) -> Any:
        asked.add(tuple(options["columns"]))
        return whole(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    pw.select(folder, 20, "margin", probabilities="p_1", id="id", filters=[("lang", "==", "en")])
    assert asked == {("p_1", "id", "lang")}


def test_a_lazy_frame_is_streamed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pl = pytest.importorskip("polars")
    if not hasattr(pl.LazyFrame, "collect_batches"):
        pytest.skip("needs Polars 1.34")

    def refuse(self: Any, *args: Any, **options: Any) -> Any:
        raise TrapError

    monkeypatch.setattr(pl.LazyFrame, "collect", refuse)
    monkeypatch.setattr(pools_base, "CHUNK_BYTES", 1 << 14)
    lazy = pl.scan_parquet(folder / "*.parquet")
    agree(pw.select(lazy, 20, "margin", probabilities="p_*"), pw.select(P, 20, "margin"))
    agree(pw.select(lazy.select("p_0", "p_1", "p_2", "p_3"), 20, "margin"), pw.select(P, 20, "margin"))


def embeddings_of(kind: str, folder: Path, sources: dict[str, Callable[[Any], Any]]) -> Any:
    return {
        "array": X,
        "npy": folder.parent / "x.npy",
        "parquet": None,
        "table": MORE.select(["emb"]),
        "polars": sources["polars"](MORE.select(["emb"])),
        "dataset": ds.dataset(MORE.select(["emb"])),
        "column": "emb",
    }[kind]


@pytest.mark.parametrize("kind", ["array", "npy", "parquet", "table", "polars", "dataset", "column"])
def test_embeddings_from_anywhere(
    folder: Path, tmp_path: Path, kind: str, sources: dict[str, Callable[[Any], Any]]
) -> None:
    beside = embeddings_of(kind, folder, sources)
    if kind == "parquet":
        pq.write_table(MORE.select(["emb"]), tmp_path / "x.parquet", row_group_size=800)
        beside = tmp_path / "x.parquet"
    pools = [
        folder,
        MORE,
        ds.dataset(folder),
        sources["polars"](MORE).lazy(),
        sources["duckdb"](MORE),
        sources["hugging face"](MORE),
    ]
    if kind != "column":
        pools += [P, MORE.to_reader(), (P[at : at + 700] for at in range(0, ROWS, 700))]
    expected = pw.select(P, 20, pw.Hybrid(factor=5), embeddings=X)
    near = pw.select(P, 20, "margin", embeddings=X, min_distance=1.5)
    for pool in pools:
        columns = {} if isinstance(pool, np.ndarray) or hasattr(pool, "send") else {"probabilities": "p_*"}
        got = pw.select(pool, 20, pw.Hybrid(factor=5), embeddings=beside, **columns)
        np.testing.assert_array_equal(got.indices, expected.indices)
        np.testing.assert_array_equal(got.scores, expected.scores)
        if not hasattr(pool, "send") and not isinstance(pool, pa.RecordBatchReader):
            got = pw.select(pool, 20, "margin", embeddings=beside, min_distance=1.5, **columns)
            np.testing.assert_array_equal(got.indices, near.indices)


def test_columns_beside_a_stream_that_is_gone() -> None:
    for once in (MORE.to_reader(), ds.dataset(MORE).scanner()):
        with pytest.raises(ValueError, match="embeddings: expected a matrix, a path or a table beside a "):
            pw.select(once, 5, "hybrid", probabilities="p_*", embeddings="emb")
