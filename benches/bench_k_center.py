"""Greedy k-center, against NumPy with BLAS, a parallel pass of numba, scikit-activeml, fpsample, and torch if there."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fpsample
import numba
import numpy as np
import pytest
from skactiveml.pool import CoreSet

import pickwise as pw
from pickwise import _native

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SENTENCES = ("banking77_minilm_f16", "agnews_minilm_f16", "trec6_minilm_f16")
SECONDS = 1.0
"""About what a turn of a rival may take; it makes as many picks as fit, and its time is scaled up by the picks."""
CHECKED = 20
"""Picks that are checked against float64."""
START = 0
"""The first pick."""
NUMBERS_OF_SKACTIVEML = 40_000_000


def read(*names: str) -> NDArray[np.float32]:
    missing = [name for name in names if not (DATA / f"{name}.npz").exists()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not there")
    parts = []
    for name in names:
        with np.load(DATA / f"{name}.npz") as file:
            parts.append(file["X"].astype(np.float32))
    return np.concatenate(parts)


def sentences(rows: int | None = None) -> NDArray[np.float32]:
    """Real embeddings; more of them than there are: the same rows again, with small noise."""
    real = read(*SENTENCES)
    if rows is None:
        return real
    pool = np.empty((rows, real.shape[1]), np.float32)
    rng = np.random.default_rng(0)
    for start in range(0, rows, len(real)):
        part = pool[start : start + len(real)]
        part[:] = real[: len(part)] + np.float32(0.01) * rng.standard_normal(part.shape, np.float32)
    return pool


def uniform(rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((rows, 3), np.float32)


def gaussian(rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((rows, 128), np.float32)


# The pool, its rows (None: as many as there are), the picks, and the targets by rival.
RACES: dict[str, tuple[Callable[..., NDArray[np.float32]], int | None, int, dict[str, str]]] = {
    "sentences": (sentences, None, 2000, {"NumPy": ">= 30", "numba": ">= 12"}),
    "sentences, tiled": (sentences, 1_000_000, 2000, {"NumPy": ">= 40"}),
    "MNIST": (lambda: read("mnist70k_u8"), None, 2000, {"NumPy": ">= 30"}),
    "cover": (lambda: read("adbench_10_cover"), None, 5000, {"NumPy": ">= 30"}),
    "donors": (lambda: read("adbench_11_donors"), None, 5000, {"NumPy": ">= 30"}),
    "uniform": (uniform, 1_000_000, 4096, {"fpsample": ">= 1"}),
    "Gaussian": (gaussian, 200_000, 1000, {"NumPy": ">= 25"}),
}


def numpy_blas(x, k):
    norms = np.einsum("ij,ij->i", x, x)
    best, picks = np.full(len(x), np.inf, x.dtype), [START]
    while len(picks) < k:
        last = picks[-1]
        distances = norms + norms[last] - 2 * (x @ x[last])
        np.minimum(best, distances, out=best)
        picks.append(int(best.argmax()))
    return picks


@numba.njit(parallel=True, fastmath=True)
def one_pass(x, centre, best, farthest):
    """Bring all rows up to date with one centre, and find the farthest of each thread's rows."""
    parts = len(farthest)
    for part in numba.prange(parts):
        first, last = part * len(x) // parts, (part + 1) * len(x) // parts
        found = first
        for i in range(first, last):
            total = np.float32(0)
            for j in range(x.shape[1]):
                difference = x[i, j] - centre[j]
                total += difference * difference
            best[i] = min(best[i], total)
            if best[i] > best[found]:
                found = i
        farthest[part] = found


def numba_pass(x, k):
    best, picks = np.full(len(x), np.inf, np.float32), [START]
    farthest = np.zeros(numba.get_num_threads(), np.int64)
    while len(picks) < k:
        one_pass(x, x[picks[-1]], best, farthest)
        picks.append(int(farthest[best[farthest].argmax()]))
    return picks


def skactiveml(x, k):
    y = np.full(len(x), np.nan)
    y[START] = 0
    return [START, *CoreSet(random_state=0).query(x, y, batch_size=k - 1)]


