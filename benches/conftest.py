"""What the benchmarks share: the pools, and races in which pickwise and its rivals run in turn."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

import pickwise as pw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Idle threads of numba must not spin into the turn of the next runner. OpenMP reads this when it is loaded, later.
os.environ["OMP_WAIT_POLICY"] = "passive"

SHAPES = {
    "1M x 100": (1_000_000, 100),
    "100k x 1000": (100_000, 1000),
    "4M x 10": (4_000_000, 10),
    "20M x 2": (20_000_000, 2),
}
RIVAL_SECONDS = 2.0
FEWEST_TURNS = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scale", type=float, default=1.0, help="Fraction of the rows; for trying the benchmarks out.")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Keep what the timings depend on, and not whose machine it was."""
    cpu = machine_info["cpu"]
    system = f"{machine_info['system']}, Python {machine_info['python_version']}"
    machine_info.clear()
    machine_info.update(pw.build_info(), cpu=cpu.get("brand_raw", cpu.get("arch")), system=system)
    machine_info["scale"] = config.getoption("scale")


@dataclass(frozen=True)
class Pool:
    """Random rows of probabilities, float32."""

    name: str
    p: NDArray[np.float32]


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> float:
    return request.config.getoption("scale")


def random_rows(rows: int, classes: int) -> NDArray[np.float32]:
    p = np.random.default_rng(0).standard_exponential((rows, classes), dtype=np.float32)
    p /= p.sum(1, keepdims=True)
    return p


# As this has the scope of the session, pytest runs all that needs one pool before it makes the next.
@pytest.fixture(scope="session", params=SHAPES)
def pool(request: pytest.FixtureRequest, scale: float) -> Pool:
    rows, classes = SHAPES[request.param]
    return Pool(request.param, random_rows(int(rows * scale), classes))


@numba.njit(parallel=True, fastmath=True)
def sum_of(values):
    total = np.float32(0)
    for i in numba.prange(values.size):
        total += values[i]
    return total


class Race:
    """Times pickwise and its rivals in turn, round by round, so that a noisy moment of the machine hits all alike.

    What counts is everyone's best round. Rivals that take seconds leave the race after a few rounds.
    """

    def __init__(self, benchmark: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._benchmark = benchmark
        self._rivals: dict[str, tuple[Callable[[], object], list[float]]] = {}
        benchmark.extra_info.update(seconds=self.seconds, claims=[], per_row_of={})

    def rival(self, name: str, function: Callable[[], object]) -> None:
        self._rivals[name] = function, []

    def read(self, pool: NDArray[np.float32]) -> None:
        """Let in the limit of the machine, as "read speed": a parallel sum over all numbers."""
        flat = pool.reshape(-1)
        assert sum_of(flat) == pytest.approx(flat.sum(dtype=np.float64), rel=1e-2, abs=np.sqrt(flat.size) / 100)
        self.rival("read speed", lambda: sum_of(flat))

    def run(self, function: Callable[[], object], rounds: int = 15) -> None:
        self._benchmark.pedantic(function, setup=self._others, rounds=rounds)
        self.seconds["pickwise"] = self._benchmark.stats.stats.min
        for name, (_, turns) in self._rivals.items():
            self.seconds[name] = min(turns)

    def extrapolate(self, name: str, factor: float) -> None:
        """Scale the time of a rival that was given fewer rows, or fewer picks to make."""
        self.seconds[name] *= factor
        self._benchmark.extra_info["per_row_of"][name] = factor

    def info(self, **values: object) -> None:
        self._benchmark.extra_info.update(values)

    def claim(self, what: str, against: str, value: float, target: str, unit: str = "x") -> None:
        """Note a figure of the benchmark table and whether it is what was aimed at; `target` is such as ``">= 14"``."""
        sign, limit = target.split()
        met = value >= float(limit) if sign == ">=" else value <= float(limit)
        claim = {"what": what, "against": against, "value": value, "target": target, "unit": unit, "met": met}
        self._benchmark.extra_info["claims"].append(claim)

    def faster(self, what: str, rival: str, target: str) -> None:
        """Claim how many times as fast as a rival pickwise is."""
        self.claim(what, rival, self.seconds[rival] / self.seconds["pickwise"], target)

    def _others(self) -> None:
        for function, turns in self._rivals.values():
            if len(turns) < FEWEST_TURNS or sum(turns) < RIVAL_SECONDS:
                began = time.perf_counter()
                function()
                turns.append(time.perf_counter() - began)


@pytest.fixture
def race(benchmark: Any) -> Race:
    return Race(benchmark)
