"""The risk: batches of copies. In a pool in which every row occurs three times, the best rows are alike.

Kirsch, van Amersfoort & Gal (2019) found that the top of BALD is worse than chance there, and BatchBALD better.
"""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import pickwise as pw

FILE = Path(__file__).resolve().parents[2] / "shared/data/mnist70k_u8.npz"
COPIES, DISTINCT, DIMS = 3, 3000, 40
MEMBERS, FIRST, BATCH, ROUNDS = 20, 100, 10, 12


@pytest.fixture(scope="module")
def digits():
    """A pool in which each digit occurs three times with a little noise; and test rows."""
    if not FILE.exists():
        pytest.skip(f"needs {FILE.name}, which is not there")
    with np.load(FILE) as file:
        x, y = file["X"].astype(np.float32) / 255, file["y"].astype(np.int64)
    rng = np.random.default_rng(0)
    order = rng.permutation(60_000)
    pca = PCA(DIMS, random_state=0).fit(x[order[:5000]])
    pool, test = order[:DISTINCT], 60_000 + np.arange(3000)
    rows = pca.transform(x[pool]).repeat(COPIES, axis=0)
    rows += 0.05 * rng.standard_normal(rows.shape)
    return rows.astype(np.float32), y[pool].repeat(COPIES), pca.transform(x[test]).astype(np.float32), y[test]


def fitted(x, y):
    return LogisticRegression(C=1.0, max_iter=300, tol=1e-3).fit(x, y)


def committee_of(x, y, labelled, rng):
    """Twenty models of rows drawn with repetition, each sure of itself: doubt lies between them."""
    members = []
    for _ in range(MEMBERS):
        drawn = [rng.choice(labelled, len(labelled)), [rng.choice(labelled[y[labelled] == c]) for c in range(10)]]
        rows = np.concatenate(drawn)
        member = LogisticRegression(C=1e4, max_iter=500, tol=1e-4).fit(x[rows], y[rows])
        members.append(member.predict_proba(x))
    return np.stack(members)


def select(name, x, committee, labelled, seed):
    beside = {"exclude": labelled, "random_state": seed}
    if name == "badge":
        return pw.select(committee.mean(0), BATCH, "badge", embeddings=x, labelled=labelled, random_state=seed)
    if name == "k_center":
        return pw.select(x, BATCH, "k_center", labelled=labelled)
    if name == "random":
        return pw.select(x, BATCH, "random", **beside)
    strategy = {"power": pw.PowerSampling(score="bald"), "batch_bald": pw.BatchBALD(samples=2000)}.get(name, name)
    return pw.select(committee, BATCH, strategy, **beside)


def first_labels(y, rng):
    """Two rows of each class, no two of which are copies."""
    rows = [rng.choice(np.flatnonzero(y == c)[::COPIES], FIRST // 10, replace=False) for c in range(10)]
    return np.concatenate(rows)


def run(name, digits, seed):
    """Label batch by batch; the accuracy after each, and how many rows of a batch are copies of others in it."""
    x, y, test_x, test_y = digits
    rng = np.random.default_rng(seed)
    labelled = first_labels(y, rng)
    accuracies, copies = [], 0
    for _ in range(ROUNDS):
        committee = committee_of(x, y, labelled, rng)
        picked = select(name, x, committee, labelled, seed).indices
        copies += BATCH - len(np.unique(picked // COPIES))
        labelled = np.concatenate([labelled, picked])
        accuracies.append((fitted(x[labelled], y[labelled]).predict(test_x) == test_y).mean())
    return np.mean(accuracies), copies


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
    x, y = digits[:2]
    rng = np.random.default_rng(1)
    labelled = first_labels(y, rng)
    committee = committee_of(x, y, labelled, rng)
    best = select("bald", x, committee, labelled, 0).indices
    picked = select(name, x, committee, labelled, 0).indices
    assert len(np.unique(best // COPIES)) <= BATCH // 2
    assert len(np.unique(picked // COPIES)) >= BATCH - 1
