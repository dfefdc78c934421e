"""A long selection that is killed goes on from its checkpoint, to the same bits, and reads nothing twice."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pickwise as pw
from pickwise.checkpoint import Checkpoint
from pickwise.pools.npy import NpyPart
from pickwise.report import Report

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from pickwise.pools.parquet import ParquetPart  # noqa: E402

FILES, ROWS, K = 12, 300, 40
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(3), FILES * ROWS).astype("f4")
EMBEDDINGS = np.random.default_rng(1).normal(size=(FILES * ROWS, 4)).astype("f4")


def write(path: Path, rows: slice) -> None:
    columns = {f"p_{i}": PROBABILITIES[rows, i].copy() for i in range(3)}
    vectors = pa.FixedSizeListArray.from_arrays(EMBEDDINGS[rows].ravel(), 4)
    ids = np.arange(FILES * ROWS)[rows] * 2
    pq.write_table(pa.table({**columns, "emb": vectors, "id": ids}), path, row_group_size=120)


@pytest.fixture
def pool(tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(FILES):
        write(folder / f"{number:02}.parquet", slice(number * ROWS, (number + 1) * ROWS))
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The names of the files whose rows were asked for."""
    names = []
    for kind in (ParquetPart, NpyPart):

        def batches(part, read=kind.batches):
            names.append(Path(part.name).name)
            yield from read(part)

        monkeypatch.setattr(kind, "batches", batches)
    return names


class Stopped(BaseException):
    """What ends a selection from outside."""


def stopped_after(count, select, error=Stopped):
    """Run a selection that is ended when so many files are saved."""
    save, done = Checkpoint.save, []

    def counted(self, parts, reducer, report):
        self._cost = 0.0  # saved whatever it takes
        save(self, parts, reducer, report)
        done.extend(parts)
        if len(done) == count:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", counted)
        with pytest.raises(error):
            select()


CASES = {
    "entropy": {"strategy": "entropy"},
    "random ties": {"strategy": "margin", "ties": "random", "random_state": 3},
    "ids": {"strategy": "least_confidence", "id": "id", "exclude_ids": [0, 2, 4]},
    "mask": {"strategy": "margin", "exclude": np.arange(FILES * ROWS) % 3 == 0},
    "power": {"strategy": "power", "random_state": 5},
    "random": {"strategy": "random", "random_state": 5},
    "softrank": {"strategy": "softrank", "random_state": 5},
    "filters": {"strategy": "ratio", "filters": [("p_0", "<", 0.5)]},
    "committee": {"strategy": "bald", "probabilities": ["emb", "emb"], "from_logits": True},
    "k_center": {"strategy": "k_center", "probabilities": "emb"},
    "core-sets": {"strategy": pw.KCenter(shard_bytes=10_000), "probabilities": "emb"},
    "kmeans++": {"strategy": pw.KMeansPlusPlus(shard_bytes=10_000), "probabilities": "emb", "random_state": 1},
    "auto": {"strategy": "auto", "embeddings": "emb"},
    "hybrid": {"strategy": pw.Hybrid(factor=5), "embeddings": "emb"},
}


def select(pool, case, **more):
    options = {"probabilities": "p_*"} | CASES[case] | more
    if options.pop("from_logits", False):
        options["strategy"] = pw.Bald(from_logits=True)
    return pw.select(pool, K, **options)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [1, 5, FILES])
def test_a_stopped_selection_goes_on(pool, tmp_path, opened, case, count):
    state = tmp_path / "sel.state"
    expected = select(pool, case)
    whole = len(opened)
    stopped_after(count, lambda: select(pool, case, checkpoint=state))
    assert sorted(tmp_path.iterdir()) == [pool, state]
    opened.clear()
    resumed = select(pool, case, checkpoint=str(state))
    assert resumed == expected
    assert len(opened) == whole - count
    assert not {f"{number:02}.parquet" for number in range(count)} & set(opened[: FILES - count])
    assert list(tmp_path.iterdir()) == [pool]
    report = resumed.report
    assert (report.resumed, report.files) == (count, FILES)
    assert (report.rows, report.size) == (expected.report.rows, expected.report.size)
    assert report.scores.state() == expected.report.scores.state()