def torch_blas(x, k):
    import torch

    tensor = torch.from_numpy(x)
    norms = (tensor * tensor).sum(1)
    best, picks = torch.full((len(x),), torch.inf), [START]
    while len(picks) < k:
        last = picks[-1]
        torch.minimum(best, norms + norms[last] - 2 * (tensor @ tensor[last]), out=best)
        picks.append(int(best.argmax()))
    return picks


def rivals() -> dict[str, Callable[[Any, int], Any]]:
    found = {"NumPy": numpy_blas, "numba": numba_pass}
    return found | {"torch": torch_blas} if importlib.util.find_spec("torch") else found


def enter(race, x, k, name, function, cover) -> int:
    """Check a rival and enter it for as many picks as fit into a turn; return how many these are."""
    picks = function(x, CHECKED)
    assert radius(x, picks) == pytest.approx(cover.distances[CHECKED], rel=0.02)
    began = time.perf_counter()
    function(x, CHECKED)
    fitting = int(SECONDS / (time.perf_counter() - began) * CHECKED)
    some = min(k, max(CHECKED, fitting))
    race.rival(name, lambda: function(x, some))
    return some


def enter_fpsample(race, x, k, height) -> None:
    def sample():
        return fpsample.bucket_fps_kdline_sampling(x, k, h=height, start_idx=START)

    picks = sample().astype(np.int64)
    # It starts with the row that is at this place after it has sorted them; equal up to ties from there.
    same = np.intersect1d(picks, pw.k_center(x, k, start=int(picks[0])).indices)
    assert len(same) >= 0.99 * k
    race.rival(f"fpsample, h={height}", sample)


def squared_to(x, centre):
    """Squared distances in float64, from differences, a block at a time."""
    out = np.empty(len(x))
    for start in range(0, len(x), 20_000):
        difference = x[start : start + 20_000].astype(np.float64) - centre
        out[start : start + 20_000] = np.einsum("ij,ij->i", difference, difference)
    return out


def radius(x, picks) -> float:
    best = np.full(len(x), np.inf)
    for pick in picks:
        np.minimum(best, squared_to(x, x[pick].astype(np.float64)), out=best)
    return float(np.sqrt(best.max()))


def check_first(x, picks) -> None:
    """Check that each of the first picks is the farthest row there is, in float64."""
    best = np.full(len(x), np.inf)
    for pick, following in itertools.pairwise(picks[:CHECKED]):
        np.minimum(best, squared_to(x, x[pick].astype(np.float64)), out=best)
        assert best[following] >= best.max() * (1 - 1e-12)


def share(x, k, *, centers=None, start=None) -> float:
    """Find what part of the distances is computed, of those between rows and picks or labelled rows."""
    computed = _native.k_center(x, k, metric="euclidean", centers=centers, start=start)[3]
    return computed / (len(x) * (k + (0 if centers is None else len(centers))))


