"""k-center picks exactly what the plain algorithm picks, whatever the embeddings are made of and wherever they lie.

Run as a program, this file prints the fingerprints that the processes of different SIMD levels must agree on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DTYPES: dict[str, Any] = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
try:
    import ml_dtypes

    DTYPES["bf16"] = ml_dtypes.bfloat16
except ImportError:
    pass
METRICS = ["euclidean", "sqeuclidean", "cosine"]
UNIT = {"euclidean": np.sqrt, "sqeuclidean": np.positive, "cosine": lambda squared: squared / 2}


def naive(  # noqa: C901 - everything in one place, as plain as it can be
    x,
    k,
    *,
    metric="euclidean",
    labelled=None,
    start=None,
    weights=None,
    exclude=None,
    groups=None,
    max_per_group=None,
    min_distance=0.0,
    outliers=0,
):
    """Greedy k-center in float64, one distance after the other."""
    x = np.asarray(x, np.float64)
    rows = len(x)
    used, candidate = np.ones(rows, bool), np.ones(rows, bool)
    if exclude is not None:
        used[exclude] = candidate[exclude] = False
    centers = []
    if labelled is not None and np.ndim(labelled) == 2:
        centers = list(np.asarray(labelled, np.float64))
    elif labelled is not None:
        centers = list(x[labelled])
        candidate[labelled] = False
    if metric == "cosine":
        scale = 1 / np.sqrt((x[used] ** 2).sum(1))
        x = x.copy()
        x[used] *= scale[:, None]
        centers = [center / np.sqrt((center**2).sum()) for center in centers]
    squared = np.full(rows, np.inf)
    for center in centers:
        squared = np.minimum(squared, ((x - center) ** 2).sum(1))
    factor = np.ones(rows) if weights is None else np.asarray(weights, float) ** (2 if metric == "euclidean" else 1)
    left = dict.fromkeys(() if groups is None else groups, max_per_group)
    picks, distances = [], []
    if not centers and start is None:
        start = farthest_from_mean(x, used)
    while len(picks) < k:
        if start is not None:
            best, start = start, None
        else:
            if min_distance:
                candidate &= UNIT[metric](squared) >= min_distance
            open_ = candidate if groups is None else candidate & np.array([left[group] > 0 for group in groups])
            race = used if outliers else open_
            order = np.flatnonzero(race)
            order = order[np.lexsort([order, -(factor * squared)[order]])][outliers:]
            order = order[open_[order]]
            if len(order) == 0:
                break
            best = order[0]
        picks.append(int(best))
        distances.append(float(UNIT[metric](squared[best])))
        candidate[best] = False
        if groups is not None:
            left[groups[best]] -= 1
        squared = np.minimum(squared, ((x - x[best]) ** 2).sum(1))
    rest = np.sort(UNIT[metric](squared[used]))
    return picks, distances, float(rest[-1 - outliers])


def farthest_from_mean(x, used):
    mean = x[used].mean(0)
    squared = ((x - mean) ** 2).sum(1)
    squared[~used] = -1
    return int(squared.argmax())


def check(x, k, *, rtol=1e-9, **options):
    """Compare with the plain algorithm; sums in another order differ in the last bits, and so may picks at a tie."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        cover = pw.k_center(x, k, **options)
    picks, distances, radius = naive(x, k, **options)
    np.testing.assert_allclose(cover.distances, distances, rtol=rtol, atol=1e-9)
    np.testing.assert_array_equal(cover.indices, picks)
    np.testing.assert_allclose(cover.radius, radius, rtol=rtol, atol=1e-9)
    return cover


def clusters(rows, dims, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(12, dims)) * 4
    return (middles[rng.integers(0, 12, rows)] + rng.normal(size=(rows, dims))).astype(dtype)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dims", [1, 2, 3, 8, 12, 13, 16, 17, 40, 100, 385])
@pytest.mark.parametrize("kind", DTYPES)
def test_equal_to_the_plain_algorithm(kind, dims, metric):
    if metric == "cosine" and dims == 1:
        pytest.skip("all rows have one of two directions")
    rows = 700 if dims < 20 else 300
    x = clusters(rows, dims, dtype=DTYPES[kind])
    check(x, 40, metric=metric)
    check(x, 20, metric=metric, labelled=np.arange(0, rows, 50))
    check(x, 20, metric=metric, labelled=clusters(30, dims, seed=5))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dims", [3, 50])
