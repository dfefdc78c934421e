"""The GIL is free while work is done, and any number of Python threads may call at once."""

from __future__ import annotations

import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
POOLS = [RNG.dirichlet(np.ones(classes), rows) for classes, rows in ((2, 300_000), (10, 60_000), (200, 3000))]
SCORES: dict[str, Any] = {"entropy": pw.entropy, "margin": pw.margin, "ratio": pw.ratio}
# No memory, but work for a long time: all rows are the same one.
ENDLESS = np.broadcast_to(np.full(10, 0.1, np.float32), (4 * 10**9, 10))


def in_threads(*calls, seconds=60):
    """Make the calls at the same time, and return what they return."""
    barrier = threading.Barrier(len(calls))

    def together(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as executor:
        return [future.result(seconds) for future in [executor.submit(together, call) for call in calls]]


@pytest.mark.parametrize("threads", [1, 2])
def test_other_threads_go_on_during_a_long_call(threads):
    told, ticks, gaps = [], [0.0], []
    done = threading.Event()

    def tick():
        while not done.wait(0.001):
            now = time.perf_counter()
            gaps.append(now - ticks[-1])
            ticks.append(now)

    def stop(rows, total):
        told.append(rows)
        if len(ticks) > 100:
            raise RuntimeError("long enough")

    ticker = threading.Thread(target=tick)
    ticker.start()
    ticks[:] = [time.perf_counter()]
    try:
        with pw.num_threads(threads), pytest.raises(RuntimeError, match="long enough"):
            pw.select(ENDLESS, 10, progress=stop)
    finally:
        done.set()
        ticker.join()
    # Were the GIL held, nothing would have ticked before the end of the call.
    assert len(gaps) >= 100
    assert told[-1] < len(ENDLESS)


def test_scores_and_selections_of_many_threads():
    expected = [
        [score(pool) for pool in POOLS] + [pw.select(pool, 500, name) for pool in POOLS]
        for name, score in SCORES.items()
    ]

    def work(seed):
        for turn in np.random.default_rng(seed).permutation(12).tolist():
            number, at = divmod(turn, 4)
            name, pool, known = list(SCORES)[number], POOLS[at % 3], expected[number]
            np.testing.assert_array_equal(SCORES[name](pool), known[at % 3])
            assert pw.select(pool, 500, name) == known[3 + at % 3]
        return True

    assert all(in_threads(*(lambda seed=seed: work(seed) for seed in range(8))))


def test_the_number_of_threads_may_change_under_way():
    pool, expected = POOLS[1], pw.select(POOLS[1], 500)
    done = threading.Event()

    def change():
        for n in (1, 3, 2, 4) * 10:
            pw.set_num_threads(n)
            time.sleep(0.002)
        pw.set_num_threads(None)
        done.set()
        return True

    def work():
        while not done.is_set():
            assert pw.select(pool, 500) == expected
        return True

    assert all(in_threads(change, work, work))


@pytest.mark.parametrize("ids", ["integers", "strings"])
def test_one_reducer_of_many_threads(ids):
    pool = POOLS[1]
    names: Any = np.arange(len(pool)) if ids == "integers" else np.array([f"n{i}" for i in range(len(pool))])
    shared = pw.reducer("entropy", 500)
    parts = np.array_split(np.arange(len(pool)), 24)

    def update(some):
        for part in some:
            shared.update(pool[part], ids=names[part])
        return True

    def look():
        for _ in range(20):
            assert shared.rows <= len(pool)
            assert len(shared.to_bytes()) > 0
            if shared.rows >= 500:
                assert len(shared.finish()) == 500
        return True

    assert all(in_threads(*(lambda i=i: update(parts[i::4]) for i in range(4)), look, look))
    assert shared.rows == len(pool)
    found, expected = shared.finish(), pw.select(pool, 500, "entropy", ids=names)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_merging_into_each_other_at_once():
    first, second = pw.reducer("margin", 50), pw.reducer("margin", 50)
    first.update(POOLS[1][:30_000], ids=range(30_000))
    second.update(POOLS[1][30_000:], ids=range(30_000, 60_000))

    def merge(left, right):
        for _ in range(50):
            left.merge(right)
        return True

    started = [
        threading.Thread(target=merge, args=pair, daemon=True)
        for pair in ((first, second), (second, first), (first, first))
    ]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(30)
    assert not any(thread.is_alive() for thread in started), "a deadlock"


def test_merging_many_reducers_into_one_at_once():
    pool = POOLS[1]
    parts = np.array_split(np.arange(len(pool)), 16)
    whole = pw.reducer("margin", 300)

    def work(part):
        own = pw.reducer("margin", 300)
        own.update(pool[part], ids=part)
        whole.merge(own)
        return True

    assert all(in_threads(*(lambda part=part: work(part) for part in parts)))
    np.testing.assert_array_equal(whole.finish().ids, pw.select(pool, 300).ids)
    assert whole.rows == len(pool)


def test_a_call_does_not_wait_for_a_longer_one():
    expected, done = pw.select(POOLS[1], 10), threading.Event()

    def stop(rows, total):
        if done.is_set():
            raise RuntimeError("stopped")

    def long():
        with pytest.raises(RuntimeError, match="stopped"):
            pw.select(ENDLESS, 10, progress=stop)
        return True

    def short():
        time.sleep(0.1)
        try:
            return [pw.select(POOLS[1], 10) for _ in range(5)] == [expected] * 5
        finally:
            done.set()

    begun = time.perf_counter()
    assert in_threads(long, long, short) == [True] * 3
    assert time.perf_counter() - begun < 30


def test_a_progress_function_may_call_pickwise():
    pool = POOLS[1]
    expected, inner = pw.select(pool, 10), []

    def report(rows, total):
        inner.append(pw.select(pool, 10))
        if len(inner) == 3:
            raise RuntimeError("enough")

    begun = time.perf_counter()
    with pytest.raises(RuntimeError, match="enough"):
        pw.select(ENDLESS, 10, progress=report)
    assert inner == [expected] * 3
    assert time.perf_counter() - begun < 30


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="not a free-threaded Python")
def test_importing_leaves_the_gil_switched_off(run_python):
    assert run_python("import sys, pickwise; print(sys._is_gil_enabled())", PYTHON_GIL="") == "False"
