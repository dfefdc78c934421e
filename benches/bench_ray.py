"""A selection from Parquet files on a Ray cluster of this machine, against this process; and what a task costs."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pickwise as pw
from pickwise.engines.ray import _merge, _take
from pickwise.ranking import Taking

ray = pytest.importorskip("ray")

# What Ray leaves open, and what it thinks of its own future.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FILES, CLASSES, EMPTY = 20, 10, 500

COLD = """
import sys, time
import ray
import pickwise as pw

k, *files = sys.argv[1:]
began = time.perf_counter()
pw.select(files, int(k), "entropy", engine="ray")
print(time.perf_counter() - began)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, scale):
    folder = tmp_path_factory.mktemp("ray")
    rng = np.random.default_rng(0)
    for number in range(FILES):
        p = rng.standard_exponential((int(500_000 * scale), CLASSES), dtype=np.float32)
        p /= p.sum(1, keepdims=True)
        pq.write_table(pa.table({f"p_{i}": column for i, column in enumerate(p.T)}), folder / f"{number:02}.parquet")
    yield sorted(str(file) for file in folder.iterdir())
    for file in folder.iterdir():
        file.unlink()


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cpus = pw.get_num_threads()
    ray.init("local", num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


def seconds(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def best(call, rounds: int = 3) -> float:
    return min(seconds(call) for _ in range(rounds))


@pytest.mark.usefixtures("cluster")
def bench_ray(race, files) -> None:
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    k = rows // 1000
    engine = pw.engines.Ray(task_bytes=1)
    here = pw.select(files, k, "entropy")
    assert pw.select(files, k, "entropy", engine=engine) == here
    race.rival("this process", lambda: pw.select(files, k, "entropy"))

    race.run(lambda: pw.select(files, k, "entropy", engine=engine), rounds=5)

    command = [sys.executable, "-c", COLD, str(k), *files]
    ray.shutdown()
    cold = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    race.seconds["pickwise, cluster started for it"] = cold
    race.info(page="engines", shape="10M x 10, Parquet, 20 files", rows=rows, bytes=rows * CLASSES * 4, k=k)
    race.info(tasks=len(files), threads=pw.get_num_threads())


@pytest.mark.usefixtures("cluster")
def bench_ray_tasks(race, files) -> None:
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    k = rows // 1000
    pool = pw.pools.open_pool(files)
    strategy = pw.Entropy()
    intake = Taking(strategy, None, None, "pool", sampled=0)
    shared = pw.Reducer(strategy, k), intake, False, 1, True

    def taken(number):
        return _take(pickle.loads(pickle.dumps(shared)), [pool.parts[number]])[0]

    state, other = taken(0), taken(1)
    empty = ray.remote(_take).options(num_cpus=1, num_returns=2)
    reference = ray.put(shared)

    race.run(lambda: ray.get([empty.remote(reference, [])[1] for _ in range(EMPTY)]), rounds=5)

    race.info(page="engines", k=k, rows=rows, bytes=rows * CLASSES * 4)
    race.info(
        costs={
            "score": best(lambda: taken(0)) / pool.parts[0].size,
            "task": race.seconds["pickwise"] / EMPTY,
            "state": len(pickle.dumps(state)),
            "merge": best(lambda: _merge(pickle.loads(pickle.dumps(state)), other)),
        }
    )
