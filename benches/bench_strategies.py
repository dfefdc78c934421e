"""Strategies that choose rows together: time and memory, and what their rivals can hold."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, MaxHerding, ProbCover, TypiClust

import pickwise as pw
from pickwise import _native

DIMS = 384
LIMIT = 16  # GiB that a rival's pool may take
CLUSTERS = 300


@cache
def clustered(rows, classes=10):
    """Embeddings around centres, as those of texts and images are, and probabilities: float32."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((CLUSTERS, DIMS), dtype=np.float32)
    x = rng.standard_normal((rows, DIMS), dtype=np.float32)
    x *= np.float32(0.7)
    x += centers[rng.integers(0, CLUSTERS, rows)]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    p = rng.standard_exponential((rows, classes), dtype=np.float32)
    p /= p.sum(1, keepdims=True)
    return x, p


class Predicted(SkactivemlClassifier):
    """A classifier that has made its predictions."""

    def __init__(self, p=None, missing_label=np.nan):
        super().__init__(missing_label=missing_label)
        self.p = p

    def fit(self, X, y, sample_weight=None):  # noqa: ARG002, N803
        return self

    def predict_proba(self, X):  # noqa: ARG002, N803
        return self.p


def their_badge(x, p, k):
    strategy = Badge(random_state=0)
    return strategy.query(x, np.full(len(x), np.nan), Predicted(p), fit_clf=False, batch_size=k)


def bench_badge(race, scale) -> None:
    """The largest pool that the rival can hold has a thousandth of the rows of ours: gradients are 38,400 numbers."""
    rows, classes, k = int(200_000 * scale), 100, max(20, int(1000 * scale))
    few, picks = max(200, int(10_000 * scale)), 10
    x, p = clustered(rows, classes)
    some, own = x[:few], p[:few]
    gradients = own.astype(np.float64)
    gradients[np.arange(few), own.argmax(1)] -= 1
    dense = (gradients[:50, :, None] * some[:50, None, :].astype(np.float64)).reshape(50, -1)
    norms = np.linalg.norm(dense, axis=1)
    np.testing.assert_allclose(pw.gradient_norm(own[:50], some[:50]), norms, rtol=1e-6)
    ours = pw.badge(own[:50], some[:50], 20, random_state=0)
    for i, j in enumerate(ours.indices[1:], 1):
        assert ours.scores[i] == pytest.approx(np.linalg.norm(dense[ours.indices[:i]] - dense[j], axis=1).min())
    assert their_badge(some, own, 1)[0] == pw.badge(own, some, 1).indices[0]
    race.rival("the same pool", lambda: pw.badge(own, some, k, random_state=0))
    race.rival("scikit-activeml", lambda: their_badge(some, own, picks))

    race.run(lambda: pw.badge(p, x, k, random_state=0), rounds=3)

    race.extrapolate("scikit-activeml", k / picks)
    race.info(page="strategies", pool=f"badge, {rows:,} x {DIMS}, {classes} classes", rows=rows, k=k)
    times = race.seconds["scikit-activeml"] / race.seconds["the same pool"]
    race.claim(f"BADGE, {few:,} x {DIMS}, {classes} classes, {k:,} picks", "scikit-activeml", times, ">= 50")