@pytest.mark.parametrize("name", RACES)
def bench_k_center(race, scale, name) -> None:
    make, asked, k, targets = RACES[name]
    x = make() if asked is None else make(int(asked * scale))
    x = np.ascontiguousarray(x[: max(1000, int(len(x) * scale))]) if asked is None else x
    k = min(len(x), max(50, int(k * scale)))

    def pick(k: int = k) -> pw.Cover:
        return pw.k_center(x, k, start=START)

    cover = pick()
    assert len(set(cover.indices.tolist())) == k
    assert (np.diff(cover.distances[1:]) <= 0).all()
    check_first(x, cover.indices)
    few = {rival: (enter(race, x, k, rival, function, cover), k) for rival, function in rivals().items()}
    if name == "sentences":
        small = x[: NUMBERS_OF_SKACTIVEML // x.shape[1]]
        picks = pw.k_center(small, CHECKED, start=START).indices
        np.testing.assert_array_equal(skactiveml(small.astype(np.float64), CHECKED), picks)
        few["scikit-activeml"] = CHECKED - 1, k - 1
        race.rival("scikit-activeml", lambda: skactiveml(small, CHECKED))
    if name == "uniform":
        for height in (7, 9):
            enter_fpsample(race, x, k, height)

    race.run(pick, rounds=3)

    for rival, (some, wanted) in few.items():
        if some < wanted:
            race.extrapolate(rival, wanted / some)
    if name == "uniform":
        race.seconds["fpsample"] = min(race.seconds.pop(f"fpsample, h={height}") for height in (7, 9))
    race.info(page="k_center", pool=name, rows=len(x), dims=x.shape[1], k=k, share=share(x, k, start=START))
    for rival, target in targets.items():
        race.faster(f"{name}, {len(x):,} x {x.shape[1]}, {k:,} picks", rival, target)


def bench_warm_start(race, scale) -> None:
    rows, labelled = int(1_000_000 * scale), int(20_000 * scale)
    k = max(50, int(1000 * scale))
    both = sentences(rows + labelled)
    x, known = both[:rows], both[rows:]
    warm = pw.k_center(x, k, labelled=known)
    assert (np.diff(warm.distances) <= 0).all()
    some = x[::50]
    expected = np.sqrt(min(squared_to(known, x[warm.indices[0]].astype(np.float64))))
    assert warm.distances[0] == pytest.approx(expected)
    assert warm.distances[0] >= _native.nearest(some, known, "euclidean")[1].max()
    race.rival("without labelled rows", lambda: pw.k_center(x, k))

    race.run(lambda: pw.k_center(x, k, labelled=known), rounds=2)

    what = f"{labelled:,} labelled rows"
    figures = {"rows": rows, "dims": x.shape[1], "k": k, "share": share(x, k, centers=known)}
    race.info(page="k_center", pool=f"sentences, tiled, {what}", **figures)
    times = race.seconds["pickwise"] / race.seconds["without labelled rows"]
    race.claim(f"{what}, {rows:,} x {x.shape[1]}, {k:,} picks", "none", times, "<= 3", " x the time")


MEMORY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import bench_k_center, pickwise as pw

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

x = bench_k_center.sentences(int(sys.argv[2]))
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
pw.k_center(x, int(sys.argv[3]), start=0)
print((status("VmHWM") - before) * 1024 / x.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def bench_memory(race, scale) -> None:
    sentences(1)
    rows, k = int(1_000_000 * scale), max(50, int(2000 * scale))
    command = [sys.executable, "-c", MEMORY, str(Path(__file__).parent), str(rows), str(k)]
    grown = []
    race.run(
        lambda: grown.append(float(subprocess.run(command, check=True, capture_output=True).stdout)),
        rounds=1,
    )
    race.info(page="k_center")
    what = f"sentences, tiled, {rows:,} x 384, {k:,} picks: peak memory growth"
    race.claim(what, "the input", 100 * grown[0], "<= 15", " %")


@pytest.mark.parametrize("axis", ["N", "k", "d"])
def bench_growth(race, scale, axis) -> None:
    """How time grows with rows, picks and dimensions, the others being the same."""
    rows, k = int(300_000 * scale), max(20, int(1000 * scale))
    x = sentences(int(1_000_000 * scale) if axis == "N" else rows)
    sizes = {
        "N": [(n, k, 384) for n in (len(x) // 32, len(x) // 16, len(x) // 8, len(x) // 4, len(x) // 2, len(x))],
        "k": [(rows, max(2, int(many * scale)), 384) for many in (125, 250, 500, 1000, 2000, 4000)],
        "d": [(rows, k, dims) for dims in (2, 4, 8, 16, 32, 64, 128, 384)],
    }
    growth: list[dict[str, float]] = []

    def grow() -> None:
        for n, many, dims in sizes[axis]:
            pool = np.ascontiguousarray(x[:n, :dims])
            began = time.perf_counter()
            computed = _native.k_center(pool, many, metric="euclidean", start=START)[3]
            seconds = time.perf_counter() - began
            growth.append({"rows": n, "k": many, "dims": dims, "seconds": seconds, "share": computed / (n * many)})

    race.run(grow, rounds=1)

    what = {"N": "rows", "k": "picks", "d": "dimensions"}[axis]
    figures = {"rows": rows, "dims": 384, "k": k, "share": growth[-1]["share"]}
    race.info(page="k_center", pool=what, axis=axis, growth=growth, **figures)
