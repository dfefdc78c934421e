"""The command line over pools of many files: filters, committees, files that fail, checkpoints, the report."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pickwise as pw
from pickwise import cli

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("typer")

FILES, ROWS = 4, 200
MEMBERS = np.random.default_rng(0).dirichlet(np.ones(3), (3, FILES * ROWS)).astype("f4")
EMBEDDINGS = np.random.default_rng(1).normal(size=(FILES * ROWS, 2)).astype("f4")
LANGUAGES = np.array(["en", "fr", "de fr"])[np.arange(FILES * ROWS) % 3]
YEARS = 2000 + np.arange(FILES * ROWS) % 30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pool").mkdir()
    for number in range(FILES):
        rows = slice(number * ROWS, number * ROWS + ROWS)
        columns = {f"{member}_{i}": MEMBERS[at, rows, i].copy() for at, member in enumerate("abc") for i in range(3)}
        embeddings = pa.FixedSizeListArray.from_arrays(EMBEDDINGS[rows].ravel(), 2)
        more = {"emb": embeddings, "lang": LANGUAGES[rows], "year": YEARS[rows], "doc": np.arange(FILES * ROWS)[rows]}
        pq.write_table(pa.table(columns | more), tmp_path / f"pool/{number}.parquet", row_group_size=50)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, code: int = 0) -> SimpleNamespace:
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["pickwise", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    signal.signal(signal.SIGTERM, before)
    assert (ended.value.code or 0) == code, err.getvalue()
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


def select(*arguments: str, k: int = 9) -> list[dict]:
    run("select", *arguments, "-k", str(k), "-o", "batch.jsonl", "-q")
    return [json.loads(line) for line in Path("batch.jsonl").read_text("utf-8").splitlines()]


def assert_same(rows: list[dict], expected: pw.Selection) -> None:
    assert [row["id"] for row in rows] == expected.ids.tolist()
    assert [row["index"] for row in rows] == expected.indices.tolist()


def break_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(2).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("texts", "passing"),
    [
        (["lang == en"], LANGUAGES == "en"),
        (["lang == de fr"], LANGUAGES == "de fr"),
        (['lang != "en"', "year >= 2020"], (LANGUAGES != "en") & (YEARS >= 2020)),
        (['lang in ["en", "fr"]'], LANGUAGES != "de fr"),
        (['lang  not in  ["en"]', " year < 2010.5 "], (LANGUAGES != "en") & (YEARS < 2010.5)),
    ],
)
def test_filters(folder: Path, texts: list[str], passing: np.ndarray) -> None:
    filters = [word for text in texts for word in ("--filter", text)]
    found = select("pool", "-p", "a_*", "--id", "doc", *filters)
    expected = pw.select(MEMBERS[0], 9, exclude=~passing)
    assert_same(found, expected)
    done = run("select", "pool", "-p", "a_*", "-k", "9", *filters)
    assert f"9 of {passing.sum()} rows by margin" in done.stderr


def test_a_filter_of_no_column(folder: Path) -> None:
    done = run("select", "pool", "-p", "a_*", "-k", "9", "--filter", "language == en", code=1)
    assert len(done.stderr.splitlines()) == 1
    assert "language" in done.stderr
    np.save("pool.npy", MEMBERS[0])
    done = run("select", "pool.npy", "-k", "9", "--filter", "lang == en", code=1)
    assert "a .npy file (pool.npy) has none" in done.stderr


def test_committees(folder: Path) -> None:
    expected = pw.select(MEMBERS, 9, "bald")
    for at, name in enumerate("abc"):
        np.save(f"{name}.npy", MEMBERS[at])
    np.save("all.npy", MEMBERS)
    columns = ["-p", "a_*", "-p", "b_*", "-p", "c_*"]
    for arguments in (["a.npy", "b.npy", "c.npy"], ["all.npy"], ["pool", *columns, "--id", "doc"]):
        assert_same(select(*arguments, "-s", "bald"), expected)
    assert select("pool/*.parquet", *columns, "-s", "bald")[0]["id"] == (
        f"pool/{expected.ids[0] // ROWS}.parquet#{expected.ids[0] % ROWS}"
    )
    found = select("all.npy", "-s", "consensus_kl", "--from-logits", "--temperature", "2")
    assert_same(found, pw.select(MEMBERS, 9, pw.ConsensusKL(from_logits=True, temperature=2.0)))
    run("score", "a.npy", "b.npy", "c.npy", "-s", "bald", "-o", "scores.npy")
    np.testing.assert_array_equal(np.load("scores.npy"), pw.bald(MEMBERS, dtype=np.float64))
    run("score", "pool", *columns, "-s", "bald", "--id", "doc", "-o", "scores.parquet")
    np.testing.assert_array_equal(pq.read_table("scores.parquet")["score"], pw.bald(MEMBERS, dtype=np.float64))
    np.save("d.npy", MEMBERS[0, 1:])
    done = run("select", "a.npy", "d.npy", "-k", "3", "-s", "bald", code=1)
    assert "expected 800 rows of member 1, as member 0 has, got 799" in done.stderr
    done = run("select", "pool", "-k", "3", "-s", "bald", "-p", "a_*", "-p", "x_*", code=1)
    assert "no column matches --probabilities='x_*'" in done.stderr


def test_embeddings(folder: Path) -> None:
    np.save("emb.npy", EMBEDDINGS)
    (folder / "other").mkdir()
    pq.write_table(pa.table({"v": list(EMBEDDINGS)}), "other/v.parquet")
    strategy = pw.KCenter(prefilter=5)
    expected = pw.select(MEMBERS[0], 9, strategy, embeddings=EMBEDDINGS)
    for embeddings in ("emb", "emb.npy", "other"):
        found = select(
            *("pool", "-p", "a_*", "--id", "doc", "-s", "k_center", "--prefilter", "5", "--embeddings", embeddings)
        )
        assert_same(found, expected)
    assert_same(select("pool", "-p", "emb", "--id", "doc", "-s", "k_center"), pw.select(EMBEDDINGS, 9, "k_center"))
    done = run("select", "pool", "-p", "a_*", "-k", "3", "-s", "hybrid", "--embeddings", "embb", code=1)
    assert "did you mean 'emb'?" in done.stderr
    done = run("select", "pool", "-p", "emb", "-k", "3", "-s", "typiclust")
    assert done.stderr.startswith("3 of 800 rows by typiclust (")


def test_files_that_fail(folder: Path) -> None:
    break_page(folder / "pool/2.parquet")
    arguments = ["select", "pool", "-p", "a_*", "-k", "9"]
    done = run(*arguments, code=1)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("pickwise: pool/2.parquet: not a readable Parquet file: ")
    done = run(*arguments, "--on-file-error", "skip")
    first, second = done.stderr.splitlines()
    assert first.startswith("9 of 600 rows by margin (")
    assert second.startswith("1 file left out: pool/2.parquet (not a readable Parquet file: ")
    assert run(*arguments, "--on-file-error", "skip", "-q").stderr == ""
    expected = pw.select("pool", 9, probabilities="a_*", on_file_error="skip")
    assert_same(select(*arguments[1:4], "--on-file-error", "skip"), expected)


def test_a_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = select("pool", "-p", "a_*")
    arguments = ["select", "pool", "-p", "a_*", "-k", "9", "--checkpoint", "sel.state"]
    good = (folder / "pool/2.parquet").read_bytes()
    break_page(folder / "pool/2.parquet")
    assert run(*arguments, code=1)
    assert (folder / "sel.state").exists()
    other = run(*arguments, "--filter", "lang == en", code=1)
    assert "sel.state is of another selection, with other filters" in other.stderr
    other = run("select", "pool", "-p", "b_*", "-k", "9", "--checkpoint", "sel.state", code=1)
    assert "sel.state is of another selection, with other probabilities" in other.stderr
    done = run(*arguments, "--on-file-error", "skip", "--report")
    assert "of 3 parts (1 before the checkpoint)" in done.stderr
    assert not (folder / "sel.state").exists()
    (folder / "pool/2.parquet").write_bytes(good)
    assert select("pool", "-p", "a_*", "--checkpoint", "sel.state") == expected
    done = run(*arguments[:-1], "nowhere/sel.state", code=1)
    assert "checkpoint: there is no folder" in done.stderr


def test_the_report(folder: Path) -> None:
    done = run("select", "pool", "-p", "a_*", "-k", "81", "-s", "entropy", "--report", "-o", "batch.csv")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("81 of 800 rows by entropy in batch.csv (")
    assert lines[1].startswith("Report of 800 rows of 4 parts, 0.0 MB")
    assert lines[2].startswith("  reading 0.")
    assert lines[3].startswith("  scores: least ")
    assert lines[4].startswith("  10.000% of the rows score higher than 1.0")
    assert len(lines) == 5
    assert run("select", "pool", "-p", "a_*", "-k", "81", "--report", "-q").stderr.startswith("Report of 800 rows")
    drawn = run("select", "pool", "-p", "a_*", "-k", "9", "-s", "power", "--report").stderr
    assert "higher than" not in drawn
    done = run("select", "pool", "-p", "emb", "-k", "3", "-s", "greedy_x", "--report")
    assert done.stderr.endswith("No report: the strategy reads the pool as a whole.\n")
