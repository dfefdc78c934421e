"""Strategies that spread rows, through `select` and the command line: every kind of pool, ids, prefilters."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import pickle
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
ROWS = 2000
X = (RNG.normal(size=(15, 12))[RNG.integers(0, 15, ROWS)] * 3 + RNG.normal(size=(ROWS, 12))).astype(np.float32)
P = RNG.dirichlet(np.ones(4), ROWS).astype(np.float32)
NAMES = [f"n{i}" for i in range(ROWS)]


def test_strategies_print_compare_and_pickle():
    one = pw.KCenter(metric="cosine", prefilter=10, prefilter_by=pw.Entropy(base=2))
    assert repr(one).startswith("KCenter(metric='cosine', prefilter=10, prefilter_by=Entropy(")
    assert repr(pw.KMeansPlusPlus()) == "KMeansPlusPlus()"
    assert one == pickle.loads(pickle.dumps(one)) == pw.KCenter(**json.loads(json.dumps(one.options)))
    assert len({one, pw.KCenter(), pw.KCenter(), pw.KMeansPlusPlus()}) == 3
    assert pw.KCenter(min_distance=1) == pw.KCenter(min_distance=1.0)


def test_a_pool_of_embeddings():
    expected = pw.k_center(X, 30, labelled=[4, 5])
    assert pw.select(X, 30, "k_center", labelled=[4, 5]) == expected
    assert pw.select(X, 30, "k_center", labelled=[4, 5], ids=NAMES).ids.tolist() == [NAMES[i] for i in expected.ids]
    barred = pw.select(X, 30, "k_center", exclude=expected.ids, exclude_ids=[0, 1, 99_999])
    assert barred == pw.k_center(X, 30, exclude=[*expected.ids, 0, 1])
    assert barred == pw.select(X, 30, "k_center", exclude_ids=[*expected.ids, 0, 1])
    names = pw.select(X, 30, "k_center", ids=NAMES, exclude_ids=[NAMES[i] for i in expected.ids])
    np.testing.assert_array_equal(names.indices, pw.k_center(X, 30, exclude=expected.ids).indices)
    first = pw.select(X, 30, "k_center", random_state=7)
    assert first == pw.k_center(X, 30, random_state=7)
    assert pw.select(X, 30, pw.KCenter(outliers=20)).radius == pw.k_center(X, 30, outliers=20).radius


def test_pools_of_every_kind(tmp_path):
    pa, pl, pd = (pytest.importorskip(name) for name in ("pyarrow", "polars", "pandas"))
    pq = pytest.importorskip("pyarrow.parquet")
    expected = pw.k_center(X, 30)
    (tmp_path / "parts").mkdir()
    np.save(tmp_path / "x.npy", X)
    for i, part in enumerate(np.array_split(X, 3)):
        np.save(tmp_path / "parts" / f"{i}.npy", part)
    lists = pa.FixedSizeListArray.from_arrays(X.ravel(), 12)
    table = pa.table({"doc": NAMES, "e": lists})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=300)
    frame = pl.DataFrame({"doc": NAMES, "e": pl.Series(X.tolist(), dtype=pl.Array(pl.Float32, 12))})
    for pool in (
        tmp_path / "x.npy",
        str(tmp_path / "parts"),
        iter(np.array_split(X, 7)),
        pd.DataFrame(X),
        lists,
        X.tolist(),
    ):
        found = pw.select(pool, 30, "k_center")
        np.testing.assert_array_equal(found.indices, expected.indices)
        if not isinstance(pool, str):
            np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_allclose(found.scores, expected.scores)
    named = [NAMES[i] for i in expected.ids]
    for pool in (table, frame, frame.lazy(), tmp_path / "x.parquet"):
        assert pw.select(pool, 30, "k_center", id="doc").ids.tolist() == named
    assert pw.select(iter([(X[:900], NAMES[:900]), (X[900:], NAMES[900:])]), 30, "k_center").ids.tolist() == named
    # The ids come from a pool whose numbers do not matter.
    predictions = pa.table({"doc": NAMES, **{f"p{i}": P[:, i] for i in range(4)}})
    assert pw.select(predictions, 30, "k_center", id="doc", embeddings=X).ids.tolist() == named
    assert pw.select(P, 30, "k_center", embeddings=X) == expected
    with pytest.raises(ValueError, match=r"^ids: expected None"):
        pw.select(predictions, 30, "k_center", id="doc", embeddings=X, ids=NAMES)
    with pytest.raises(ValueError, match=r"expected at least one row"):
        pw.select(iter([]), 3, "k_center")


@pytest.mark.parametrize("by", ["margin", pw.Entropy(base=2), "random"])
@pytest.mark.parametrize("kind", [pw.KCenter, pw.KMeansPlusPlus])
def test_prefilter(kind, by):
    known = RNG.permutation(ROWS)[:100]
    barred = (np.arange(ROWS) % 9 == 0) & ~np.isin(np.arange(ROWS), known)
    best = pw.select(P, 200, by, exclude=barred | np.isin(np.arange(ROWS), known), random_state=3)
    plain = {pw.KCenter: pw.k_center, pw.KMeansPlusPlus: pw.kmeans_plusplus}[kind]
    # Draws are among the best alone, in the order of their positions.
    rows = np.union1d(best.indices, known)
    chosen = plain(X[rows], 20, labelled=np.searchsorted(rows, known), random_state=3)
    expected = replace(chosen, ids=rows[chosen.indices], indices=rows[chosen.indices])
    strategy = kind(prefilter=10, prefilter_by=by)
    options = {"labelled": known, "random_state": 3}
    found = pw.select(P, 20, strategy, embeddings=X, exclude=barred, **options)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.radius == expected.radius
    assert found.strategy == strategy
    if by == "random":
        return  # it draws by the ids
    numbers = np.arange(ROWS)[::-1] * 2
    given = pw.select(P, 20, strategy, embeddings=X, ids=numbers, exclude_ids=numbers[barred], **options)
    np.testing.assert_array_equal(given.ids, numbers[expected.ids])
    np.testing.assert_array_equal(given.indices, expected.indices)
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"doc": NAMES, **{f"p{i}": P[:, i] for i in range(4)}})
    given = pw.select(table, 20, strategy, embeddings=X, id="doc", exclude=barred, **options)
    assert given.ids.tolist() == [NAMES[i] for i in expected.ids]
    parts = iter(np.array_split(P, 6))
    assert pw.select(parts, 20, strategy, embeddings=X, exclude=barred, **options) == found


def test_a_prefilter_that_leaves_everything_or_too_little():
    assert pw.select(P, 20, pw.KCenter(prefilter=ROWS), embeddings=X).ids.tolist() == pw.k_center(X, 20).ids.tolist()
    few = np.arange(ROWS) >= 15
    with pytest.raises(ValueError, match=r"^k: expected at most 15"):
        pw.select(P, 20, pw.KCenter(prefilter=2), embeddings=X, exclude=few)
    assert len(pw.select(P, 20, pw.KCenter(prefilter=2), embeddings=X, exclude=few, clip=True)) == 15
    bad = P.copy()
    bad[:50] = 0.9
    found = pw.select(bad, 20, pw.KCenter(prefilter=5), embeddings=X, invalid="skip")
    assert found.skipped == 50
    assert (found.indices >= 50).all()
    # What is ranked low may hold anything.
    other = X.copy()
    other[pw.select(P, ROWS).indices[500:]] = np.nan
    assert pw.select(P, 20, pw.KCenter(prefilter=5), embeddings=other) == pw.select(
        P, 20, pw.KCenter(prefilter=5), embeddings=X
    )


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "p.npy", P)
    np.save(tmp_path / "known.npy", X[:50])
    np.save(tmp_path / "rows.npy", np.arange(50))
    return tmp_path


def run(folder, *arguments, code=0):
    cli = pytest.importorskip("pickwise.cli")
    pytest.importorskip("typer")
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pickwise", "select", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    signal.signal(signal.SIGTERM, before)
    assert (ended.value.code or 0) == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def written(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [(int(row["id"]), float(row["score"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize("labelled", ["known.npy", "rows.npy"])
def test_command_line(folder, labelled):
    pytest.importorskip("pyarrow")
    _, err = run(folder, "x.npy", "-k", "25", "--strategy", "k_center", "--labelled", labelled, "-o", "out.csv")
    expected = pw.k_center(X, 25, labelled=np.load(folder / labelled))
    assert written(folder / "out.csv") == list(zip(expected.ids.tolist(), expected.scores.tolist(), strict=True))
    assert f"25 of 2000 rows by k_center, radius {expected.radius:.6g} in out.csv" in err
    options = ("--embeddings", "x.npy", "--prefilter", "4", "--metric", "cosine", "-q")
    out, err = run(folder, "p.npy", "-k", "9", "--strategy", "k_center", *options)
    expected = pw.select(P, 9, pw.KCenter(prefilter=4, metric="cosine"), embeddings=X)
    assert [line.split()[1] for line in out.splitlines()[1:]] == list(map(str, expected.ids))
    assert err == ""
    run(folder, "p.npy", "-k", "9", "-s", "kmeans++", "--embeddings", "x.npy", "--seed", "3", "-o", "out.csv")
    drawn = pw.kmeans_plusplus(X, 9, random_state=3)
    assert [row for row, _ in written(folder / "out.csv")] == drawn.ids.tolist()
    run(folder, "x.npy", "-k", "3", "-s", "k_center", "-o", "out.jsonl")
    first = json.loads((folder / "out.jsonl").read_text().splitlines()[0])
    assert first["score"] is None  # the distance of the first pick is infinite


def test_command_line_refusals(folder):
    for arguments, message, code in (
        (("p.npy", "--embeddings", "x.npy"), "margin has no use for it", 2),
        (("p.npy", "--labelled", "x.npy"), "margin has no use for it", 2),
        (("p.npy", "--prefilter", "3"), "margin has no use for it", 2),
        (("p.npy", "--metric", "cosine"), "margin has no use for it", 2),
        (("x.npy", "-s", "k_center", "--from-logits"), "k_center has no use for it", 2),
        (("p.npy", "-s", "k_center", "--prefilter", "3"), "embeddings: expected a matrix beside the pool", 1),
        (("x.npy", "-s", "k_center", "--labelled", "none.npy"), "none.npy", 1),
        (("x.npy", "-s", "k_center", "--labelled", "p.npy"), "labelled: expected 12 dimensions", 1),
    ):
        assert message in run(folder, *arguments, "-k", "3", code=code)[1].replace("\n", " ")
