"""Scores of committees: exact vectors, agreement with NumPy, bits that are the same however members come, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
import weakref
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

RNG = np.random.default_rng(0)
DTYPES: dict[str, Any] = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
try:
    import ml_dtypes

    DTYPES["bf16"] = ml_dtypes.bfloat16
except ImportError:
    pass
ENTROPIES: dict[str, Any] = {
    "bald": pw.bald,
    "consensus_kl": pw.consensus_kl,
    "predictive_entropy": pw.predictive_entropy,
    "expected_entropy": pw.expected_entropy,
}
VOTES: dict[str, Any] = {"vote_entropy": pw.vote_entropy, "variation_ratios": pw.variation_ratios}
ALL = ENTROPIES | VOTES
CLASSES = [2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130]


def make(members, rows, classes, dtype=np.float64, rng=RNG):
    """Members that agree in some rows and not in others, one-hot rows and zeros among them."""
    p = rng.dirichlet(np.full(classes, 0.4), (members, rows))
    p[:, ::5] = p[:1, ::5]
    p[:, 1::5] = np.eye(classes)[rng.integers(0, classes, (members, len(range(1, rows, 5))))]
    p[:, 2::5] = np.eye(classes)[rng.integers(0, classes, len(range(2, rows, 5)))]
    return p.astype(dtype)


def entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def expected(name, p):
    """What NumPy makes of it in float64."""
    p = np.asarray(p).astype(np.float64)
    mean = p.mean(0)
    if name in VOTES:
        votes = p.argmax(-1)
        share = np.stack([(votes == c).mean(0) for c in range(p.shape[-1])], -1)
        return entropy(share) if name == "vote_entropy" else 1 - share.max(-1)
    if name == "predictive_entropy":
        return entropy(mean)
    if name == "expected_entropy":
        return entropy(p).mean(0)
    return (p * (np.log(np.where(p > 0, p, 1)) - np.log(np.where(p > 0, mean, 1)))).sum(-1).mean(0)


def assert_right(name, got, p, *, double):
    want = expected(name, p)
    if name in VOTES:
        np.testing.assert_allclose(got, want, atol=1e-14)
        return
    assert got.dtype == (np.float64 if double else np.float32)
    unit = np.maximum(1, entropy(np.asarray(p).astype(np.float64).mean(0)))
    assert (np.abs(got - want) <= (1e-14 if double else 4e-6) * unit).all()
    assert (got >= 0).all()


def test_exact_vectors():
    members = [[[0.3, 0.7], [0.4, 0.6]], [[0.2, 0.8], [0.5, 0.5]]]
    for score in (pw.consensus_kl, pw.bald):
        np.testing.assert_allclose(score(members), [0.00670178182226764, 0.005059389928987596], rtol=1e-13)
    third = np.log(1 / 3) / 3
    votes = np.array([[0, 1, 2], [0, 0, 1], [2, 2, 2]]).T
    np.testing.assert_allclose(pw.vote_entropy(votes), [-3 * third, -2 / 3 * np.log(2 / 3) - third, 0], rtol=1e-14)
    votes = np.array([[0, 0, 2], [1, 0, 2], [2, 1, 2], [0, 0, 0]]).T
    np.testing.assert_array_equal(pw.variation_ratios(votes), [1 / 3, 2 / 3, 1 / 3, 0])
    np.testing.assert_array_equal(pw.committee_std([[1.0, 4.0], [3.0, 4.0]]), [1, 0])


@given(
    seed=st.integers(0, 2**32),
    members=st.integers(1, 12),
    rows=st.integers(1, 70),
    classes=st.sampled_from(CLASSES),
    kind=st.sampled_from(sorted(DTYPES)),
)
def test_numpy(seed, members, rows, classes, kind):
    p = make(members, rows, classes, DTYPES[kind], np.random.default_rng(seed))
    for name, score in ALL.items():
        assert_right(name, score(p), p, double=kind == "f64")
        if name in ENTROPIES:
            assert_right(name, score(p, dtype=np.float64), p, double=True)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("classes", CLASSES)
def test_members_that_are_certain_or_agree(dtype, classes):
    one_hot = np.eye(classes, dtype=dtype)
    for members in (1, 2, 3, 7, 20):
        p = np.broadcast_to(one_hot, (members, classes, classes))
        for name, score in ALL.items():
            got = score(p)
            np.testing.assert_array_equal(got, np.zeros(classes), err_msg=name)
            assert not np.signbit(got).any()
        if dtype != np.float64:
            same = RNG.dirichlet(np.ones(classes), 50).astype(dtype)
            np.testing.assert_array_equal(pw.bald(np.broadcast_to(same, (members, *same.shape))), np.zeros(50))
    np.testing.assert_array_equal(pw.bald(RNG.dirichlet(np.ones(classes), (1, 50))), np.zeros(50))
    np.testing.assert_allclose(pw.bald(one_hot[:, None]), [np.log(classes)], rtol=4e-6)


def layouts(p):
    """Yield the same committee as it may lie in memory, or come."""
    members, rows, classes = p.shape
    wide = np.zeros((members + 1, rows * 2, classes + 3), p.dtype)
    wide[1:, ::2, 1:-2] = p
    yield np.asfortranarray(p)
    yield np.ascontiguousarray(p.transpose(1, 0, 2)).transpose(1, 0, 2)
    yield np.ascontiguousarray(p.transpose(0, 2, 1)).transpose(0, 2, 1)
    yield np.ascontiguousarray(p[::-1, ::-1, ::-1])[::-1, ::-1, ::-1]
    yield wide[1:, ::2, 1:-2]
    yield p.byteswap().view(p.dtype.newbyteorder()) if p.dtype.name != "bfloat16" else p
    yield list(p)
    yield tuple(p)
    yield iter(p)
    yield (member.copy() for member in p)
    buffer = np.empty((rows, classes), p.dtype)

    def reusing():
        for member in p:
            buffer[:] = member
            yield buffer

    yield reusing()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("shape", [(3, 1, 2), (5, 37, 10), (4, 3000, 3), (2, 100, 70)])
def test_the_way_members_come_changes_no_bit(shape, dtype):
    p = make(*shape, dtype)
    for name, score in ALL.items():
        want = score(p).tobytes()
        for other in layouts(p):
            assert score(other).tobytes() == want, name
        with pw.num_threads(1):
            assert score(p).tobytes() == want
        part = slice(shape[1] // 3, shape[1] // 2 + 1)
        assert score(p[:, part]).tobytes() == score(p)[part].tobytes()


def test_members_of_different_types():
    p = make(4, 500, 5)
    mixed = [p[0], p[1].astype(np.float32), p[2].astype(np.float16), p[3]]
    for name, score in ENTROPIES.items():
        got = score(mixed)
        assert got.dtype == np.float64
        assert got.tobytes() == score(iter(mixed)).tobytes(), name
        exact = np.stack([np.asarray(member, np.float64) for member in mixed])
        np.testing.assert_allclose(score(mixed, dtype=np.float64), expected(name, exact), atol=1e-14)


@pytest.mark.parametrize("temperature", [0.4, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits(dtype, temperature):
    z = (4 * RNG.standard_normal((6, 300, 9))).astype(dtype)
    z[:, :, 3][RNG.random((6, 300)) < 0.2] = -np.inf
    e = np.exp(z.astype(np.float64) / temperature)
    p = e / e.sum(-1, keepdims=True)
    for name, score in ENTROPIES.items():
        got = score(z, from_logits=True, temperature=temperature)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected(name, p), atol=1e-13 if dtype == np.float64 else 1e-6)
        again = score(iter(np.asfortranarray(z)), from_logits=True, temperature=temperature)
        assert again.tobytes() == got.tobytes()
    for name, score in VOTES.items():
        np.testing.assert_allclose(score(z, from_logits=True), expected(name, p), atol=1e-14)


def test_ties_go_to_the_lowest_class():
    p = np.array([[[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]], [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]])
    np.testing.assert_array_equal(pw.variation_ratios([*p, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), [0, 0])


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i8", "u8", ">i4"])
def test_votes_of_any_integer_type(dtype):
    votes = RNG.integers(0, 5, (7, 400))
    share = np.stack([(votes == c).mean(0) for c in range(5)], -1)
    for given_votes in (votes.astype(dtype), list(votes.astype(dtype)), iter(votes.astype(dtype)), votes.tolist()):
        np.testing.assert_allclose(pw.vote_entropy(given_votes), entropy(share), atol=1e-14)
    np.testing.assert_allclose(pw.variation_ratios(np.asfortranarray(votes)), 1 - share.max(-1), atol=1e-14)
    assert pw.variation_ratios(votes * 858993459).tobytes() == pw.variation_ratios(votes).tobytes()


@given(seed=st.integers(0, 2**32), members=st.integers(1, 30), kind=st.sampled_from(sorted(DTYPES)))
def test_std(seed, members, kind):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((members, 40)) * 10.0 ** rng.integers(-2, 3) + 1000 * rng.random(40)).astype(DTYPES[kind])
    got = pw.committee_std(x, dtype=np.float64)
    np.testing.assert_allclose(got, x.astype(np.float64).std(0), rtol=1e-9, atol=1e-10)
    for other in (iter(x), list(x), np.asfortranarray(x)):
        assert pw.committee_std(other, dtype=np.float64).tobytes() == got.tobytes()
    assert pw.committee_std(x).dtype == (np.float64 if kind == "f64" else np.float32)


def test_scikit_activeml():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = pytest.importorskip("skactiveml.pool")
        p = RNG.dirichlet(np.ones(4), (5, 200))
        votes = RNG.integers(0, 4, (5, 200))
        np.testing.assert_allclose(pw.consensus_kl(p), pool.average_kl_divergence(p), rtol=1e-6)
        np.testing.assert_allclose(
            pw.vote_entropy(votes), pool.vote_entropy(votes.T, np.arange(4)), rtol=1e-12, atol=1e-12
        )
        np.testing.assert_allclose(pw.variation_ratios(votes), pool.variation_ratios(votes.T), atol=1e-12)


GOOD = make(3, 50, 4)


def spoilt(value, member=1, row=7, column=2):
    p = GOOD.copy()
    p[member, row, column] = value
    return p


@pytest.mark.parametrize("form", [lambda p: p, iter, list], ids=["array", "iterator", "list"])
def test_bad_rows_are_named(form):
    for score in ALL.values():
        for value, says in ((np.nan, "holds nan in column 2"), (-0.5, "holds -0.5 in column 2"), (1.5, "holds 1.5")):
            with pytest.raises(ValueError, match=f"committee: member 1: row 7 {says}.*1 of 50 rows is invalid"):
                score(form(spoilt(value)))
        p = spoilt(0.0)
        p[1, 7] = [0.5, 0.1, 0.1, 0.1]
        p[2, 3] = np.nan
        with pytest.raises(ValueError, match=r"member 1: row 7 sums to 0\.8, expected 1 within"):
            score(form(p))
        logits = np.log(np.where(GOOD > 0, GOOD, 1e-9))
        logits[2, 9, 1], logits[2, 11] = np.inf, -np.inf
        with pytest.raises(ValueError, match=r"member 2: row 9 holds inf in column 1.*2 of 50 rows are invalid"):
            score(form(logits), from_logits=True)
    with pytest.raises(ValueError, match="member 1: row 7 holds nan, expected a finite number"):
        pw.committee_std(form(spoilt(np.nan)[:, :, 2]))


def test_bad_committees():
    for score in ALL.values():
        for none in ([], iter([]), np.empty((0, 5, 2))):
            with pytest.raises(ValueError, match="committee: expected at least one member, got none"):
                score(none)
        with pytest.raises(ValueError, match="member 0: expected at least one row, got none"):
            score(np.empty((2, 0, 3)))
        for form in (list, iter):
            with pytest.raises(ValueError, match="member 1: expected"):
                score(form([GOOD[0], GOOD[1][:-1]]))
        with pytest.raises(TypeError, match=r"member 0: expected float16.*got int64"):
            score(np.ones((2, 5, 3), np.int64))
        with pytest.raises(ValueError, match="at least 2 classes"):
            score(np.ones((2, 5, 1)))
        with pytest.raises(ValueError, match="committee: expected the shape"):
            score(np.float64(0.5))
        with pytest.raises(ValueError, match="committee: expected the shape"):
            score(np.ones((2, 2, 2, 2)))
        for wrong in ("abc", 3, None):
            with pytest.raises((TypeError, ValueError), match="committee: expected"):
                score(wrong)
    for score in ENTROPIES.values():
        with pytest.raises(ValueError, match="member 1: expected the shape of member 0"):
            score([GOOD[0], GOOD[1][:, :3]])
        with pytest.raises(ValueError, match=r"expected the shape \(members, rows, classes\), or a seq.*got 2-D"):
            score(GOOD[0])
        with pytest.raises(ValueError, match=r"member 0: expected the shape \(rows, classes\), got 1-D"):
            score([[0.5, 0.5]])
        with pytest.raises(ValueError, match="temperature: expected 1 for probabilities"):
            score(GOOD, temperature=2.0)
        with pytest.raises(ValueError, match="dtype: expected float32 or float64"):
            score(GOOD, dtype=np.float16)
    for score in VOTES.values():
        with pytest.raises(ValueError, match="member 1: row 2 holds -1, expected the number of a class"):
            score([[0, 1, 2], [0, 1, -1]])
        with pytest.raises(TypeError, match="member 0: expected votes, a 1-D array of integers"):
            score(GOOD[0])
    with pytest.raises(ValueError, match=r"member 0: expected the shape \(rows,\), got 2-D"):
        pw.committee_std(list(GOOD))


def test_the_members_are_as_before():
    for dtype in DTYPES.values():
        p = make(4, 300, 6, dtype)
        before = zlib.crc32(p.tobytes())
        p.flags.writeable = False
        for score in ALL.values():
            for form in (lambda p: p, iter):
                score(form(p))
                score(form(p), from_logits=True)
        pw.committee_std(p[:, :, 0])
        assert zlib.crc32(p.tobytes()) == before


def test_members_of_an_iterator_are_let_go():
    for score in ALL.values():
        refs: list[weakref.ref[Any]] = []

        def members(refs=refs):
            for _ in range(8):
                member = make(1, 50, 3)[0].copy()
                refs.append(weakref.ref(member))
                assert sum(ref() is not None for ref in refs) <= 2
                yield member
                del member

        assert len(score(members())) == 50
        assert len(refs) == 8


def test_an_error_of_the_iterator_passes():
    def members():
        yield GOOD[0]
        raise OSError("gone")

    for score in ALL.values():
        with pytest.raises(OSError, match="gone"):
            score(members())


def fingerprints():
    rng = np.random.default_rng(5)
    found = {}
    for kind, dtype in sorted(DTYPES.items()):
        for classes in CLASSES:
            p = make(5, 77, classes, dtype, rng)
            for name, score in ALL.items():
                found[f"{name} {kind} {classes}"] = zlib.crc32(score(p).tobytes())
            found[f"logits {kind} {classes}"] = zlib.crc32(pw.bald(p, from_logits=True, temperature=0.1).tobytes())
            found[f"std {kind} {classes}"] = zlib.crc32(pw.committee_std(p[:, :, 0]).tobytes())
    return found


@pytest.mark.parametrize("simd", pw.build_info()["simd_available"])
def test_every_simd_level_gives_the_same_bits(simd):
    env = os.environ | {"PICKWISE_SIMD": simd}
    done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == fingerprints()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fingerprints()))
