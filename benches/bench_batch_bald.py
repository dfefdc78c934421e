"""BatchBALD against scikit-activeml, which computes every gain of every row for every configuration."""

from __future__ import annotations

import warnings

import numpy as np
from skactiveml.pool import batch_bald

import pickwise as pw

MEMBERS, ROWS, CLASSES, PICKS, SAMPLES = 20, 20_000, 10, 50, 10_000
EXACT_PICKS = 5  # whose gains are computed from all configurations; classes ** 4 are not more than SAMPLES
RIVAL_ROWS, RIVAL_PICKS = 200, 15


def committee(rows, classes):
    rng = np.random.default_rng(0)
    p = np.exp(rng.normal(size=(rows, classes)) + rng.normal(size=(MEMBERS, rows, classes)))
    return p / p.sum(-1, keepdims=True)


def skactiveml(c, k, samples):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return batch_bald(c.copy(), k, n_MC_samples=samples, random_state=0)  # it writes to its argument


def bench_batch_bald(race, scale) -> None:
    small = committee(200, 3)
    utilities = skactiveml(small, 5, 3**5)
    exact = pw.batch_bald(small, 5)
    assert exact.indices.tolist() == np.nanargmax(utilities, 1).tolist()
    np.testing.assert_allclose(np.cumsum(exact.scores), np.nanmax(utilities, 1), atol=1e-6)

    c = committee(int(ROWS * scale), CLASSES)
    few = c[:, :RIVAL_ROWS]
    ours, theirs = pw.batch_bald(few, RIVAL_PICKS, random_state=0), skactiveml(few, RIVAL_PICKS, SAMPLES)
    assert ours.indices[:EXACT_PICKS].tolist() == np.nanargmax(theirs[:EXACT_PICKS], 1).tolist()
    # Where labels are drawn both are estimates, theirs the noisier ones.
    np.testing.assert_allclose(
        np.cumsum(ours.scores)[: EXACT_PICKS + 2], np.nanmax(theirs[: EXACT_PICKS + 2], 1), atol=0.1
    )

    # Each of its picks costs the same then: the gains of all rows for all configurations.
    race.rival("first picks", lambda: skactiveml(few, EXACT_PICKS, SAMPLES))
    race.rival("more picks", lambda: skactiveml(few, RIVAL_PICKS, SAMPLES))
    race.run(lambda: pw.batch_bald(c, PICKS, samples=SAMPLES, random_state=0), rounds=3)

    first, more = race.seconds.pop("first picks"), race.seconds.pop("more picks")
    all_picks = first + (more - first) / (RIVAL_PICKS - EXACT_PICKS) * (PICKS - EXACT_PICKS)
    race.seconds["scikit-activeml"] = more
    race.extrapolate("scikit-activeml", all_picks / more * c.shape[1] / RIVAL_ROWS)
    race.info(page="strategies", pool=f"batch_bald, {MEMBERS} x {c.shape[1]:,} x 10", rows=c.shape[1], k=PICKS)
    race.faster("BatchBALD, 50 of 20 x 20k x 10", "scikit-activeml", ">= 10")
