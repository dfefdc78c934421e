"""Scores as Polars expressions have the bits of those of arrays, batch by batch, and refuse what these refuse."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

import pickwise as pw
from pickwise.expressions import _Scorer

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")
cs = pytest.importorskip("polars.selectors")

P = np.random.default_rng(0).dirichlet(np.ones(4), 3000)
LABELS = np.random.default_rng(1).random((3000, 4))
LOGITS = np.random.default_rng(2).normal(size=(3000, 4))
COMMITTEE = np.random.default_rng(3).dirichlet(np.ones(4), (3, 3000))
VOTES = np.random.default_rng(4).integers(0, 4, (3, 3000))
ROWS = ["entropy", "margin", "least_confidence", "ratio"]
SEVERAL = ["max_loss", "mean_max_loss", "mmc"]
DISAGREEMENT = ["bald", "consensus_kl", "predictive_entropy", "expected_entropy"]
BALLOTS = ["vote_entropy", "variation_ratios"]
ENGINES = ["in-memory", "streaming"]


def lists(matrix, kind="list"):
    array = pl.Series("probs", np.ascontiguousarray(matrix))
    return array if kind == "array" else array.arr.to_list()


def evaluated(frame, expr, engine="in-memory"):
    scores = frame.lazy().select(score=expr).collect(engine=engine)["score"]
    assert scores.dtype == pl.Float64
    return scores


def agree(scores, expected):
    assert scores.null_count() == 0
    np.testing.assert_array_equal(scores.to_numpy(), expected)


@pytest.fixture
def batches(monkeypatch):
    """Record how many rows each batch has."""
    seen = []
    call = _Scorer.__call__

    def recorded(self, batch):
        seen.append(len(batch))
        return call(self, batch)

    monkeypatch.setattr(_Scorer, "__call__", recorded)
    return seen


@pytest.fixture
def file(tmp_path):
    """A file of several row groups, of more rows than a batch."""
    p = np.random.default_rng(5).dirichlet(np.ones(3), 300_000).astype(np.float32)
    frame = pl.DataFrame({"id": np.arange(len(p)), "probs": lists(p)})
    frame.write_parquet(tmp_path / "pool.parquet", row_group_size=50_000)
    return tmp_path / "pool.parquet", p


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["list", "array", "columns"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ROWS + SEVERAL)
def test_rows_score_as_arrays_do(name, dtype, kind, engine):
    p = (P if name in ROWS else LABELS).astype(dtype)
    score, expr = getattr(pw, name), getattr(pw.polars, name)
    columns = {f"p_{column}": p[:, column] for column in range(4)}
    frame = pl.DataFrame(columns) if kind == "columns" else pl.DataFrame({"probs": lists(p, kind)})
    given = cs.starts_with("p_") if kind == "columns" else "probs"
    agree(evaluated(frame, expr(given), engine), score(p, dtype=np.float64))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("entropy", {"base": 2}),
        ("entropy", {"normalize": True}),
        *[(name, {"from_logits": True, "temperature": 2.0}) for name in ROWS + SEVERAL],
        *[(name, {"task": "multilabel", "how": "max", "from_logits": True}) for name in ROWS],
    ],
)
def test_options(name, options):
    expected = getattr(pw, name)(P if "from_logits" not in options else LOGITS, **options)
    frame = pl.DataFrame({"probs": lists(P if "from_logits" not in options else LOGITS)})
    agree(evaluated(frame, getattr(pw.polars, name)("probs", **options)), expected)


def test_counts():
    counts = np.random.default_rng(0).integers(0, 5, len(LABELS))
    frame = pl.DataFrame({"probs": lists(LABELS), "n": counts, **{f"p_{c}": LABELS[:, c] for c in range(4)}})
    expected = pw.mmc(LABELS, counts)
    for columns in (["probs"], [["probs"]], ["p_0", "p_1", "p_2", "p_3"], [cs.starts_with("p_")]):
        agree(evaluated(frame, pw.polars.mmc(*columns, counts="n")), expected)
    agree(evaluated(frame, pw.polars.mmc("probs", counts=pl.col("n"))), expected)
    with pytest.raises(ValueError, match=r"mmc of column 'probs', .*: counts: row 0 has 9, expected from 0 to 4"):
        frame.select(pw.polars.mmc("probs", counts=pl.lit(9), invalid="null"))
    with pytest.raises(TypeError, match=r"mmc: counts: expected integers, got Float64; cast it"):
        frame.select(pw.polars.mmc("probs", counts="p_0"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["list", "array"])
@pytest.mark.parametrize("name", DISAGREEMENT + BALLOTS)
def test_committees(name, kind, engine):
    frame = pl.DataFrame({f"m_{m}": lists(p, kind) for m, p in enumerate(COMMITTEE)})
    score, expr = getattr(pw, name), getattr(pw.polars, name)
    agree(evaluated(frame, expr("m_0", "m_1", "m_2"), engine), score(COMMITTEE))
    agree(evaluated(frame, expr("m_0"), engine), score(COMMITTEE[:1]))
    agree(evaluated(frame, expr(pl.all(), from_logits=True)), score(COMMITTEE, from_logits=True))


@pytest.mark.parametrize("name", BALLOTS)
def test_votes(name):
    frame = pl.DataFrame({f"m_{m}": votes for m, votes in enumerate(VOTES)})
    agree(evaluated(frame, getattr(pw.polars, name)("m_0", "m_1", "m_2")), getattr(pw, name)(VOTES))
    assert frame.select(pw.polars.vote_entropy(pl.lit(None, pl.Int64), "m_1")).to_series().null_count() == len(frame)
    with pytest.raises(ValueError, match=r"columns 'm_0', 'literal'.*member 1: row 0 holds -1, expected the number"):
        frame.select(getattr(pw.polars, name)("m_0", pl.lit(-1), invalid="null"))


def test_one_column_of_floats_is_binary():
    frame = pl.DataFrame({"p": P[:, 0]})
    for name in ROWS:
        agree(evaluated(frame, getattr(pw.polars, name)("p")), getattr(pw, name)(P[:, 0]))
    two = np.stack([P[:, 0], 1 - P[:, 0]], 1)
    agree(evaluated(frame, pw.polars.entropy(pl.col("p"), (1 - pl.col("p")).alias("q"))), pw.entropy(two))


def test_float16():
    half = P.astype(np.float16)
    frame = pl.DataFrame({"probs": lists(half)})
    assert frame["probs"].dtype == pl.List(pl.Float16)
    agree(evaluated(frame, pw.polars.entropy("probs")), pw.entropy(half, dtype=np.float64))


@pytest.mark.parametrize("kind", ["list", "array"])
def test_chunks_and_slices(kind):
    whole = pl.DataFrame({"probs": lists(P, kind)})
    pieces = pl.concat([whole[:7], whole[7:7], whole[7:2000], whole[2000:]], rechunk=False)
    assert pieces.n_chunks() > 1
    expected = pw.entropy(P)
    agree(evaluated(pieces, pw.polars.entropy("probs")), expected)
    agree(evaluated(pieces[5:2500], pw.polars.entropy("probs")), expected[5:2500])
    agree(evaluated(pieces.lazy().slice(100, 50), pw.polars.entropy("probs")), expected[100:150])
    agree(evaluated(pieces, pw.polars.bald("probs", pl.col("probs").alias("same"))), np.zeros(len(P)))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_rows(engine):
    frame = pl.DataFrame({"probs": lists(P), "p": P[:, 0]}).clear()
    for columns in (["probs"], ["p"], ["p", (1 - pl.col("p")).alias("q")]):
        assert evaluated(frame, pw.polars.entropy(*columns), engine).len() == 0
    assert evaluated(frame, pw.polars.bald("probs"), engine).len() == 0
    with pytest.raises(TypeError, match="'p': expected floats"):
        frame.select(pw.polars.entropy(pl.col("p").cast(pl.Int64)))


@pytest.mark.parametrize("engine", ENGINES)
def test_null_in_null_out(engine):
    gone = np.arange(len(P)) % 7 == 3
    expected = pw.entropy(P)[~gone]
    for kind in ("list", "array"):
        frame = pl.DataFrame({"probs": lists(P, kind)})
        frame = frame.with_columns(pl.when(pl.Series(~gone)).then("probs"))
        for expr in (pw.polars.entropy("probs"), pw.polars.predictive_entropy("probs", pl.lit([0.25] * 4).alias("b"))):
            scores = evaluated(frame, expr, engine)
            np.testing.assert_array_equal(scores.is_null().to_numpy(), gone)
        agree(evaluated(frame, pw.polars.entropy("probs"), engine).drop_nulls(), expected)
        agree(evaluated(frame, pw.polars.entropy("probs", invalid="null"), engine).drop_nulls(), expected)
        assert evaluated(frame.filter(pl.Series(gone)), pw.polars.entropy("probs"), engine).is_null().all()
    frame = pl.DataFrame({"a": P[:, 0], "b": 1 - P[:, 0]}).with_columns(pl.when(pl.Series(~gone)).then("b").alias("b"))
    scores = evaluated(frame, pw.polars.entropy("a", "b"), engine)
    np.testing.assert_array_equal(scores.is_null().to_numpy(), gone)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [[0.5, 0.5], [0.7, 0.7]],
            "row 1 sums to 1.4, expected 1 within 1e-05; 1 of 2 rows is invalid; pass from_logits",
        ),
        ([[0.5, 0.5], [-0.5, 1.5]], "row 1 holds -0.5 in column 0, expected a number from 0 to 1"),
        ([[0.5, 0.5], None, [float("nan"), 1.0]], "row 1 holds nan in column 0"),
        ([[0.5, 0.5], [0.5, None]], "row 1 holds a null; fill or drop it first"),
        ([[0.5, 0.5], [0.5, 0.25, 0.25]], "row 1 holds 3 values, expected 2 as in the rows before"),
        ([[], []], "expected at least 2 classes"),
        ([[1.0], [1.0]], "expected at least 2 classes"),
    ],
)
def test_invalid_rows_are_refused(rows, message):
    frame = pl.DataFrame({"probs": pl.Series(rows, dtype=pl.List(pl.Float64))})
    with pytest.raises(ValueError, match=r"entropy of column 'probs', in a batch of 2 rows") as caught:
        evaluated(frame, pw.polars.entropy("probs"))
    assert message in str(caught.value)
    with pytest.raises(ValueError, match=r"bald of columns 'good', 'probs', in a batch") as caught:
        evaluated(frame, pw.polars.bald(pl.lit([0.5, 0.5]).alias("good"), "probs"))
    assert "member 1" in str(caught.value) or "expected at least 2 classes" in str(caught.value)


def test_errors_of_the_streaming_engine_can_be_read():
    bad = P.copy()
    bad[2000] *= 2
    lazy = pl.LazyFrame({"probs": lists(bad)}).with_columns(score=pw.polars.entropy("probs"))
    with pytest.raises(ValueError, match=r"^entropy of column 'probs', in a batch of \d+ rows .*: row \d+ sums to 2, "):
        lazy.collect(engine="streaming")


def test_the_tolerance_is_that_of_the_type():
    rows = [[0.5, 0.5005]]
    frame = pl.DataFrame({"double": rows, "single": pl.Series(rows, dtype=pl.List(pl.Float32))})
    assert frame.select(pw.polars.margin("single")).item() == pytest.approx(0.9995)
    with pytest.raises(ValueError, match=r"sums to 1\.0005"):
        frame.select(pw.polars.margin("double"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(name, kind) for name in ROWS + SEVERAL + DISAGREEMENT + BALLOTS for kind in ("list", "array")],
        *[(name, "columns") for name in ROWS + SEVERAL],
        *[(name, "binary") for name in ROWS],
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_invalid_rows_score_null(name, engine, kind):
    bad = P.copy()
    odd = np.zeros(len(P), bool)
    for row, value in ((3, np.nan), (100, -0.5), (101, np.inf), (2999, 1.5)):
        bad[row, 1 if kind != "binary" else 0] = value
        odd[row] = True
    if kind == "columns":
        frame, columns = pl.DataFrame({f"p_{c}": bad[:, c] for c in range(4)}), [cs.starts_with("p_")]
        given = bad
    elif kind == "binary":
        frame, columns, given = pl.DataFrame({"p": bad[:, 0]}), ["p"], bad[:, 0]
    else:
        frame, columns, given = pl.DataFrame({"probs": lists(bad, kind), "more": lists(P, kind)}), ["probs"], bad
    if name in DISAGREEMENT + BALLOTS:
        columns, given = ["more", "probs"], np.stack([P, bad])
        expected = getattr(pw, name)(given[:, ~odd])
    else:
        expected = getattr(pw, name)(given[~odd])
    scores = evaluated(frame, getattr(pw.polars, name)(*columns, invalid="null"), engine)
    np.testing.assert_array_equal(scores.is_null().to_numpy(), odd)
    agree(scores.drop_nulls(), expected)
    with pytest.raises(ValueError, match=f"{name} of column"):
        evaluated(frame, getattr(pw.polars, name)(*columns), engine)


@pytest.mark.parametrize("kind", ["list", "array"])
def test_a_null_inside_a_list_is_invalid(kind):
    dtype = pl.List(pl.Float32) if kind == "list" else pl.Array(pl.Float32, 2)
    frame = pl.DataFrame({"probs": pl.Series([[0.5, 0.5], None, [0.5, None], [0.7, 0.7], [1.0, 0.0]], dtype=dtype)})
    with pytest.raises(ValueError, match="row 1 holds a null"):  # the second that is not null
        frame.select(pw.polars.margin("probs"))
    assert frame.select(pw.polars.margin("probs", invalid="null")).to_series().to_list() == [1, None, None, None, 0]
    assert frame[2:4].select(pw.polars.bald("probs", invalid="null")).to_series().to_list() == [None, None]


def test_ragged_lists_are_never_null():
    frame = pl.DataFrame({"probs": [[0.5, 0.5], [0.5, 0.25, 0.25]]})
    with pytest.raises(ValueError, match="row 1 holds 3 values"):
        frame.select(pw.polars.margin("probs", invalid="null"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (lambda f: f("n"), r"column 'n': expected floats or lists of floats, got Int64; cast it"),
        (lambda f: f("ns"), r"column 'ns': expected floats or lists of floats, got List\(Int64\); cast it"),
        (lambda f: f("s"), r"column 's': expected floats or lists of floats, got String$"),
        (lambda f: f("p", "n"), r"column 'n': expected floats"),
        (lambda f: f("probs", "p"), r"column 'probs': expected floats"),
        (lambda f: f("nested"), r"column 'nested': expected floats or lists of floats, got Array"),
    ],
)
def test_types_that_are_refused(expr, message, engine):
    columns = {"n": [1], "ns": [[1, 0]], "s": ["a"], "p": [0.5], "probs": [[0.5, 0.5]]}
    frame = pl.DataFrame({**columns, "nested": np.full((1, 2, 2), 0.5)})
    with pytest.raises(TypeError) as caught:
        evaluated(frame, expr(pw.polars.entropy), engine)
    assert re.search(message, str(caught.value).splitlines()[0])


def test_what_is_refused_where_it_is_written():
    for wrong, message in [
        ({"base": 1}, "base"),
        ({"temperature": 2}, "temperature"),
        ({"task": "many"}, "task"),
        ({"how": "min", "task": "multilabel"}, "how"),
        ({"invalid": "skip"}, "invalid: expected 'raise' or 'null', got 'skip'"),
    ]:
        with pytest.raises(ValueError, match=message):
            pw.polars.entropy("probs", **wrong)
    with pytest.raises(ValueError, match="temperature"):
        pw.polars.bald("probs", temperature=2)
    with pytest.raises(TypeError, match="entropy: expected the name of a column or an expression, got none"):
        pw.polars.entropy()


def test_missing_columns():
    frame = pl.DataFrame({"probs": lists(P)})
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="prob"):
        frame.select(pw.polars.entropy("prob"))


def test_filter_over_group_by_and_sort():
    half = pl.Series("half", np.arange(len(P)) % 2)
    frame = pl.DataFrame({"id": np.arange(len(P)), "probs": lists(P), "half": half})
    score, expected = pw.polars.entropy("probs"), pw.entropy(P)
    agree(evaluated(frame, score.over("half")), expected)
    ranks = frame.select(score.rank().over("half").alias("rank"))["rank"].to_numpy()
    for part in (0, 1):
        assert ranks[part::2].argmax() == expected[part::2].argmax()
    best = frame.group_by("half").agg(score.max().alias("best")).sort("half")["best"]
    agree(best, [expected[::2].max(), expected[1::2].max()])
    np.testing.assert_array_equal(frame.filter(score > 1)["id"].to_numpy(), np.flatnonzero(expected > 1))
    np.testing.assert_array_equal(frame.sort(score)["id"].to_numpy(), np.argsort(expected, kind="stable"))
    assert frame.with_columns(score).columns == frame.columns  # named as the first column, as Polars has it


@pytest.mark.parametrize("strategy", ROWS)
def test_top_k_is_what_select_selects(strategy, file, batches):
    path, p = file
    pool = pl.scan_parquet(path)
    top = pool.top_k(500, by=getattr(pw.polars, strategy)("probs")).select("id").collect(engine="streaming")
    selection = pw.select(p, 500, strategy)
    scores = getattr(pw, strategy)(p, dtype=np.float64)
    np.testing.assert_array_equal(np.sort(scores[top["id"]])[::-1], selection.scores)
    least = selection.scores[-1]  # of its ties Polars takes any
    assert set(top["id"]) - set(selection.ids) <= set(np.flatnonzero(scores == least))
    assert len(batches) > 1


def test_pipelines_stream(file, tmp_path, batches):
    path, p = file
    pool = pl.scan_parquet(path).with_columns(score=pw.polars.entropy("probs"))
    assert "python_udf" in pool.explain(engine="streaming")
    agree(pool.collect(engine="streaming")["score"], pw.entropy(p, dtype=np.float64))
    assert sum(batches) == len(p)
    assert max(batches) < len(p)
    batches.clear()
    pool.sink_parquet(tmp_path / "scored.parquet")
    agree(pl.read_parquet(tmp_path / "scored.parquet")["score"], pw.entropy(p, dtype=np.float64))
    assert max(batches) < len(p)


def test_expressions_are_pickled():
    frame = pl.DataFrame({"probs": lists(P)})
    scorer = pickle.loads(pickle.dumps(_Scorer(pw.entropy, {"dtype": np.float64}, "rows", nullify=False)))
    agree(scorer(frame.to_struct()), pw.entropy(P))


def test_polars_is_imported_late(run_python):
    code = """
        import sys
        import pickwise as pw
        assert "polars" not in sys.modules
        sys.modules["polars"] = None
        try:
            pw.polars.entropy("probs")
        except ImportError as error:
            print(error)
    """
    assert run_python(code) == "pickwise.polars needs polars; install it with pip install 'pickwise[polars]'"
