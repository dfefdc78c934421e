"""A selection from a Parquet file, against pyarrow reading the file and dropping what it read."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pickwise as pw

CLASSES = 10

MEMORY = """
import sys
import pickwise as pw

pw.select(sys.argv[1], int(sys.argv[2]), "entropy")
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory, scale):
    path = tmp_path_factory.mktemp("parquet") / "pool.parquet"
    rows, step = int(10_000_000 * scale), 500_000
    rng = np.random.default_rng(0)
    names = [f"p_{column}" for column in range(CLASSES)]
    with pq.ParquetWriter(path, pa.schema([(name, pa.float32()) for name in names])) as writer:
        for start in range(0, rows, step):
            p = rng.standard_exponential((min(step, rows - start), CLASSES), dtype=np.float32)
            p /= p.sum(1, keepdims=True)
            writer.write_table(pa.table(dict(zip(names, p.T, strict=True))))
    yield path
    path.unlink()


def read_and_drop(path) -> None:
    with pq.ParquetFile(path) as parquet:
        for _ in parquet.iter_batches():
            pass


def bench_parquet(race, file) -> None:
    k = pq.read_metadata(file).num_rows // 1000
    table = pq.read_table(file)
    p = np.stack([column.to_numpy() for column in table.columns], axis=1)
    assert pw.select(file, k, "entropy") == pw.select(p, k, "entropy")
    rows = len(p)
    del p, table
    race.rival("pyarrow, read and drop", lambda: read_and_drop(file))
    race.rival("pyarrow, read_table", lambda: pq.read_table(file))

    race.run(lambda: pw.select(file, k, "entropy"), rounds=5)

    race.info(score="entropy", shape="10M x 10, Parquet", bytes=rows * CLASSES * 4, rows=rows)
    race.faster("Parquet, 10M x 10, select by entropy", "pyarrow, read and drop", ">= 0.8")
    command = [sys.executable, "-c", MEMORY, str(file), str(k)]
    if sys.platform == "linux":
        peak = int(subprocess.run(command, check=True, capture_output=True).stdout) / 1024
        race.claim("Parquet, 10M x 10: peak memory of the process", "", peak, "<= 600", " MiB")
