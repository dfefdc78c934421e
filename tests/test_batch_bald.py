"""BatchBALD: the picks of the naive algorithm, estimates that are right on average, the same bits, bad input."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw
from pickwise.limits import Limits

DTYPES: dict[str, Any] = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
try:
    import ml_dtypes

    DTYPES["bf16"] = ml_dtypes.bfloat16
except ImportError:
    pass


def make(members, rows, classes, seed=0, dtype=np.float64, *, sure=True):
    """Members that differ in what they are sure of; if they are, some rows are one-hot, some have zeros."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, classes)) + rng.normal(size=(members, rows, classes))
    p = np.exp(z)
    if sure:
        p[:, 2::7] = np.eye(classes)[rng.integers(0, classes, (members, len(range(2, rows, 7))))]
        p[:, 3::7, 0] = 0
    return (p / p.sum(2, keepdims=True)).astype(dtype)


def entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


class Naive:
    """All configurations of labels, and the gain of every row at every pick."""

    def __init__(self, committee):
        self.p = np.asarray(committee).astype(np.float64)
        members = len(self.p)
        self.shares, self.weights = np.ones(1), np.full((1, members), 1 / members)

    def gains(self):
        mixtures = np.einsum("cm,mnj->ncj", self.weights, self.p)
        return entropy(mixtures) @ self.shares - entropy(self.p).mean(0)

    def add(self, row):
        p = self.p[:, row] / self.p[:, row].sum(1, keepdims=True)  # what is known of members must not drift
        joint = self.weights[:, None, :] * p.T
        total = joint.sum(2)
        self.shares = (self.shares[:, None] * total).ravel()
        possible = self.shares > 0
        self.weights = (joint / np.where(total > 0, total, 1)[..., None]).reshape(-1, len(self.p))[possible]
        self.shares = self.shares[possible]

    def check(self, selection, first=(), barred=(), atol=1e-12):
        """Each pick has the highest gain there is, and its score is that."""
        out = {*first, *barred}
        for row in first:
            self.add(row)
        for row, score in zip(selection.indices.tolist(), selection.scores.tolist(), strict=True):
            gains = self.gains()
            rest = [i for i in range(len(gains)) if i not in out]
            assert row in rest
            assert abs(score - gains[row]) <= atol
            assert gains[row] >= gains[rest].max() - atol
            self.add(row)
            out.add(row)


@given(
    seed=st.integers(0, 2**32),
    members=st.integers(1, 10),
    classes=st.integers(2, 9),
    rows=st.integers(1, 80),
    kind=st.sampled_from(sorted(DTYPES)),
)
def test_picks_are_those_of_the_naive_algorithm(seed, members, classes, rows, kind):
    p = make(members, rows, classes, seed, DTYPES[kind])
    k = min(rows, max(1, int(math.log(3000, classes))))
    Naive(p).check(pw.batch_bald(p, k))