def test_it_is_stopped_again_and_again(pool, tmp_path, opened):
    state = tmp_path / "sel.state"
    expected = select(pool, "entropy")
    opened.clear()
    for _ in range(FILES // 3):
        stopped_after(3, lambda: select(pool, "entropy", checkpoint=state))
    resumed = select(pool, "entropy", checkpoint=state)
    assert resumed == expected
    assert resumed.report.resumed == FILES
    # The reader is a little ahead of what is saved.
    assert len(opened) <= FILES + 3 * (FILES // 3)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupt_leaves_the_state_of_whole_files(pool, tmp_path, error):
    state = tmp_path / "sel.state"

    def stop(rows, total):
        if rows > 5 * ROWS + 50:
            raise error

    with pytest.raises(error):
        select(pool, "entropy", checkpoint=state, progress=stop)
    assert sorted(tmp_path.iterdir()) == [pool, state]
    assert select(pool, "entropy", checkpoint=state) == select(pool, "entropy")


SCRIPT = """
import sys, time
import numpy as np
import pickwise as pw
import pickwise.checkpoint
from pickwise.pools.parquet import ParquetPart

pool, state, log, out, kind = sys.argv[1:]
pickwise.checkpoint._SHARE = float("inf")
read = ParquetPart.batches

def slowly(part):
    with open(log, "a") as file:
        print(part.name, file=file)
    for batch in read(part):
        time.sleep(0.004)
        yield batch

ParquetPart.batches = slowly
columns = "emb" if kind == "k_center" else "p_*"
print("ready", flush=True)
selection = pw.select(pool, 40, kind, probabilities=columns, checkpoint=state)
np.savez(out, ids=selection.ids.astype(str), indices=selection.indices, scores=selection.scores)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("sent", "kind"), [(signal.SIGKILL, "entropy"), (signal.SIGKILL, "k_center"), (signal.SIGINT, "entropy")]
)
def test_killed_at_random_moments(pool, tmp_path, sent, kind):
    state, log, out = tmp_path / "sel.state", tmp_path / "log", tmp_path / "out.npz"
    rng = np.random.default_rng(sent)
    kills = 0
    while not out.exists():
        assert kills < 30
        finished = set(finished_in(state))
        log.write_text("")
        command = [sys.executable, "-c", SCRIPT, *map(str, (pool, state, log, out, kind))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if kills < 4:
                time.sleep(rng.uniform(0, 0.15))
                process.send_signal(sent)
            _, errors = process.communicate(timeout=30)
        assert process.returncode in (0, -sent, 1), errors
        assert not finished & set(log.read_text().split())
        kills += 1
    assert kills > 2
    expected = pw.select(pool, 40, kind, probabilities="emb" if kind == "k_center" else "p_*")
    with np.load(out) as found:
        assert found["ids"].tolist() == expected.ids.tolist()
        np.testing.assert_array_equal(found["indices"], expected.indices)
        np.testing.assert_array_equal(found["scores"], expected.scores)
    assert sorted(tmp_path.iterdir()) == sorted([log, out, pool])


def finished_in(state):
    if not state.exists():
        return []
    return json.loads(state.read_bytes().split(b"\n")[1][4:])["finished"]


@pytest.mark.parametrize("random_state", [None, "generator"])
@pytest.mark.parametrize("strategy", ["power", "random", pw.KMeansPlusPlus(shard_bytes=10_000)])
def test_a_seed_is_drawn_once(pool, tmp_path, strategy, random_state):
    state = tmp_path / "sel.state"
    options = {"probabilities": "p_*" if isinstance(strategy, str) else "emb", "checkpoint": state}

    def generator(seed):
        return None if random_state is None else np.random.default_rng(seed)

    before = np.random.get_state()  # noqa: NPY002 - None means this one
    stopped_after(3, lambda: pw.select(pool, K, strategy, random_state=generator(0), **options))
    np.random.set_state(before)  # noqa: NPY002
    expected = pw.select(pool, K, strategy, random_state=generator(0), **options | {"checkpoint": None})
    assert pw.select(pool, K, strategy, random_state=generator(1), **options) == expected


def test_softrank_needs_a_seed(pool, tmp_path):
    with pytest.raises(TypeError, match="random_state: expected an integer with softrank and a checkpoint"):
        pw.select(pool, K, "softrank", probabilities="p_*", checkpoint=tmp_path / "sel.state")
    assert list(tmp_path.iterdir()) == [pool]


OTHERS = {
    "k": {"k": K + 1},
    "strategy": {"strategy": pw.Entropy(from_logits=True)},
    "ties": {"ties": "random"},
    "invalid": {"invalid": "skip"},
    "random_state": {"random_state": 1},
    "ids": {"ids": np.arange(FILES * ROWS) + 5},
    "exclude": {"exclude": [7]},
    "exclude_ids": {"exclude_ids": ["7"]},
    "probabilities": {"probabilities": ["p_0", "p_1"]},
    "id": {"id": "id"},
    "filters": {"filters": [("p_0", "<", 0.5)]},
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_state_of_another_selection(pool, tmp_path, what):
    state = tmp_path / "sel.state"
    options = {"pool": pool, "k": K, "strategy": "entropy", "probabilities": "p_*", "checkpoint": state}
    stopped_after(4, lambda: pw.select(**options))
    before = state.read_bytes()
    with pytest.raises(ValueError, match=rf"sel\.state is of another selection, with other {what}; remove it to begin"):
        pw.select(**options | OTHERS[what])
    assert state.read_bytes() == before
    assert pw.select(**options) == pw.select(**options | {"checkpoint": None})


def test_other_labelled_rows(pool, tmp_path):
    state = tmp_path / "sel.state"
    options = {"probabilities": "emb", "checkpoint": state}
    stopped_after(4, lambda: pw.select(pool, K, "k_center", labelled=EMBEDDINGS[:3], **options))
    for labelled in (EMBEDDINGS[:2], None):
        with pytest.raises(ValueError, match="with other labelled"):
            pw.select(pool, K, "k_center", labelled=labelled, **options)


def test_files_that_changed(pool, tmp_path):
    state = tmp_path / "sel.state"
    stopped_after(4, lambda: select(pool, "entropy", checkpoint=state))
    last = pool / f"{FILES - 1:02}.parquet"
    time.sleep(0.01)
    write(last, slice(0, ROWS))
    with pytest.raises(ValueError, match="is of another selection, with other sizes or times of files; remove it"):
        select(pool, "entropy", checkpoint=state)
    last.unlink()
    with pytest.raises(ValueError, match="with other files and sizes or times of files"):
        select(pool, "entropy", checkpoint=state)
    state.unlink()
    assert select(pool, "entropy", checkpoint=state) == select(pool, "entropy")


def test_a_changed_file_of_another_member(tmp_path):
    for member in "ab":
        (tmp_path / member).mkdir()
        for number in range(4):
            np.save(tmp_path / member / f"{number}.npy", PROBABILITIES[number * 50 : number * 50 + 50])
    members = [tmp_path / "a", tmp_path / "b"]
    state = tmp_path / "sel.state"
    stopped_after(2, lambda: pw.select(members, 10, "bald", checkpoint=state))
    np.save(tmp_path / "b" / "3.npy", PROBABILITIES[:50, ::-1])
    os.utime(tmp_path / "b" / "3.npy", ns=(1, 1))
    with pytest.raises(ValueError, match="with other sizes or times of files"):
        pw.select(members, 10, "bald", checkpoint=state)


def test_sets_are_alike_in_every_process(pool, tmp_path, run_python):
    state = tmp_path / "sel.state"
    code = """
        import sys
        import pickwise as pw
        from pickwise.checkpoint import Checkpoint

        def stop(*_):
            save(*_)
            raise KeyboardInterrupt

        save, Checkpoint.save = Checkpoint.save, stop if sys.argv[3] == "stop" else Checkpoint.save
        some = {"a" + str(i) for i in range(50)}
        try:
            selection = pw.select(
                sys.argv[1], 5, "entropy", probabilities="p_*", exclude_ids=some,
                filters=[("p_0", "not in", {i / 64 for i in range(64)} | {0.1, 0.7})], checkpoint=sys.argv[2],
            )
            print(selection.report.resumed)
        except KeyboardInterrupt:
            print("stopped")
    """
    assert run_python(code, pool, state, "stop", PYTHONHASHSEED="1") == "stopped"
    assert run_python(code, pool, state, "go on", PYTHONHASHSEED="2") == "1"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_state(pool, tmp_path, damage):
    state = tmp_path / "sel.state"
    stopped_after(4, lambda: select(pool, "entropy", checkpoint=state))
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = {"cut": data[:-10], "flipped": data, "empty": b"", "other": b"id,index\n1,2\n"}[damage]
    state.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"sel\.state is damaged or something else; remove it to begin again, or name"):
        select(pool, "entropy", checkpoint=state)
    assert state.read_bytes() == damaged
    assert sorted(tmp_path.iterdir()) == [pool, state]


def test_a_folder_that_is_not_there(pool, tmp_path, opened):
    with pytest.raises(FileNotFoundError, match=r"checkpoint: there is no folder .*nowhere"):
        select(pool, "entropy", checkpoint=tmp_path / "nowhere" / "sel.state")
    with pytest.raises(IsADirectoryError, match=r"checkpoint: expected the name of a file, got the folder .*pool"):
        select(pool, "entropy", checkpoint=pool)
    assert opened == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that no one can write to")
def test_a_folder_that_cannot_be_written_to(pool, opened):
    with pytest.raises(OSError, match=r"checkpoint: cannot be written .*/proc/sel.state"):
        select(pool, "entropy", checkpoint="/proc/sel.state")
    assert opened == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk(pool, tmp_path, monkeypatch, step):
    state = tmp_path / "sel.state"
    stopped_after(4, lambda: select(pool, "entropy", checkpoint=state))
    before = state.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def open_full(path, *mode, **options):
        return io.open("/dev/full" if path.suffix == ".partial" else path, *mode, **options)  # noqa: UP020

    monkeypatch.setattr("pickwise.checkpoint._SHARE", float("inf"))
    with monkeypatch.context() as patch:
        if step == "fsync":
            calls = []
            # The first call is the trial before the work.
            patch.setattr(os, "fsync", lambda _: calls.append(1) if not calls else full())
        elif step == "replace":
            patch.setattr(Path, "replace", full)
        else:
            patch.setattr(Path, "open", open_full)
            patch.setattr(os, "fsync", lambda _: None)  # which devices do not know
        with pytest.raises(OSError, match=r"checkpoint: cannot be written \(.*\): '.*sel\.state'") as caught:
            select(pool, "entropy", checkpoint=state)
    assert caught.value.errno == errno.ENOSPC
    assert state.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [pool, state]
    assert select(pool, "entropy", checkpoint=state) == select(pool, "entropy")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_while_it_is_saved(pool, tmp_path, run_python):
    state = tmp_path / "sel.state"
    stopped_after(4, lambda: select(pool, "entropy", checkpoint=state))
    before = state.read_bytes()
    code = """
        import os, signal, sys
        import pickwise as pw
        import pickwise.checkpoint

        calls = []
        os.fsync = lambda _: calls.append(1) if not calls else os.kill(os.getpid(), signal.SIGKILL)
        pickwise.checkpoint._SHARE = float("inf")
        pw.select(sys.argv[1], 40, "entropy", probabilities="p_*", checkpoint=sys.argv[2])
    """
    with pytest.raises(AssertionError):
        run_python(code, pool, state)
    assert state.read_bytes() == before
    assert select(pool, "entropy", checkpoint=state) == select(pool, "entropy")
    assert list(tmp_path.iterdir()) == [pool]


def test_what_was_read_before_an_error_is_kept(pool, tmp_path):
    """A file that is mended after an error is read then, and so is one that was left out for a while."""
    state = tmp_path / "sel.state"
    expected = select(pool, "entropy")
    broken = pool / "07.parquet"
    data, times = broken.read_bytes(), broken.stat()
    column = pq.ParquetFile(broken).metadata.row_group(1).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    broken.write_bytes(data[:start] + b"\xff" * 64 + data[start + 64 :])
    os.utime(broken, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match=r"07\.parquet: not a readable Parquet file"):
        select(pool, "entropy", checkpoint=state)
    stopped_after(5, lambda: select(pool, "entropy", checkpoint=state, on_file_error="skip"))
    broken.write_bytes(data)
    os.utime(broken, ns=(times.st_atime_ns, times.st_mtime_ns))
    resumed = select(pool, "entropy", checkpoint=state)
    assert resumed == expected
    assert resumed.report.failed == {}


def test_invalid_rows_are_counted_once(pool, tmp_path):
    state = tmp_path / "sel.state"
    options = {"invalid": "skip", "filters": [("p_0", "<", 0.5)], "probabilities": ["p_0", "p_1"]}
    expected = pw.select(pool, 5, "entropy", clip=True, **options)
    stopped_after(4, lambda: pw.select(pool, 5, "entropy", clip=True, checkpoint=state, **options))
    stopped_after(4, lambda: pw.select(pool, 5, "entropy", clip=True, checkpoint=state, **options))
    resumed = pw.select(pool, 5, "entropy", clip=True, checkpoint=state, **options)
    assert resumed.report.skipped == expected.report.skipped
    assert sum(resumed.report.skipped.values()) == resumed.skipped == expected.skipped > 0


def test_the_state_stays_until_the_selection_is_there(pool, tmp_path, opened):
    state = tmp_path / "sel.state"
    options = {"strategy": "entropy", "probabilities": "p_*", "filters": [("p_0", "<", 0.01)], "checkpoint": state}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pickwise.checkpoint._SHARE", float("inf"))
        with pytest.raises(ValueError, match="clip=True takes what there is"):
            pw.select(pool, K * 10, **options)
    assert state.exists()
    opened.clear()
    assert len(pw.select(pool, K * 10, clip=True, **options)) < K * 10
    assert opened == []
    assert not state.exists()


def test_pools_that_cannot_be_gone_on_with(pool, tmp_path):
    np.save(tmp_path / "p.npy", PROBABILITIES)
    state = {"checkpoint": tmp_path / "sel.state"}
    whole = pq.read_table(pool, columns=["p_0", "p_1", "p_2"])
    with pytest.raises(TypeError, match="checkpoint: expected None with a ndarray; it is for pools of files"):
        pw.select(PROBABILITIES, 3, **state)
    for other in (whole, whole.to_reader(), iter([PROBABILITIES])):
        with pytest.raises(ValueError, match="checkpoint: expected a pool of files, which can be read again one by"):
            pw.select(other, 3, **state)
    with pytest.raises(TypeError, match="checkpoint: expected None with batch_bald, which takes a committee in memory"):
        pw.select(PROBABILITIES[None], 3, "batch_bald", **state)
    with pytest.raises(ValueError, match=r"checkpoint: typiclust compares the rows .* the closest .* is KCenter"):
        pw.select(tmp_path / "p.npy", 3, "typiclust", **state)
    with pytest.raises(ValueError, match=r"checkpoint: k_center .* piece by piece what lies in files"):
        pw.select(PROBABILITIES, 3, "k_center", **state)
    for strategy in ("margin", "k_center"):
        alone = pw.select(tmp_path / "p.npy", 3, strategy, **state)
        assert alone.indices.tolist() == pw.select(PROBABILITIES, 3, strategy).indices.tolist()
    with pytest.raises(ValueError, match="checkpoint: expected None with limits, for which a pool may be read more"):
        pw.select(pool, 3, probabilities="p_*", max_per_class=1, **state)
    assert not state["checkpoint"].exists()


def test_saving_takes_a_small_part_of_the_time(pool, tmp_path, monkeypatch):
    clock, written = [0.0], []
    monkeypatch.setattr("pickwise.checkpoint.time.perf_counter", lambda: clock[0])

    def write(self, data, *, replace=True):
        written.append(clock[0])
        clock[0] += 1.0  # a slow disk

    monkeypatch.setattr(Checkpoint, "_write", write)
    state = Checkpoint(tmp_path / "sel.state", {})
    reducer = pw.reducer("entropy", K)
    for number in range(200):
        clock[0] += 0.5
        part = NpyPart.__new__(NpyPart)
        part.name = str(number)
        state.save([part], reducer, Report)
    assert len(written) - 1 == pytest.approx(200 * 0.5 / 20, abs=2)
