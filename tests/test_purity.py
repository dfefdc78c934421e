"""The caller's data is never written to, and importing pickwise brings nothing along that is not needed."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
SCORES = [pw.entropy, pw.margin, pw.least_confidence, pw.ratio]
STRATEGIES = ["entropy", "margin", "least_confidence", "ratio", "random", "power"]


def checksum(x):
    return zlib.crc32(x.tobytes())


def use(pool, **options: Any):
    """Do everything there is to do with a pool."""
    rows = len(pool)
    for score in SCORES:
        score(pool)
        score(pool, dtype=np.float64)
        score(pool, from_logits=True, temperature=2)
        if np.ndim(pool) == 2:
            score(pool, task="multilabel")
    for strategy in STRATEGIES:
        pw.select(pool, rows // 3, strategy, random_state=0, **options)
        pw.select(pool, rows // 3, strategy, ties="random", random_state=0, invalid="skip", **options)
        reducer = pw.reducer(strategy, 5, random_state=0)
        reducer.update(pool)
        reducer.finish()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "bfloat16"])
@pytest.mark.parametrize("classes", [1, 2, 10, 200])
def test_arrays_are_as_before(dtype, classes, order):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    p = RNG.dirichlet(np.ones(max(classes, 2)), 700)[:, : None if classes > 1 else 1]
    around = np.full((702, classes + 2), 7, kind, order=order)
    pool = around[1:-1, 1:-1]
    pool[...] = p
    pool = pool[:, 0] if classes == 1 else pool
    rows, ids = np.arange(700), RNG.permutation(700)
    exclude, mask, exclude_ids = rows[::7].copy(), rows % 5 == 0, ids[:20].copy()
    given = [around, ids, exclude, mask, exclude_ids]
    before = [checksum(x) for x in given]
    use(pool)
    use(pool, ids=ids, exclude=exclude, exclude_ids=exclude_ids)
    use(pool, ids=ids.astype(str), exclude=mask, exclude_ids=exclude_ids.astype(str))
    assert [checksum(x) for x in given] == before
    assert (around[0] == 7).all()
    assert (around[:, 0] == 7).all()


def test_read_only_arrays_and_maps(tmp_path):
    # Writing to a page of a file that is mapped read-only would be the end of the process.
    pool = RNG.dirichlet(np.ones(10), 50_000).astype(np.float32)
    np.save(tmp_path / "pool.npy", pool)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    content = (tmp_path / "pool.npy").read_bytes()
    frozen = pool.copy()
    mask, ids = np.zeros(len(pool), bool), np.arange(len(pool))
    for array in (frozen, mask, ids):
        array.flags.writeable = False
    for x in (mapped, mapped[::-1], mapped[:, 3], np.frombuffer(pool.tobytes(), np.float32).reshape(-1, 10), frozen):
        normal = x if x.ndim == 1 or x.shape[1] == 10 else x / x.sum(1, keepdims=True)
        use(normal, exclude=mask, ids=ids)
    pw.select(tmp_path / "pool.npy", 10, exclude=mask, ids=ids)
    assert (tmp_path / "pool.npy").read_bytes() == content


def test_refused_data_is_as_before():
    pool = RNG.dirichlet(np.ones(10), 500)
    pool[100, 3], pool[200] = np.nan, 0.05
    before = checksum(pool)
    for score in SCORES:
        with pytest.raises(ValueError, match="row 100"):
            score(pool)
    with pytest.raises(ValueError, match="row 100"):
        pw.select(pool, 10)
    assert pw.select(pool, 10, invalid="skip").skipped == 2
    assert checksum(pool) == before


def test_results_are_the_callers_own():
    pool = RNG.dirichlet(np.ones(10), 500)
    scores, selection = pw.entropy(pool), pw.select(pool, 10)
    assert scores.flags.owndata
    assert scores.flags.writeable
    before = scores.copy(), selection.ids.copy(), selection.scores.copy()
    pool[:] = 0
    pw.entropy(np.full((500, 10), 0.1))
    for array, known in zip((scores, selection.ids, selection.scores), before, strict=True):
        np.testing.assert_array_equal(array, known)


def test_global_random_numbers_are_left_alone():
    pool = RNG.dirichlet(np.ones(10), 500)
    np.random.seed(0)  # noqa: NPY002 - the generator that belongs to everybody
    for strategy in STRATEGIES:
        pw.select(pool, 10, strategy, random_state=0)
        pw.select(pool, 10, strategy, ties="random", random_state=0)
    pw.select(pool, 10)
    here = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    assert here == np.random.random()  # noqa: NPY002


HEAVY = {"polars", "pyarrow", "pandas", "sklearn", "scipy", "matplotlib", "torch", "jax", "tqdm", "typer", "rich"}


def test_importing_brings_no_heavy_module_along(run_python):
    code = """
        import sys
        import pickwise
        print(*{name.partition(".")[0] for name in sys.modules})
        import numpy as np
        pool = np.full((1000, 2), 0.5)
        pickwise.select(pool, 3, ids=range(1000), exclude=[1], progress=lambda done, total: None)
        pickwise.entropy(pool.tolist())
        print(*{name.partition(".")[0] for name in sys.modules})
    """
    for loaded in run_python(code).splitlines():
        assert not HEAVY & set(loaded.split())


def test_importing_has_no_side_effects(run_python):
    code = """
        import os, random, signal, sys, threading
        import numpy
        def state():
            handlers = [signal.getsignal(number) for number in signal.valid_signals()]
            return handlers, dict(os.environ), threading.active_count(), numpy.geterr(), os.getcwd(), random.getstate()
        before, tasks = state(), len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0
        import pickwise
        assert state() == before
        print(len(os.listdir("/proc/self/task")) - tasks if sys.platform == "linux" else 0)
    """
    assert run_python(code) == "0"
