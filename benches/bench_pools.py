"""Selections from pools of Parquet files that need not fit into memory, against those who read or select the same."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

import pool_files
import pool_readers
from pool_readers import OURS, READERS, RIVALS, available

CASES = {
    "in 100 files": (pool_files.many_files, [*OURS, *RIVALS], 3),
    "in one file": (pool_files.one_file, ["pickwise"], 5),
    "in lists": (pool_files.lists, ["pickwise"], 5),
}
THROUGH_POLARS = ("pickwise, Polars LazyFrame", "pickwise, Polars expression")


def alone(name, folder, k):
    """Let one go through the pool in a process of its own."""
    command = [sys.executable, pool_readers.__file__, name, str(folder), str(k)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def assert_same(answer, best, tolerance) -> None:
    """Whoever computes in float32 may swap rows, but only those whose scores are that near."""
    rows, scores = answer
    assert len(set(rows)) == len(rows) == len(best[0])
    np.testing.assert_allclose(sorted(scores, reverse=True), best[1], rtol=0, atol=tolerance)
    common = set(rows) & set(best[0])
    for some in (answer, best):
        extra = [score for row, score in zip(*some, strict=True) if row not in common]
        np.testing.assert_allclose(extra, best[1][-1], rtol=0, atol=tolerance)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # what Dask asks of pandas
@pytest.mark.parametrize("case", CASES)
def bench_pool(race, scale, case) -> None:
    write, names, rounds = CASES[case]
    folder, names, k = write(scale), available(names), 1000
    rows = sum(pq.read_metadata(file).num_rows for file in pool_readers.parts(folder))
    told = {name: alone(name, folder, k) for name in [*names, *READERS]}
    for name in names[1:]:
        assert_same(told[name]["answer"], told["pickwise"]["answer"], 2e-6 if name in RIVALS else 0)
        race.rival(name, lambda go=(OURS | RIVALS)[name]: go(folder, k))
    for name, go in READERS.items():
        race.rival(name, lambda go=go: go(folder))

    race.run(lambda: OURS["pickwise"](folder, k), rounds=rounds)

    peaks = {name: one["peak"] for name, one in told.items()}
    what = f"{rows / 1e6:g}M x {pool_files.CLASSES} {case}"
    race.info(page="pools", pool=what, rows=rows, bytes=rows * pool_files.CLASSES * 4, k=k, peaks=peaks)
    race.faster(f"{what}, select by entropy", min(READERS, key=race.seconds.__getitem__), ">= 0.8")
    for name in THROUGH_POLARS:
        if name in names:
            race.claim(f"{what}, {name}", "pickwise", race.seconds["pickwise"] / race.seconds[name], ">= 0.7")
    if peaks["pickwise"] is not None:
        race.claim(f"{what}: peak memory of the process", "", peaks["pickwise"], "<= 700", " MiB")