def numpy_density(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.mean(0)


def bench_density_weighted(race, scale) -> None:
    rows, k = int(1_000_000 * scale), 1000
    x, p = clustered(rows)
    exact = numpy_density(x[:20_000].astype(np.float64))
    np.testing.assert_allclose(pw.density(x[:20_000]), exact, atol=1e-6)
    scores = pw.entropy(p, dtype=np.float64) * np.maximum(pw.density(x), 0)
    assert pw.density_weighted(p, x, k).indices.tolist() == pw.top_k(scores, k).indices.tolist()
    race.read(x)
    race.rival("NumPy", lambda: numpy_density(x))
    race.rival("the whole strategy", lambda: pw.density_weighted(p, x, k))

    race.run(lambda: pw.density(x), rounds=10)

    race.info(page="strategies", pool=f"density, {rows:,} x {DIMS}", rows=rows, k=k)
    race.faster(f"density, {rows:,} x {DIMS}", "read speed", ">= 0.5")


OURS = {
    "typiclust": (100_000, 500),
    "prob_cover": (100_000, 500),
    "max_herding": (100_000, 500),
    "uncertainty_herding": (100_000, 500),
    "facility_location": (100_000, 500),
    "ranked_batch": (100_000, 500),
    "cluster_margin": (100_000, 500),
    "badge": (1_000_000, 1000),
    "auto": (1_000_000, 1000),
}
RADIUS = 0.9


def ours(name, rows, k):
    x, p = clustered(rows, 100 if name == "badge" else 10)
    beside = name in ("auto", "uncertainty_herding", "ranked_batch", "cluster_margin", "badge")
    options = {"prob_cover": pw.ProbCover(radius=RADIUS)}
    pool, embeddings = (p, x) if beside else (x, None)
    pw.select(pool, k, options.get(name, name), embeddings=embeddings, random_state=0)


def numpy_facility_location(x, k):
    """Pick as apricot does: all similarities, and a pass over them for each pick."""
    squared = (x * x).sum(1)
    similar = -(squared[:, None] + squared - 2 * (x @ x.T))
    similar -= similar.min()
    best = np.zeros(len(x), x.dtype)
    for _ in range(k):
        gains = np.maximum(similar - best, 0).sum(1)
        best = np.maximum(best, similar[gains.argmax()])


def numpy_ranked_batch(x, p, k):
    """Pick as modAL does: the distances to all labelled rows at each pick, of which it keeps the nearest."""
    unsure = 1 - p.max(1)
    nearest = np.full(len(x), np.inf, np.float32)
    for i in range(k):
        alpha = (len(x) - i) / len(x)
        pick = (alpha * (1 - 1 / (1 + nearest)) + (1 - alpha) * unsure).argmax()
        nearest = np.minimum(nearest, np.linalg.norm(x - x[pick], axis=1))


def theirs(name, rows, k):
    x, p = clustered(rows)
    y = np.full(rows, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "typiclust":
            TypiClust(random_state=0).query(x, y, batch_size=k)
        elif name == "prob_cover":
            ProbCover(random_state=0, deltas=[RADIUS]).query(x, y, batch_size=k)
        elif name == "max_herding":
            MaxHerding(random_state=0).query(x, y, batch_size=k)
        elif name == "facility_location":
            numpy_facility_location(x, k)
        elif name == "ranked_batch":
            numpy_ranked_batch(x, p, k)


RIVALS = {
    "typiclust": "scikit-activeml",
    "prob_cover": "scikit-activeml",
    "max_herding": "scikit-activeml",
    "facility_location": "NumPy",
    "ranked_batch": "NumPy",
}

MEASURE = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import bench_strategies as bench

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

whose, name, rows, k = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
getattr(bench, whose)(name, 300, 5)  # imports, and what is compiled
bench.clustered.cache_clear()
bench.clustered(rows, 100 if name == "badge" else 10)
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
began = time.perf_counter()
getattr(bench, whose)(name, rows, k)
print(json.dumps({"seconds": time.perf_counter() - began, "grown": status("VmHWM") - before, "peak": status("VmHWM")}))
"""


def measured(whose, name, rows, k):
    """Run in a process of its own; seconds, and KiB of memory."""
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), whose, name, str(rows), str(k)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("name", OURS)
def bench_at_scale(race, scale, name) -> None:
    """One run of ours on a large pool, and one of a rival on a small one, which tells how large one it can hold."""
    rows, k = (max(1000, int(size * scale)) for size in OURS[name])
    k = min(k, rows // 20)
    found = []
    race.run(lambda: found.append(measured("ours", name, rows, k)), rounds=1)
    ours = found[0]
    race.seconds["pickwise"] = ours["seconds"]
    peak = ours["peak"] / 2**20
    about = {"rows": rows, "dims": DIMS, "k": k, "peak": peak, "strategy": name}
    if name in RIVALS:
        small, few = max(500, int(4000 * scale)), max(5, int(50 * scale))
        their, same = measured("theirs", name, small, few), measured("ours", name, small, few)
        # What grows with the square of the rows counts; ranked batches need what grows with the rows.
        power = 1 if name == "ranked_batch" else 2
        holds = int(small * (LIMIT * 2**20 / max(their["grown"], 1)) ** (1 / power))
        about |= {"rival": RIVALS[name], "holds": holds, "small": small, "few": few}
        about |= {"their_seconds": their["seconds"], "our_seconds": same["seconds"]}
    race.info(page="strategies", **about)
    what = f"{name}, {rows:,} x {DIMS}, {k:,} picks"
    if name == "badge":
        race.claim(f"{what}, 100 classes: seconds", "", ours["seconds"], "<= 600", " s")
    else:
        race.claim(f"{what}: peak memory", "", peak, "<= 4", " GiB")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def bench_badge_memory(race, scale) -> None:
    rows, k = int(200_000 * scale), max(20, int(1000 * scale))
    found = []
    race.run(lambda: found.append(measured("ours", "badge", rows, k)), rounds=1)
    race.info(page="strategies")
    what = f"BADGE, {rows:,} x {DIMS}, 100 classes, {k:,} picks: memory beside the input"
    race.claim(what, "", found[0]["grown"] / 1024, "<= 200", " MiB")


def bench_neighbours(race, scale) -> None:
    """All nearest neighbours, exactly: what facility location and herding stand on."""
    rows = int(50_000 * scale)
    x, _ = clustered(rows)
    some = np.arange(0, rows, max(1, rows // 50))
    _, found, distances = _native.neighbours(x, "euclidean", nearest=20)
    near = x[found.reshape(rows, 20)[some]].astype(np.float64)
    exact = np.linalg.norm(x[some, None] - near, axis=2)
    np.testing.assert_allclose(distances.reshape(rows, 20)[some], exact, rtol=1e-12)

    def numpy_neighbours():
        squared = (x * x).sum(1)
        for begin in range(0, rows, 2048):
            block = x[begin : begin + 2048]
            d = squared[begin : begin + 2048, None] + squared - 2 * (block @ x.T)
            np.argpartition(d, 20, axis=1)

    race.rival("NumPy", numpy_neighbours)

    race.run(lambda: _native.neighbours(x, "euclidean", nearest=20), rounds=3)

    race.info(page="strategies", pool=f"20 neighbours, {rows:,} x {DIMS}", rows=rows, k=20)
