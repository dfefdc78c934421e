"""Clusters that Ray selections find, start and stop, in processes of their own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pickwise as pw
from pickwise.pools import open_pool

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("ray")

FILES, ROWS = 9, 300
RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(3), (FILES, ROWS)).astype(np.float32)
X = RNG.normal(size=(FILES, ROWS, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Else a cluster of `ray start` takes those alone who know a token.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    for number, (p, x) in enumerate(zip(P, X, strict=True)):
        columns = {f"p_{column}": p[:, column] for column in range(3)}
        columns |= {"id": np.arange(ROWS) + number * ROWS, "emb": pa.FixedSizeListArray.from_arrays(x.ravel(), 4)}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet")
    return [str(file) for file in sorted(folder.iterdir())]


DRIVER = """
import sys, time
import ray
import pickwise as pw
from pickwise.pools import open_pool
from pickwise.pools.parquet import ParquetPart

class Slow(ParquetPart):
    def batches(self):
        time.sleep(60)
        yield

ray.cloudpickle.register_pickle_by_value(sys.modules["__main__"])
address, state, *files = sys.argv[1:]
pool = open_pool(files, probabilities="p_*")
for part in pool.parts[5:]:
    part.__class__ = Slow
pw.select(pool, 60, "entropy", engine=pw.engines.Ray(address=address, task_bytes=1), checkpoint=state)
"""


@pytest.fixture
def running(_alone):
    """Start a cluster in processes of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--block", f"--port={port}", "--num-cpus=2"]
    options = ["--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--object-store-memory={100 << 20}"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as cluster:
        assert cluster.stdout is not None
        try:
            for line in cluster.stdout:
                if "Ray runtime started" in line:
                    break
            yield f"127.0.0.1:{port}"
        finally:
            cluster.terminate()
            cluster.communicate(timeout=60)


def test_a_running_cluster(files, tmp_path, running, run_python):
    code = """
    import sys
    import ray
    import pickwise as pw

    for address in (sys.argv[1], "auto"):
        engine = pw.engines.Ray(address=address, task_bytes=50_000)
        found = pw.select(sys.argv[2:], 60, "entropy", probabilities="p_*", engine=engine)
        assert found == pw.select(sys.argv[2:], 60, "entropy", probabilities="p_*")
        assert not ray.is_initialized()
    """
    run_python(code, running, *files, PYTHONWARNINGS="ignore", RAY_ADDRESS=running)
    # A driver that is interrupted.
    state = tmp_path / "selection.state"
    command = [sys.executable, "-c", DRIVER, running, str(state), *files]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        while not state.exists():
            assert driver.poll() is None
            time.sleep(0.05)
        sent = time.monotonic()
        driver.send_signal(signal.SIGINT)
        _, err = driver.communicate(timeout=60)
    assert time.monotonic() - sent < 15
    assert driver.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    pool = open_pool(files, probabilities="p_*")
    found = pw.select(pool, 60, "entropy", checkpoint=state)
    assert found.report.resumed > 0
    assert found == pw.select(files, 60, "entropy", probabilities="p_*")


def test_a_cluster_of_its_own(files, run_python):
    code = """
    import sys
    import ray
    import pickwise as pw

    inits = []
    init = ray.init
    ray.init = lambda *args, **options: inits.append(args) or init(*args, **options)
    engine = pw.engines.Ray(task_bytes=1)
    found = pw.select(sys.argv[1:], 20, "k_center", probabilities="emb", id="id", engine=engine)
    assert inits == [("local",)]
    assert not ray.is_initialized()
    print(repr(found.ids.tolist()), found.radius)
    """
    out = run_python(code, *files, PYTHONWARNINGS="ignore")
    total = pw.reducer("k_center", 20)
    for number, x in enumerate(X):
        shard = pw.reducer("k_center", 20)
        shard.update(x, ids=np.arange(ROWS) + number * ROWS)
        shard.condense()
        total.merge(shard)
    pairs = [(x, np.arange(ROWS) + number * ROWS) for number, x in enumerate(X)]
    expected = total.cover(pairs)
    assert out.splitlines()[-1] == f"{expected.ids.tolist()!r} {expected.radius}"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "no.such.host.invalid:6379"])
def test_an_address_where_nothing_answers(files, run_python, address):
    code = """
    import sys, time
    import ray
    import pickwise as pw

    engine, begun = pw.engines.Ray(address=sys.argv[1]), time.monotonic()
    try:
        pw.select(sys.argv[2], 3, probabilities="p_*", engine=engine)
    except ConnectionError as error:
        print(time.monotonic() - begun, error)
    """
    seconds, _, message = run_python(code, address, files[0], PYTHONWARNINGS="ignore").partition(" ")
    assert float(seconds) < 10
    assert message.startswith(f"engine: no Ray cluster at address={address!r}: ")
    assert "ray start --head" in message


def test_without_ray_it_says_what_to_install(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'pickwise\[ray\]'"):
        pw.select(files, 3, probabilities="p_*", engine="ray")
