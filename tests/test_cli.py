"""The command line: its results, its messages, its exit codes, and what it leaves behind."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pickwise as pw
from command_line import run_command
from pickwise.id_file import read_ids

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("typer")

PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(3), 500).astype("f4")
NAMES = [f'a,"{i}"ä' for i in range(500)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "pool.npy", PROBABILITIES)
    columns = {f"p_{i}": PROBABILITIES[:, i].copy() for i in range(3)}
    more = {"doc_id": np.arange(500) * 2 + 1, "name": NAMES, "price": np.full(500, 9.5)}
    pq.write_table(pa.table({**columns, **more}), tmp_path / "pool.parquet")
    return tmp_path


def run(folder: Path, *arguments: str, code: int = 0) -> SimpleNamespace:
    """Run the command in this process; the tests of processes start their own. No file is left half written."""
    done = run_command(folder, *arguments, code=code)
    assert [path.name for path in (folder / "out").iterdir() if path.name.startswith(".")] == []
    return done


def run_process(folder: Path, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pickwise", *arguments]
    environ = os.environ | environment
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == code, done
    return done


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        kinds = {"index": int, "score": float, "rank": int}
        return [{name: kinds.get(name, str)(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("id_column", ["doc_id", "name", None])
def test_select(folder: Path, suffix: str, id_column: str | None) -> None:
    output = folder / "out" / f"batch{suffix}"
    output.write_text("what was there before")
    by_id = [] if id_column is None else ["--id", id_column]
    arguments = ["-k", "20", "--strategy", "entropy", "--probabilities", "p_*", *by_id, "-o", str(output)]
    done = run(folder, "select", "pool.parquet", *arguments)
    assert done.stdout == ""
    assert done.stderr.startswith(f"20 of 500 rows by entropy in {output} (")
    expected = pw.select(folder / "pool.parquet", 20, "entropy", probabilities="p_*", id=id_column)
    if id_column is None:  # paths are as they were written
        expected = replace(expected, ids=np.array([f"pool.parquet#{row}" for row in expected.indices], object))
    rows = read(output)
    assert list(rows[0]) == ["id", "index", "score", "rank"]
    as_written = str if suffix == ".csv" else lambda item: item
    assert [row["id"] for row in rows] == [as_written(item) for item in expected.ids.tolist()]
    assert [row["index"] for row in rows] == expected.indices.tolist()
    assert [row["score"] for row in rows] == pytest.approx(expected.scores.tolist(), rel=1e-15)
    assert [row["rank"] for row in rows] == list(range(1, 21))


def test_select_prints_a_table(folder: Path) -> None:
    done = run(folder, "select", "pool.npy", "-k", "3", "-q")
    assert done.stderr == ""
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["rank", "id", "index", "score"]
    expected = pw.select(PROBABILITIES, 3)
    assert [int(line.split()[1]) for line in lines] == expected.ids.tolist()


def test_options_reach_the_selection(folder: Path) -> None:
    np.save(folder / "logits.npy", np.log(PROBABILITIES) * 3)
    ways = {
        ("--from-logits", "--temperature", "3"): {"strategy": pw.Margin(from_logits=True, temperature=3.0)},
        ("-s", "random", "--seed", "7"): {"strategy": "random", "random_state": 7},
        ("-s", "ratio", "--from-logits", "--ties", "random", "--seed", "3"): {
            "strategy": pw.Ratio(from_logits=True),
            "ties": "random",
            "random_state": 3,
        },
        ("--from-logits", "--task", "multilabel"): {"strategy": pw.Margin(from_logits=True, task="multilabel")},
    }
    for arguments, options in ways.items():
        run(folder, "select", "logits.npy", "-k", "10", "-o", "out/batch.csv", *arguments)
        expected = pw.select(folder / "logits.npy", 10, **options)
        assert [row["index"] for row in read(folder / "out" / "batch.csv")] == expected.indices.tolist()


@pytest.mark.parametrize("strategy", ["power", "softmax", "softrank"])
def test_draws_by_name(folder: Path, strategy: str) -> None:
    run(
        folder,
        "select",
        "pool.parquet",
        "-k",
        "9",
        "-s",
        strategy,
        "--id",
        "name",
        "-p",
        "p_*",
        "--seed",
        "3",
        "-o",
        "s.csv",
    )
    drawn = pw.select(PROBABILITIES, 9, strategy, ids=NAMES, random_state=3)
    assert [row["id"] for row in read(folder / "s.csv")] == list(drawn)
    assert [row["score"] for row in read(folder / "s.csv")] == drawn.scores.tolist()


def test_scores_in_a_column(folder: Path) -> None:
    scores = pw.entropy(PROBABILITIES)
    pq.write_table(pa.table({"name": NAMES, "score": scores}), folder / "scores.parquet")
    run(folder, "select", "scores.parquet", "-k", "9", "-s", "given", "--id", "name", "-p", "score", "-o", "s.csv")
    assert [row["id"] for row in read(folder / "s.csv")] == list(pw.top_k(scores, 9, ids=NAMES))


def test_invalid_rows(folder: Path) -> None:
    bad = PROBABILITIES.copy()
    bad[321, 1] = np.nan
    np.save(folder / "bad.npy", bad)
    done = run(folder, "select", "bad.npy", "-k", "3", "-o", "out/batch.csv", code=1)
    assert "bad.npy, row 321 holds nan in column 1" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "out" / "batch.csv").exists()
    done = run(folder, "select", "bad.npy", "-k", "3", "--invalid", "skip")
    assert "3 of 500 rows by margin, 1 invalid rows skipped" in done.stderr
    done = run(folder, "score", "bad.npy", "-o", "out/scores.csv", code=1)
    assert "bad.npy, row 321 holds nan in column 1" in done.stderr
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".txt"])
@pytest.mark.parametrize("id_column", ["doc_id", "name"])
def test_exclude_ids(folder: Path, suffix: str, id_column: str) -> None:
    pool = ["pool.parquet", "-p", "p_*", "--id", id_column]
    first = folder / "out" / f"first{suffix}"
    before = pw.select(folder / "pool.parquet", 20, probabilities="p_*", id=id_column)
    if suffix == ".txt":
        first.write_text("\n".join(map(str, before)) + "\n\n", encoding="utf-8")
    else:
        run(folder, "select", *pool, "-k", "20", "-o", str(first))
    run(folder, "select", *pool, "-k", "20", "--exclude-ids", str(first), "-o", "out/second.parquet")
    both = pw.select(folder / "pool.parquet", 40, probabilities="p_*", id=id_column)
    assert [row["id"] for row in read(folder / "out" / "second.parquet")] == both.ids[20:].tolist()


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0c"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt"])
def test_ids_hold_what_unicode_takes_for_the_end_of_a_line(tmp_path: Path, suffix: str, separator: str) -> None:
    ids, path = [f"a{separator}b", "c"], tmp_path / f"ids{suffix}"
    if suffix == ".jsonl":
        lines = [json.dumps({"id": name}, ensure_ascii=False) for name in ids]
    else:
        lines = ["id", *ids] if suffix == ".csv" else ids
    path.write_text("\r\n".join(lines), encoding="utf-8", newline="")
    assert read_ids(path, strings=True) == ids


def test_exclude_ids_that_cannot_be_read(folder: Path) -> None:
    pool = ["pool.parquet", "-p", "p_*", "-k", "1", "--id", "doc_id"]
    (folder / "ids.txt").write_text("17\nx\n")
    done = run(folder, "select", *pool, "--exclude-ids", "ids.txt", code=1)
    assert done.stderr == "pickwise: ids.txt: expected integers as the pool has, got 'x' as id 1\n"
    (folder / "ids.csv").write_text("a,b\n1,2\n")
    done = run(folder, "select", *pool, "--exclude-ids", "ids.csv", code=1)
    assert "ids.csv: expected a column 'id' or one column only, got 'a', 'b'" in done.stderr
    done = run(folder, "select", *pool, "--exclude-ids", "none.txt", code=1)
    assert done.stderr == "pickwise: none.txt: No such file or directory\n"


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".npy"])
def test_score(folder: Path, suffix: str) -> None:
    output = folder / "out" / f"scores{suffix}"
    run(folder, "score", "pool.parquet", "-s", "entropy", "-p", "p_*", "--id", "name", "-o", str(output))
    expected = pw.entropy(PROBABILITIES)
    if suffix == ".npy":
        scores = np.load(output)
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, expected)
        return
    rows = read(output)
    assert [row["id"] for row in rows] == NAMES
    np.testing.assert_array_equal(np.array([row["score"] for row in rows], "f4"), expected)


def test_score_of_many_chunks(folder: Path) -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(3), 300_000)
    np.save(folder / "large.npy", p)
    for suffix in (".npy", ".parquet"):
        run(folder, "score", "large.npy", "-o", f"out/scores{suffix}")
    np.testing.assert_array_equal(np.load(folder / "out" / "scores.npy"), pw.margin(p))
    table = pq.read_table(folder / "out" / "scores.parquet")
    np.testing.assert_array_equal(table["score"], pw.margin(p))
    np.testing.assert_array_equal(table["id"], np.arange(300_000))


def test_files_of_several_types_give_scores_of_one(folder: Path) -> None:
    np.save(folder / "second.npy", PROBABILITIES.astype("f8"))
    for suffix in (".npy", ".parquet"):
        run(folder, "score", "pool.npy", "second.npy", "--from-logits", "-o", f"out/scores{suffix}")
    expected = np.tile(pw.margin(PROBABILITIES, from_logits=True), 2)
    np.testing.assert_allclose(np.load(folder / "out" / "scores.npy"), expected, rtol=1e-5)
    assert len(pq.read_table(folder / "out" / "scores.parquet")) == 1000


def test_more_rows_than_there_are(folder: Path) -> None:
    done = run(folder, "select", "pool.npy", "-k", "501", code=1)
    assert "--clip takes what there is" in done.stderr
    assert len(run(folder, "select", "pool.npy", "-k", "501", "--clip").stdout.splitlines()) == 501


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["select", "nothing.npy", "-k", "1"], "there is no file 'nothing.npy'"),
        (["select", "*.parket", "-k", "1"], "nothing matches '*.parket'"),
        (["select", "pool.npy", "-k", "1", "--id", "x"], "id='x' names columns, but a .npy file (pool.npy) has none"),
        (["select", "pool.parquet", "-k", "1", "-p", "q_*"], "no column matches --probabilities='q_*'"),
        (["select", "pool.parquet", "-k", "1", "-p", "p_*", "--id", "docid"], "did you mean 'doc_id'?"),
        (["select", "pool.npy", "-k", "1", "-o", "nowhere/b.csv"], "nowhere/b.csv: there is no folder"),
        (["select", "pool.npy", "-k", "1", "-o", "pool.parquet/b.csv"], "there is no folder"),
        (["select", "pool.npy", "-k", "1", "-o", "folder.csv"], "folder.csv: not a file that can be replaced"),
        (["score", "pool.npy", "-o", "pool.npy"], "pool.npy: is the pool itself"),
        (["score", "*.npy", "-o", "pool.npy"], "pool.npy: is the pool itself"),
    ],
)
def test_bad_data_is_one_line_and_exit_code_1(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "folder.csv").mkdir()
    before = (folder / "pool.npy").read_bytes()
    done = run(folder, *arguments, code=1)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("pickwise: ")
    assert message in done.stderr
    assert (folder / "pool.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["select", "pool.npy"], "-k"),
        (["select", "pool.npy", "-k", "0"], "-k"),
        (["select", "-k", "3"], "POOL"),
        (["select", "pool.npy", "-k", "3", "-s", "margn"], "did you mean 'margin'?"),
        (["select", "pool.npy", "-k", "3", "-s", "random", "--from-logits"], "random has no use for it"),
        (["select", "pool.npy", "-k", "3", "-o", "batch.xlsx"], "expected a name that ends in .parquet, .csv, .jsonl"),
        (["select", "pool.npy", "-k", "3", "-o", "batch.npy"], "use .parquet, .csv or .jsonl"),
        (["score", "pool.npy"], "--output"),
        (["score", "pool.npy", "-s", "random", "-o", "s.npy"], "random gives rows no score"),
        (["score", "pool.npy", "-s", "power", "-o", "s.npy"], "power gives rows no score"),
        (["select", "pool.npy", "-k", "3", "-s", "batch_bald"], "batch_bald needs a committee in memory"),
        (["select", "pool.parquet", "-k", "3", "--filter", "price>3"], "expected COLUMN OP VALUE with spaces between"),
        (["select", "pool.parquet", "-k", "3", "--filter", "price in 3"], "expected a list"),
        (["select", "pool.parquet", "-k", "3", "--filter", "price == [3]"], "expected one value, not a list"),
        (["select", "pool.parquet", "-k", "3", "--on-file-error", "ignore"], "'ignore' is not one of"),
        (["sellect"], "sellect"),
    ],
)
def test_bad_usage_is_exit_code_2(folder: Path, arguments: list[str], message: str) -> None:
    assert message in run(folder, *arguments, code=2).stderr


def test_warnings_are_one_line_and_say_not_where_they_come_from(folder: Path) -> None:
    code = """if True:
        import warnings
        from pickwise import cli, commands

        def app(**_):
            warnings.warn("the server is away", stacklevel=1)
            warnings.warn("it is old", DeprecationWarning, stacklevel=1)

        commands.app = app
        cli.main()
    """
    command = [sys.executable, "-W", "always", "-c", code]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr.splitlines()
    assert said[0] == "pickwise: warning: the server is away"
    assert re.search(r":\d+: DeprecationWarning: it is old$", said[1])


def test_logits_are_told_by_an_option_of_the_command(folder: Path) -> None:
    np.save(folder / "logits.npy", np.log(PROBABILITIES))
    for more in ((), ("-s", "power")):
        said = run(folder, "select", "logits.npy", "-k", "3", *more, code=1).stderr
        assert "; pass --from-logits for logits, or normalise the rows first" in said
    run(folder, "select", "logits.npy", "-k", "3", "--from-logits")


def test_output_folder_is_looked_at_before_the_work(folder: Path) -> None:
    (folder / "broken.npy").write_bytes((folder / "pool.npy").read_bytes())
    bad = PROBABILITIES.copy()
    bad[0] = np.nan
    np.save(folder / "broken.npy", bad)
    # Were the pool read first, its first row would be what is complained about.
    done = run(folder, "select", "broken.npy", "-k", "3", "-o", "nowhere/batch.csv", code=1)
    assert "there is no folder" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that no one can write to")
def test_read_only_output_folder(folder: Path) -> None:
    done = run(folder, "select", "pool.npy", "-k", "3", "-o", "/proc/batch.csv", code=1)
    assert "/proc/batch.csv: cannot write there" in done.stderr
    if os.geteuid() == 0:
        return  # permission bits mean nothing to root
    (folder / "out").chmod(0o555)
    done = run(folder, "select", "pool.npy", "-k", "3", "-o", "out/batch.csv", code=1)
    assert "cannot write there (Permission denied)" in done.stderr


def test_failure_leaves_what_was_there(folder: Path) -> None:
    output = folder / "out" / "batch.csv"
    output.write_text("what was there before")
    bad = PROBABILITIES.copy()
    bad[499] = np.nan
    np.save(folder / "bad.npy", bad)
    for command in (["select", "-k", "3"], ["score"]):
        run(folder, *command, "bad.npy", "-o", str(output), code=1)
        assert output.read_text() == "what was there before"


def test_new_files_have_the_usual_mode(folder: Path) -> None:
    run(folder, "select", "pool.npy", "-k", "3", "-o", "out/batch.csv")
    (folder / "usual").write_text("")
    assert (folder / "out" / "batch.csv").stat().st_mode == (folder / "usual").stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
@pytest.mark.parametrize("command", [["select", "-k", "10"], ["score"]], ids=["select", "score"])
def test_interrupt(folder: Path, sent: signal.Signals, command: list[str]) -> None:
    # A sparse file that takes long to read and no room on the disk; equal logits are fine.
    header = np.lib.format.header_data_from_array_1_0(PROBABILITIES) | {"shape": (10_000_000_000, 10)}
    with (folder / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 400_000_000_000)
    arguments = [*command, "huge.npy", "--from-logits", "-o", "out/result.csv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pickwise", *arguments], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not list((folder / "out").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(sent)
    began = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < 2
    assert process.returncode == (130 if sent == signal.SIGINT else 143)
    assert "Traceback" not in errors
    assert list((folder / "out").iterdir()) == []


def test_information(folder: Path) -> None:
    assert run(folder, "--version").stdout == f"pickwise {pw.__version__}\n"
    done = run(folder, "info")
    assert {line.split()[0] for line in done.stdout.splitlines()} == set(pw.build_info())
    assert "select" in run(folder, "--help").stdout
    for command in ("select", "score"):
        assert "Examples:" in run(folder, command, "--help").stdout


def test_without_typer_it_says_what_to_install(folder: Path) -> None:
    (folder / "typer.py").write_text("raise ImportError")
    done = run_process(folder, "select", "pool.npy", "-k", "3", code=1, PYTHONPATH=str(folder))
    assert done.stderr == "The command line of pickwise needs an extra: pip install 'pickwise[cli]'\n"


def test_as_a_process(folder: Path) -> None:
    done = run_process(folder, "select", "pool.npy", "-k", "3")
    assert done.stdout == run(folder, "select", "pool.npy", "-k", "3").stdout
    done = run_process(folder, "select", "nothing.npy", "-k", "3", code=1)
    assert done.stderr == "pickwise: pool: there is no file 'nothing.npy'\n"


def test_a_closed_pipe_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m pickwise select pool.npy -k 500 -q | head -1"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr == ""
