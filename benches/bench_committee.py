"""Disagreement of a committee, against NumPy, numba, scikit-activeml and the speed of reading."""

from __future__ import annotations

import warnings

import numba
import numpy as np
from skactiveml.pool import average_kl_divergence

import pickwise as pw

MEMBERS, ROWS, CLASSES = 20, 500_000, 10
SKACTIVEML_ROWS = 50_000


def numpy_entropy(p):
    return -(p * np.log(np.clip(p, 1e-12, 1))).sum(-1)


def numpy_bald(c):
    return numpy_entropy(c.mean(0)) - numpy_entropy(c).mean(0)


@numba.njit(parallel=True, fastmath=True)
def numba_bald(c):
    members, rows, classes = c.shape
    out = np.empty(rows, c.dtype)
    for i in numba.prange(rows):
        entropy = np.float32(0)
        mean = np.zeros(classes, c.dtype)
        for m in range(members):
            for j in range(classes):
                x = c[m, i, j]
                mean[j] += x
                entropy += x * np.log(max(x, np.float32(1e-12)))
        total = np.float32(0)
        for j in range(classes):
            x = mean[j] / members
            total -= x * np.log(max(x, np.float32(1e-12)))
        out[i] = total + entropy / members
    return out


def skactiveml(c):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return average_kl_divergence(c)


def bench_bald(race, scale) -> None:
    rows = int(ROWS * scale)
    c = np.random.default_rng(0).standard_exponential((MEMBERS, rows, CLASSES), dtype=np.float32)
    c /= c.sum(-1, keepdims=True)
    few = c[:, :SKACTIVEML_ROWS]

    scores = pw.bald(c)
    exact = numpy_bald(few.astype(np.float64))
    np.testing.assert_allclose(scores[: len(exact)], exact, atol=4e-6 * np.log(CLASSES))
    np.testing.assert_allclose(pw.bald(few, dtype=np.float64), exact, atol=1e-10)
    assert pw.bald(iter(c)).tobytes() == scores.tobytes()
    rivals = {
        "NumPy": lambda: numpy_bald(c),
        "numba": lambda: numba_bald(c),
        "scikit-activeml": lambda: skactiveml(few),
    }
    for name, function in rivals.items():
        answer = function()
        np.testing.assert_allclose(answer, scores[: len(answer)], atol=2e-5, err_msg=name)
        race.rival(name, function)
    race.read(c)
    race.rival("one by one", lambda: pw.bald(iter(c)))
    race.rival("float64", lambda: pw.bald(c, dtype=np.float64))

    race.run(lambda: pw.bald(c))

    race.info(score="bald", shape="20 x 500k x 10", bytes=c.nbytes, rows=MEMBERS * rows)
    race.extrapolate("scikit-activeml", rows / few.shape[1])
    race.faster("BALD, 20 x 500k x 10", "NumPy", ">= 20")
    race.faster("BALD, 20 x 500k x 10", "read speed", ">= 0.7")
