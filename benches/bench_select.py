"""The fused selection, against scoring alone, and the memory it takes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import pickwise as pw

SCORES = {"entropy": pw.entropy, "margin": pw.margin}

MEMORY = """
import sys
import numpy as np
import pickwise as pw

rows, strategy = int(sys.argv[1]), sys.argv[2]
pool = np.empty((rows, 2), np.float32)
rng = np.random.default_rng(0)
for start in range(0, rows, 100_000):
    p = rng.random(min(100_000, rows - start), np.float32)
    pool[start : start + len(p), 0] = p
    pool[start : start + len(p), 1] = 1 - p

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

before = peak()
assert len(pw.select(pool, min(10_000, rows), strategy)) == min(10_000, rows)
print(peak() - before)
"""


def best(scores, k):
    """Find the positions of the k highest scores, the lower position first among equals."""
    least = np.partition(scores, -k)[-k]
    good = np.flatnonzero(scores >= least)
    return good[np.lexsort((good, -scores[good]))][:k]


@pytest.mark.parametrize("strategy", SCORES)
def bench_select(race, pool, strategy) -> None:
    p, score = pool.p, SCORES[strategy]
    few, many = max(1, len(p) // 1000), max(1, len(p) // 10)
    expected = best(score(p, dtype=np.float64), many)
    np.testing.assert_array_equal(pw.select(p, many, strategy).indices, expected)
    np.testing.assert_array_equal(pw.select(p, few, strategy).indices, expected[:few])
    race.rival("scoring alone", lambda: score(p))
    race.rival("k = 10 %", lambda: pw.select(p, many, strategy))

    race.run(lambda: pw.select(p, few, strategy))

    race.info(score=strategy, shape=f"{pool.name}, select", bytes=p.nbytes, rows=len(p))
    alone = race.seconds["scoring alone"]
    what = f"select by {strategy}, {pool.name}"
    race.claim(f"{what}, k = 0.1 %", "scoring alone", race.seconds["pickwise"] / alone, "<= 1.1", "x the time")
    race.claim(f"{what}, k = 10 %", "scoring alone", race.seconds["k = 10 %"] / alone, "<= 1.5", "x the time")


@pytest.mark.parametrize("strategy", SCORES)
def bench_every_row_ties(race, pool, strategy) -> None:
    score = SCORES[strategy]
    k = max(1, len(pool.p) // 1000)
    same = np.empty_like(pool.p)
    same[:] = pool.p[0]
    np.testing.assert_array_equal(pw.select(same, k, strategy).indices, np.arange(k))
    race.rival("scoring alone", lambda: score(same))

    race.run(lambda: pw.select(same, k, strategy))

    race.info(score=strategy, shape=f"{pool.name}, ties", bytes=same.nbytes, rows=len(same))
    time = race.seconds["pickwise"] / race.seconds["scoring alone"]
    race.claim(f"select by {strategy}, {pool.name}, every row ties", "scoring alone", time, "<= 1.5", "x the time")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("strategy", SCORES)
def bench_memory(race, scale, strategy) -> None:
    command = [sys.executable, "-c", MEMORY, str(int(20_000_000 * scale)), strategy]
    grown = []
    race.run(lambda: grown.append(int(subprocess.run(command, check=True, capture_output=True).stdout)), rounds=1)
    what = f"select by {strategy}, 20M x 2, k = 10,000: peak memory growth"
    race.claim(what, "", grown[0] / 1024, "<= 32", " MiB")
