"""Ctrl-C and a progress function that raises stop long work at once, and leave nothing running and nothing changed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import pickwise as pw

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, and processor time from /proc")

SLACK = 2.0
"""Seconds; the promise is 0.2, but a machine with other work makes its own time."""

# No memory, but work for a long time: all rows are the same one.
ENDLESS = {
    "narrow": np.broadcast_to(np.full(10, 0.1, np.float32), (4 * 10**9, 10)),
    "wide": np.broadcast_to(np.full(5000, 1 / 5000, np.float32), (4 * 10**7, 5000)),
    "fortran": np.broadcast_to(np.full((10, 1), 0.1, np.float32), (10, 4 * 10**9)).T,
    "binary": np.broadcast_to(np.float32(0.5), (2 * 10**10,)),
}
CASES = [(pool, strategy) for pool in ENDLESS for strategy in ("margin", "entropy")] + [("binary", "random")]


def interrupted(call, after=0.2):
    """Interrupt a call after some seconds; return how long it then went on, None if it was done before."""

    def strike(number, frame):
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, strike)
    # The handler runs when Python is asked to look, so the clock has to start here.
    due = time.perf_counter() + after
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return time.perf_counter() - due
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    return None


def assert_soon(late):
    assert late is not None, "it was done before it could be interrupted"
    assert late < SLACK


def assert_idle():
    """No thread of this process is at work any more."""

    def used():
        # Processor time in hundredths of a second, of the native threads alone.
        total = 0
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended since it was listed
                if (task / "comm").read_text() != comm:
                    stat = (task / "stat").read_text().rpartition(")")[2].split()
                    total += int(stat[11]) + int(stat[12])
        return total

    comm = Path("/proc/self/comm").read_text()
    before = used()
    time.sleep(0.15)
    assert used() - before <= 3


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("pool", "strategy"), CASES)
def test_ctrl_c_stops_a_selection(pool, strategy, threads):
    with pw.num_threads(threads):
        late = interrupted(lambda: pw.select(ENDLESS[pool], 1000, strategy, random_state=0))
        assert_soon(late)
        assert_idle()
        assert len(pw.select(ENDLESS[pool][:100_000], 3, strategy, random_state=0)) == 3


def test_ctrl_c_does_not_wait_for_other_threads():
    done = threading.Event()

    def stop(rows, total):
        if done.is_set():
            raise RuntimeError("stopped")

    def long():
        with pytest.raises(RuntimeError, match="stopped"):
            pw.select(ENDLESS["narrow"], 10, progress=stop)

    other = threading.Thread(target=long)
    other.start()
    try:
        time.sleep(0.1)
        assert_soon(interrupted(lambda: pw.select(ENDLESS["narrow"], 10)))
        assert other.is_alive()
    finally:
        done.set()
        other.join()
    assert_idle()


def test_ctrl_c_stops_scores():
    pool = ENDLESS["wide"][: 10**7]
    for score in (pw.entropy, pw.margin):
        late = interrupted(lambda score=score: score(pool))
        assert_soon(late)
        assert_idle()


@pytest.mark.parametrize("dims", [3, 200])
@pytest.mark.parametrize("pick", [pw.k_center, pw.kmeans_plusplus])
def test_ctrl_c_stops_picking(pick, dims):
    # Without structure there is nothing to be lazy about.
    pool = np.random.default_rng(0).random((2_000_000 if dims == 3 else 60_000, dims), dtype=np.float32)
    for after in (0.02, 0.4):
        late = interrupted(lambda: pick(pool, len(pool) // 2, random_state=0), after)
        assert_soon(late)
    assert_soon(interrupted(lambda: pw.k_center(pool, 2000, labelled=pool[::5], nearest=True), 0.4))
    assert_idle()
    assert len(pick(pool[:1000], 3, random_state=0)) == 3


@pytest.mark.parametrize("spread", [pw.KCenter, pw.KMeansPlusPlus])
def test_ctrl_c_stops_reducing_a_shard(spread):
    pool = np.random.default_rng(0).random((60_000, 200), dtype=np.float32)
    reducer = pw.reducer(spread(shard_bytes=pool.nbytes // 2), 10_000)
    reducer.update(pool[:1000])
    before = reducer.to_bytes()
    assert_soon(interrupted(lambda: reducer.update(pool), 0.5))
    assert reducer.to_bytes() == before
    assert_idle()


def test_ctrl_c_stops_a_selection_of_all_rows():
    pool = np.random.default_rng(0).random(1_000_000, dtype=np.float32)
    ids = np.arange(len(pool))[::-1]
    begun = time.perf_counter()
    pw.select(pool, len(pool), "entropy", ids=ids)
    seconds = time.perf_counter() - begun
    for part in (0.1, 0.3, 0.5, 0.7, 0.9):  # while it checks ids, scores, sorts
        late = interrupted(lambda: pw.select(pool, len(pool), "entropy", ids=ids), after=part * seconds)
        assert_soon(late or 0.0)
    assert_idle()


@pytest.mark.parametrize("ties", ["first", "random"])
def test_ctrl_c_stops_sorting(ties):
    pool = np.random.default_rng(0).random(4_000_000, dtype=np.float32)
    reducer = pw.reducer("margin", len(pool), ties=ties, random_state=0)
    reducer.update(pool)
    begun = time.perf_counter()
    expected = reducer.finish()
    seconds = time.perf_counter() - begun
    for part in (0.1, 0.4, 0.7):  # while it counts, deals out, sorts
        late = interrupted(reducer.finish, after=part * seconds)
        assert_soon(late or 0.0)
    assert_idle()
    assert reducer.finish() == expected


def test_ctrl_c_stops_reading_a_file(tmp_path):
    path = tmp_path / "pool.npy"
    with path.open("wb") as file:
        rows = 5 * 10**8
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows,)})
        file.truncate(file.tell() + 4 * rows)  # holes read as zeros, which are probabilities
    late = interrupted(lambda: pw.select(path, 10), after=0.1)
    path.unlink()
    assert_soon(late)
    assert_idle()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pickwise")] == []


def test_ctrl_c_stops_reading_many_files(tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(20):
        with (folder / f"{number:02}.npy").open("wb") as file:
            rows = 10**8
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows,)})
            file.truncate(file.tell() + 4 * rows)
    late = interrupted(lambda: pw.select(folder, 10, checkpoint=tmp_path / "sel.state"), after=0.5)
    assert_soon(late)
    assert_idle()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pickwise")] == []
    assert {path.name for path in tmp_path.iterdir()} <= {"pool", "sel.state"}


@pytest.mark.parametrize("given", [False, True], ids=["positions", "ids"])
def test_a_reducer_is_as_before(given):
    first, second = np.random.default_rng(0).dirichlet(np.ones(5000), (2, 300)).astype(np.float32)
    reducer = pw.reducer("entropy", 100)
    reducer.update(first, ids=range(300) if given else None)
    before = reducer.to_bytes()
    pool = ENDLESS["wide"][: 10**7]  # better rows than those before
    ids = np.arange(1000, 1000 + len(pool)) if given else None
    late = interrupted(lambda: reducer.update(pool, ids=ids), after=0.3)
    assert_soon(late)
    assert reducer.to_bytes() == before
    reducer.update(second, ids=range(300, 600) if given else None)
    expected = pw.select(np.concatenate([first, second]), 100, "entropy")
    np.testing.assert_array_equal(reducer.finish().ids, expected.ids)
    assert reducer.rows == 600


SCRIPT = """
import sys, time
import numpy as np
import pickwise as pw