def test_options(dims, metric):
    x = clusters(900, dims)
    rng = np.random.default_rng(1)
    weights, groups = rng.random(900), rng.integers(0, 7, 900)
    mask = rng.random(900) < 0.4
    check(x, 50, metric=metric, start=17)
    check(x, 50, metric=metric, weights=weights)
    check(x, 50, metric=metric, exclude=mask)
    check(x, 50, metric=metric, exclude=mask, labelled=np.flatnonzero(mask)[:40], start=int(np.argmin(mask)))
    check(x, 30, metric=metric, outliers=25)
    check(x, 30, metric=metric, outliers=5, labelled=[3, 4], weights=weights)
    assert np.bincount(groups[check(x, 28, metric=metric, groups=groups, max_per_group=4).indices]).tolist() == [4] * 7
    least = pw.k_center(x, 30, metric=metric).radius
    with pytest.warns(UserWarning, match=r"min_distance"):
        cover = pw.k_center(x, 500, metric=metric, min_distance=least)
    assert 30 <= len(cover) < 500
    assert (cover.distances >= least).all()
    assert cover.radius < least
    check(x, 500, metric=metric, min_distance=least)


@st.composite
def grids(draw):
    """Whole numbers, so that distances are exact and masses of them are equal; rows occur many times."""
    rows, dims = draw(st.integers(1, 60)), draw(st.sampled_from([1, 2, 3, 9, 17, 33]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(0, draw(st.integers(1, 4)), (rows, dims), endpoint=True)
    return x.astype(DTYPES[draw(st.sampled_from(sorted(DTYPES)))]), rng, draw(st.integers(1, rows))


@given(grids(), st.sampled_from(["euclidean", "sqeuclidean"]), st.booleans(), st.booleans(), st.integers(0, 3))
def test_ties_and_copies(case, metric, known, weighted, layout):
    x, rng, k = case
    rows = len(x)
    options: dict[str, Any] = {"metric": metric}
    if known and rows > k:
        options["labelled"] = rng.choice(rows, rows - k, replace=False)
    if weighted:
        options["weights"] = rng.integers(0, 3, rows).astype(float)
    laid = [x, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x[::-1].copy()[::-1]][layout]
    if "labelled" not in options:
        options["start"] = int(rng.integers(rows))  # the farthest from the mean depends on how that is rounded
    cover = check(laid, k, **options)
    assert len(np.unique(cover.indices)) == k


@pytest.mark.parametrize("dims", [2, 20])
def test_every_row(dims):
    x = clusters(200, dims)
    assert sorted(check(x, 200).indices) == list(range(200))
    assert pw.k_center(x, 200).radius == 0
    assert pw.k_center(x[:1], 1).indices.tolist() == [0]
    same = np.ones((50, dims), np.float32)
    with pytest.warns(UserWarning, match=r"49 of the 50 picks are copies of other picks"):
        assert pw.k_center(same, 50).indices.tolist() == list(range(50))
    with pytest.warns(UserWarning, match=r"all|3 of the 3 picks are copies"):
        assert pw.k_center(same, 3, labelled=[1]).indices.tolist() == [0, 2, 3]


def test_copies_come_last():
    x = np.repeat(clusters(100, 30), 4, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = pw.k_center(x, 100)
    assert sorted(first.indices // 4) == list(range(100))
    assert (first.distances > 0).all()


def test_a_large_offset_and_a_small_spread():
    rng = np.random.default_rng(0)
    for dims in (5, 60):
        x = (1e4 + 1e-2 * rng.normal(size=(800, dims))).astype(np.float32)
        check(x, 100, rtol=1e-7)


REAL = {
    "banking77_minilm_f16.npz": (4000, 100),
    "mnist70k_u8.npz": (2000, 60),
    "adbench_10_cover.npz": (20_000, 100),
    "adbench_11_donors.npz": (20_000, 100),
    "kdd10.npz": (20_000, 80),
}


def real(name, rows):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not there")
    with np.load(DATA / name) as file:
        x = file["X"][:: max(1, len(file["X"]) // rows)][:rows]
    return x if x.dtype == np.float16 else x.astype(np.float32)


@pytest.mark.parametrize("name", REAL)
def test_real_data(name):
    rows, k = REAL[name]
    x = real(name, rows)
    cover = check(x, k)
    assert (np.diff(cover.distances[1:]) <= 0).all()
    check(x, k // 2, labelled=np.arange(0, len(x), 97), outliers=10)


@pytest.mark.parametrize("name", ["clusters", "banking77_minilm_f16.npz", "uci_pendigits.npz"])
def test_equal_to_scikit_activeml(name):
    pool = pytest.importorskip("skactiveml.pool")
    x = (clusters(600, 20) if name == "clusters" else real(name, 600)).astype(np.float64)
    if name == "uci_pendigits.npz":  # whole numbers tie, and scikit-activeml draws among ties
        x = x + np.random.default_rng(0).normal(size=x.shape) * 1e-3
    rows = len(x)
    known = np.arange(0, rows, 40)
    y = np.full(rows, np.nan)
    y[known] = 0
    query = pool.CoreSet(random_state=0).query
    indices, utilities = query(x, y, batch_size=20, return_utilities=True)
    cover = pw.k_center(x, 20, labelled=known)
    np.testing.assert_array_equal(cover.indices, indices)
    np.testing.assert_allclose(cover.distances, utilities[np.arange(20), indices], rtol=1e-6)
    some = np.setdiff1d(np.arange(0, rows, 3), known)
    indices = query(x, y, candidates=some, batch_size=20)
    others = np.setdiff1d(np.arange(rows), some)
    np.testing.assert_array_equal(pw.k_center(x, 20, labelled=known, exclude=others).indices, indices)
    indices = query(x, y, candidates=x[some], batch_size=20)
    np.testing.assert_array_equal(pw.k_center(x[some], 20, labelled=x[known]).indices, indices)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dims", [3, 30])
def test_nearest(dims, metric):
    x = clusters(500, dims).astype(np.float16)
    known = np.arange(0, 500, 61)
    cover = pw.k_center(x, 20, metric=metric, labelled=known, nearest=True)
    y = x.astype(np.float64)
    if metric == "cosine":
        y /= np.sqrt((y**2).sum(1, keepdims=True))
    squared = ((y[:, None] - y[np.append(cover.indices, known)]) ** 2).sum(2)
    expected = squared.argmin(1)
    assert cover.nearest is not None
    np.testing.assert_array_equal(cover.nearest.pick, np.where(expected < 20, expected, 19 - expected))
    np.testing.assert_allclose(cover.nearest.distance, UNIT[metric](squared.min(1)), atol=1e-12)
    assert cover.nearest.distance.max() == cover.radius
    # Rows that are excluded may hold anything; labelled rows may be of another type.
    other = x.copy()
    other[100] = np.nan
    cover = pw.k_center(other, 20, metric=metric, labelled=y[known], exclude=[100], nearest=True)
    assert np.isnan(cover.nearest.distance[100])
    assert np.nanmax(cover.nearest.distance) == pytest.approx(cover.radius)
    assert pw.k_center(x, 20).nearest is None


def test_what_comes_out():
    x = clusters(300, 10)
    names = [f"doc-{i}" for i in range(300)]
    cover = pw.k_center(x, 4, ids=names)
    assert isinstance(cover, pw.Selection)
    assert cover.ids.tolist() == [names[i] for i in cover.indices]
    assert list(cover) == cover.ids.tolist()
    numbers = np.arange(300)[::-1]
    assert pw.k_center(x, 4, ids=numbers).ids.tolist() == numbers[cover.indices].tolist()
    assert cover.distances[0] == np.inf
    np.testing.assert_array_equal(cover.scores, cover.distances)
    assert cover.strategy == pw.KCenter()
    shown = repr(cover).splitlines()
    assert shown[0] == f"Cover of 4 rows by KCenter(), radius {cover.radius:.6g}"
    assert shown[2].split() == [cover.ids[0], str(cover.indices[0]), "inf"]
    other = pw.k_center(x, 4, ids=names, nearest=True)
    for one in (cover, other):
        assert pickle.loads(pickle.dumps(one)) == one
    assert cover != other
    assert cover != pw.k_center(x, 4, ids=names, metric="sqeuclidean")
    with pytest.raises(ValueError, match=r"read-only"):
        cover.distances[0] = 1
    weights = np.random.default_rng(0).random(300)
    weighted = pw.k_center(x, 40, weights=weights, labelled=[0])
    np.testing.assert_allclose(weighted.scores, weighted.distances * weights[weighted.indices])
    assert (np.diff(weighted.scores) <= 0).all()
    polars = pytest.importorskip("polars")
    assert isinstance(cover.to_polars(), polars.DataFrame)


def test_random_state_draws_the_first_pick_alone():
    x = clusters(400, 6)
    firsts = {int(pw.k_center(x, 3, random_state=seed).indices[0]) for seed in range(40)}
    assert len(firsts) > 20
    one = pw.k_center(x, 9, random_state=3)
    assert one == pw.k_center(x, 9, random_state=3)
    assert one == pw.k_center(x, 9, start=int(one.indices[0]))
    assert pw.k_center(x, 9, random_state=np.random.default_rng(3)).indices[0] in range(400)
    assert pw.k_center(x, 9, random_state=3, start=5) == pw.k_center(x, 9, start=5)
    assert pw.k_center(x, 9, random_state=3, labelled=[5]) == pw.k_center(x, 9, labelled=[5])
    barred = np.arange(400) % 10 != 0
    assert all(pw.k_center(x, 1, random_state=seed, exclude=barred).indices[0] % 10 == 0 for seed in range(30))


def test_labelled_both_ways():
    x = clusters(600, 12)
    known = np.array([5, 9, 200, 17, 9])
    expected = pw.k_center(x, 30, labelled=known)
    mask = np.zeros(600, bool)
    mask[known] = True
    for same in (mask, known.tolist(), mask.tolist(), known.astype(np.uint16)):
        assert pw.k_center(x, 30, labelled=same) == expected
    rest = np.flatnonzero(~mask)
    np.testing.assert_array_equal(rest[pw.k_center(x[rest], 30, labelled=x[known]).indices], expected.indices)
    for nothing in (None, [], np.empty((0, 12)), np.zeros(600, bool), np.empty(0, np.int64)):
        assert pw.k_center(x, 30, labelled=nothing) == pw.k_center(x, 30)


def test_groups_of_anything():
    x = clusters(300, 5)
    codes = np.random.default_rng(0).integers(0, 5, 300)
    expected = pw.k_center(x, 15, groups=codes, max_per_group=3)
    for groups in (
        codes.astype(np.uint8),
        codes - 100,
        codes.astype(str),
        codes.astype(float) + 0.5,
        [("site", int(code)) for code in codes],
        np.array([None, "a", 1, 2.5, ("b",)], dtype=object)[codes],
    ):
        assert pw.k_center(x, 15, groups=groups, max_per_group=3) == expected
    with pytest.warns(UserWarning, match=r"^10 rows were picked of the 20 wanted: every other row is of a group"):
        assert len(pw.k_center(x, 20, groups=codes, max_per_group=2)) == 10
    pl = pytest.importorskip("polars")
    assert pw.k_center(x, 15, groups=pl.Series(codes.astype(str)), max_per_group=3) == expected


LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda x: x[::-1].copy()[::-1],
    "columns of more": lambda x: np.pad(x, ((0, 0), (3, 2)))[:, 3:-2],
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "foreign": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dims", [3, 40])
def test_layouts(layout, dims):
    x = clusters(500, dims, dtype=np.float64)
    assert pw.k_center(LAYOUTS[layout](x), 30) == pw.k_center(x, 30)


def test_arrays_of_other_libraries():
    x = clusters(400, 20)
    expected = pw.k_center(x, 20, labelled=x[:10])
    pa, pl, pd = (pytest.importorskip(name) for name in ("pyarrow", "polars", "pandas"))
    lists = pa.FixedSizeListArray.from_arrays(x.ravel(), 20)
    chunks = pa.chunked_array([lists[:150], lists[150:]])
    frame = pd.DataFrame(x, columns=[str(i) for i in range(20)])
    series = pl.Series(x.tolist(), dtype=pl.Array(pl.Float32, 20))
    for same in (lists, chunks, frame, pl.DataFrame(frame), series, pa.table({"e": lists})):
        assert pw.k_center(same, 20, labelled=same[:10]) == expected
    jax = pytest.importorskip("jax")
    assert pw.k_center(jax.numpy.asarray(x), 20, labelled=x[:10]) == expected
    torch = pytest.importorskip("torch")
    assert pw.k_center(torch.from_numpy(x), 20, labelled=x[:10]) == expected
    half = torch.from_numpy(x).bfloat16()
    assert pw.k_center(half, 20) == pw.k_center(half.float(), 20)


def test_files_are_mapped(tmp_path):
    x = clusters(400, 20)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "known.npy", x[:10])
    np.save(tmp_path / "mask.npy", np.arange(400) < 10)
    expected = pw.k_center(x, 20, labelled=x[:10])
    assert pw.k_center(tmp_path / "x.npy", 20, labelled=str(tmp_path / "known.npy")) == expected
    assert pw.k_center(np.load(tmp_path / "x.npy", mmap_mode="r"), 20, labelled=x[:10]) == expected
    pw.k_center(x, 20, labelled=tmp_path / "mask.npy")


def test_nothing_is_written_to():
    x = clusters(300, 9)
    given = [x, x[:7].copy(), np.random.default_rng(0).random(300), np.arange(300) % 3, np.arange(300) % 7 == 1]
    before = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    embeddings, labelled, weights, groups, mask = given
    options = {"weights": weights, "groups": groups, "max_per_group": 9, "exclude": mask, "ids": np.arange(300)}
    pw.k_center(embeddings, 20, labelled=labelled, nearest=True, **options)
    pw.kmeans_plusplus(embeddings, 20, labelled=labelled, weights=weights, exclude=mask, random_state=0)
    for array, known in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, known)


def test_progress():
    x = np.random.default_rng(0).normal(size=(60_000, 60)).astype(np.float32)
    told = []
    for k in (150, 600, 2400, 9600):  # until it takes long enough to be told of
        told.clear()
        cover = pw.k_center(x, k, progress=lambda picks, wanted, radius: told.append((picks, wanted, radius)))
        assert told[-1] == (k, k, cover.radius)
        assert [picks for picks, _, _ in told] == sorted(picks for picks, _, _ in told)
        if len(told) > 1:
            break
    assert len(told) > 1
    selected = []
    pw.select(x, 150, "k_center", progress=lambda picks, wanted: selected.append((picks, wanted)))
    assert selected[-1] == (150, 150)

    def stop(picks, wanted, radius):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match=r"stopped"):
        pw.k_center(x, 9600, progress=stop)
    pytest.importorskip("tqdm")
    pw.k_center(x[:1000], 5, progress=True)


def bits(cover):
    return hashlib.sha256(b"".join(a.tobytes() for a in (cover.indices, cover.distances))).hexdigest()[:16]


def fingerprints():
    found = {}
    for (kind, dtype), dims, metric in itertools.product(DTYPES.items(), (2, 3, 16, 17, 65, 200), METRICS):
        x = clusters(500, dims, dtype=dtype)
        options: dict[str, Any] = {"metric": metric}
        found[f"{kind} x {dims}, {metric}"] = bits(pw.k_center(x, 30, **options))
        found[f"{kind} x {dims}, {metric}, labelled"] = bits(pw.k_center(x, 30, labelled=x[::30], **options))
        drawn = pw.kmeans_plusplus(x, 30, random_state=1, **options)
        found[f"{kind} x {dims}, {metric}, drawn"] = bits(drawn)
    return found


@pytest.fixture(scope="module")
def expected():
    return fingerprints()


@pytest.mark.parametrize("level", pw.build_info()["simd_available"])
@pytest.mark.parametrize("threads", [1, 2])
def test_simd_levels_and_threads_give_the_same_bits(level, threads, expected):
    environment = os.environ | {"PICKWISE_SIMD": level, "PICKWISE_NUM_THREADS": str(threads)}
    command = [sys.executable, "-W", "error", __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_large_pools_on_any_number_of_threads():
    x = clusters(30_000, 48)
    with pw.num_threads(1):
        one = pw.k_center(x, 200)
    for threads in (2, 3):
        with pw.num_threads(threads):
            assert pw.k_center(x, 200) == one
    assert pw.k_center(x.astype(np.float64), 200) == one


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fingerprints()))
