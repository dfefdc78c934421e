"""Memory stays flat however long the pool is. Each measurement is a process of its own, so that it has its own peak."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")

MIB = 1 << 20
CLASSES = 10
SHORT, LONG = 500_000, 4_000_000  # the matrices take 20 MB and 160 MB


def peak(code: str, *arguments: object) -> int:
    """Run code and return how far its resident memory rose above where it stood after the imports, in bytes."""
    # VmHWM and not getrusage: the latter starts from what the parent had at the fork.
    script = f"""
import sys
import numpy, pickwise as pw
from pickwise import cli
try:
    import pickwise.commands, pyarrow.dataset, pyarrow.parquet
except ImportError:
    pass
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
before = status("VmRSS")
{code}
print(status("VmHWM") - before)
"""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def pieces(rows: int):
    """Make probabilities a piece at a time, so that this process stays small too."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, 100_000):
        p = rng.random((min(100_000, rows - start), CLASSES), dtype=np.float32) + np.float32(0.01)
        yield p / p.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pools")
    for rows in (SHORT, LONG):
        pool = np.lib.format.open_memmap(path / f"c-{rows}.npy", "w+", np.float32, (rows, CLASSES))
        turned = np.lib.format.open_memmap(
            path / f"f-{rows}.npy", "w+", np.float32, (rows, CLASSES), fortran_order=True
        )
        start = 0
        for p in pieces(rows):
            pool[start : start + len(p)] = turned[start : start + len(p)] = p
            start += len(p)
    return path


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("parquet")
    names = [f"p_{i}" for i in range(CLASSES)]
    tables = [
        pa.table({"id": np.arange(len(p)) + i * 100_000} | dict(zip(names, np.ascontiguousarray(p.T), strict=True)))
        for i, p in enumerate(pieces(LONG))
    ]
    for layout, group in (("groups", 500_000), ("one", LONG)):
        pq.write_table(pa.concat_tables(tables), path / f"{layout}.parquet", row_group_size=group)
    return path


@pytest.mark.parametrize("order", ["c", "f"])
def test_npy(folder: Path, order: str) -> None:
    assert peak("pw.select(sys.argv[1], 1000, 'entropy')", folder / f"{order}-{LONG}.npy") < 32 * MIB


@pytest.mark.parametrize("layout", ["groups", "one"])
def test_parquet(parquet: Path, layout: str) -> None:
    code = "pw.select(sys.argv[1], 1000, 'entropy', probabilities='p_*', id='id')"
    assert peak(code, parquet / f"{layout}.parquet") < 320 * MIB


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv"])
def test_scores_are_written_as_they_come(folder: Path, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("typer")
    pytest.importorskip("pyarrow")
    code = """
sys.argv[:1] = ["pickwise", "score"]
try:
    cli.main()
except SystemExit as ended:
    assert not ended.code
"""
    output = tmp_path / f"scores{suffix}"
    short, long = (peak(code, folder / f"c-{rows}.npy", "-q", "-o", output) for rows in (SHORT, LONG))
    assert short < 80 * MIB
    assert long < short + 32 * MIB


def test_iterator() -> None:
    code = f"pw.select((numpy.full((50_000, {CLASSES}), 0.1, 'f4') for _ in range({LONG} // 50_000)), 1000)"
    assert peak(code) < 32 * MIB


def test_array_in_memory_needs_no_copy() -> None:
    code = f"""
pool = numpy.full(({LONG}, {CLASSES}), 0.1, numpy.float32)
before = status("VmRSS")
pw.select(pool, 10_000, "margin")
"""
    assert peak(code) < 32 * MIB


def test_embeddings_stay_in_their_file(tmp_path: Path) -> None:
    rows, dims = 400_000, 96  # 77 MB as float16, twice as much as float32
    pool = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (rows, dims))
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(50, dims))
    for start in range(0, rows, 50_000):
        pool[start : start + 50_000] = middles[rng.integers(0, 50, 50_000)] + rng.normal(size=(50_000, dims)) / 5
    pool.flush()
    # A page of the map counts as resident once it is read; what is beyond these pages is memory of our own.
    own = "next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('RssAnon')) * 1024"
    code = f"""
import threading
most, done = 0, threading.Event()
def watch():
    global most
    while not done.wait(0.005):
        most = max(most, {own})
thread = threading.Thread(target=watch)
thread.start()
start = {own}
for pick in (pw.k_center, pw.kmeans_plusplus):
    pick(sys.argv[1], 100)
done.set()
thread.join()
assert most - start < {40 * MIB}, (most - start) / 2**20
"""
    peak(code, tmp_path / "x.npy")
