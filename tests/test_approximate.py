"""The risk: neighbours that are not near, or a pick that they spoil."""

import sys

import numpy as np
import pytest

import pickwise as pw
from pickwise import _native

rng = np.random.default_rng(0)
CENTRES = rng.standard_normal((20, 16))
X = (CENTRES[rng.integers(0, 20, 3000)] + 0.3 * rng.standard_normal((3000, 16))).astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
def test_nearly_all_neighbours_are_found(metric):
    pytest.importorskip("usearch")
    from pickwise.approximate import approximate_neighbours

    starts, rows, distances = approximate_neighbours(X, metric, 15, user="a test")
    _, exact, near = _native.neighbours(X, metric, nearest=15)
    lists = np.split(rows, starts[1:-1])
    found = sum(len(np.intersect1d(one, other)) for one, other in zip(lists, exact.reshape(-1, 15), strict=True))
    # The index is built by several threads, so that what it finds is not always the same.
    assert found > 0.95 * exact.size
    assert (np.diff(starts) <= 15).all()
    assert not any((one == row).any() for row, one in enumerate(lists))
    alike = [len(np.intersect1d(*both)) == 15 for both in zip(lists, exact.reshape(-1, 15), strict=True)]
    full = np.flatnonzero((np.diff(starts) == 15) & alike)
    mine = np.concatenate([distances[starts[row] : starts[row + 1]] for row in full]).reshape(len(full), 15)
    same = np.isclose(mine, near.reshape(-1, 15)[full], rtol=1e-3, atol=1e-5)
    assert same.mean() > 0.95


def test_a_graph_is_mutual_and_holds_each_row_itself():
    starts, rows, distances = np.array([0, 1, 1, 2]), np.array([1, 0], np.uint32), np.array([2.0, 3.0])
    starts, rows, distances = _native.mutual(starts, rows, distances)
    assert starts.tolist() == [0, 3, 5, 7]
    assert rows.tolist() == [0, 1, 2, 0, 1, 0, 2]
    assert distances.tolist() == [0.0, 2.0, 3.0, 2.0, 0.0, 3.0, 0.0]
    with pytest.raises(ValueError, match="neighbours: expected a list for each row"):
        _native.mutual(np.array([0, 2]), np.array([5], np.uint32), np.array([1.0]))


@pytest.mark.parametrize("strategy", [pw.FacilityLocation, pw.MaxHerding])
def test_picks_are_nearly_as_good(strategy):
    pytest.importorskip("usearch")
    exact = pw.select(X, 30, strategy(neighbours=40))
    nearly = pw.select(X, 30, strategy(neighbours=40, approximate=True))
    assert len(np.unique(nearly.indices)) == 30
    assert nearly.scores.sum() == pytest.approx(exact.scores.sum(), rel=0.03)


def test_without_usearch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(
        ImportError, match=r"max_herding with approximate=True needs usearch; .*pickwise\[approximate\]"
    ):
        pw.max_herding(X[:100], 3, approximate=True)