def test_bounds_of_groups_lose_no_pick():
    """So many configurations that most rows are only ever computed for groups of them."""
    p = make(12, 1500, 4, seed=3, sure=False)
    Naive(p).check(pw.batch_bald(p, 6, samples=4**6))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_the_first_pick_is_bald(dtype):
    p = make(6, 300, 5, seed=1, dtype=dtype)
    best = pw.top_k(pw.bald(p, dtype=np.float64), 1)
    one = pw.batch_bald(p, 1)
    assert (one.ids, one.scores) == (best.ids, best.scores)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_the_way_members_come_changes_nothing(dtype):
    p = make(5, 61, 3, seed=4, dtype=dtype, sure=False)
    want = pw.batch_bald(p, 9, samples=500, random_state=0)

    def reusing():
        buffer = np.empty_like(p[0])
        for member in p:
            buffer[:] = member
            yield buffer

    wide = np.zeros((6, 122, 6), p.dtype)
    wide[1:, ::2, 1:-2] = p
    ways = [
        np.asfortranarray(p),
        np.ascontiguousarray(p[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        wide[1:, ::2, 1:-2],
        list(p),
        iter(p),
        reusing(),
    ]
    for way in ways:
        assert pw.batch_bald(way, 9, samples=500, random_state=0) == want


def test_logits_and_their_temperature():
    logits = 3 * np.random.default_rng(5).normal(size=(5, 90, 4))
    p = np.exp(logits / 2)
    p /= p.sum(2, keepdims=True)
    selection = pw.batch_bald(logits, 5, from_logits=True, temperature=2.0)
    Naive(p).check(selection)
    assert selection.strategy == pw.BatchBALD(from_logits=True, temperature=2.0)


def test_copies_are_not_picked_while_others_tell_more():
    """Every row occurs three times: BALD takes all three, BatchBALD one."""
    rng = np.random.default_rng(2)
    says = rng.integers(0, 2, (30, 20))  # what each member is sure of
    one = np.where(says[..., None] == np.arange(2), 0.99, 0.01)
    tripled = np.repeat(one, 3, axis=1)
    picked = pw.batch_bald(tripled, 4).indices
    assert len(set((picked // 3).tolist())) == 4
    assert (picked % 3 == 0).all()  # of equals the lowest position
    by_score = pw.top_k(pw.bald(tripled, dtype=np.float64), 4).indices
    assert len(set((by_score // 3).tolist())) == 2
    Naive(tripled).check(pw.batch_bald(tripled, 8))


def test_one_hot_members():
    """Eight members in rows of three binary digits: three picks tell which member it is, and nothing is left."""
    digits = np.arange(8)[:, None] >> np.array([0, 0, 1, 1, 2, 2, 2]) & 1
    p = np.eye(2)[digits]
    selection = pw.batch_bald(p, 7, samples=8)
    assert selection.indices.tolist() == [0, 2, 4, 1, 3, 5, 6]
    np.testing.assert_allclose(selection.scores, [math.log(2)] * 3 + [0] * 4, atol=1e-14)
    assert not np.signbit(selection.scores).any()


@pytest.mark.parametrize("p", [np.full((4, 6, 3), 1 / 3), make(1, 6, 3), np.eye(2)[np.zeros((3, 6), int)]])
def test_members_that_agree_leave_nothing_to_tell(p):
    selection = pw.batch_bald(p, 6)
    assert selection.indices.tolist() == list(range(6))
    assert selection.scores.tolist() == [0] * 6


def test_estimates_are_unbiased():
    p = make(6, 8, 3, seed=6, sure=False)
    first = np.arange(7)
    naive = Naive(p)
    for row in first:
        naive.add(row)
    strategy = pw.BatchBALD(samples=60)
    gains = [
        strategy.choose(p, 1, exclude=None, limits=Limits([], taken=first), random_state=seed, progress=None)[1][0]
        for seed in range(400)
    ]
    off = np.mean(gains) - naive.gains()[7]
    assert abs(off) < 4 * np.std(gains) / 20
    assert np.std(gains) > 0  # they are estimates


def test_estimates_are_close():
    p = make(8, 400, 3, seed=7, sure=False)
    drawn = pw.batch_bald(p, 8, samples=2000, random_state=1)
    Naive(p).check(drawn, atol=0.01)
    exact = pw.batch_bald(p, 8, samples=3**8)
    assert drawn.scores.sum() == pytest.approx(exact.scores.sum(), rel=0.01)
    fewer = pw.batch_bald(p, 8, samples=1, random_state=1)  # one for each member
    assert len(set(fewer.indices.tolist())) == 8


def test_gains_only_fall():
    for samples in (3**7, 300):
        scores = pw.batch_bald(make(9, 200, 3, seed=8, sure=False), 7, samples=samples, random_state=0).scores
        assert (np.diff(scores) <= 0.02).all()
        assert (scores >= 0).all()


@pytest.mark.parametrize("members", [3, 20])
def test_a_huge_batch_does_not_underflow(members):
    p = make(members, 450, 10, seed=9, dtype=np.float32, sure=False)
    selection = pw.batch_bald(p, 450, samples=300, random_state=0)
    assert sorted(selection.ids.tolist()) == list(range(450))
    assert np.isfinite(selection.scores).all()
    assert (selection.scores >= 0).all()
    assert selection.scores.sum() == pytest.approx(math.log(members), rel=0.02)


def test_the_seed_decides_and_threads_do_not():
    p = make(10, 3000, 6, seed=10, sure=False)
    want = pw.batch_bald(p, 12, samples=3000, random_state=1)
    for threads in (1, 2, 5):
        with pw.num_threads(threads):
            assert pw.batch_bald(p, 12, samples=3000, random_state=1) == want
    other = pw.batch_bald(p, 12, samples=3000, random_state=2)
    assert other.scores.tolist() != want.scores.tolist()
    assert pw.batch_bald(p, 4, samples=6**3, random_state=1) == pw.batch_bald(p, 4, samples=6**3, random_state=2)


def test_excluded_rows_and_ids():
    p = make(5, 60, 3, seed=11, sure=False)
    best = pw.batch_bald(p, 3).indices.tolist()
    without = pw.batch_bald(p, 5, exclude=best)
    Naive(p).check(without, barred=best)
    mask = np.isin(np.arange(60), best)
    assert pw.batch_bald(p, 5, exclude=mask) == without
    named = pw.batch_bald(p, 5, exclude=mask, ids=[f"r{i}" for i in range(60)])
    assert list(named) == [f"r{i}" for i in without.indices]
    assert named.indices.tolist() == without.indices.tolist()


def test_rows_that_are_in_the_batch_already():
    p = make(7, 80, 3, seed=12, sure=False)
    whole = pw.batch_bald(p, 6)
    first, rest = whole.indices[:3].copy(), whole.indices[3:].tolist()
    picks, gains = pw.BatchBALD().choose(
        p, 3, exclude=None, limits=Limits([], taken=first), random_state=0, progress=None
    )
    assert picks.tolist() == rest
    assert gains.tolist() == whole.scores[3:].tolist()
    other = np.array([70, 5, 33])
    picks, gains = pw.BatchBALD().choose(
        p, 4, exclude=None, limits=Limits([], taken=other), random_state=0, progress=None
    )
    Naive(p).check(pw.Selection(picks, picks, gains, pw.BatchBALD()), first=other.tolist())


def test_more_rows_than_there_are():
    p = make(3, 5, 2)
    with pytest.raises(ValueError, match=r"k: expected at most 4, of 5 rows \(1 excluded\), got 5; clip=True"):
        pw.batch_bald(p, 5, exclude=[1])
    assert sorted(pw.batch_bald(p, 9, exclude=[1], clip=True).ids.tolist()) == [0, 2, 3, 4]
    with pytest.raises(ValueError, match="exclude: every one of the 5 rows is excluded"):
        pw.batch_bald(p, 1, exclude=range(5), clip=True)


def test_progress_counts_picks():
    told = []
    pw.batch_bald(make(4, 50, 3), 6, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (6, 6)
    with pytest.raises(TypeError, match="progress: expected"):
        pw.batch_bald(make(4, 50, 3), 6, progress="yes")


def test_ctrl_c_stops_it():
    p = make(20, 4000, 20, seed=13, sure=False)
    began = time.monotonic()
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), 2))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        pw.batch_bald(p, 4000, samples=100_000, random_state=0)
    timer.join()
    assert time.monotonic() - began < 20


def test_the_members_are_as_before():
    p = make(4, 40, 3)
    before = p.copy()
    p.flags.writeable = False
    pw.batch_bald(p, 4)
    assert (p == before).all()


@pytest.mark.parametrize(
    ("committee", "options", "error", "message"),
    [
        ([], {}, ValueError, "committee: expected at least one member, got none"),
        (np.full((4, 2), 0.5), {}, ValueError, r"expected the shape \(members, rows, classes\)"),
        ([[[0.5, 0.5]], [[0.5, 0.2]]], {}, ValueError, r"member 1: row 0 sums to 0\.7, expected 1"),
        ([[[0.5, 0.5]], [[np.nan, 0.2]]], {}, ValueError, "member 1: row 0 holds nan in column 0"),
        ([[[0.5, 0.5]], [[0.5, 0.5]] * 2], {}, ValueError, "member 1: expected the shape of member 0"),
        (np.zeros((3, 4, 2), np.int64), {}, TypeError, "member 0: expected float16"),
        ([[0, 1], [1, 1]], {}, (TypeError, ValueError), "member 0: expected"),
        (make(2, 4, 2), {"temperature": 2.0}, ValueError, "temperature: expected 1 for probabilities"),
        (make(2, 4, 2), {"temperature": 0.0, "from_logits": True}, ValueError, "temperature: expected"),
        (make(2, 4, 2), {"samples": 0}, ValueError, "samples: expected at least 1, got 0"),
        (make(2, 4, 2), {"samples": 1e4}, TypeError, "samples: expected an integer"),
        (make(2, 4, 2), {"samples": 10**9}, ValueError, "samples: expected at most"),
        (make(2, 4, 2), {"k": 0}, ValueError, "k: expected at least 1"),
        (make(2, 4, 2), {"ids": [1, 2]}, ValueError, "ids: expected 4"),
        (make(2, 4, 2), {"ids": [1, 2, 3, 1]}, ValueError, "ids: "),
        (make(2, 4, 2), {"exclude": [4]}, ValueError, "exclude: expected positions below 4"),
        (make(2, 4, 2), {"random_state": "a"}, TypeError, "random_state: expected"),
    ],
)
def test_bad_input(committee, options, error, message):
    with pytest.raises(error, match=message):
        pw.batch_bald(committee, **({"k": 1} | options))


def test_scikit_activeml():
    pool = pytest.importorskip("skactiveml.pool")
    p = make(6, 60, 3, seed=14, sure=False)
    p = np.clip(p, 1e-6, 1)
    p /= p.sum(2, keepdims=True)
    utilities = pool.batch_bald(p.copy(), 5, n_MC_samples=3**5, random_state=0)
    selection = pw.batch_bald(p, 5)
    assert selection.indices.tolist() == np.nanargmax(utilities, 1).tolist()
    np.testing.assert_allclose(np.cumsum(selection.scores), np.nanmax(utilities, 1), atol=1e-6)


def fingerprints():
    found = {}
    for kind, dtype in sorted(DTYPES.items()):
        for members, classes, samples, sure in (
            (2, 2, 100, True),
            (7, 3, 10_000, False),
            (9, 10, 2500, False),
            (3, 33, 400, True),
        ):
            selection = pw.batch_bald(
                make(members, 150, classes, 15, dtype, sure=sure), 6, samples=samples, random_state=3
            )
            found[f"{kind} {members} {classes}"] = [selection.indices.tolist(), selection.scores.tolist()]
    return found


@pytest.mark.parametrize("simd", pw.build_info()["simd_available"])
def test_every_simd_level_gives_the_same_bits(simd):
    env = os.environ | {"PICKWISE_SIMD": simd}
    done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == fingerprints()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fingerprints()))
