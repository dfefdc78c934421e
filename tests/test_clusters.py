"""TypiClust and ClusterMargin take from clusters what their papers say, and never the same row twice."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw
from pickwise.clustering import clusters_of
from pickwise.strategies import cluster_margin as cluster_margin_module
from pickwise.strategies import typiclust as typiclust_module

pytest.importorskip("sklearn")


def blobs(sizes, dims=3, seed=0):
    """Rows of clusters that are far apart, and the cluster of each."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    middles = 40 * np.stack([np.cos(np.arange(len(sizes)) * (i + 1)) for i in range(dims)], 1)
    return middles[labels] + rng.normal(size=(len(labels), dims)), labels.astype(np.int64)


def use(monkeypatch, module, known):
    """Let clusters be those known of the rows, by the rows themselves."""

    def clusters(matrix, count, metric, seed, *, user):
        labels = np.array([known[tuple(row)] for row in np.asarray(matrix).tolist()], np.int64)
        centres = np.array(
            [
                matrix[labels == c].mean(0) if (labels == c).any() else np.full(matrix.shape[1], 1e6)
                for c in range(max(known.values()) + 1)
            ]
        )
        return labels, centres

    monkeypatch.setattr(module, "clusters_of", clusters)


def typicality(x, neighbours):
    d = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    np.fill_diagonal(d, np.inf)
    nearest = max(1, min(neighbours, len(x) // 2))
    with np.errstate(divide="ignore"):
        return 1 / np.sort(d, 1)[:, :nearest].mean(1)


def naive_typiclust(x, k, labels, labelled, neighbours):
    clusters = range(labels.max() + 1)
    sizes = [int((labels == c).sum()) for c in clusters]
    known = [int((labels[labelled] == c).sum()) for c in clusters]
    order = sorted(clusters, key=lambda c: (sizes[c] <= 5, known[c], -sizes[c], c))
    free = np.setdiff1d(np.arange(len(x)), labelled)
    queues = {}
    for c in clusters:
        own = free[labels[free] == c]
        worth = typicality(x[own], neighbours) if len(own) > 1 else np.full(len(own), np.inf)
        queues[c] = own[np.lexsort([own, -worth])].tolist()
    picks = []
    while len(picks) < k:
        for c in order:
            if queues[c] and len(picks) < k:
                picks.append(queues[c].pop(0))
    return picks


@pytest.mark.parametrize("known", [[], [0, 1, 2], [5, 40, 77, 78, 79]])
def test_typiclust_visits_clusters_as_the_paper_does(monkeypatch, known):
    x, labels = blobs([31, 4, 22, 9, 5, 17, 6, 1])
    use(monkeypatch, typiclust_module, dict(zip(map(tuple, x.tolist()), labels.tolist(), strict=True)))
    rows = len(x)
    for neighbours in (1, 3, 20):
        for k in (1, 6, 25, rows - len(known)):
            batch = pw.typiclust(x, k, labelled=known, neighbours=neighbours, random_state=0)
            assert batch.indices.tolist() == naive_typiclust(x, k, labels, np.array(known, int), neighbours)
            assert len(set(batch.indices.tolist())) == k


def test_typiclust_comes_last_to_clusters_with_labels(monkeypatch):
    x, labels = blobs([30, 25, 20, 15, 10])
    use(monkeypatch, typiclust_module, dict(zip(map(tuple, x.tolist()), labels.tolist(), strict=True)))
    first = {c: int(np.flatnonzero(labels == c)[0]) for c in range(5)}
    for labelled in ([first[0], first[2]], x[[first[0], first[2]]]):
        batch = pw.typiclust(x, 5, labelled=labelled, random_state=0)
        assert labels[batch.indices].tolist() == [1, 3, 4, 0, 2]
    # Rows that are excluded are in no cluster, but their labels count.
    known = [first[0], first[2]]
    odd = x.copy()
    odd[first[4]] = np.nan
    batch = pw.typiclust(odd, 5, labelled=known, exclude=[*known, first[4]], random_state=0)
    assert labels[batch.indices].tolist() == [1, 3, 4, 0, 2]
    assert not np.isin(batch.indices, [*known, first[4]]).any()


@pytest.mark.parametrize("known", [[], [3, 50, 90]])
def test_typiclust_equal_to_scikit_activeml(monkeypatch, known):
    pool = pytest.importorskip("skactiveml.pool")
    # Of clusters of the same size they draw one, and small ones they treat as others.
    x, labels = blobs([33, 28, 21, 26, 17, 14, 12], dims=4)
    use(monkeypatch, typiclust_module, dict(zip(map(tuple, x.tolist()), labels.tolist(), strict=True)))
    count = 7 - len(known)
    y = np.full(len(x), np.nan)
    y[known] = 0

    class Same:
        def __init__(self, n_clusters=1, random_state=None):
            assert n_clusters == 7

        def fit_predict(self, rows):
            return labels

    theirs = pool.TypiClust(cluster_algo=Same, k=3, random_state=0)
    indices, utilities = theirs.query(x, y, batch_size=count, return_utilities=True)
    batch = pw.typiclust(x, count, labelled=known, neighbours=3, random_state=0)
    np.testing.assert_array_equal(batch.indices, indices)
    np.testing.assert_allclose(batch.scores, utilities[np.arange(count), indices], rtol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_typiclust_finds_clusters_by_itself(metric, dtype):
    x, labels = blobs([40, 30, 20, 25, 35], dims=6)
    batch = pw.typiclust(x.astype(dtype), 5, metric=metric, random_state=1)
    assert sorted(labels[batch.indices].tolist()) == [0, 1, 2, 3, 4]
    more = pw.typiclust(x.astype(dtype), 3, labelled=batch.indices[:2], metric=metric, random_state=1)
    assert set(labels[more.indices].tolist()) == set(range(5)) - set(labels[batch.indices[:2]].tolist())


@pytest.mark.parametrize("scale", [1e30, 1e-30])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_magnitudes_that_float32_cannot_square(scale, metric):
    x, labels = blobs([40, 30, 20, 25, 35], dims=6)
    large = (x * scale).astype(np.float32)
    batch = pw.typiclust(large, 5, metric=metric, random_state=1)
    assert sorted(labels[batch.indices].tolist()) == [0, 1, 2, 3, 4]
    batch = pw.cluster_margin(np.full(150, 0.5), large, 5, metric=metric, random_state=1, factor=30)
    assert sorted(labels[batch.indices].tolist()) == [0, 1, 2, 3, 4]
    batch = pw.typiclust(x, 3, labelled=large[:20], metric=metric, random_state=1)
    assert len(batch) == 3


@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 30), st.booleans())
def test_no_row_twice_whatever_there_is(seed, rows, most, copies):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (rows, 2)).astype(np.float32) if copies else rng.normal(size=(rows, 3))
    out = rng.permutation(rows)[: rng.integers(0, rows)]
    labelled, exclude = np.split(out, [len(out) // 2])
    left = sorted(set(range(rows)) - set(out.tolist()))
    options = {"labelled": labelled, "exclude": exclude, "random_state": 0}
    batch = pw.typiclust(x, len(left), max_clusters=most, **options)
    assert sorted(batch.indices.tolist()) == left
    assert batch == pw.typiclust(x, len(left), max_clusters=most, **options)
    p = rng.random(rows)
    batch = pw.cluster_margin(p, x, len(left), clusters=most, **options)
    assert sorted(batch.indices.tolist()) == left
    some = pw.cluster_margin(p, x, max(1, len(left) // 2), factor=1, **options)
    assert len(set(some.indices.tolist())) == max(1, len(left) // 2)


def naive_cluster_margin(scores, k, labels, out, factor):
    free = np.setdiff1d(np.arange(len(scores)), out)
    head = free[np.lexsort([free, -scores[free]])][: factor * k]
    sizes = {c: int((labels[head] == c).sum()) for c in set(labels[head].tolist())}
    queues = {c: [row for row in head.tolist() if labels[row] == c] for c in sizes}
    picks = []
    while len(picks) < k:
        for c in sorted(sizes, key=lambda c: (sizes[c], c)):
            if queues[c] and len(picks) < k:
                picks.append(queues[c].pop(0))
    return picks


@pytest.mark.parametrize("factor", [1, 2, 10])
@pytest.mark.parametrize("k", [1, 5, 12])
def test_cluster_margin_goes_round_from_the_smallest_cluster(monkeypatch, k, factor):
    x, labels = blobs([31, 4, 22, 9, 5, 17, 6, 1])
    use(monkeypatch, cluster_margin_module, dict(zip(map(tuple, x.tolist()), labels.tolist(), strict=True)))
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), len(x))
    p[:40] = p[40:80]  # which have the same scores
    labelled, exclude = np.array([1, 50, 60]), np.array([0, 2, 80])
    for score in ("margin", "entropy", pw.LeastConfidence()):
        worth = getattr(pw, score if isinstance(score, str) else score.name)(p)
        picks = naive_cluster_margin(worth, k, labels, np.concatenate([labelled, exclude]), factor)
        odd_x, odd_p = x.copy(), p.copy()
        odd_x[exclude], odd_p[exclude] = np.nan, np.nan
        options = {"labelled": labelled, "exclude": exclude, "random_state": 0}
        batch = pw.cluster_margin(odd_p, odd_x, k, factor=factor, score=score, **options)
        assert batch.indices.tolist() == picks
        np.testing.assert_array_equal(batch.scores, worth[picks])
        strategy = pw.ClusterMargin(factor=factor, score=score)
        assert pw.select(odd_p, k, strategy, embeddings=odd_x, **options) == batch


def test_cluster_margin_takes_from_as_many_clusters_as_it_can():
    x, labels = blobs([40, 30, 20, 25, 35], dims=6)
    p = np.random.default_rng(0).random(150)
    batch = pw.cluster_margin(p, x, 5, factor=30, random_state=0)
    assert sorted(labels[batch.indices].tolist()) == [0, 1, 2, 3, 4]
    worth = pw.margin(p)
    assert batch.scores.tolist() == [max(worth[labels == c]) for c in labels[batch.indices]]
    assert pw.cluster_margin(p, x, 5, factor=1, random_state=0).indices.tolist() != batch.indices.tolist()
    one = pw.cluster_margin(p, x, 5, factor=30, clusters=1, random_state=0)
    assert one.indices.tolist() == np.lexsort([np.arange(150), -worth])[:5].tolist()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_clusters_depend_on_the_seed_and_the_numbers_alone(metric):
    x, _ = blobs([60, 30, 40], dims=5)
    x = x.astype(np.float16)
    expected = clusters_of(x, 9, metric, 3, user="test")[0]
    others = [x.astype(np.float32), np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2]]
    for other in others:
        np.testing.assert_array_equal(clusters_of(other, 9, metric, 3, user="test")[0], expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels, centres = clusters_of(np.ones((7, 2)), 5, metric, 0, user="test")
    assert labels.shape == (7,)
    assert len(centres) == 5
    assert clusters_of(x, 10**6, metric, 0, user="test")[1].shape[0] == len(x)


def test_bad_rows_are_named_as_the_caller_does():
    x, _ = blobs([20, 20])
    p = np.full(40, 0.5)
    odd = x.copy()
    odd[9, 1] = np.nan
    for exclude in (None, [1, 2]):
        with pytest.raises(ValueError, match=r"embeddings: row 9 has nan in column 1"):
            pw.typiclust(odd, 3, exclude=exclude)
        with pytest.raises(ValueError, match=r"embeddings: row 9 has nan in column 1"):
            pw.cluster_margin(p, odd, 3, exclude=exclude)
    odd[9] = 0
    for exclude in (None, [1, 2]):
        with pytest.raises(ValueError, match=r"embeddings: row 9 is zero"):
            pw.typiclust(odd, 3, exclude=exclude, metric="cosine")
        with pytest.raises(ValueError, match=r"embeddings: row 9 is zero"):
            pw.cluster_margin(p, odd, 3, exclude=exclude, metric="cosine")
    with pytest.raises(ValueError, match=r"labelled: row 1 has nan in column 0"):
        pw.typiclust(x, 3, labelled=[[1.0, 2, 3], [np.nan, 1, 2]])
