"""Progress over files: rows reach the total whatever is left out, and a bar shows bytes and speed."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest

import pickwise as pw

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FILES, ROWS = 8, 5000
TOTAL = FILES * ROWS


@pytest.fixture
def pool(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(FILES):
        p = rng.dirichlet(np.ones(3), ROWS).astype("f4")
        columns = {f"p_{i}": p[:, i].copy() for i in range(3)}
        embeddings = pa.FixedSizeListArray.from_arrays(rng.normal(size=2 * ROWS).astype("f4"), 2)
        pq.write_table(pa.table(columns | {"emb": embeddings}), tmp_path / f"{number}.parquet", row_group_size=1000)
    return tmp_path


def break_page(path):
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(3).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)


WAYS = {
    "all": {},
    "filters": {"filters": [("p_0", "<", 0.2)]},
    "nothing passes in some": {"filters": [("p_0", "<", 0.002)], "clip": True},
    "a file fails": {"on_file_error": "skip"},
    "random": {"strategy": "random", "random_state": 0},
    "k_center": {"strategy": "k_center", "probabilities": "emb"},
    "committee": {"strategy": "bald", "probabilities": [["p_0", "p_1", "p_2"], ["p_*"]]},
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_reach_the_total(pool, way):
    if way == "a file fails":
        break_page(pool / "3.parquet")
    told = []
    options = {"strategy": "entropy", "probabilities": "p_*"} | WAYS[way]
    pw.select(pool, 10, progress=lambda done, total: told.append((done, total)), **options)
    done = [rows for rows, _ in told]
    assert done == sorted(done)
    assert {total for _, total in told} == {TOTAL}
    assert done[-1] == TOTAL
    assert len(set(done)) >= FILES


def test_what_was_done_before_a_checkpoint_counts(pool, tmp_path):
    state = tmp_path / "sel.state"
    told = []

    def stop(done, total):
        if done >= 3 * ROWS + 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pw.select(pool, 10, probabilities="p_*", checkpoint=state, progress=stop)
    pw.select(pool, 10, probabilities="p_*", checkpoint=state, progress=lambda *now: told.append(now))
    assert told[0][0] > ROWS
    assert told[-1] == (TOTAL, TOTAL)


def test_a_stream_of_unknown_length():
    told = []
    pieces = (np.full((1000, 2), 0.5) for _ in range(5))
    pw.select(pieces, 10, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (5000, None)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_bar(pool, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    pw.select(pool, 10, probabilities="p_*", progress=True, filters=[("p_0", "<", 0.2)])
    last = capsys.readouterr().err.rstrip("\n").split("\r")[-1]
    assert last.startswith("100%|")
    assert re.search(r"40\.0k/40\.0k \[00:\d\d<00:00, \S+row/s, 0\.00 GB, \d+ MB/s\]$", last), last


def test_a_bar_of_a_pool_whose_size_is_not_known(capsys):
    pytest.importorskip("tqdm")
    pw.select((np.full((1000, 2), 0.5) for _ in range(5)), 10, progress=True)
    assert "5.00krow [" in capsys.readouterr().err.split("\r")[-1]


@pytest.mark.parametrize("strategy", ["entropy", "k_center"])
def test_an_interrupt_leaves_no_thread(pool, strategy):
    before = threading.active_count()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pw.select(pool, 10, strategy, probabilities="p_*" if strategy == "entropy" else "emb", progress=stop)
    assert threading.active_count() == before
    with pytest.raises(KeyboardInterrupt):
        pw.select([pool, pool], 10, "bald", probabilities="p_*", progress=stop)
    assert threading.active_count() == before
