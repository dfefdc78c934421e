"""Limits that make no sense are refused, in words that name the argument, what was expected, what came and the mend."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import pickwise as pw

pytest.importorskip("sklearn")

RNG = np.random.default_rng(0)
ROWS = 30
P = RNG.dirichlet(np.ones(3), ROWS)
C = RNG.dirichlet(np.ones(3), (4, ROWS))
X = RNG.normal(size=(ROWS, 2))
Y = RNG.normal(size=ROWS)
GROUPS, COSTS = np.arange(ROWS) % 5, np.ones(ROWS)
# One of each way that limits go.
STRATEGIES = ["margin", "softrank", "random", "k_center", "badge", "hybrid", "typiclust", "greedy_xy", "batch_bald"]
BESIDE = {"badge", "hybrid", "greedy_xy"}
every = pytest.mark.parametrize("name", STRATEGIES)


def select(name, k=3, pool=None, **options):
    if pool is None:
        pool = {"k_center": X, "typiclust": X, "greedy_xy": Y, "batch_bald": C}.get(name, P)
    if name in BESIDE:
        options.setdefault("embeddings", X)
    return pw.select(pool, k, name, random_state=0, **options)


def refused(error, message, name, k=3, **options):
    with pytest.raises(error) as caught:
        select(name, k, **options)
    assert message in str(caught.value), str(caught.value)


@every
def test_no_k_and_no_budget(name):
    refused(TypeError, "k: expected an integer, got None; it may be left out where there is a budget", name, None)
    quotas = {"groups": GROUPS, "max_per_group": 1}
    refused(TypeError, "k: expected an integer, got None", name, None, **quotas)
    for k, message in ((0, "k: expected at least 1, got 0"), (-3, "k: expected at least 1")):
        refused(ValueError, message, name, k, costs=COSTS, budget=3)
    for k in ("3", 2.0, True):
        refused(TypeError, "k: expected an integer", name, k, costs=COSTS, budget=3)


@every
def test_one_without_the_other(name):
    refused(ValueError, "budget: expected costs with it, got none; pass both or neither", name, None, budget=3)
    refused(ValueError, "costs: expected budget with it, got none", name, costs=COSTS)
    refused(ValueError, "groups: expected max_per_group with it, got none", name, groups=GROUPS)
    refused(ValueError, "max_per_group: expected groups with it, got none", name, max_per_group=2)


BAD_COSTS: list[tuple[Any, type[Exception], str]] = [
    (np.where(np.arange(ROWS) == 4, np.nan, 1.0), ValueError, "costs: row 4 has nan; expected finite numbers above 0"),
    (np.where(np.arange(ROWS) == 4, np.inf, 1.0), ValueError, "costs: row 4 has inf"),
    (np.where(np.arange(ROWS) == 7, 0, 1), ValueError, "costs: row 7 has 0.0"),
    (np.where(np.arange(ROWS) == 7, -2.5, 1), ValueError, "costs: row 7 has -2.5"),
    (COSTS[:-1], ValueError, "costs: expected the shape (30,), one for each row, got (29,)"),
    (COSTS[:, None], ValueError, "costs: expected the shape (30,), one for each row, got (30, 1)"),
    (2.0, ValueError, "costs: expected the shape (30,), one for each row, got ()"),
    (["1"] * ROWS, TypeError, "costs: expected numbers, got"),
    (COSTS.astype(object), TypeError, "costs: expected numbers, got object"),
    (np.ones(ROWS, bool), TypeError, "costs: expected numbers, got bool"),
    ("costs.npy", TypeError, "costs: expected an array, got str"),
    ({"a": 1}, TypeError, "costs: expected an array, a table or a list of lists, got dict"),
]


@every
@pytest.mark.parametrize(("costs", "error", "message"), BAD_COSTS)
def test_costs(name, costs, error, message):
    refused(error, message, name, costs=costs, budget=3)
    refused(error, message, name, None, costs=costs, budget=3)


@every
def test_budgets(name):
    for budget, message in ((0, "got 0.0"), (-1.5, "got -1.5"), (np.nan, "got nan")):
        refused(ValueError, f"budget: expected a number above 0, {message}", name, costs=COSTS, budget=budget)
    for budget in ("3", True, [3.0], 1j):
        refused(TypeError, "budget: expected a number, got", name, costs=COSTS, budget=budget)
    assert len(select(name, 4, costs=COSTS, budget=np.inf)) == 4
    assert len(select(name, None, costs=list(range(1, ROWS + 1)), budget=np.float32(9))) > 0
    refused(
        ValueError,
        "budget: expected at least 2, what the rows of must_include cost, got 1.5",
        name,
        must_include=[3, 4],
        costs=COSTS,
        budget=1.5,
    )
    assert len(select(name, must_include=[3, 4], costs=COSTS, budget=2)) == 2


def test_costs_of_other_libraries():
    costs = np.arange(1, ROWS + 1) / 4
    expected = pw.select(P, 10, costs=costs, budget=12)
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    for same in (
        *(costs.tolist(), tuple(costs), costs.astype(np.float16), costs.astype(">f4"), np.repeat(costs, 2)[::2]),
        *(pd.Series(costs), pl.Series(costs), pa.array(costs), pa.chunked_array([costs[:9], costs[9:]])),
    ):
        assert pw.select(P, 10, costs=same, budget=12) == expected
    with pytest.raises(ValueError, match=r"^costs: row 3 has nan"):
        pw.select(P, 3, costs=pa.array([None if i == 3 else 1.0 for i in range(ROWS)]), budget=3)


def test_scores_that_no_cost_can_divide():
    scores = RNG.normal(size=ROWS)
    lowest = f"costs: expected scores of 0 or more, which can be divided by a cost, got {scores.min():.6g}"
    limits: dict[str, Any] = {"costs": COSTS, "budget": 4.0}
    for strategy in ("given", pw.ClusterMargin(score="given")):
        with pytest.raises(ValueError, match="costs") as caught:
            pw.select(scores, 3, strategy, embeddings=None if strategy == "given" else X, **limits)
        assert lowest in str(caught.value)
    with pytest.raises(ValueError, match=r"costs: expected scores of 0 or more"):
        pw.select(scores, 3, pw.DensityWeighted(score="given"), embeddings=np.abs(X), **limits)
    # Draws have noise on their scores, of any sign.
    drawn = pw.select(np.abs(scores), 3, pw.PowerSampling(score="given"), random_state=0, **limits)
    assert len(drawn) == 3
    assert len(pw.select(scores, 3, pw.SoftmaxSampling(score="given"), random_state=0, **limits)) == 3


BAD_MUST: list[tuple[Any, type[Exception], str]] = [
    ([30], ValueError, "must_include: expected positions below 30, the rows of the pool, got 30"),
    ([-1], ValueError, "must_include: expected positions from 0, got -1"),
    ([True] * 29, ValueError, "must_include: the mask has 29 rows, but the pool has 30"),
    ([0.5], TypeError, "must_include: expected a boolean mask or integer positions, got float64"),
    (["a"], TypeError, "must_include: expected a boolean mask or integer positions"),
    ([[1]], ValueError, "must_include: expected a 1-D mask or positions, got the shape (1, 1)"),
    (3, ValueError, "must_include: expected a 1-D mask or positions, got the shape ()"),
    ([1, 2, 3, 4], ValueError, "must_include: expected at most k = 3 rows, got 4"),
]


@every
@pytest.mark.parametrize(("must", "error", "message"), BAD_MUST)
def test_rows_that_must_be_in(name, must, error, message):
    refused(error, message, name, must_include=must)


@every
def test_rows_that_must_be_in_and_must_not(name):
    for options in ({"exclude": [2, 5]}, {"exclude": np.arange(ROWS) == 5}, {"exclude_ids": [5]}):
        refused(ValueError, "must_include: row 5 is excluded", name, must_include=[4, 5], **options)
    names = [f"n{i}" for i in range(ROWS)]
    refused(ValueError, "must_include: row 5 is excluded", name, must_include=[5], ids=names, exclude_ids=["n5"])
    options = {"labelled": [5], "embeddings": X}
    if name in ("k_center", "typiclust"):
        del options["embeddings"]
    elif name not in BESIDE:
        options["min_distance"] = 0.0
    with pytest.raises(ValueError, match=r"^must_include: row 5 is (labelled|excluded, labelled)"):
        select(name, must_include=[5], **options)


def test_rows_that_must_be_in_and_are_invalid():
    p, x = P.copy(), X.copy()
    p[5] = x[5] = np.nan
    for name, pool, beside in (("margin", p, None), ("badge", p, X), ("k_center", x, None), ("greedy_xy", Y, x)):
        with pytest.raises(ValueError, match=r"^must_include: row 5 is .*invalid"):
            pw.select(pool, 3, name, embeddings=beside, must_include=[5], invalid="skip")


BAD_GROUPS: list[tuple[Any, type[Exception], str]] = [
    (GROUPS[:-1], ValueError, "groups: expected 30, one for each row, got 29"),
    (list(range(31)), ValueError, "groups: expected 30, one for each row, got 31"),
    (GROUPS[:, None], ValueError, "groups: expected the shape (30,), one for each row, got (30, 1)"),
    ([[1]] * ROWS, TypeError, "groups: expected integers, strings or other values that can be hashed"),
    ([{}] * ROWS, TypeError, "groups: expected integers, strings or other values that can be hashed"),
    ("groups.npy", TypeError, "groups: expected an array, got str"),
    (7, ValueError, "groups: expected the shape (30,), one for each row, got ()"),
    ({1, 2}, TypeError, "groups: expected an array, a table or a list of lists, got set"),
]


@every
@pytest.mark.parametrize(("groups", "error", "message"), BAD_GROUPS)
def test_groups(name, groups, error, message):
    refused(error, message, name, groups=groups, max_per_group=1)


@every
@pytest.mark.parametrize("limit", ["max_per_group", "max_per_class"])
def test_the_most_of_one_group(name, limit):
    if limit == "max_per_class" and name in ("random", "k_center", "typiclust", "greedy_xy"):
        pytest.skip("no classes are predicted")
    options = {"groups": GROUPS} if limit == "max_per_group" else {}
    for most, error, message in (
        (0, ValueError, "expected at least 1, got 0"),
        (-1, ValueError, "expected at least 1, got -1"),
        (1.5, TypeError, "expected an integer, got 1.5"),
        ("2", TypeError, "expected an integer, got '2'"),
        (True, TypeError, "expected an integer, got True"),
    ):
        refused(error, f"{limit}: {message}", name, **{limit: most}, **options)
    assert len(select(name, **{limit: np.int8(2)}, **options)) == 3


def test_groups_of_anything():
    expected = pw.select(P, 10, groups=GROUPS, max_per_group=2)
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    words = np.array(["a", "b", "c", "d", "e"])[GROUPS]
    stamps = np.datetime64("2024-01-01") + GROUPS
    for groups in (
        *(GROUPS.tolist(), tuple(GROUPS), GROUPS - 100, GROUPS.astype(np.uint8), GROUPS * 0.5, words, words.tolist()),
        *(words.astype(object), [(word, None) for word in words], pd.Series(words), pd.Categorical(words), stamps),
        *(pl.Series(words), pa.array(words), pa.chunked_array([words[:9], words[9:]]), pd.Series(words).to_frame()[0]),
        [None if group == 0 else group for group in GROUPS.tolist()],
        [float("nan") if group == 0 else group for group in GROUPS.tolist()],
        np.where(GROUPS == 0, np.nan, GROUPS),
    ):
        assert pw.select(P, 10, groups=groups, max_per_group=2) == expected


def test_no_classes_to_predict():
    mend = "pass the classes as groups, with max_per_group"
    labels = RNG.random((ROWS, 4))
    for pool, strategy, beside in (
        (Y, "given", None),
        (P, "random", None),
        (labels, "mmc", None),
        (labels, "max_loss", None),
        (labels, pw.Margin(task="multilabel"), None),
        (labels, pw.PowerSampling(score=pw.Margin(task="multilabel")), None),
        (labels, pw.SoftRank(score="mmc"), None),
        (np.abs(Y), pw.PowerSampling(score="given"), None),
        (X, "k_center", None),
        (X, "greedy_y", None),
        (Y, "greedy_xy", X),
        (P, pw.KCenter(prefilter=2, prefilter_by="random"), X),
        (Y, pw.ClusterMargin(score="given"), X),
        (C.argmax(2), "vote_entropy", None),
        (list(C.argmax(2)), "variation_ratios", None),
        (iter(C), "bald", None),
    ):
        with pytest.raises(TypeError, match=r"^max_per_class: expected ") as caught:
            pw.select(pool, 3, strategy, embeddings=beside, max_per_class=1)
        assert mend in str(caught.value) or "pass a list of its members" in str(caught.value)
    with pytest.raises(ValueError, match=r"^pool: row 0 holds no probabilities.*pass the classes as groups"):
        pw.select(X, 3, "k_center", embeddings=X, max_per_class=1)


@every
def test_distances(name):
    beside = {} if name in ("k_center", "typiclust") else {"embeddings": X}
    for least, error, message in (
        (-1, ValueError, "expected a finite number of 0 or more, got -1.0"),
        (np.nan, ValueError, "expected a finite number of 0 or more, got nan"),
        (np.inf, ValueError, "expected a finite number of 0 or more, got inf"),
        ("1", TypeError, "expected a number, got '1'"),
        (True, TypeError, "expected a number, got True"),
    ):
        refused(error, f"min_distance: {message}", name, min_distance=least, **beside)
    if name in ("margin", "softrank", "random"):
        refused(TypeError, "min_distance: expected embeddings with it", name, min_distance=1)
        for options in ({"embeddings": X}, {"labelled": [1]}, {"embeddings": X, "max_per_group": 1, "groups": GROUPS}):
            refused(TypeError, f"expected None with {name}, which has no use for it", name, **options)
        refused(ValueError, "embeddings: expected 30 rows", name, min_distance=1, embeddings=X[:-1])
        refused(ValueError, "expected the shape (rows, dims)", name, min_distance=1, embeddings=X[:, 0])
        refused(ValueError, "labelled: expected 2 dimensions", name, min_distance=1, embeddings=X, labelled=P)
        refused(ValueError, "labelled: expected positions below 30", name, min_distance=1, labelled=[30], embeddings=X)


def test_embeddings_that_have_no_distance():
    x = X.copy()
    best = pw.select(P, ROWS).indices
    x[best[2]] = np.nan
    with pytest.raises(ValueError, match=rf"^embeddings: row {best[2]} holds numbers that are not finite"):
        pw.select(P, 5, "margin", embeddings=x, min_distance=0.0)
    assert pw.select(P, 2, "margin", embeddings=x, min_distance=0.0).indices.tolist() == best[:2].tolist()
    skipping = pw.select(P, 5, "margin", embeddings=x, min_distance=0.0, invalid="skip")
    assert skipping.indices.tolist() == [*best[:2], *best[3:6]]
    assert skipping.skipped == 1
    excluding = pw.select(P, 5, "margin", embeddings=x, min_distance=0.0, exclude=[best[2]])
    assert excluding.indices.tolist() == skipping.indices.tolist()
    with pytest.raises(ValueError, match=rf"^embeddings: row {best[2]} holds"):
        pw.select(P, 5, "margin", embeddings=x, min_distance=0.0, must_include=[best[2]], invalid="skip")


@every
def test_more_rows_than_there_are(name):
    quotas = {"groups": GROUPS, "max_per_group": 1}
    for options in (quotas, {"costs": COSTS, "budget": 5.0}):
        refused(ValueError, "k: expected at most 30, of 30 rows, got 31; clip=True", name, 31, **options)
        refused(
            ValueError, "k: expected at most 28, of 30 rows (2 excluded), got 29", name, 29, exclude=[1, 2], **options
        )
    beside = {} if name in ("k_center", "typiclust") else {"embeddings": X}
    labelled = {"labelled": [1, 2, 3], "min_distance": 0.0, **beside}
    refused(ValueError, "k: expected at most 27, of 30 rows (3 labelled), got 28", name, 28, **labelled)
    assert len(select(name, 99, clip=True, costs=COSTS, budget=5.0)) == 5
    # Limits are no mistake: they only warn, where the caller called.
    for k, clip in ((9, False), (99, True)):
        with pytest.warns(UserWarning, match=r"^5 rows were picked of the (9|30|99) wanted: ") as caught:
            assert len(select(name, k, clip=clip, **quotas)) == 5
        assert [warning.filename for warning in caught] == [__file__]


@every
def test_what_is_enough_does_not_warn(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(select(name, 5, groups=GROUPS, max_per_group=1)) == 5
        assert len(select(name, 20, costs=COSTS, budget=5.0)) == 5
        assert len(select(name, 99, clip=True, groups=GROUPS, max_per_group=99, exclude=[2])) == 29


@every
def test_limits_of_streams(name):
    if name == "batch_bald":
        pytest.skip("its streams are of members")
    pool = {"k_center": X, "typiclust": X, "greedy_xy": Y}.get(name, P)
    for costs in (COSTS[:-1], np.ones(ROWS + 1)):
        with pytest.raises(ValueError, match=r"^costs: expected the shape \(30,\), one for each row"):
            select(name, pool=iter(np.array_split(pool, 4)), costs=costs, budget=3.0)


def test_a_cost_that_nothing_can_be_divided_by():
    p = np.full((3, 2), 0.5)
    with pytest.raises(ValueError, match=r"^costs: row 0 has 1e-310; expected finite numbers above 0"):
        pw.select(p, 2, "ranked_batch", embeddings=np.eye(3), costs=[1e-310, 1.0, 1.0], budget=5)
