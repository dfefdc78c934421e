"""What several benchmarks race against."""

from __future__ import annotations

import numba
import numpy as np


def numpy_entropy(p):
    return -(p * np.log(np.clip(p, 1e-12, 1))).sum(-1)


@numba.njit(parallel=True, fastmath=True)
def read(values):
    total = np.float32(0)
    for i in numba.prange(values.size):
        total += values[i]
    return total
