"""Scores of whole pools, against NumPy, numba, scikit-activeml, torch if it is there, and the speed of reading."""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest
from skactiveml.pool import uncertainty_scores

import pickwise as pw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SCORES: dict[str, Callable[[Any], NDArray[Any]]] = {
    "entropy": pw.entropy,
    "margin": pw.margin,
    "least_confidence": pw.least_confidence,
}
SKACTIVEML_NUMBERS = 10_000_000
SKACTIVEML_METHODS = {"entropy": "entropy", "margin": "margin_sampling", "least_confidence": "least_confident"}


def numpy_entropy(p):
    return -(p * np.log(np.clip(p, 1e-12, 1))).sum(1)


def numpy_margin(p):
    top = np.partition(p, -2, axis=1)
    return 1 - (top[:, -1] - top[:, -2])


def numpy_least_confidence(p):
    return 1 - p.max(1)


NUMPY = {"entropy": numpy_entropy, "margin": numpy_margin, "least_confidence": numpy_least_confidence}


@numba.njit(parallel=True, fastmath=True)
def numba_entropy(p):
    out = np.empty(p.shape[0], p.dtype)
    for i in numba.prange(p.shape[0]):
        total = np.float32(0)
        for j in range(p.shape[1]):
            x = p[i, j]
            total -= x * np.log(max(x, np.float32(1e-12)))
        out[i] = total
    return out


@numba.njit(parallel=True, fastmath=True)
def numba_margin(p):
    out = np.empty(p.shape[0], p.dtype)
    for i in numba.prange(p.shape[0]):
        first = second = np.float32(0)
        for j in range(p.shape[1]):
            x = p[i, j]
            second = max(second, min(first, x))
            first = max(first, x)
        out[i] = np.float32(1) - (first - second)
    return out


@numba.njit(parallel=True, fastmath=True)
def numba_least_confidence(p):
    out = np.empty(p.shape[0], p.dtype)
    for i in numba.prange(p.shape[0]):
        first = np.float32(0)
        for j in range(p.shape[1]):
            first = max(first, p[i, j])
        out[i] = np.float32(1) - first
    return out


NUMBA = {"entropy": numba_entropy, "margin": numba_margin, "least_confidence": numba_least_confidence}


def torch_scores() -> dict[str, Callable[[Any], Any]]:
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    def margin(p):
        top = torch.topk(p, 2, dim=1).values
        return 1 - (top[:, 0] - top[:, 1])

    return {
        "entropy": lambda p: torch.special.entr(p).sum(1),
        "margin": margin,
        "least_confidence": lambda p: 1 - p.max(1).values,
    }


def skactiveml(p, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return uncertainty_scores(p, method=SKACTIVEML_METHODS[name])


def assert_scores(expected, scores, name) -> None:
    """Check a rival's answer; float32 sums are good to about five digits."""
    np.testing.assert_allclose(np.asarray(scores), expected, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", SCORES)
def bench_float32(race, pool, name) -> None:
    p, score = pool.p, SCORES[name]
    rows, classes = p.shape
    few = p[: min(rows, SKACTIVEML_NUMBERS // classes)]

    scores = score(p)
    exact = NUMPY[name](few.astype(np.float64))
    np.testing.assert_allclose(scores[: len(few)], exact, rtol=4e-6, atol=4e-6)
    rivals: dict[str, Callable[[], Any]] = {
        "NumPy": lambda: NUMPY[name](p),
        "numba": lambda: NUMBA[name](p),
        "scikit-activeml": lambda: skactiveml(few, name),
    }
    if name in (torch := torch_scores()):
        tensor = importlib.import_module("torch").from_numpy(p)
        rivals["torch"] = lambda: torch[name](tensor)
    for rival, function in rivals.items():
        answer = function()
        assert_scores(scores[: len(answer)], answer, rival)
        race.rival(rival, function)
    race.read(p)

    race.run(lambda: score(p))

    race.info(score=name, shape=pool.name, bytes=p.nbytes, rows=rows)
    race.extrapolate("scikit-activeml", rows / len(few))
    what = f"{name.replace('_', ' ')}, {pool.name}"
    if name == "entropy":
        race.faster(what, "NumPy", {100: ">= 14", 1000: ">= 13"}.get(classes, ">= 15"))
        if classes == 100:
            race.faster(what, "numba", ">= 14")
            race.faster(what, "scikit-activeml", ">= 90")
    if name == "margin":
        race.faster(what, "NumPy", ">= 15")
    race.faster(what, "read speed", ">= 0.9" if classes >= 32 else ">= 0.6")


@pytest.mark.parametrize("pool", ["1M x 100"], indirect=True)
@pytest.mark.parametrize("name", SCORES)
def bench_float16(race, pool, name) -> None:
    score = SCORES[name]
    half = pool.p.astype(np.float16)
    few = half[:100_000]
    np.testing.assert_allclose(score(few), NUMPY[name](few.astype(np.float64)), rtol=4e-6, atol=4e-6)
    race.rival("float32", lambda: score(pool.p))

    race.run(lambda: score(half))

    race.info(score=name, shape=f"{pool.name}, float16", bytes=half.nbytes, rows=len(half))
    race.faster(f"{name.replace('_', ' ')}, {pool.name}, float16", "float32", ">= 1.6")
