"""BADGE draws what k-means++ draws from the gradients, written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw
from pickwise import _native


def case(rows, classes, dims, seed=0, sharpness=1.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * sharpness
    p = np.exp(logits)
    return p / p.sum(1, keepdims=True), rng.normal(size=(rows, dims)) * rng.uniform(0.5, 2, (rows, 1))


def gradients(p, h):
    """The outer products, one a row."""
    p, h = np.asarray(p, np.float64), np.asarray(h, np.float64)
    if p.ndim == 1:
        p = np.stack([1 - p, p], 1)
    a = p - np.eye(p.shape[1])[p.argmax(1)]
    return (a[:, :, None] * h[:, None, :]).reshape(len(p), -1)


def distances_at_picks(g, picks):
    """How far each pick is from those before it."""
    later = range(1, len(picks))
    return np.array([np.inf, *(np.sqrt(((g[picks[:at]] - g[picks[at]]) ** 2).sum(1).min()) for at in later)])


def test_lengths_of_gradients_known_by_hand():
    third = 1 / 3
    p = [[1, 0, 0], [0.98, 0.01, 0.01], [0.5, 0.3, 0.2], [third, third, third]]
    np.testing.assert_allclose(pw.gradient_norm(p, np.ones((4, 2))), [0, 0.0346, 0.8718, 1.1547], atol=5e-5)
    np.testing.assert_allclose(
        pw.gradient_norm([0.5, 1.0, 0.1], [[3.0, 4.0]] * 3), np.array([0.5, 0, 0.1]) * 5 * 2**0.5
    )
    np.testing.assert_allclose(pw.gradient_norm([[0.0, 0.0]], [[3.0, 4.0]], from_logits=True), [5 * 0.5**0.5])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("classes", "dims"), [(2, 1), (3, 7), (10, 40), (50, 17), (17, 384)])
def test_lengths_are_those_of_the_outer_products(classes, dims, dtype):
    p, h = case(200, classes, dims)
    p, h = p.astype(dtype), h.astype(dtype)
    expected = np.sqrt((gradients(p, h) ** 2).sum(1))
    np.testing.assert_allclose(pw.gradient_norm(p, h), expected, rtol=1e-12)


@pytest.mark.parametrize(("classes", "dims"), [(2, 3), (3, 7), (5, 16), (10, 33)])
@pytest.mark.parametrize("seed", range(4))
def test_picks_are_those_of_the_gradients_written_out(classes, dims, seed):
    p, h = case(250, classes, dims, seed, sharpness=1 + seed)
    g = gradients(p, h)
    batch = pw.badge(p, h, 60, random_state=seed)
    first = int((g**2).sum(1).argmax())
    assert batch.indices[0] == first
    dense = _native.kmeans_plusplus(g, 60, metric="euclidean", seed=seed, start=first)
    np.testing.assert_array_equal(batch.indices, dense[0])
    np.testing.assert_allclose(batch.scores, dense[1], rtol=1e-9)
    np.testing.assert_allclose(batch.scores, distances_at_picks(g, batch.indices), rtol=1e-9)
    assert pw.select(p, 60, "badge", embeddings=h, random_state=seed) == batch


def test_two_classes_given_as_one_number_or_as_logits():
    p, h = case(200, 2, 5)
    one = pw.badge(p, h, 40, random_state=1)
    two = pw.badge(p[:, 1], h, 40, random_state=1)
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_allclose(one.scores, two.scores, rtol=1e-9)
    for logits in (np.log(p), np.log(p[:, 1] / p[:, 0])):
        same = pw.badge(logits, h, 40, from_logits=True, random_state=1)
        np.testing.assert_array_equal(same.indices, one.indices)
        np.testing.assert_allclose(same.scores, one.scores, rtol=1e-9)
    p, h = case(100, 6, 5)
    same = pw.badge(np.log(p) + 700, h, 40, from_logits=True, random_state=1)
    np.testing.assert_array_equal(same.indices, pw.badge(p, h, 40, random_state=1).indices)


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-9])
def test_near_copies_do_not_cancel(apart):
    p, h = case(40, 4, 12)
    rng = np.random.default_rng(1)
    others = p + apart * rng.normal(size=p.shape) * p
    p = np.concatenate([p, others / others.sum(1, keepdims=True)])
    h = np.concatenate([h, h + apart * rng.normal(size=h.shape)])
    batch = pw.badge(p, h, 80, random_state=0)
    assert len(set(batch.indices.tolist())) == 80
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("there is no type of more digits")
    # Outer products in float64 would be rounded by more than rows are apart.
    a = (p - np.eye(4)[p.argmax(1)]).astype(np.longdouble)
    g = (a[:, :, None] * h.astype(np.longdouble)[:, None, :]).reshape(80, -1)
    np.testing.assert_allclose(batch.scores, distances_at_picks(g, batch.indices).astype(float), rtol=1e-9)


def test_distribution_of_the_second_and_third_pick():
    stats = pytest.importorskip("scipy.stats")
    p, h = case(8, 3, 4, seed=3)
    g = gradients(p, h)
    squared = ((g[:, None] - g) ** 2).sum(2)
    first = int((g**2).sum(1).argmax())
    draws = 6000
    counts = np.zeros((8, 8))
    for seed in range(draws):
        one, two, three = pw.badge(p, h, 3, random_state=seed).indices
        assert one == first
        counts[two, three] += 1
    second = squared[first] / squared[first].sum()
    expected = np.zeros((8, 8))
    for two in np.flatnonzero(second):
        mass = np.minimum(squared[first], squared[two])
        expected[two] = second[two] * mass / mass.sum()
    keep = expected * draws >= 5
    assert not counts[expected == 0].any()
    observed = np.append(counts[keep], counts[~keep].sum())
    wanted = np.append(expected[keep], expected[~keep].sum()) * draws
    # One case in a million goes wrong by chance, and the seeds are fixed.
    assert stats.chisquare(observed[wanted > 1e-9], wanted[wanted > 1e-9]).pvalue > 1e-6
    assert stats.chisquare(np.delete(counts.sum(1), first), np.delete(second, first) * draws).pvalue > 1e-6


def test_later_picks_of_a_larger_pool():
    """The last of many picks, given those before it, against the distribution that they leave."""
    stats = pytest.importorskip("scipy.stats")
    p, h = case(300, 4, 6, sharpness=2)
    g = gradients(p, h)
    ranks = []
    for seed in range(800):
        picks = pw.badge(p, h, 15, random_state=seed).indices
        mass = ((g[:, None] - g[picks[:-1]]) ** 2).sum(2).min(1)
        ends = np.cumsum(mass) / mass.sum()
        # Evenly distributed, if a pick is drawn by its mass: where it lies in the sum, at random within its part.
        share = mass[picks[-1]] / mass.sum()
        ranks.append(ends[picks[-1]] - share * np.random.default_rng(seed).random())
    assert stats.kstest(ranks, "uniform").pvalue > 1e-4


def test_no_row_is_drawn_twice():
    h = np.random.default_rng(0).normal(size=(60, 5))
    sure = np.eye(3)[np.arange(60) % 3]
    for p, x in [
        (sure, h),  # all gradients are zero
        (np.full((60, 3), 1 / 3), np.ones((60, 5))),  # all are copies
        (np.full((60, 3), 1 / 3), np.zeros((60, 5))),
        (np.where(np.arange(60)[:, None] < 55, sure, 1 / 3), h),  # few are not
        (np.repeat(case(20, 3, 5)[0], 3, axis=0), np.repeat(h[:20], 3, axis=0)),
    ]:
        for seed in range(5):
            batch = pw.badge(p, x, 60, random_state=seed)
            assert sorted(batch.indices.tolist()) == list(range(60))
            assert len(set(pw.badge(p, x, 13, random_state=seed).indices.tolist())) == 13
    p, x = np.where(np.arange(60)[:, None] < 55, sure, 1 / 3), h
    assert set(range(55, 60)) <= set(pw.badge(p, x, 6, random_state=0).indices.tolist())


@st.composite
def pools(draw):
    rows, classes, dims = draw(st.integers(2, 40)), draw(st.integers(2, 5)), draw(st.sampled_from([1, 2, 9, 17]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Halves, quarters and the like, so that float16 has the same numbers.
    p = rng.multinomial(8, np.full(classes, 1 / classes), rows) / 8
    h = rng.integers(-4, 5, (rows, dims)) / 2
    return p, h, draw(st.integers(1, rows)), rng


@given(pools(), st.integers(0, 100))
def test_types_layouts_and_threads_give_the_same_picks(pool, seed):
    p, h, k, _ = pool
    expected = pw.badge(p, h, k, random_state=seed)
    assert len(set(expected.indices.tolist())) == k
    np.testing.assert_allclose(expected.scores, distances_at_picks(gradients(p, h), expected.indices), atol=1e-7)
    for dtype in (np.float16, np.float32):
        assert pw.badge(p.astype(dtype), h, k, random_state=seed) == expected
        assert pw.badge(p, h.astype(dtype), k, random_state=seed) == expected
    for layout in (np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2], lambda x: x[::-1].copy()[::-1], list):
        assert pw.badge(layout(p), layout(h), k, random_state=seed) == expected
    for threads in (1, 3):
        with pw.num_threads(threads):
            assert pw.badge(p, h, k, random_state=seed) == expected


def test_large_pools_on_any_number_of_threads():
    p, h = case(20_000, 8, 24)
    with pw.num_threads(1):
        one = pw.badge(p, h, 150, random_state=2)
    with pw.num_threads(3):
        assert pw.badge(p, np.asfortranarray(h), 150, random_state=2) == one
    assert one != pw.badge(p, h, 150, random_state=3)


@given(pools(), st.integers(0, 100))
def test_labelled_and_excluded_rows_are_not_there(pool, seed):
    p, h, k, rng = pool
    rows = len(p)
    out = rng.permutation(rows)[: rows - k]
    labelled, exclude = out[: len(out) // 2], out[len(out) // 2 :]
    odd_p, odd_h = p.copy(), h.copy()
    odd_p[exclude], odd_h[exclude] = np.nan, np.inf
    batch = pw.badge(odd_p, odd_h, k, labelled=labelled, exclude=exclude, random_state=seed)
    assert sorted(batch.indices.tolist()) == sorted(set(range(rows)) - set(out.tolist()))
    free = np.setdiff1d(np.arange(rows), out)
    g = (gradients(p, h)[free] ** 2).sum(1)
    assert batch.indices[0] in free[g >= g.max() - 1e-12]
    assert (
        pw.select(odd_p, k, "badge", embeddings=odd_h, labelled=labelled, exclude=exclude, random_state=seed) == batch
    )


def test_what_is_refused():
    p, h = case(20, 3, 4)
    with pytest.raises(ValueError, match=r"embeddings: expected 20 rows"):
        pw.badge(p, h[:19], 3)
    with pytest.raises(ValueError, match=r"embeddings: expected 20 rows"):
        pw.gradient_norm(p, h[:19])
    odd = p.copy()
    odd[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"probabilities: row 7 holds nan in column 1"):
        pw.badge(odd, h, 3, exclude=[2])
    with pytest.raises(ValueError, match=r"probabilities: row 7"):
        pw.gradient_norm(odd, h)
    odd = h.copy()
    odd[7, 1] = np.nan
    for excluded in (None, [2]):
        with pytest.raises(ValueError, match=r"embeddings: row 7 has nan in column 1"):
            pw.badge(p, odd, 3, exclude=excluded)
    with pytest.raises(ValueError, match=r"k: expected at most 19, of 20 rows"):
        pw.badge(p, h, 20, exclude=[1])
