"""Whatever strategy selects, the limits that `select` is given are kept, and nothing that fits in is left out."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import pickwise as pw
from pickwise.strategies import REGISTRY, Joint

pytest.importorskip("sklearn")

RNG = np.random.default_rng(0)
ROWS, K = 70, 12
P = RNG.dirichlet(np.ones(4), ROWS).astype(np.float32)
C = RNG.dirichlet(np.ones(4), (3, ROWS))
LABELS, SCORES = RNG.random((ROWS, 5)), RNG.random(ROWS)
X = (RNG.normal(size=(6, 3))[RNG.integers(0, 6, ROWS)] * 3 + RNG.normal(size=(ROWS, 3))).astype(np.float32)
X[40:44] = X[36:40]  # copies
Y = RNG.normal(size=(ROWS, 2))
COSTS = RNG.uniform(0.5, 4, ROWS)
GROUPS = RNG.choice(["a", "b", "c", "d", "e", "f", "g"], ROWS, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])
EXCLUDE, LABELLED, MUST = np.array([1, 5, 50]), np.array([3, 9, 50, 69]), np.array([20, 7, 36])

# By what its pool is: probabilities alone or with embeddings beside them, a committee, several labels, scores,
# embeddings, targets with embeddings beside them.
KINDS = {
    "p": ("entropy", "margin", "least_confidence", "ratio", "random", "power", "softmax", "softrank"),
    "scores": ("given",),
    "labels": ("max_loss", "mean_max_loss", "mmc"),
    "committee": ("bald", "consensus_kl", "predictive_entropy", "expected_entropy", "vote_entropy", "variation_ratios"),
    "committees": ("batch_bald",),
    "x": (
        "k_center",
        "kmeans++",
        "typiclust",
        "prob_cover",
        "max_herding",
        "facility_location",
        "greedy_x",
        "greedy_y",
    ),
    "beside": ("auto", "badge", "uncertainty_herding", "cluster_margin", "ranked_batch", "density_weighted", "hybrid"),
    "targets": ("greedy_xy",),
}
PLAIN = {name: kind for kind, names in KINDS.items() for name in names}
STRATEGIES: dict[str, tuple[pw.Strategy, str]] = {name: (REGISTRY[name](), kind) for name, kind in PLAIN.items()} | {
    "batch_bald": (pw.BatchBALD(samples=50), "committees"),
    "power of bald": (pw.PowerSampling(score="bald", beta=3), "committee"),
    "softmax of scores": (pw.SoftmaxSampling(score="given"), "scores"),
    "softrank of bald": (pw.SoftRank(score="bald", beta=0.5), "committee"),
    "k_center by cosine": (pw.KCenter(metric="cosine"), "x"),
    "k_center with a prefilter": (pw.KCenter(prefilter=1), "beside"),
    "kmeans++ with a prefilter": (pw.KMeansPlusPlus(prefilter=2, prefilter_by="random"), "beside"),
    "facility_location of few": (pw.FacilityLocation(neighbours=2, metric="cosine"), "x"),
    "herding of a committee": (pw.UncertaintyHerding(score="bald", neighbours=3), "committee beside"),
    "hybrid of typiclust": (pw.Hybrid(by="power", factor=1, then=pw.TypiClust(metric="cosine")), "beside"),
    "hybrid of a committee": (pw.Hybrid(by="bald", factor=1, then="ranked_batch"), "committee beside"),
}
POOLS = {
    "p": P,
    "beside": P,
    "scores": SCORES,
    "labels": LABELS,
    "committee": C,
    "committees": C,
    "committee beside": C,
    "x": X,
}
METRIC = {"k_center by cosine": "cosine", "facility_location of few": "cosine", "hybrid of typiclust": "cosine"}
# Where a budget is spent on the rows that rank high, others may be left that are cheap enough.
NARROW = {
    "hybrid",
    "k_center with a prefilter",
    "kmeans++ with a prefilter",
    "hybrid of typiclust",
    "hybrid of a committee",
}
every = pytest.mark.parametrize("name", STRATEGIES)


def select(name, k, **options):
    """Select from the pool that a strategy takes, and return the warnings as well."""
    strategy, kind = STRATEGIES[name]
    pool: Any = Y if kind == "targets" else POOLS[kind]
    if kind == "x" and "max_per_class" in options:
        pool, options["embeddings"] = P, X
    elif "beside" in kind or kind == "targets" or "min_distance" in options or "labelled" in options:
        options.setdefault("embeddings", None if kind == "x" else X)
    options.setdefault("random_state", 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        selection = pw.select(pool, k, strategy, **options)
    return selection, [
        str(warning.message) for warning in caught if "copies of other picks" not in str(warning.message)
    ]


def classes_of(name):
    kind = STRATEGIES[name][1]
    if kind in ("scores", "labels", "targets") or name == "random" or "prefilter_by='random'" in repr(STRATEGIES[name]):
        return None
    return C.mean(0).argmax(1) if "committee" in kind else P.argmax(1)


def distances(name, rows, others):
    x, y = (np.asarray(z, np.float64) for z in (X[rows], X[others]))
    if METRIC.get(name) == "cosine":
        x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
        return ((x[:, None] - y) ** 2).sum(2) / 2
    return np.sqrt(((x[:, None] - y) ** 2).sum(2))


def barred(name, picks, options):
    """Mark the rows that the limits have no room for any more, after some picks."""
    out = np.zeros(ROWS, bool)
    out[picks] = True
    for key in ("exclude", "labelled"):
        out[options.get(key, [])] = True
    for codes, key in ((GROUPS, "max_per_group"), (classes_of(name), "max_per_class")):
        if key in options:
            full = [code for code in set(codes.tolist()) if (codes[picks] == code).sum() >= options[key]]
            out |= np.isin(codes, full)
    if "budget" in options:
        out |= COSTS + COSTS[picks].sum() > options["budget"] + 1e-9
    if "min_distance" in options:
        others = np.append(picks, options.get("labelled", [])).astype(int)
        out |= (distances(name, np.arange(ROWS), others) < options["min_distance"] - 1e-6).any(1)
    return out


def check(name, k, **options):
    """Select, and find every limit kept."""
    given = dict(options)
    if "max_per_group" in options:
        given["groups"] = GROUPS
    if "budget" in options:
        given["costs"] = COSTS
    selection, told = select(name, k, **given)
    picks = selection.indices
    must = np.sort(options.get("must_include", np.empty(0, int)))
    np.testing.assert_array_equal(picks[: len(must)], must)
    assert len(np.unique(picks)) == len(picks) == len(selection.scores)
    assert not np.isin(picks, options.get("exclude", [])).any()
    assert not np.isin(picks, options.get("labelled", [])).any()
    np.testing.assert_array_equal(selection.ids, picks)
    for at in range(len(must), len(picks)):
        assert not barred(name, picks[:at], options)[picks[at]]
    assert len(picks) == k or k is None or len(picks) < k
    if name not in NARROW or "budget" not in options:
        assert len(picks) == k or barred(name, picks, options).all()
    few = k is not None and len(picks) < k and "budget" not in options
    assert len(told) == few, told
    if few:
        assert told[0].startswith(
            f"{len(picks)} row{'s were' if len(picks) > 1 else ' was'} picked of the {k} wanted: "
        )
    if isinstance(selection, pw.Batch):
        assert (selection.scores[: len(must)] == np.inf).all()
        others = np.setdiff1d(options.get("labelled", np.empty(0, int)), picks).astype(int)
        if name != "greedy_y":
            for at, pick in enumerate(picks):
                near = distances(name, [pick], np.append(picks[:at], others)).min(initial=np.inf)
                assert selection.distances[at] == pytest.approx(near, abs=1e-6)
    assert pickle.loads(pickle.dumps(selection)) == selection
    assert repr(selection).startswith(type(selection).__name__)
    return selection


def test_every_strategy_is_here():
    assert set(PLAIN) == set(REGISTRY)


@every
@pytest.mark.parametrize("k", [4, K, 40])
def test_quotas_of_groups(name, k):
    free = np.setdiff1d(np.arange(ROWS), EXCLUDE)
    sizes = np.unique(GROUPS[free], return_counts=True)[1]
    for most in (1, 3):
        picks = check(name, k, max_per_group=most, exclude=EXCLUDE)
        assert len(picks) == min(k, np.minimum(sizes, most).sum())


@every
def test_quotas_of_classes(name):
    classes = classes_of(name)
    if classes is None:
        pytest.skip("no classes are predicted")
    sizes = np.bincount(classes)
    for k in (3, K, 40):
        for most in (1, 4):
            assert len(check(name, k, max_per_class=most)) == min(k, np.minimum(sizes, most).sum())


@every
def test_a_budget(name):
    for budget in (0.7, 3.0, 20.0):
        for k in (None, 5):
            check(name, k, budget=budget, exclude=EXCLUDE)
    assert sorted(check(name, None, budget=1e9)) == list(range(ROWS))
    # A cheap row that ranks low is better than none.
    costs = np.full(ROWS, 10.0)
    costs[17] = 1
    only, told = select(name, 5, costs=costs, budget=2.0)
    assert only.indices.tolist() == [17]
    assert told == []
    for k in (None, 5):
        none, told = select(name, k, costs=costs, budget=0.5)
        assert len(none) == len(none.explain()) == 0
        assert told == ["no row was picked: each that may be picked costs more than the budget, 0.5"]
        assert repr(none).startswith(f"{type(none).__name__} of 0 rows")
        assert pickle.loads(pickle.dumps(none)) == none


@every
def test_rows_that_must_be_in(name):
    check(name, K, must_include=MUST)
    check(name, 3, must_include=MUST)
    check(name, K, must_include=MUST, exclude=EXCLUDE, random_state=5)
    mask = np.isin(np.arange(ROWS), MUST)
    assert select(name, K, must_include=mask)[0] == select(name, K, must_include=[*MUST, *MUST])[0]
    every_row, _ = select(name, ROWS, must_include=np.arange(ROWS))
    assert every_row.indices.tolist() == list(range(ROWS))
    assert select(name, K, must_include=[])[0] == select(name, K)[0]


@every
def test_must_rows_use_up_limits_and_are_not_barred_by_them(name):
    same = np.flatnonzero(GROUPS == "a")[:3]
    selection, _ = select(name, K, must_include=same, groups=GROUPS, max_per_group=2, costs=COSTS, budget=1e3)
    assert (GROUPS[selection.indices] == "a").sum() == 3
    assert selection.indices[:3].tolist() == same.tolist()
    near, _ = select(name, 3, must_include=[36, 40], min_distance=0.01)  # copies
    assert near.indices[:2].tolist() == [36, 40]


@every
def test_a_distance(name):
    if name == "greedy_y":
        pytest.skip("its points are the targets; see below")
    least = 0.05 if METRIC.get(name) == "cosine" else 1.2
    for k in (5, 60):
        check(name, k, min_distance=least)
        check(name, k - 4, min_distance=least, labelled=LABELLED)
    assert len(check(name, ROWS - 4, min_distance=0.0, labelled=LABELLED)) == ROWS - 4
    # Labelled rows that are excluded as well are still there, and so are those of another matrix.
    check(name, 5, min_distance=least, labelled=LABELLED, exclude=LABELLED)
    if STRATEGIES[name][1] != "targets":
        others, _ = select(name, 30, min_distance=least, labelled=X[LABELLED], exclude=LABELLED)
        assert not barred(name, [], {"min_distance": least, "labelled": LABELLED})[others.indices].any()


def test_a_distance_of_targets():
    chosen, _ = select("greedy_y", 9, min_distance=1.0, labelled=LABELLED)
    x = X.astype(np.float64)
    for at, pick in enumerate(chosen.indices):
        others = np.append(chosen.indices[:at], LABELLED)
        assert np.linalg.norm(x[others] - x[pick], axis=1).min() >= 1


@every
def test_all_together(name):
    options: dict[str, Any] = {"must_include": MUST, "max_per_group": 3, "budget": 25.0, "exclude": EXCLUDE}
    if classes_of(name) is not None:
        options["max_per_class"] = 5
    if name != "greedy_y":
        options |= {"labelled": np.setdiff1d(LABELLED, EXCLUDE), "min_distance": 0.4 if name not in METRIC else 0.01}
    first = check(name, K, **options)
    check(name, None, **options)
    del options["budget"]
    check(name, 50, **options)
    given = options | {"groups": GROUPS, "costs": COSTS, "budget": 25.0}
    with pw.num_threads(1):
        assert select(name, K, **given)[0] == first
    # Ids, however rows are excluded.
    ids = np.array([f"row {i:03}" for i in range(ROWS)])
    named, _ = select(name, K, **{**given, "ids": ids, "exclude": None, "exclude_ids": ids[EXCLUDE]})
    if not any(draw in repr(STRATEGIES[name][0]) for draw in ("Random", "random", "Power", "power", "Soft")):  # by ids
        np.testing.assert_array_equal(named.indices, first.indices)
    np.testing.assert_array_equal(named.ids, ids[named.indices])


@every
def test_explain_and_frames(name):
    polars = pytest.importorskip("polars")
    selection, _ = select(name, K, must_include=MUST, groups=GROUPS, max_per_group=3, costs=COSTS, budget=40.0)
    table = selection.explain()
    assert [row["id"] for row in table] == selection.ids.tolist()
    classes = classes_of(name)
    if classes is not None and STRATEGIES[name][1] != "x":
        np.testing.assert_array_equal(table.columns["class_1"], classes[selection.indices])
    assert ("distance" in table.columns) == isinstance(STRATEGIES[name][0], Joint)
    assert isinstance(table.to_polars(), polars.DataFrame)
    assert len(selection.to_polars()) == len(selection)


@every
def test_nothing_is_written_to(name):
    kind = STRATEGIES[name][1]
    given: dict[str, Any] = {
        "groups": GROUPS.copy(),
        "costs": COSTS.copy(),
        "must_include": MUST.copy(),
        "exclude": np.isin(np.arange(ROWS), EXCLUDE),
        "embeddings": X.copy(),
        "labelled": np.setdiff1d(LABELLED, EXCLUDE),
    }
    pool = (Y if kind == "targets" else POOLS[kind]).copy()
    for array in (pool, *given.values()):
        array.flags.writeable = False
    before = [array.copy() for array in (pool, *given.values())]
    if kind == "x":
        given["embeddings"] = None
    options = {"max_per_group": 3, "budget": 30.0, "min_distance": 0.1, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        selection = pw.select(pool, 10, STRATEGIES[name][0], **options, **given)
    assert not np.shares_memory(selection.indices, given["must_include"])
    after = (pool, *({**given, "embeddings": X} if kind == "x" else given).values())
    for array, known in zip(after, before, strict=True):
        np.testing.assert_array_equal(array, known)


def test_a_shared_generator_is_moved_on_by_draws_alone():
    for name in STRATEGIES:
        if isinstance(STRATEGIES[name][0], Joint):
            continue
        moves = [np.random.default_rng(0), np.random.default_rng(0)]
        plain, _ = select(name, K, random_state=moves[0])
        limited, _ = select(name, K, random_state=moves[1], groups=np.arange(ROWS), max_per_group=1)
        assert plain == limited
        assert moves[0].random() == moves[1].random()


@pytest.mark.parametrize("name", ["margin", "power", "k_center", "kmeans++", "facility_location", "ranked_batch"])
def test_a_budget_is_spent_to_the_last_cent(name):
    for cost in (0.1, 0.7, 1 / 3):
        for count in range(1, 30):
            chosen, _ = select(name, None, costs=np.full(ROWS, cost), budget=round(cost * count, 12))
            assert len(chosen) == count
    must, _ = select(name, None, costs=np.full(ROWS, 0.1), budget=0.3, must_include=[4, 5, 6])
    assert must.indices.tolist() == [4, 5, 6]


def test_draws_by_distance_go_by_cost():
    x = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    costs, counts = np.array([1.0, 1, 2, 4]), np.zeros(4)
    for seed in range(1100):
        counts[pw.select(x, 1, "kmeans++", labelled=[[0.0, 0]], costs=costs, budget=4, random_state=seed).indices] += 1
    expected = 1100 * (1 / costs) / (1 / costs).sum()
    assert ((counts - expected) ** 2 / expected).sum() < 20


def test_progress_is_told_of_streams():
    for strategy in ("margin", "softrank"):
        told: list[tuple[int, Any]] = []
        pool = iter(np.array_split(P, 5))
        pw.select(pool, 3, strategy, groups=GROUPS, max_per_group=1, progress=lambda *at: told.append(at))  # noqa: B023
        assert told[-1] == (ROWS, None)


def test_a_prefilter_is_widened_where_limits_bar_the_best():
    margins = pw.margin(P)
    groups = np.argsort(np.argsort(-margins)) // 10  # the ten best are of one group, and so on
    for strategy in (pw.Hybrid(factor=1), pw.KCenter(prefilter=1), pw.Hybrid(factor=1, then="density_weighted")):
        for seed in (0, np.random.default_rng(0), None):
            chosen = pw.select(P, 5, strategy, embeddings=X, groups=groups, max_per_group=1, random_state=seed)
            assert np.bincount(groups[chosen.indices]).max() == 1
            assert len(chosen) == 5
    # Where it is wide enough, it stays as it is.
    narrow = pw.select(P, 5, pw.Hybrid(factor=2), embeddings=X, groups=np.arange(ROWS), max_per_group=1)
    assert narrow.indices.tolist() == pw.select(P, 5, pw.Hybrid(factor=2), embeddings=X).indices.tolist()
    # What no budget is left for is no part of it.
    dear = np.where(margins >= np.sort(margins)[-20], 10.0, 1.0)
    chosen = pw.select(P, 5, pw.Hybrid(factor=1), embeddings=X, costs=dear, budget=5.0)
    assert sorted(chosen.indices) == sorted(np.argsort(-margins)[20:25])
    # And it is wide enough to spend the budget, where its rows are cheaper than most.
    cheap = np.where(margins >= np.sort(margins)[-20], 0.5, 10.0)
    for k in (None, 20):
        chosen = pw.select(P, k, pw.Hybrid(factor=1), embeddings=X, costs=cheap, budget=10.0)
        assert cheap[chosen.indices].sum() == 10


def test_a_share_of_the_pool_is_that_of_the_picks_there_can_be():
    costs = np.ones(ROWS)
    for name in ("typiclust", "max_herding", "facility_location", "cluster_margin"):
        by_budget, _ = select(name, None, costs=costs, budget=6.0)
        assert by_budget == select(name, 6)[0]


def test_the_radius_is_that_of_all_rows():
    cover, _ = select("kmeans++", None, costs=np.where(np.arange(ROWS) < 4, 1.0, 100.0), budget=4.0)
    x = X.astype(np.float64)
    assert cover.radius == pytest.approx(np.linalg.norm(x[:, None] - x[cover.indices], axis=2).min(1).max())
