"""The risk: batches of copies. In a pool in which every row occurs three times, the best rows are alike.

Kirsch, van Amersfoort & Gal (2019) found that the top of BALD is worse than chance there, and BatchBALD better. The
experiment is `benches/label_savings/repeated_pool.py`, which draws whole curves.
"""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from label_savings import repeated_pool
from label_savings.repeated_pool import BATCH, COPIES

ROUNDS = 12


@pytest.fixture(scope="module")
def digits():
    """A pool in which each digit occurs three times with a little noise; and test rows."""
    if not repeated_pool.FILE.exists():
        pytest.skip(f"needs {repeated_pool.FILE.name}, which is not there")
    return repeated_pool.read()


def run(name, digits, seed):
    """Label batch by batch; the accuracy after each, and how many rows of a batch are copies of others in it."""
    metrics = repeated_pool.run(name, digits, seed, ROUNDS).metrics
    return metrics["accuracy"][1:].mean(), metrics["copies"].sum()


@pytest.mark.slow
def test_the_top_of_bald_is_copies_and_no_better_than_chance(digits):
    accuracy, copies = {}, {}
    for name in ("bald", "random", "batch_bald", "power", "badge"):
        results = [run(name, digits, seed) for seed in range(3)]
        accuracy[name], copies[name] = np.mean(results, axis=0)
    assert accuracy["bald"] < accuracy["random"] - 0.01
    for name in ("batch_bald", "power", "badge"):
        assert accuracy[name] > accuracy["bald"] + 0.01
        assert accuracy[name] > accuracy["random"] - 0.01
    # Of the 120 rows 80 are copies if all come in threes.
    assert copies["bald"] > 40
    assert max(copies["batch_bald"], copies["power"], copies["badge"]) <= 4


@pytest.mark.parametrize("name", ["batch_bald", "badge", "k_center", "power"])
def test_copies_are_not_picked(digits, name):
    x, y = digits.x, digits.y
    rng = np.random.default_rng(1)
    labelled = repeated_pool.first_labels(y, rng)
    committee = repeated_pool.committee_of(digits, labelled, rng)
    best = repeated_pool.select("bald", x, committee, labelled, 0).indices
    picked = repeated_pool.select(name, x, committee, labelled, 0).indices
    assert len(np.unique(best // COPIES)) <= BATCH // 2
    assert len(np.unique(picked // COPIES)) >= BATCH - 1
