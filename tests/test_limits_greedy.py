"""Selections within limits are those of the naive loops: down a ranking, or pick after pick, past what does not fit."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw

RNG = np.random.default_rng(1)


class Gate:
    """What is left of the limits, as plain as it can be."""

    def __init__(self, rows, *, taken=(), quotas=(), costs=None, budget=None, x=None, least=None, known=()):
        self.quotas, self.costs, self.least = [(list(groups), most, {}) for groups, most in quotas], costs, least
        self.left, self.x, self.near = budget, None if x is None else np.asarray(x, float), []
        self.barred = set()
        if least is not None:
            self.near = [point if np.ndim(point) else self.x[point] for point in known]
        for row in taken:
            self.take(row)

    def admits(self, row):
        if row in self.barred:
            return False
        if any(count.get(groups[row], 0) >= most for groups, most, count in self.quotas):
            return False
        if self.costs is not None and self.costs[row] > self.left:
            return False
        return self.least is None or all(math.dist(self.x[row], point) >= self.least for point in self.near)

    def take(self, row):
        self.barred.add(row)
        for groups, _, count in self.quotas:
            count[groups[row]] = count.get(groups[row], 0) + 1
        if self.costs is not None:
            self.left -= self.costs[row]
        if self.least is not None:
            self.near.append(self.x[row])


def select(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return pw.select(*args, **options)


# Down a ranking.


def down(ranking, k, rows, *, must=(), known=(), beta=None, **limits):
    """Go down a ranking of all rows that may be picked, given as a selection without limits."""
    score = dict(zip(ranking.indices.tolist(), ranking.scores.tolist(), strict=True))
    order = [row for row in ranking.indices.tolist() if row not in {*must, *known}]
    costs = limits.get("costs")
    if costs is not None and ranking.strategy == pw.Random():
        order.sort(key=lambda row: math.log(-math.log(score[row])) + math.log(costs[row]))
    elif costs is not None and beta is not None:
        order.sort(key=lambda row: -(score[row] - math.log(costs[row]) / beta))
    elif costs is not None:
        order.sort(key=lambda row: -score[row] / costs[row])
    gate = Gate(rows, taken=must, known=known, **limits)
    picks = list(must)
    for row in order:
        if len(picks) == k:
            break
        if gate.admits(row):
            gate.take(row)
            picks.append(row)
    return picks, [score[row] for row in picks]


RANKINGS: dict[str, tuple[Any, float | None]] = {
    "given": ("given", None),
    "margin": ("margin", None),
    "entropy of logits": (pw.Entropy(from_logits=True), None),
    "random": ("random", None),
    "power": (pw.PowerSampling(score="margin", beta=2), 2.0),
    "softmax": (pw.SoftmaxSampling(score="given", beta=3), 3.0),
    "softrank": (pw.SoftRank(score="given", beta=0.5), 0.5),
    "mmc": ("mmc", None),
    "bald": ("bald", None),
}


def pool_for(name, rows, rng):
    """Few values, so that many rows tie."""
    first = rng.integers(0, 9, rows) / 8
    pair = np.stack([first, 1 - first], axis=1)
    if name in ("given", "softmax", "softrank"):
        return first
    if name == "bald":
        return np.stack([pair, pair[::-1]])
    return pair * 8 if "logits" in name else pair


@st.composite
def cases(draw):
    rows = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    limits: dict[str, Any] = {}
    for kind in draw(st.sets(st.sampled_from(["groups", "classes", "costs", "distance"]), min_size=1)):
        limits[kind] = draw(st.integers(1, 4))
    free = rng.permutation(rows)
    must = free[: draw(st.integers(0, min(3, rows)))]
    exclude = free[len(must) : len(must) + draw(st.integers(0, rows - len(must)))]
    k = draw(st.one_of(st.integers(max(1, len(must)), rows), st.none() if "costs" in limits else st.nothing()))
    ids = draw(st.sampled_from(["positions", "integers", "strings"]))
    return rows, k, rng, limits, np.sort(must), exclude, ids, draw(st.booleans())


@pytest.mark.parametrize("name", RANKINGS)
@given(cases())
def test_rankings(name, case):
    rows, k, rng, kinds, must, exclude, ids, random_ties = case
    strategy, beta = RANKINGS[name]
    pool = pool_for(name, rows, rng)
    named = {"positions": None, "integers": rng.permutation(rows) - 7, "strings": [f"n{i}" for i in range(rows)]}[ids]
    plain: dict[str, Any] = {"ids": named, "random_state": 5, "exclude": exclude}
    plain |= {"ties": "random" if random_ties else "first"}
    options: dict[str, Any] = {}
    limits: dict[str, Any] = {"quotas": []}
    if len(must):
        options["must_include"] = must
    if "groups" in kinds:
        groups = rng.choice(["x", "y", "z", "w"], rows)
        options |= {"groups": rng.choice([groups, groups.astype(object)]), "max_per_group": kinds["groups"]}
        limits["quotas"].append((options["groups"].tolist(), kinds["groups"]))
    if "classes" in kinds and name not in ("given", "softmax", "softrank", "random", "mmc"):
        options["max_per_class"] = kinds["classes"]
        mean = pool.mean(0) if name == "bald" else pool
        limits["quotas"].append((mean.argmax(1), kinds["classes"]))
    if "costs" in kinds:
        costs = 2.0 ** rng.integers(-1, 3, rows)  # exact, so that ties stay ties
        spare = costs[must].sum() + 2.0 ** kinds["costs"]
        options |= {"costs": costs, "budget": spare}
        limits |= {"costs": costs, "budget": spare}
    known: Any = ()
    if "distance" in kinds:
        x = rng.integers(0, 5, (rows, 2)).astype(np.float32)
        options |= {"embeddings": x, "min_distance": float(kinds["distance"])}
        limits |= {"x": x, "least": float(kinds["distance"])}
        left = np.setdiff1d(np.arange(rows), must)
        known = left[: rng.integers(0, 4)] if len(left) > 3 else ()
        options["labelled"] = np.asarray(known, int)
    ranking = pw.select(pool, rows, strategy, clip=True, **plain)
    picks, scores = down(ranking, k, rows, must=must.tolist(), known=list(known), beta=beta, **limits)
    chosen = select(pool, k, strategy, clip=True, **plain, **options)
    assert chosen.indices.tolist() == picks
    assert chosen.scores.tolist() == scores
    assert chosen.ids.tolist() == [row if named is None else named[row] for row in picks]
    if name != "bald":
        cuts = np.sort(rng.integers(0, rows + 1, 3))
        with pw.num_threads(1):
            assert select(iter(np.split(pool, cuts)), k, strategy, clip=True, **plain, **options) == chosen


SOURCES = ["npy", "folder", "parquet", "pandas", "polars", "lazy", "arrow", "chunks", "chunks with ids", "list"]


def source_of(kind, pool, names, path):
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {f"p{i}": pool[:, i] for i in range(pool.shape[1])}
    if kind == "npy":
        np.save(path / "p.npy", pool)
        return str(path / "p.npy"), {"ids": names}
    if kind == "folder":
        for i, part in enumerate(np.array_split(pool, 3)):
            np.save(path / f"{i}.npy", part)
        return path, {"ids": names}
    if kind in ("chunks", "chunks with ids"):
        starts = range(0, len(pool), 77)
        parts = [(pool[i : i + 77], names[i : i + 77]) for i in starts]
        return (iter(parts), {}) if "ids" in kind else ((p for p, _ in parts), {"ids": names})
    if kind == "list":
        return pool.tolist(), {"ids": names}
    table = pa.table({"id": names, **columns})
    pq.write_table(table, path / "p.parquet", row_group_size=100)
    made = {"parquet": path / "p.parquet", "arrow": table, "pandas": pd.DataFrame({"id": names, **columns})}
    made |= {"polars": pl.from_arrow(table), "lazy": pl.from_arrow(table).lazy()}
    return made[kind], {"id": "id"}


@pytest.mark.parametrize("strategy", ["margin", "power", "softrank", "k_center", "hybrid", "badge"])
@pytest.mark.parametrize("kind", SOURCES)
def test_sources(kind, strategy, tmp_path):
    rows = 400
    pool = RNG.dirichlet(np.ones(3), rows)
    names = [f"n{i:03}" for i in RNG.permutation(rows)]
    x = RNG.normal(size=(rows, 2))
    options: dict[str, Any] = {"max_per_class": 4, "groups": np.arange(rows) % 5, "max_per_group": 3, "embeddings": x}
    options |= {"costs": RNG.uniform(1, 2, rows), "budget": 15.0, "must_include": [9, 3], "min_distance": 0.1}
    options |= {"exclude": np.arange(40, 60), "labelled": [70, 71], "random_state": 1}
    expected = pw.select(pool, 10, strategy, ids=names, **options)
    assert len(expected) > 5
    given_pool, named = source_of(kind, pool, names, tmp_path)
    found = pw.select(given_pool, 10, strategy, **options, **named)
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-12)


@pytest.mark.parametrize("kind", ["array", "npy", "chunks"])
def test_pools_are_read_again_where_the_best_do_not_fit(kind, tmp_path):
    rows = 20_000
    scores = RNG.random(rows)
    groups = np.where(scores > np.sort(scores)[-15_000], 0, RNG.integers(1, 9, rows))
    order = np.argsort(-scores)
    picks = [order[0], *order[groups[order] != 0]][:5]
    pool: Any = scores
    if kind == "npy":
        np.save(tmp_path / "s.npy", scores)
        pool = tmp_path / "s.npy"
    elif kind == "chunks":
        pool = iter(np.array_split(scores, 9))
    told: list[int] = []
    quotas = {"groups": groups, "max_per_group": 1}
    chosen = pw.select(pool, 2, "given", progress=lambda done, _: told.append(done), **quotas)
    assert chosen.indices.tolist() == picks[:2]
    assert told[-1] == rows
    # With random ties and generators every pass has the same seed.
    for strategy in ("random", pw.PowerSampling(score="given")):
        generator = np.random.default_rng(3)
        ranking = pw.select(scores, rows, strategy, random_state=np.random.default_rng(3)).indices
        barred = np.zeros(rows, int)
        barred[ranking[15_000:]] = np.arange(1, 5001)
        chosen = pw.select(scores, 3, strategy, groups=barred, max_per_group=1, random_state=generator)
        assert chosen.indices.tolist() == [ranking[0], *ranking[15_000:15_002]]


# The predicted classes.


def test_classes_of_every_kind_of_prediction():
    rows = 300
    logits = RNG.normal(size=(rows, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    second = RNG.random(rows)
    second[:20] = 0.5  # of two classes that tie, the lower
    member = RNG.normal(size=(4, rows, 3)) * 3
    soft = np.exp(member / 2) / np.exp(member / 2).sum(2, keepdims=True)
    hot = np.exp(member) / np.exp(member).sum(2, keepdims=True)
    cases: list[tuple[Any, Any, Any]] = [
        (p, "entropy", p.argmax(1)),
        (p.astype(np.float16), "margin", p.astype(np.float16).argmax(1)),
        (np.asfortranarray(p.astype(np.float32)), "ratio", p.argmax(1)),
        (p, pw.SoftRank(), p.argmax(1)),
        (logits, pw.Margin(from_logits=True), logits.argmax(1)),
        (logits, pw.PowerSampling(score=pw.Entropy(from_logits=True)), logits.argmax(1)),
        (second, "margin", second > 0.5),
        (logits[:, 0], pw.Entropy(from_logits=True), logits[:, 0] > 0),
        (hot, "bald", hot.mean(0).argmax(1)),
        (list(hot.astype(np.float32)), "vote_entropy", hot.mean(0).argmax(1)),
        (member, pw.Bald(from_logits=True, temperature=2), soft.mean(0).argmax(1)),
        (member, pw.PowerSampling(score=pw.Bald(from_logits=True, temperature=2)), soft.mean(0).argmax(1)),
    ]
    for pool, strategy, classes in cases:
        groups = np.asarray(classes).astype(int)
        by_class = select(pool, 30, strategy, max_per_class=4, random_state=0)
        by_group = select(pool, 30, strategy, groups=groups, max_per_group=4, random_state=0)
        assert by_class == by_group
        assert len(by_class) == 4 * len(np.unique(groups))
    x = RNG.normal(size=(rows, 2))
    for strategy in ("k_center", "greedy_x", "badge", pw.KCenter(prefilter=3)):
        expected = select(p, 9, strategy, embeddings=x, random_state=0, groups=p.argmax(1), max_per_group=2)
        for pool in (p, p.astype(np.float32), (part for part in np.array_split(p, 4))):
            found = select(pool, 9, strategy, embeddings=x, random_state=0, max_per_class=2)
            assert found.indices.tolist() == expected.indices.tolist()
    bad = p.copy()
    bad[7] = np.nan
    assert len(select(bad, 3, "margin", max_per_class=1, invalid="skip")) == 3


# Pick after pick.


def naive(rows, k, worth, gate, *, candidates, taken=(), first=None):
    """Pick the row that is worth most, given those before it, for as long as there is one that fits."""
    picks: list[int] = []
    while len(picks) < k:
        open_rows = [row for row in candidates if gate.admits(row)]
        if not open_rows:
            break
        if first is not None and not picks:
            best = min(open_rows, key=first)
        else:
            values = worth([*taken, *picks])
            best = max(open_rows, key=lambda row: (values[row], -row))
        gate.take(best)
        picks.append(best)
    return picks


@st.composite
def grids(draw):
    """Whole numbers and costs that are powers of two: all distances are exact, and masses of them are equal."""
    rows = draw(st.integers(4, 50))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(0, draw(st.integers(2, 6)), (rows, 2)).astype(np.float32)
    limits: dict[str, Any] = {}
    options: dict[str, Any] = {}
    places = rng.permutation(rows)
    known, must = np.sort(places[: draw(st.integers(1, 2))]), np.sort(places[2 : 2 + draw(st.integers(0, 2))])
    for kind in draw(st.sets(st.sampled_from(["groups", "costs", "distance"]), min_size=1)):
        if kind == "groups":
            groups, most = rng.integers(0, 4, rows), draw(st.integers(1, 3))
            limits["quotas"] = [(groups, most)]
            options |= {"groups": groups, "max_per_group": most}
        elif kind == "costs":
            costs = 2.0 ** rng.integers(0, 3, rows)
            limits |= {"costs": costs, "budget": costs[must].sum() + draw(st.integers(1, 20))}
            options |= {"costs": costs, "budget": limits["budget"]}
        else:
            limits |= {"x": x, "least": float(draw(st.integers(0, 3)))}
            options["min_distance"] = limits["least"]
    if len(must):
        options["must_include"] = must
    gate = Gate(rows, taken=must.tolist(), known=known.tolist(), **limits)
    return x, draw(st.integers(len(must), rows - 2)) or 1, options, gate, known, must, rng


@given(grids(), st.booleans())
def test_k_center(case, excluding):
    x, k, options, gate, known, must, rng = case
    rows = len(x)
    costs = options.get("costs", np.ones(rows))
    exclude = np.setdiff1d(rng.integers(0, rows, 3), [*known, *must]) if excluding else np.empty(0, int)
    if len({*known, *must, *exclude}) == rows:
        exclude = exclude[:0]
    candidates = [row for row in range(rows) if row not in {*known, *must, *exclude}]
    squared = ((x[:, None].astype(float) - x) ** 2).sum(2)

    def worth(picks):
        return squared[:, [*known, *picks]].min(1) / costs**2

    picks = naive(rows, k - len(must), worth, gate, candidates=candidates, taken=must.tolist())
    found = select(x, k, "k_center", labelled=known, exclude=exclude, clip=True, **options)
    assert found.indices.tolist() == [*must, *picks]
    used = np.setdiff1d(np.arange(rows), exclude)
    assert found.radius == pytest.approx(np.sqrt(squared[used][:, [*known, *must, *picks]].min(1).max(initial=0)))
    for at, pick in enumerate(found.indices):
        before = [*known, *found.indices[:at]]
        near = np.sqrt(squared[pick, before].min())
        assert found.distances[at] == pytest.approx(near)
        assert found.scores[at] == (np.inf if at < len(must) else pytest.approx(near))
    expected = select(x, k, "greedy_x", labelled=known, exclude=exclude, clip=True, **options)
    assert expected.indices.tolist() == found.indices.tolist()


def clusters(rows, dims=3):
    return RNG.normal(size=(5, dims))[RNG.integers(0, 5, rows)] * 3 + RNG.normal(size=(rows, dims))


def within(rows, x, *, must=(), known=(), budget=None):
    """Quotas and a distance, with costs or without, for `select` and as a gate."""
    groups = RNG.integers(0, 6, rows)
    options: dict[str, Any] = {"groups": groups, "max_per_group": 3, "min_distance": 0.5}
    limits: dict[str, Any] = {"quotas": [(groups, 3)], "x": x, "least": 0.5}
    costs = np.ones(rows)
    if budget is not None:
        costs = RNG.uniform(1, 3, rows)
        options |= {"costs": costs, "budget": budget}
        limits |= {"costs": costs, "budget": budget}
    if len(must):
        options["must_include"] = must
    if len(known):
        options["labelled"] = known
    candidates = [row for row in range(rows) if row not in {*must, *known}]
    return options, Gate(rows, taken=list(must), known=list(known), **limits), candidates, costs


VARIANTS = [((), (), None), ((), (), 14.0), ((4, 9), (), None), ((), (7, 8, 30), 14.0), ((4, 9), (7, 8, 30), 20.0)]
variants = pytest.mark.parametrize(("must", "known", "budget"), VARIANTS)


@variants
def test_the_first_of_k_center_and_greedy_sampling(must, known, budget):
    rows, k = 120, 9
    x, y = clusters(rows), RNG.normal(size=(rows, 2))
    options, gate, candidates, costs = within(rows, x, must=must, known=known, budget=budget)
    if budget is not None:
        costs[np.argsort(-((x - x.mean(0)) ** 2).sum(1))[:8]] = 50  # those farthest out
        costs[np.argsort(((x - x.mean(0)) ** 2).sum(1))[:8]] = 50  # those in the middle
    far = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    middle = np.sqrt(((x - x.mean(0)) ** 2).sum(1))
    products = far * np.sqrt(((y[:, None] - y) ** 2).sum(2))
    fresh = not must and not known
    for name, pool, between, first in (
        ("k_center", x, far, -middle),
        ("greedy_x", x, far, middle),
        ("greedy_xy", y, products, middle),
    ):
        options, gate, candidates, _ = (*within(rows, x, must=must, known=known, budget=budget)[:3], None)
        if budget is not None:
            options["costs"] = gate.costs = costs
            gate.left = budget - costs[list(must)].sum()

        def worth(picks, between=between, costs=costs):
            return between[:, [*known, *picks]].min(1, initial=np.inf) / costs

        picks = naive(
            rows,
            k - len(must),
            worth,
            gate,
            candidates=candidates,
            taken=must,
            first=(lambda row, first=first: (first[row], row)) if fresh else None,
        )
        found = select(pool, k, name, embeddings=x, **options)
        assert found.indices.tolist() == [*must, *picks], name


@variants
def test_stands_for_others(must, known, budget):
    rows, k = 80, 8
    x, p = clusters(rows), RNG.random(rows)
    far = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    unsure = pw.margin(p)
    for strategy, values, weights in (
        (pw.FacilityLocation(neighbours=rows), far.max() - far, 1),
        (pw.MaxHerding(neighbours=rows, radius=1.5), np.exp(-((far / 1.5) ** 2)), 1),
        (pw.UncertaintyHerding(neighbours=rows, radius=1.5), np.exp(-((far / 1.5) ** 2)), unsure[:, None]),
        (pw.ProbCover(radius=1.5), (far <= 1.5).astype(float), 1),
    ):
        options, gate, candidates, costs = within(rows, x, must=must, known=known, budget=budget)

        def gains(picks, values=values, weights=weights):
            covered = values[:, [*known, *picks]].max(1, initial=0)
            return (weights * np.maximum(values - covered[:, None], 0)).sum(0)

        def worth(picks, gains=gains, costs=costs):
            return gains(picks) / costs

        picks = naive(rows, k - len(must), worth, gate, candidates=candidates, taken=must)
        found = select(p, k, strategy, embeddings=x, **options)
        assert found.indices.tolist() == [*must, *picks], strategy
        added = [gains([*must, *picks[:at]])[pick] for at, pick in enumerate(picks)]
        np.testing.assert_allclose(found.scores[len(must) :], added, rtol=1e-9, atol=1e-12)


@variants
def test_ranked_batch_and_density(must, known, budget):
    rows, k = 90, 10
    x, p = clusters(rows), RNG.random(rows)
    far = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    u = pw.least_confidence(p)
    options, gate, candidates, costs = within(rows, x, must=must, known=known, budget=budget)

    def worth(picks):
        labelled = len(known) + len(picks)
        alpha = (rows - labelled) / rows if labelled else 0  # all are as far
        near = far[:, [*known, *picks]].min(1, initial=np.inf)
        return (alpha * (1 - 1 / (1 + near)) + (1 - alpha) * u) / costs

    picks = naive(rows, k - len(must), worth, gate, candidates=candidates, taken=must, first=None)
    found = select(p, k, "ranked_batch", embeddings=x, **options)
    assert found.indices.tolist()[: len(must)] == list(must)
    assert found.indices.tolist() == [*must, *picks]
    scores = pw.entropy(p) * np.maximum(pw.density(x), 0)
    options, gate, candidates, costs = within(rows, x, must=must, known=known, budget=budget)
    picks = naive(rows, k - len(must), lambda _: scores / costs, gate, candidates=candidates, taken=must)
    found = select(p, k, "density_weighted", embeddings=x, **options)
    assert found.indices.tolist() == [*must, *picks]