pool = np.broadcast_to(np.full(10, 0.1, np.float32), (4 * 10**9, 10))
print("ready", flush=True)
try:
    pw.select(pool, 10, "entropy")
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
    raise
"""


def test_ctrl_c_from_outside():
    """The signal of a terminal, and the end of a program that does not expect it."""
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert_soon(float(out) - sent)
    assert process.returncode == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert "panicked" not in err


def test_a_signal_that_raises_nothing_stops_nothing():
    heard = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        pool = np.random.default_rng(0).dirichlet(np.ones(10), 300_000)
        expected = [pw.select(pool, 100, "entropy") for _ in range(20)]
        while len(heard) < 3:
            expected.append(pw.select(pool, 100, "entropy"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert all(selection == expected[0] for selection in expected)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, StopIteration, SystemExit])
def test_a_progress_function_that_raises_stops_the_work(error):
    told = []

    def report(rows, total):
        told.append(rows)
        if len(told) == 4:
            raise error("of the caller")

    begun = time.perf_counter()
    with pytest.raises(error, match="of the caller") as caught:
        pw.select(ENDLESS["narrow"], 10, progress=report)
    assert_soon(time.perf_counter() - begun)
    assert caught.traceback[-1].name == "report"
    assert len(told) == 4
    assert told == sorted(told)
    assert 0 < told[-1] < len(ENDLESS["narrow"])
    assert_idle()
